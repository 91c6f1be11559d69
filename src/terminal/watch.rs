//! Looking on: what happens in a session is shown, and nothing is asked.

use std::io;

use crate::client::{ApiClient, CancelHandle, ClientError};
use crate::client::{Attaching, Followed, SessionFollower};
use crate::domain::ids::SessionId;
use crate::terminal::paint::{Paint, Tone};
use crate::terminal::screen::Screen;
use crate::terminal::transcript::Transcript;

/// The looking on ended before the session did.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The server refused, or can't be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Nobody can read what is shown.
    #[error("cannot write")]
    Output(#[from] io::Error),
}

/// What is said of a lost connection: what helps, where waiting alone does not.
pub(super) fn lost(error: &ClientError) -> String {
    match error {
        ClientError::NoServer(none) => {
            format!("connection lost, reconnecting… ({none}; {})", none.hint)
        }
        _ => "connection lost, reconnecting…".to_owned(),
    }
}

/// Shows what happens in `session` until it ends.
pub fn run(client: ApiClient, session: SessionId, attaching: Attaching) -> Result<(), WatchError> {
    let paint = Paint::for_stream(&io::stdout());
    let mut screen = Screen::new(io::stdout(), paint);
    let mut transcript = Transcript::default();
    let mut follower = SessionFollower::new(client, session, attaching, CancelHandle::default());
    loop {
        match follower.next_step()? {
            Followed::Event(received) => screen.show(&transcript.show(&received.event, false))?,
            Followed::Lost(error) => screen.lines(Tone::Dim, &lost(&error))?,
            Followed::Back { was_said: true } => screen.lines(Tone::Dim, "reconnected")?,
            Followed::Back { was_said: false } => {}
            Followed::Ended => return Ok(()),
        }
    }
}
