//! What servers have told of themselves, for a while: so that each is asked once.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::llm::ollama::ModelCard;

/// How long what is known of a model holds: it may be made anew under its name.
const CARD_AGE_MAX: Duration = Duration::from_secs(600);
/// More than these are not remembered.
const KEPT_MAX: usize = 256;

/// What is known of servers.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// By address and name.
    cards: Mutex<HashMap<(String, String), (Instant, ModelCard)>>,
    /// Addresses where nothing speaks OpenAI's newer interface.
    without_responses: Mutex<HashSet<String>>,
}

impl Servers {
    /// What the server at `url` has said of `model`.
    pub(super) fn card(&self, url: &str, model: &str) -> Option<ModelCard> {
        let cards = lock(&self.cards);
        let (since, card) = cards.get(&(url.to_owned(), model.to_owned()))?;
        (since.elapsed() < CARD_AGE_MAX).then(|| card.clone())
    }

    /// Remembers that.
    pub(super) fn keep_card(&self, url: &str, model: &str, card: ModelCard) {
        let mut cards = lock(&self.cards);
        if cards.len() >= KEPT_MAX {
            cards.clear();
        }
        let key = (url.to_owned(), model.to_owned());
        cards.insert(key, (Instant::now(), card));
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
