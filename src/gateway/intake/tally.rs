//! What is remembered of chats until the next start: little, and of so many alone.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use crate::base::lock::lock;
use crate::domain::chat::Chat;
use crate::gateway::intake::desk::Guest;
use crate::gateway::intake::disposition::{self, Disposition};

/// So many of each are remembered; then it begins anew.
const REMEMBERED_MAX: usize = 4096;
/// So many times in a row other programs are answered, before a person has to say something.
const BOT_ANSWERS_MAX: u32 = 3;

/// How often in a row other programs were answered, by agent and chat: two that answer one another would
/// never end.
#[derive(Debug, Default)]
pub(super) struct BotTally(Mutex<HashMap<(String, Chat), u32>>);

impl BotTally {
    /// What becomes of what another program says, which would become `disposition` of a person's.
    pub(super) fn answered(&self, guest: &Guest, disposition: Disposition) -> Disposition {
        if disposition != Disposition::Answered {
            return disposition;
        }
        match lock(&self.0).get(&place_of(guest)) {
            Some(answers) if *answers >= BOT_ANSWERS_MAX => {
                disposition::unanswered(&guest.access.groups)
            }
            Some(_) | None => disposition,
        }
    }

    /// What another program has said is taken in, and answered.
    pub(super) fn count(&self, guest: &Guest) {
        let mut tally = lock(&self.0);
        begin_anew_if_full(tally.len(), || tally.clear());
        *tally.entry(place_of(guest)).or_default() += 1;
    }

    /// A person has said something.
    pub(super) fn person(&self, guest: &Guest) {
        lock(&self.0).remove(&place_of(guest));
    }
}

fn place_of(guest: &Guest) -> (String, Chat) {
    (guest.agent.to_string(), guest.chat.clone())
}

/// Who bears which name in a chat.
#[derive(Debug, Default)]
pub(super) struct NameTally(Mutex<HashMap<(Chat, String), String>>);

impl NameTally {
    /// Somebody else than `id` bears that name, and has said something before.
    pub(super) fn is_anothers(&self, chat: &Chat, name: &str, id: &str) -> bool {
        let mut names = lock(&self.0);
        begin_anew_if_full(names.len(), || names.clear());
        let bearer = names.entry((chat.clone(), name.to_lowercase()));
        bearer.or_insert_with(|| id.to_owned()) != id
    }
}

/// What the log has been told of chats.
#[derive(Debug, Default)]
pub(super) struct Warned(Mutex<HashSet<(Chat, String)>>);

impl Warned {
    /// Nothing was told of `about` in that chat yet.
    pub(super) fn is_first(&self, chat: &Chat, about: &str) -> bool {
        let mut told = lock(&self.0);
        // More are not told: somebody may make chats as fast as they like.
        told.len() < REMEMBERED_MAX && told.insert((chat.clone(), about.to_owned()))
    }
}

fn begin_anew_if_full(remembered: usize, begin_anew: impl FnOnce()) {
    if remembered >= REMEMBERED_MAX {
        begin_anew();
    }
}
