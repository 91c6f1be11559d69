//! What servers have told of themselves, for a while: so that each is asked once.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::domain::providers::Origin;
use crate::llm::ollama::ModelCard;

/// How long what is known of a model holds: it may be made anew under its name …
const CARD_AGE_MAX: Duration = Duration::from_secs(600);
/// … and that a server says nothing of it.
const SILENCE_AGE_MAX: Duration = Duration::from_secs(60);
/// More than these are not remembered.
const KEPT_MAX: usize = 256;

/// What is known of servers.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// By address and name, with when each ends.
    cards: Mutex<HashMap<(String, String), (Instant, ModelCard)>>,
    /// Models, by the address of their chats and their names, that are asked by Responses.
    by_responses: Mutex<HashSet<(String, String)>>,
    /// What models take, by host and name, as they have said in a refusal.
    windows: Mutex<HashMap<(String, String), u64>>,
    /// Addresses where nothing speaks OpenAI's newer interface.
    without_responses: Mutex<HashSet<String>>,
}

impl Servers {
    /// What the server at `url` has said of `model`.
    pub(super) fn card(&self, url: &str, model: &str) -> Option<ModelCard> {
        let cards = lock(&self.cards);
        let (end, card) = cards.get(&(url.to_owned(), model.to_owned()))?;
        (Instant::now() < *end).then(|| card.clone())
    }

    /// Remembers that; `None` where it said nothing that can be read.
    pub(super) fn keep_card(&self, url: &str, model: &str, card: Option<ModelCard>) {
        let mut cards = lock(&self.cards);
        if cards.len() >= KEPT_MAX {
            cards.clear();
        }
        let key = (url.to_owned(), model.to_owned());
        let age = match card {
            Some(_) => CARD_AGE_MAX,
            None => SILENCE_AGE_MAX,
        };
        cards.insert(key, (Instant::now() + age, card.unwrap_or_default()));
    }

    /// What the model takes, its answer included, as `host` has said.
    pub(super) fn window(&self, host: &Origin, model: &str) -> Option<u64> {
        let key = (host.to_string(), model.to_owned());
        lock(&self.windows).get(&key).copied()
    }

    /// Remembers that.
    pub(super) fn keep_window(&self, host: &Origin, model: &str, tokens: u64) {
        let mut windows = lock(&self.windows);
        if windows.len() >= KEPT_MAX {
            windows.clear();
        }
        windows.insert((host.to_string(), model.to_owned()), tokens);
    }

    /// The model whose chats go to `url` is asked by Responses.
    pub(super) fn is_by_responses(&self, url: &str, model: &str) -> bool {
        let key = (url.to_owned(), model.to_owned());
        lock(&self.by_responses).contains(&key)
    }

    /// Remembers that.
    pub(super) fn keep_by_responses(&self, url: &str, model: &str) {
        let mut models = lock(&self.by_responses);
        if models.len() >= KEPT_MAX {
            models.clear();
        }
        models.insert((url.to_owned(), model.to_owned()));
    }

    /// Nothing speaks Responses at `url`.
    pub(super) fn lacks_responses(&self, url: &str) -> bool {
        lock(&self.without_responses).contains(url)
    }

    /// Remembers that.
    pub(super) fn keep_lack_of_responses(&self, url: &str) {
        let mut urls = lock(&self.without_responses);
        if urls.len() >= KEPT_MAX {
            urls.clear();
        }
        urls.insert(url.to_owned());
    }
}
