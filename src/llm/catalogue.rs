//! What a provider offers: its models, as it lists them itself.
//!
//! Invariant: a list is asked for where calls go, and with the key that they would bring
//! (`settings`); redirects are not followed.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use url::Url;

use crate::domain::providers::{Dialect, Listing, Origin};
use crate::domain::spec::{ModelChoice, ModelInput, Provider};
use crate::llm::LlmError;
use crate::llm::call::{self, Post};
use crate::llm::dialect::error_text;
use crate::llm::settings::{Destination, KeyUse, ProviderSettings};

/// The most pages of a list that are read: a thousand models each.
const PAGES_MAX: usize = 20;

/// A model of a provider's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedModel {
    /// Its name, as agents give it.
    pub name: String,
    /// How many tokens it takes, where the list says.
    pub window_tokens: Option<u64>,
    /// What it takes beside text, where the list says.
    pub input: Option<ModelInput>,
}

/// Why there is no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The provider was not asked: it has no address, or no key.
    #[error("{0}")]
    NotAsked(String),
    /// It refused the key, or that there was none.
    #[error("{0}")]
    Refused(String),
    /// It answers, and has no list of models there.
    #[error("{0}")]
    NoList(String),
    /// It cannot be reached, or did not answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// It answers something else.
    #[error("{0}")]
    Failed(String),
}

impl ProviderSettings {
    /// The models that the provider of `choice` lists where `choice` is asked, in its order.
    ///
    /// Errors: there is no list within `limit`, and what may help.
    pub fn offered(
        &self,
        choice: &ModelChoice,
        limit: Duration,
    ) -> Result<Vec<OfferedModel>, CatalogueError> {
        if choice.provider == Provider::ECHO {
            return Ok(vec![OfferedModel {
                name: "echo".to_owned(),
                window_tokens: None,
                input: None,
            }]);
        }
        let list = List::of(self, choice, limit)?;
        if choice.provider.listing() == Listing::Public && list.key.sent().is_some() {
            list.try_key()?;
        }
        list.models()
    }

    /// Whether the provider knows the model of `choice` although its list lacks it: some leave out
    /// other names of a model. `None` where it does not say so within `limit`.
    pub fn knows(&self, choice: &ModelChoice, limit: Duration) -> Option<bool> {
        let list = List::of(self, choice, limit).ok()?;
        let mut url = list.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(&choice.name);
        }
        // A list may come for any path.
        let is_model = |found: &Value| found["id"].is_string() && found.get("data").is_none();
        match list.get(&url) {
            Ok(found) => Some(is_model(&found)),
            Err(CatalogueError::NoList(_)) => Some(false),
            Err(_) => None,
        }
    }
}

/// A list of models, and how it is asked for.
struct List<'a> {
    settings: &'a ProviderSettings,
    choice: &'a ModelChoice,
    destination: Destination,
    key: KeyUse<'a>,
    url: Url,
    limit: Duration,
    deadline: Instant,
}

