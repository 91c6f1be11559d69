//! Hooks of an agent: guards before its calls, words after them. Pure.
//!
//! What a guard says depends on the session's log alone: on the calls that succeeded in it before.
//! [`DoneCalls`] is the fold of a log that remembers them, so it is the same after a restart.
//!
//! Invariants:
//! - a guard only turns calls down; it never lets one run that a policy would stop;
//! - what is remembered of a log is bounded: at least the last [`REMEMBERED`] calls that a guard
//!   compares, each as a digest;
//! - calls of a log that came from elsewhere count for nothing: its writer may have put anything
//!   there.

use std::collections::HashMap;

use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::Value;

use crate::domain::event::{Event, ToolCall};
use crate::domain::glob::Glob;
use crate::domain::ids::CallId;

/// So many different calls that guards compare are remembered of a session, at least.
pub const REMEMBERED: usize = 1_000;

/// `spec.hooks`, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// `before_tool`.
    pub guards: Vec<Guard>,
    /// `after_tool`.
    pub notes: Vec<Note>,
}

/// A condition on calls: one that does not hold has the call answered, not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The calls that it is about.
    pub calls: Selector,
    /// The condition.
    pub rule: Rule,
}

/// A guard's condition, as the session's finished calls decide it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Such a call has succeeded before, with the same values of these arguments.
    DependsOn {
        /// Such a call.
        prior: Selector,
        /// The arguments; without any, every such call counts.
        args: Vec<String>,
    },
    /// No call of the same tool and action has succeeded before with the same values of these
    /// arguments; without any, with the same arguments altogether.
    SkipDuplicate {
        /// The arguments.
        args: Vec<String>,
    },
}

/// Words that follow the result of a call that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The calls.
    pub calls: Selector,
    /// The words.
    pub message: String,
    /// Not after a call all of whose arguments named here have one of the values.
    pub unless: Vec<(String, Vec<String>)>,
}

/// Which calls are meant: one of its globs fits `tool` or `tool:action`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(pub Vec<Glob>);

/// A call, taken apart.
struct Taken<'a> {
    tool: &'a str,
    action: Option<String>,
    arguments: Value,
}

/// What is compared of a call, as a digest: arguments can be as long as files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct CallDigest([u8; 16]);

/// The calls of a session that succeeded, as far as guards compare them. The fold of its events.
#[derive(Debug)]
pub struct DoneCalls {
    hooks: Hooks,
    /// Of calls that have no result yet.
    open: HashMap<CallId, Vec<CallDigest>>,
    /// When each was last done, in calls.
    done: HashMap<CallDigest, u64>,
    count: u64,
}

impl Hooks {
    /// A guard is about the call: it runs beside no other, as the results before it decide.
    pub fn guards(&self, call: &ToolCall) -> bool {
        let taken = Taken::of(call);
        self.guards.iter().any(|guard| guard.calls.fits(&taken))
    }

    /// The agent's own words behind a result, of which a model is shown every byte.
    pub fn message_after(&self, call: &ToolCall) -> Option<String> {
        let taken = Taken::of(call);
        let fitting = self.notes.iter().filter(|note| note.follows(&taken));
        let messages: Vec<&str> = fitting.map(|note| note.message.as_str()).collect();
        (!messages.is_empty()).then(|| messages.join("\n"))
    }

    /// How many globs are compared with a call.
    pub fn globs(&self) -> usize {
        let of_guards = self.guards.iter().map(|guard| match &guard.rule {
            Rule::DependsOn { prior, .. } => guard.calls.0.len() + prior.0.len(),
            Rule::SkipDuplicate { .. } => guard.calls.0.len(),
        });
        let of_notes = self.notes.iter().map(|note| note.calls.0.len());
        of_guards.chain(of_notes).sum()
    }

