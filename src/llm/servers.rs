//! What servers have told of themselves, for a while: so that each is asked once.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::llm::mend::AskedAt;
use crate::llm::ollama::ModelCard;

/// How long what is known of a model holds: it may be made anew under its name …
const CARD_AGE_MAX: Duration = Duration::from_secs(600);
/// … and that a server says nothing of it.
const SILENCE_AGE_MAX: Duration = Duration::from_secs(60);
/// How long it holds what a refusal has said that a model takes: another model may have its name by then.
const WINDOW_AGE_MAX: Duration = Duration::from_secs(3_600);
/// More than these are not remembered.
const KEPT_MAX: usize = 256;

/// What is known of servers.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// By address and name, with when each ends.
    cards: Mutex<HashMap<(String, String), (Instant, ModelCard)>>,
    /// Models, by the address of their chats and their names, that are asked by Responses.
    by_responses: Mutex<HashSet<(String, String)>>,
    /// What models take that are asked so, as a refusal has said, with when each ends.
    windows: Mutex<HashMap<AskedAt, (Instant, u64)>>,
    /// Models, by their addresses and their names, that are not to be had by OpenAI's newer interface.
    without_responses: Mutex<HashSet<(String, String)>>,
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

    /// What the model that is asked so takes, its answer included, as its server has said.
    pub(super) fn window(&self, asked: &AskedAt) -> Option<u64> {
        let (end, tokens) = *lock(&self.windows).get(asked)?;
        (Instant::now() < end).then_some(tokens)
    }

    /// Remembers that.
    pub(super) fn keep_window(&self, asked: AskedAt, tokens: u64) {
        let mut windows = lock(&self.windows);
        if windows.len() >= KEPT_MAX {
            windows.clear();
        }
        windows.insert(asked, (Instant::now() + WINDOW_AGE_MAX, tokens));
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

    /// The model is not to be had by Responses at `url`.
    pub(super) fn lacks_responses(&self, url: &str, model: &str) -> bool {
        let key = (url.to_owned(), model.to_owned());
        lock(&self.without_responses).contains(&key)
    }

    /// Remembers that.
    pub(super) fn keep_lack_of_responses(&self, url: &str, model: &str) {
        let mut models = lock(&self.without_responses);
        if models.len() >= KEPT_MAX {
            models.clear();
        }
        models.insert((url.to_owned(), model.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_models_take_is_kept_of_few_and_not_for_good() {
        let servers = Servers::default();
        let asked = |number: usize| (format!("http://{number}"), "m".to_owned());
        servers.keep_window(asked(0), 4_096);
        assert_eq!(servers.window(&asked(0)), Some(4_096));
        assert_eq!(servers.window(&asked(1)), None);
        if let Some((end, _)) = lock(&servers.windows).get_mut(&asked(0)) {
            *end = Instant::now();
        }
        assert_eq!(servers.window(&asked(0)), None);
        for number in 0..=KEPT_MAX {
            servers.keep_window(asked(number), 4_096);
            servers.keep_lack_of_responses("u", &number.to_string());
        }
        assert!(lock(&servers.windows).len() <= KEPT_MAX);
        assert!(lock(&servers.without_responses).len() <= KEPT_MAX);
    }
}