impl<'a> List<'a> {
    fn of(
        settings: &'a ProviderSettings,
        choice: &'a ModelChoice,
        limit: Duration,
    ) -> Result<List<'a>, CatalogueError> {
        let not_asked = |error: LlmError| CatalogueError::NotAsked(error.to_string());
        let destination = settings.destination(choice).map_err(not_asked)?;
        let key = match settings.key(choice, &destination) {
            Err(LlmError::MissingKey { .. }) if choice.provider.listing() == Listing::Public => {
                KeyUse::None
            }
            other => other.map_err(not_asked)?,
        };
        let url = list_url(&destination, &choice.provider)
            .ok_or_else(|| CatalogueError::NotAsked("its address cannot be used".to_owned()))?;
        Ok(List {
            settings,
            choice,
            destination,
            key,
            url,
            limit,
            deadline: Instant::now() + limit,
        })
    }

    /// All pages of the list.
    fn models(&self) -> Result<Vec<OfferedModel>, CatalogueError> {
        let is_paged = self.destination.dialect == Dialect::Anthropic;
        let mut url = self.url.clone();
        if is_paged {
            url.query_pairs_mut().append_pair("limit", "1000");
        }
        let first = url.clone();
        let (mut models, mut seen) = (Vec::new(), HashSet::new());
        for _ in 0..PAGES_MAX {
            let page = self.get(&url)?;
            let before = models.len();
            let listed = items(&page).ok_or_else(|| self.no_list_in(&page))?;
            let named = listed.iter().filter_map(OfferedModel::read);
            models.extend(named.filter(|model| seen.insert(model.name.clone())));
            let last = page["last_id"].as_str();
            let has_more = is_paged && page["has_more"] == true && models.len() > before;
            let Some(last) = last.filter(|_| has_more) else {
                break;
            };
            url = first.clone();
            url.query_pairs_mut().append_pair("after_id", last);
        }
        Ok(models)
    }

    /// OpenRouter gives its list to anybody, and tells of a key elsewhere.
    fn try_key(&self) -> Result<(), CatalogueError> {
        let mut url = self.url.clone();
        url.set_path(&self.url.path().replace("/models", "/key"));
        match self.get(&url) {
            Err(error @ CatalogueError::Refused(_)) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn get(&self, url: &Url) -> Result<Value, CatalogueError> {
        let answer = call::get(&Post {
            url: url.as_str(),
            deadline: Some(self.deadline),
            ..self.destination.post(self.choice, self.key.sent())
        });
        let answer = answer.map_err(|error| self.explained(error))?;
        serde_json::from_slice(&answer).map_err(|error| {
            let origin = self.origin();
            CatalogueError::Failed(match answer.trim_ascii_start().first() {
                // A wrong address often leads to somebody's front page.
                Some(b'<') => format!("{origin} sent a web page; is the base URL right?"),
                _ => format!("{origin} sent something else than JSON: {error}"),
            })
        })
    }

    fn origin(&self) -> &Origin {
        &self.destination.origin
    }

    fn no_list_in(&self, page: &Value) -> CatalogueError {
        let origin = self.origin();
        CatalogueError::Failed(match error_text(page) {
            Some(words) => format!("{origin} says: {words}"),
            None => format!("{origin} sent no list of models; is the base URL right?"),
        })
    }

    /// The error in words that say what is wrong.
    fn explained(&self, error: LlmError) -> CatalogueError {
        let (choice, origin) = (self.choice, self.origin());
        match error {
            LlmError::Status {
                status: status @ (401 | 403),
                message,
                ..
            } => CatalogueError::Refused(self.refusal(status, &message)),
            LlmError::Status {
                status: 404 | 405 | 501,
                ..
            } => CatalogueError::NoList(format!(
                "{origin} has no list of models at {}; is the base URL right?",
                self.url.path()
            )),
            LlmError::Timeout { .. } => CatalogueError::Unreachable(format!(
                "no answer of {origin} within {} s",
                self.limit.as_secs_f64()
            )),
            error => {
                let is_unreachable = matches!(error, LlmError::Unreachable { .. });
                let settings = self.settings;
                let error = settings.with_hint(error, choice, &self.destination, &self.key);
                if is_unreachable {
                    CatalogueError::Unreachable(error.to_string())
                } else {
                    CatalogueError::Failed(error.to_string())
                }
            }
        }
    }

    fn refusal(&self, status: u16, words: &str) -> String {
        let (provider, origin) = (&self.choice.provider, self.origin());
        match self.key {
            KeyUse::Sent(_) => {
                let place = self.settings.key_place(provider);
                let place = place.map_or(String::new(), |place| format!(" in {place}"));
                format!("{origin} refuses the key{place} ({status}): {words}")
            }
            KeyUse::None => {
                let remedy = self.settings.key_remedy(provider);
                format!("{origin} wants a key ({status}: {words}), and there is none: {remedy}")
            }
            KeyUse::Withheld(why) => {
                let why = self.destination.withheld(provider, why);
                format!("{origin} wants a key ({status}: {words}): {why}")
            }
        }
    }
}

/// Where the list is of what is asked at `destination`.
fn list_url(destination: &Destination, provider: &Provider) -> Option<Url> {
    let mut url = Url::parse(&destination.url).ok()?;
    let path = url.path();
    let calls = ["/chat/completions", "/responses", "/messages", "/api/chat"];
    let base = calls.iter().find_map(|end| path.strip_suffix(end));
    let base = base.unwrap_or(path);
    let is_ollama = destination.dialect == Dialect::Ollama || *provider == Provider::OLLAMA;
    let path = if is_ollama {
        let base = base.strip_suffix("/v1").unwrap_or(base);
        format!("{base}/api/tags")
    } else {
        format!("{base}/models")
    };
    url.set_path(&path);
    Some(url)
}

/// The items of a list, under the names that it has at one provider or another.
fn items(document: &Value) -> Option<&Vec<Value>> {
    let mut lists = [document, &document["data"], &document["models"]].into_iter();
    lists.find_map(Value::as_array)
}

impl OfferedModel {
    /// Reads an item of a list; `None` for one without a name.
    fn read(item: &Value) -> Option<OfferedModel> {
        let names = [item, &item["id"], &item["name"], &item["model"]];
        let name = names.into_iter().find_map(Value::as_str)?;
        // Gemini's way to write it; agents may leave it out.
        let name = name.strip_prefix("models/").unwrap_or(name);
        let windows = [
            "context_length",
            "context_window",
            "max_context_length",
            "max_model_len",
            "max_input_tokens",
        ];
        let mut windows = windows.iter().filter_map(|key| item[*key].as_u64());
        (!name.is_empty()).then(|| OfferedModel {
            name: name.to_owned(),
            window_tokens: windows.find(|tokens| *tokens > 0),
            input: input(item),
        })
    }
}

/// What an item of a list says of pictures and documents, where it says something.
fn input(item: &Value) -> Option<ModelInput> {
    let lists = ["/architecture/input_modalities", "/input_modalities"];
    if let Some(kinds) = lists.iter().find_map(|path| item.pointer(path)?.as_array()) {
        let takes = |kind: &str| kinds.iter().any(|found| found == kind);
        return Some(ModelInput {
            image: takes("image"),
            pdf: takes("file") || takes("pdf"),
        });
    }
    let flag = |paths: &[&str]| {
        let mut flags = paths
            .iter()
            .filter_map(|path| item.pointer(path)?.as_bool());
        flags.next()
    };
    let image = flag(&[
        "/capabilities/vision",
        "/capabilities/image_input/supported",
        "/supports_image_in",
    ])?;
    let pdf = flag(&["/capabilities/pdf_input/supported"]).unwrap_or(false);
    Some(ModelInput { image, pdf })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(document: &Value) -> Vec<String> {
        let listed = items(document).into_iter().flatten();
        let read = listed.filter_map(OfferedModel::read);
        read.map(|model| model.name).collect()
    }

    #[test]
    fn lists_are_read_in_every_form() {
        for document in [
            json!({"object": "list", "data": [{"id": "a"}, {"id": "b"}]}),
            json!([{"id": "a", "type": "chat"}, {"id": "b"}]),
            json!({"models": [{"name": "a", "model": "x"}, {"name": "b"}]}),
            json!({"data": [{"id": "models/a"}, 7, {"id": null, "name": "b"}, {"id": ""}]}),
            json!({"data": ["a", "b"]}),
        ] {
            assert_eq!(names(&document), ["a", "b"], "{document}");
        }
        for document in [json!({"error": "no"}), json!(null), json!({"data": {}})] {
            assert_eq!(items(&document), None, "{document}");
        }
    }

    #[test]
    fn what_a_list_says_of_a_model_is_taken_from_it() {
        let sees = |image, pdf| Some(ModelInput { image, pdf });
        for (item, window_tokens, input) in [
            (json!({"id": "m"}), None, None),
            (
                json!({"id": "m", "context_length": 4096,
                       "architecture": {"input_modalities": ["text", "image", "file"]}}),
                Some(4096),
                sees(true, true),
            ),
            (
                json!({"id": "m", "max_context_length": 32768, "capabilities": {"vision": true}}),
                Some(32768),
                sees(true, false),
            ),
            (
                json!({"id": "m", "max_input_tokens": 200000, "capabilities":
                       {"image_input": {"supported": true}, "pdf_input": {"supported": true}}}),
                Some(200_000),
                sees(true, true),
            ),
            (
                json!({"id": "m", "context_window": 0, "max_model_len": 8192, "capabilities": []}),
                Some(8192),
                None,
            ),
        ] {
            let read = OfferedModel::read(&item).unwrap();
            assert_eq!(
                (read.window_tokens, read.input),
                (window_tokens, input),
                "{item}"
            );
        }
    }

    #[test]
    fn a_list_is_where_calls_go() {
        for (provider, base_url, expected) in [
            ("openai", "https://h/v1", "https://h/v1/models"),
            ("openai", "https://h", "https://h/v1/models"),
            (
                "azure",
                "https://h/openai/v1?a=b",
                "https://h/openai/v1/models?a=b",
            ),
            ("anthropic", "https://h", "https://h/v1/models"),
            ("anthropic", "https://h/v1/", "https://h/v1/models"),
            ("ollama", "http://h:1/v1", "http://h:1/api/tags"),
            ("ollama", "http://h:1", "http://h:1/api/tags"),
            ("ollama", "http://h:1/below/v1", "http://h:1/below/api/tags"),
        ] {
            let settings = ProviderSettings::default();
            let provider = Provider::parse(provider).unwrap();
            let choice = ModelChoice {
                base_url: Some(base_url.to_owned()),
                ..ModelChoice::new(provider.clone(), "m")
            };
            let destination = settings.destination(&choice).unwrap();
            let url = list_url(&destination, &provider).unwrap();
            assert_eq!(url.as_str(), expected, "{base_url}");
        }
    }
}