    /// The hooks as clients of the API see them, in the words of the file; `None` without any.
    pub(super) fn public_json(&self) -> Option<Value> {
        let before = |guard: &Guard| match &guard.rule {
            Rule::DependsOn { prior, args } => serde_json::json!({
                "match": guard.calls, "type": "depends_on", "prior": prior, "match_args": args,
            }),
            Rule::SkipDuplicate { args } => serde_json::json!({
                "match": guard.calls, "type": "skip_duplicate", "match_args": args,
            }),
        };
        let after = |note: &Note| {
            let unless = note.unless.iter().cloned();
            let unless: serde_json::Map<String, Value> = unless
                .map(|(arg, values)| (arg, Value::from(values)))
                .collect();
            serde_json::json!({"match": note.calls, "message": note.message, "unless": unless})
        };
        (*self != Hooks::default()).then(|| {
            serde_json::json!({
                "before_tool": self.guards.iter().map(before).collect::<Vec<_>>(),
                "after_tool": self.notes.iter().map(after).collect::<Vec<_>>(),
            })
        })
    }
}

impl Note {
    fn follows(&self, call: &Taken<'_>) -> bool {
        let has_value = |(arg, values): &(String, Vec<String>)| {
            let found = call.argument(arg);
            values.iter().any(|value| is_written(found, value))
        };
        let is_excepted = !self.unless.is_empty() && self.unless.iter().all(has_value);
        self.calls.fits(call) && !is_excepted
    }
}

impl Selector {
    fn fits(&self, call: &Taken<'_>) -> bool {
        let action = call.action.as_deref().unwrap_or_default();
        // `bash:*` is every call of a tool that has no actions.
        let whole = format!("{}:{action}", call.tool);
        let fits = |glob: &Glob| glob.fits(call.tool) || glob.fits(&whole);
        self.0.iter().any(fits)
    }

    /// For a sentence.
    fn shown(&self) -> String {
        let globs: Vec<String> = self.0.iter().map(|glob| format!("`{glob}`")).collect();
        globs.join(" or ")
    }
}

impl Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl Taken<'_> {
    fn of(call: &ToolCall) -> Taken<'_> {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        let action = arguments.get("action").and_then(Value::as_str);
        Taken {
            tool: &call.tool_name,
            action: action.map(str::to_owned),
            arguments,
        }
    }

    /// One that is left out is like a null.
    fn argument(&self, name: &str) -> &Value {
        self.arguments.get(name).unwrap_or(&Value::Null)
    }

    /// The values of some arguments, as one text.
    fn values(&self, args: &[String]) -> String {
        let values: Vec<&Value> = args.iter().map(|name| self.argument(name)).collect();
        Value::from_iter(values.into_iter().cloned()).to_string()
    }
}

impl CallDigest {
    /// What guard `index` compares of a call; `None` when the call is none that it looks back at.
    fn of_prior(index: usize, guard: &Guard, call: &Taken<'_>) -> Option<CallDigest> {
        match &guard.rule {
            Rule::DependsOn { prior, .. } if !prior.fits(call) => None,
            Rule::SkipDuplicate { .. } if !guard.calls.fits(call) => None,
            Rule::DependsOn { .. } | Rule::SkipDuplicate { .. } => {
                Some(CallDigest::of(index, &guard.rule, call))
            }
        }
    }

    fn of(index: usize, rule: &Rule, call: &Taken<'_>) -> CallDigest {
        let compared = match rule {
            Rule::DependsOn { args, .. } => call.values(args),
            Rule::SkipDuplicate { args } => {
                let values = if args.is_empty() {
                    call.arguments.to_string()
                } else {
                    call.values(args)
                };
                serde_json::json!([call.tool, call.action, values]).to_string()
            }
        };
        let text = format!("{index} {compared}");
        let mut key = CallDigest([0; 16]);
        key.0
            .copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..16]);
        key
    }
}

