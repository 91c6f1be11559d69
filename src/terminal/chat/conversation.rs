//! Starts what a conversation needs, and hands it to the keyboard.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{ApiClient, Attaching, ServerGeneration};
use crate::domain::ids::SessionId;
use crate::terminal::board::Board;
use crate::terminal::chat::end::{ChatError, Left};
use crate::terminal::chat::events::{show_beginning, show_events};
use crate::terminal::chat::keyboard::Keyboard;
use crate::terminal::chat::shared::ChatShared;
use crate::terminal::chat::threads::ChatThreads;
use crate::terminal::keys::KeyReader;
use crate::terminal::paint::Paint;
use crate::terminal::prompt::Prompt;
use crate::terminal::screen::Screen;

/// Holds a conversation in `session` until the user leaves or the session ends. What is typed is
/// remembered in the file `typed_before`, if there is one.
pub fn run(
    client: ApiClient,
    generation: ServerGeneration,
    session: SessionId,
    attaching: Attaching,
    typed_before: Option<&Path>,
) -> Result<Left, ChatError> {
    /// Long enough for a slow disk to read the history; then the prompt comes without it.
    const ATTACH_LIMIT: Duration = Duration::from_secs(5);
    let prompt = Prompt::new(typed_before)?;
    let keys = KeyReader::take()?;
    let paint = Paint::for_stream(&io::stdout());
    let (wake_rx, wake_tx) = io::pipe()?;
    let screen = Screen::new(io::stdout(), paint);
    let shared = ChatShared::new(client, generation, session, Board::new(wake_tx), screen);
    let shared = Arc::new(shared);
    let mut threads = ChatThreads::default();
    threads.start("events", &shared, move |shared, cancel| {
        match &shared.older {
            None => show_events(shared, attaching, cancel),
            Some(_) => show_beginning(shared, attaching.history),
        }
    })?;
    shared.board.wait_until_attached(ATTACH_LIMIT);
    let keyboard = Keyboard {
        shared,
        prompt,
        keys,
        threads,
        wake: wake_rx,
        interrupts: 0,
        again: None,
    };
    keyboard.run()
}
