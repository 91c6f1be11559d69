//! The threads of a conversation beside the keyboard's.

use std::io;
use std::sync::Arc;

use crate::base::thread::{self, Joined};
use crate::client::CancelHandle;
use crate::terminal::chat::shared::ChatShared;

/// Dropping them ends their calls and waits for them.
#[derive(Default)]
pub(super) struct ChatThreads(Vec<ChatThread>);

struct ChatThread {
    cancel: CancelHandle,
    // Joined when dropped, after the cancel of `ChatThreads::drop`.
    joined: Joined,
}

impl ChatThreads {
    pub(super) fn start(
        &mut self,
        name: &str,
        shared: &Arc<ChatShared>,
        body: impl FnOnce(&ChatShared, &CancelHandle) + Send + 'static,
    ) -> io::Result<()> {
        self.0.retain(|thread| !thread.joined.is_finished());
        let cancel = CancelHandle::default();
        let (shared, own) = (Arc::clone(shared), cancel.clone());
        let joined = thread::spawn(name, thread::STACK_WORK, move || body(&shared, &own))?;
        self.0.push(ChatThread { cancel, joined });
        Ok(())
    }

    /// Ends those of that name, and waits for them.
    pub(super) fn give_up(&mut self, name: &str) {
        let is_named = |thread: &mut ChatThread| thread.joined.name() == name;
        let given_up: Vec<ChatThread> = self.0.extract_if(.., is_named).collect();
        drop(ChatThreads(given_up));
    }
}

impl Drop for ChatThreads {
    fn drop(&mut self) {
        for thread in &self.0 {
            thread.cancel.cancel();
        }
    }
}