impl DoneCalls {
    /// Before any event, for an agent with these hooks.
    pub fn new(hooks: &Hooks) -> DoneCalls {
        DoneCalls {
            hooks: hooks.clone(),
            open: HashMap::new(),
            done: HashMap::new(),
            count: 0,
        }
    }

    /// It remembers what these hooks look back at; else the log is read once more.
    pub fn is_for(&self, hooks: &Hooks) -> bool {
        self.hooks.guards == hooks.guards
    }

    /// Takes the next event.
    pub fn see(&mut self, event: &Event) {
        match event {
            Event::AssistantResponse(reply) => {
                self.open.clear();
                for call in &reply.tool_calls {
                    let keys = self.keys(call);
                    if !keys.is_empty() {
                        self.open.insert(call.call_id.clone(), keys);
                    }
                }
            }
            Event::ToolResult {
                call_id, result, ..
            } => {
                let keys = self.open.remove(call_id);
                if result.success {
                    keys.into_iter().flatten().for_each(|key| self.note(key));
                }
            }
            Event::ToolsSkipped { call_ids, .. } => {
                call_ids.iter().for_each(|id| drop(self.open.remove(id)));
            }
            // What is still open gets its result here.
            Event::SessionAdopted {} => self.done.clear(),
            _ => {}
        }
    }

    /// Why a call does not run, in words for the model; of several guards the first that turns it
    /// down.
    pub fn refusal(&self, call: &ToolCall) -> Option<String> {
        let taken = Taken::of(call);
        let guards = self.hooks.guards.iter().enumerate();
        let mut fitting = guards.filter(|(_, guard)| guard.calls.fits(&taken));
        fitting.find_map(|(index, guard)| {
            let is_done = self
                .done
                .contains_key(&CallDigest::of(index, &guard.rule, &taken));
            refused(&guard.rule, &taken, is_done)
        })
    }

    fn keys(&self, call: &ToolCall) -> Vec<CallDigest> {
        let taken = Taken::of(call);
        let guards = self.hooks.guards.iter().enumerate();
        guards
            .filter_map(|(index, guard)| CallDigest::of_prior(index, guard, &taken))
            .collect()
    }

    /// Remembers a call, and forgets the older half when there are twice as many as promised.
    fn note(&mut self, key: CallDigest) {
        self.count += 1;
        self.done.insert(key, self.count);
        if self.done.len() >= 2 * REMEMBERED {
            let mut times: Vec<u64> = self.done.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(REMEMBERED);
            let oldest = *middle;
            self.done.retain(|_, time| *time >= oldest);
        }
    }
}

fn refused(rule: &Rule, call: &Taken<'_>, is_done: bool) -> Option<String> {
    let with = |args: &[String]| match args {
        [] => String::new(),
        args => format!(" with the same `{}`", args.join("`, `")),
    };
    match rule {
        Rule::DependsOn { prior, args } if !is_done => Some(format!(
            "not run: a call of {}{} has to succeed in this session first",
            prior.shown(),
            with(args),
        )),
        Rule::SkipDuplicate { args } if is_done => {
            let action = call.action.as_deref();
            let action = action.map_or_else(String::new, |action| format!(":{action}"));
            let args = match args.as_slice() {
                [] => " with the same arguments".to_owned(),
                args => with(args),
            };
            Some(format!(
                "already done: `{}{action}`{args} has succeeded in this session, so it was not run again",
                call.tool,
            ))
        }
        Rule::DependsOn { .. } | Rule::SkipDuplicate { .. } => None,
    }
}

/// Whether an argument's value is what a file says, where quotes around a text mean nothing.
fn is_written(value: &Value, text: &str) -> bool {
    match value {
        Value::String(value) => value == text,
        Value::Number(number) => {
            let written = text.parse::<f64>();
            number.to_string() == text || written.is_ok_and(|it| number.as_f64() == Some(it))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            let written = value.to_string();
            written == text
        }
    }
}

#[cfg(test)]
mod tests;
