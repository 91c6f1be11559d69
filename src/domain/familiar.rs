//! Whether a model may have composed an address itself, with what it was told in it. Pure.
//!
//! An address is familiar when it stands word for word in a message of a user or in a result of
//! searching, or when its host has answered in this session before. All of that is in the session's
//! log, so it is the same after a restart. What stood there before the session came into our hands
//! counts for nothing: its writer may have put anything there.

use std::collections::HashMap;

use serde::Deserialize;
use url::Url;

use crate::domain::event::{Event, ToolCall};
use crate::domain::ids::CallId;

/// The tool that reads the web.
pub const WEB_TOOL: &str = "web";
/// How a result of fetching begins; the address that answered follows.
pub const ANSWERED: &str = "URL: ";

/// Follows a session's events, in order, for one address: whether anything but the model's own
/// words leads to it.
#[derive(Debug)]
pub struct Familiarity {
    address: String,
    host: Option<Host>,
    /// The calls of [`WEB_TOOL`] that have no result yet.
    calls: HashMap<CallId, WebAction>,
    is_familiar: bool,
}

/// A host and its port, of http:// and https:// alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: u16,
}

/// What a call of [`WEB_TOOL`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WebAction {
    Fetch,
    Search,
}

impl Familiarity {
    /// Of `address`, before any event.
    pub fn of(address: &str) -> Familiarity {
        Familiarity {
            address: address.trim().to_owned(),
            host: Host::of(address.trim()),
            calls: HashMap::new(),
            is_familiar: false,
        }
    }

    /// Takes the next event.
    pub fn see(&mut self, event: &Event) {
        match event {
            Event::UserMessage(message) => self.look_in(&message.content),
            Event::AssistantResponse(reply) => self.calls.extend(
                reply
                    .tool_calls
                    .iter()
                    .filter_map(|call| Some((call.call_id.clone(), action(call)?))),
            ),
            Event::ToolResult {
                call_id,
                result,
                appended_bytes,
                ..
            } => {
                // What the agent's files add to it is no result.
                let (said, _) = result.parts(*appended_bytes);
                match self.calls.remove(call_id) {
                    Some(WebAction::Search) if result.success => self.look_in(said),
                    Some(WebAction::Fetch) => self.note_answer(said),
                    Some(WebAction::Search) | None => {}
                }
            }
            Event::SessionAdopted {} => {
                self.calls.clear();
                self.is_familiar = false;
            }
            _ => {}
        }
    }

    /// Somebody else than the model has named the address, so it is none that the model put together.
    pub fn is_familiar(&self) -> bool {
        self.is_familiar
    }

    fn look_in(&mut self, text: &str) {
        self.is_familiar |= stands_in(&self.address, text);
    }

    fn note_answer(&mut self, content: &str) {
        let line = content
            .strip_prefix(ANSWERED)
            .and_then(|rest| rest.lines().next());
        let answered = line.and_then(Host::of);
        self.is_familiar |= answered.is_some() && answered == self.host;
    }
}

impl Host {
    /// That of an address of the web.
    pub fn of(url: &str) -> Option<Host> {
        Host::of_url(&Url::parse(url).ok()?)
    }

    /// As [`Host::of`], of an address that was read.
    pub fn of_url(url: &Url) -> Option<Host> {
        let port = url.port_or_known_default()?;
        Some(Host {
            name: url.host_str()?.to_owned(),
            // Most sites send from the one to the other.
            port: if port == 80 { 443 } else { port },
        })
    }
}

fn action(call: &ToolCall) -> Option<WebAction> {
    #[derive(Deserialize)]
    struct WebArguments {
        action: WebAction,
    }
    let is_web = call.tool_name == WEB_TOOL;
    let arguments = is_web.then(|| serde_json::from_str::<WebArguments>(&call.arguments).ok());
    Some(arguments.flatten()?.action)
}

/// `address` stands in `text` as a whole: a longer one that begins so may carry what the model added.
fn stands_in(address: &str, text: &str) -> bool {
    if address.is_empty() {
        return false;
    }
    // `https://a.org` is asked for as `https://a.org/` by many.
    let bare = address.strip_suffix('/').filter(|bare| {
        let rest = bare.split_once("://").map(|(_, rest)| rest);
        rest.is_some_and(|rest| !rest.contains(['/', '?', '#']))
    });
    let found = |wanted: &str| {
        let mut places = text.match_indices(wanted);
        places.any(|(at, _)| begins_there(&text[..at]) && ends_there(&text[at + wanted.len()..]))
    };
    found(address) || bare.is_some_and(found)
}

fn begins_there(before: &str) -> bool {
    let last = before.chars().next_back();
    last.is_none_or(|c| !c.is_ascii_alphanumeric() && !"+-._~%/:@?&=#".contains(c))
}

/// Whether an address ends before `rest`: at its end, before what can't stand in one, or before what
/// ends a sentence.
fn ends_there(rest: &str) -> bool {
    let rest = rest.trim_start_matches(['.', ',', ';', ':', '!', '?', '*', '_', '\'']);
    let next = rest.chars().next();
    next.is_none_or(|c| c.is_whitespace() || c.is_control() || "<>\"'()[]{}|\\^`".contains(c))
}

#[cfg(test)]
mod tests;
