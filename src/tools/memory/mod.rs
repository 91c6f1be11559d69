//! The builtin `memory`: what an agent knows beyond a conversation, in Markdown files.
//!
//! ```text
//! <agent>/memory/MEMORY.md               the summary, replaced by `reflect`
//!                daily/2026-03-01.md     notes, added by `remember`
//!                chats/telegram-12345/   the same for one chat, where `memory.scope` is `chat`
//! <workspace>/memory/world/<topic>.md    facts for all agents, replaced by `update_world`
//! ```

mod bank;
mod place;
mod recall;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::clock::Clock;
use crate::base::shown::shown_by_name;
use crate::domain::spec::{AgentSpec, MemoryScope};
use crate::domain::time::Timestamp;
use crate::domain::zone::Zone;
use crate::store::documents::{DocumentFolder, Documents};
use crate::tools::arguments;
use crate::tools::builtin::{self, BuiltinAnswer};
use crate::tools::memory::bank::Bank;
use crate::tools::memory::place::{SeenMemory, is_topic};
use crate::tools::memory::recall::{DAYS_MAX, Memo, RECENT_DAYS};
use crate::tools::{Effect, Run, RunResult, Tool, ToolRefusal, ToolSpec};

const DESCRIPTION: &str = "Your memory, which outlives this conversation. \
     `recall`: without `query` the summary, shared facts and the notes of the last days; with it the \
     passages that fit its words best, from all there is. With `days` of the notes those of so many days, \
     today the last one. \
     `remember`: adds `content` to today's notes. \
     `reflect`: replaces the summary by `content`. \
     `update_world`: replaces what all agents know on `topic` by `content`. \
     Both replace the whole text, and want the `version` of it that `recall` shows, unless there is \
     none yet. All of it is Markdown.";

const NO_WORLD: &str = "this chat has a memory of its own, and no part in the facts that all share; \
     use `remember`";

/// So much is read of the notes, some years of them, and so much of the shared facts.
const READ_BYTES_MAX: usize = 8 << 20;

/// Where agents' memories are kept: each in documents of its own.
pub trait Memories: Send + Sync {
    /// The documents of an agent's memory.
    fn of(&self, agent: &AgentSpec) -> Arc<dyn Documents>;
}

shown_by_name!(Memories);

/// The parts of the server that memories are kept with; no agent's alone.
#[derive(Debug, Clone)]
pub struct MemoryParts {
    /// Finds each agent's.
    pub memories: Arc<dyn Memories>,
    /// Dates the notes.
    pub clock: Arc<dyn Clock>,
    /// The facts that all agents share.
    pub world: Arc<dyn Documents>,
}

/// The memory of one agent.
#[derive(Debug)]
pub(super) struct MemoryTool {
    spec: ToolSpec,
    own: Arc<dyn Documents>,
    world: Arc<dyn Documents>,
    clock: Arc<dyn Clock>,
    scope: MemoryScope,
    zone: Zone,
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum MemoryArguments {
    Recall {
        query: Option<String>,
        /// Looked at by itself, so that a bad one is answered in words that help.
        days: Option<Value>,
    },
    Remember {
        content: String,
    },
    Reflect {
        content: String,
        version: Option<String>,
    },
    UpdateWorld {
        topic: String,
        content: String,
        version: Option<String>,
    },
}

impl MemoryTool {
    /// The memory in the documents `own`, whose days are those of `zone`.
    pub(super) fn new(
        parts: &MemoryParts,
        own: Arc<dyn Documents>,
        scope: MemoryScope,
        zone: Zone,
    ) -> MemoryTool {
        MemoryTool {
            spec: builtin::spec("memory", DESCRIPTION, parameters(), Effect::Idempotent),
            own,
            world: Arc::clone(&parts.world),
            clock: Arc::clone(&parts.clock),
            scope,
            zone,
        }
    }

    /// The date and the time of the day.
    fn moment(&self) -> (String, String) {
        let now = Timestamp::from(self.clock.now());
        (self.zone.date(now), self.zone.clock(now))
    }

    /// The first of so many days, of which today is the last one: `2026-03-01`.
    fn first_of(&self, days: &Value) -> Result<String, ToolRefusal> {
        let before = recall::day_count(days)? - 1;
        let now = Timestamp::from(self.clock.now());
        Ok(self.zone.date_before(now, before))
    }

    fn answer(&self, run: &Run<'_>) -> BuiltinAnswer {
        let arguments: MemoryArguments = arguments::read(run.arguments)?;
        let seen = SeenMemory::of(&run.caller, self.scope)?;
        let bank = Bank::new(Arc::clone(&self.own), seen.folder);
        let world = Bank::new(Arc::clone(&self.world), DocumentFolder::default());
        let world = seen.sees_world.then_some(world);
        match arguments {
            MemoryArguments::Recall { query, days } => {
                let wanted = Wanted {
                    query: query.unwrap_or_default(),
                    since: days.map(|days| self.first_of(&days)).transpose()?,
                };
                recall(run, &bank, world.as_ref(), &wanted)
            }
            MemoryArguments::Remember { content } => {
                bank.writer(run).add_note(|| self.moment(), &content)
            }
            MemoryArguments::Reflect { content, version } => {
                let writer = bank.writer(run);
                writer.replace_summary(&content, given(&version))
            }
            MemoryArguments::UpdateWorld {
                topic,
                content,
                version,
            } => {
                let world = world.ok_or(NO_WORLD)?;
                if !is_topic(&topic) {
                    return Err("`topic` must be 1 to 64 letters, digits, `-` or `_`".into());
                }
                let writer = world.writer(run);
                writer.replace_topic(&topic, &content, given(&version))
            }
        }
    }
}

impl Tool for MemoryTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// A note that is there is not written again, and the same text replaces itself.
    fn effect(&self, arguments: &str) -> Effect {
        match arguments::read(arguments) {
            Ok(MemoryArguments::Recall { .. }) => Effect::Read,
            Ok(
                MemoryArguments::Remember { .. }
                | MemoryArguments::Reflect { .. }
                | MemoryArguments::UpdateWorld { .. },
            ) => Effect::Idempotent,
            // Nothing happens but that it is said.
            Err(_) => Effect::Read,
        }
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        builtin::output(self.answer(run)).into()
    }
}

/// What a recall is to look for.
struct Wanted {
    /// Words, if any.
    query: String,
    /// The first day of notes, if not all are wanted.
    since: Option<String>,
}

/// Some models fill in what they have nothing for.
fn given(version: &Option<String>) -> Option<&str> {
    version.as_deref().filter(|version| !version.is_empty())
}

fn recall(run: &Run<'_>, bank: &Bank, world: Option<&Bank>, wanted: &Wanted) -> BuiltinAnswer {
    let query = recall::query(&wanted.query)?;
    let has_query = !wanted.query.trim().is_empty();
    let mut remarks = Vec::new();
    let summary = bank.summary().unwrap_or_else(|why| {
        remarks.push(why.to_string());
        None
    });
    let summary = summary.filter(|memo| !memo.text.trim().is_empty());
    let mut facts = Vec::new();
    if let Some(world) = world {
        let topic = |topic: &str| world.topic(topic);
        facts = read(run, &world.topics()?, "topics", topic, &mut remarks)?;
    }
    let days = bank.days()?;
    let recent = match (&wanted.since, has_query) {
        (Some(since), _) => days.iter().take_while(|day| *day >= since).count(),
        (None, false) => days.len().min(RECENT_DAYS),
        (None, true) => days.len(),
    };
    let (recent, older) = days.split_at(recent);
    let notes = |day: &str| bank.notes(day);
    let notes = read(run, recent, "earlier days", notes, &mut remarks)?;
    let said = if has_query {
        let memos: Vec<Memo> = summary.into_iter().chain(facts).chain(notes).collect();
        recall::matches(&wanted.query, &query, &memos)
    } else {
        recall::overview(summary.as_ref(), &facts, &notes, older.len())
    };
    Ok(recall::with_remarks(said, &remarks))
}

/// The texts of these names as far as they are looked at. People write these files: one that cannot
/// be read becomes a remark, and hides none of the others.
fn read(
    run: &Run<'_>,
    names: &[String],
    what: &str,
    memo: impl Fn(&str) -> Result<Memo, ToolRefusal>,
    remarks: &mut Vec<String>,
) -> Result<Vec<Memo>, ToolRefusal> {
    let mut memos = Vec::new();
    let mut bytes = 0;
    for (looked_at, name) in names.iter().enumerate() {
        if bytes > READ_BYTES_MAX {
            let left = names.len() - looked_at;
            remarks.push(format!("{left} {what} were not looked at"));
            break;
        }
        builtin::go_on(run)?;
        match memo(name) {
            Ok(memo) => {
                bytes += memo.text.len();
                memos.push(memo);
            }
            Err(why) => remarks.push(why.to_string()),
        }
    }
    Ok(memos)
}

pub(super) fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "action": {
                "type": "string",
                "enum": ["recall", "remember", "reflect", "update_world"],
            },
            "query": {"type": "string", "description": "recall: words to look for."},
            "days": {
                "type": "integer",
                "minimum": 1,
                "maximum": DAYS_MAX,
                "description": "recall: only the notes of so many days, today the last one.",
            },
            "content": {
                "type": "string",
                "description": "remember: the note. reflect, update_world: the whole new text.",
            },
            "topic": {
                "type": "string",
                "description": "update_world: letters, digits, - and _, as office-hours.",
            },
            "version": {
                "type": "string",
                "description": "reflect, update_world: the version of the text that is replaced.",
            },
        },
        "required": ["action"],
    })
}

#[cfg(test)]
mod tests;
