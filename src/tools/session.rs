//! The builtin `session`: what was said in other conversations of the same agent.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::shown::shown_by_name;
use crate::base::text;
use crate::domain::chat::Chat;
use crate::domain::event::{Event, Record};
use crate::domain::files::told_beside;
use crate::domain::ids::{AgentName, MessageId, Seq, SessionId};
use crate::domain::plain;
use crate::domain::ranking::WordQuery;
use crate::domain::search::{
    self, FOUND_MAX, FOUND_USUAL, FoundMessage, MessageSearch, SINCE_RULE,
};
use crate::domain::spec::MemoryScope;
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::tools::arguments;
use crate::tools::builtin::{self, ANSWER_BYTES_MAX, BuiltinAnswer, cut};
use crate::tools::{Caller, Effect, Run, RunResult, Tool, ToolRefusal, ToolSpec};

/// Sessions of a page, unless another number is asked for.
const LISTED: usize = 20;
const LISTED_MAX: usize = 50;
/// So many sessions are looked at to fill a page: those of other agents are among them.
const LOOKED_AT_MAX: usize = 2_000;
/// Messages of a page, unless another number is asked for.
const READ: usize = 20;
const READ_MAX: usize = 100;
/// So many records are read at a time, so many times, to fill a page.
const RECORDS: usize = 200;
const RECORD_PAGES_MAX: usize = 20;
/// The most that is shown of one message.
const MESSAGE_BYTES_MAX: usize = 6_000;
const TITLE_CHARS_MAX: usize = 80;

const DESCRIPTION: &str = "Your other conversations. \
     `{\"action\": \"list\"}` lists them, the newest first; `{\"action\": \"read\", \"session_id\": \"…\"}` \
     gives the last messages of one. Both take a `limit`, and `before` to go further back: the answer says \
     with which value. `{\"action\": \"search\", \"query\": \"…\"}` finds messages by their words in all of \
     them, this one too, also what you are no longer shown of it; `since` leaves out what was said before that \
     day. Times are UTC.";

/// Where sessions are kept, as this tool needs it.
pub trait SessionShelf: Send + Sync {
    /// Up to `limit` ids smaller (older) than `before`, newest first.
    fn ids(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, ToolRefusal>;

    /// What is known of a session; `None` if there is none of that id.
    fn summary(&self, id: &SessionId) -> Result<Option<Summary>, ToolRefusal>;

    /// Records just before `before`, or at the end, in ascending order, at most `limit`.
    fn records_before(
        &self,
        id: &SessionId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Record>, ToolRefusal>;

    /// The messages that fit best.
    fn search(&self, wanted: &MessageSearch<'_>) -> Result<Vec<FoundMessage>, ToolRefusal>;
}

shown_by_name!(SessionShelf);

/// Shows an agent its sessions.
#[derive(Debug)]
pub(super) struct SessionTool {
    spec: ToolSpec,
    shelf: Arc<dyn SessionShelf>,
    agent: AgentName,
    scope: MemoryScope,
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum SessionArguments {
    List {
        before: Option<String>,
        limit: Option<usize>,
    },
    Read {
        session_id: String,
        before: Option<Before>,
        limit: Option<usize>,
    },
    Search {
        query: String,
        since: Option<String>,
        limit: Option<usize>,
    },
}

const NO_NUMBER: &str = "`before` must be the number of a message";

/// The number of a message; some models put it into quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Before {
    Number(u64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl SessionTool {
    pub(super) fn new(
        shelf: Arc<dyn SessionShelf>,
        agent: AgentName,
        scope: MemoryScope,
    ) -> SessionTool {
        SessionTool {
            spec: builtin::spec("session", DESCRIPTION, parameters(), Effect::Read),
            shelf,
            agent,
            scope,
        }
    }

    fn answer(&self, run: &Run<'_>) -> BuiltinAnswer {
        match arguments::read(run.arguments)? {
            SessionArguments::List { before, limit } => {
                let before = before.as_deref().filter(|id| !id.is_empty());
                let before = before.map(parse_id).transpose()?;
                let limit = limit.unwrap_or(LISTED).clamp(1, LISTED_MAX);
                self.list(run, before, limit)
            }
            SessionArguments::Read {
                session_id,
                before,
                limit,
            } => {
                let id = parse_id(&session_id)?;
                let limit = limit.unwrap_or(READ).clamp(1, READ_MAX);
                let visible = self.summary(&run.caller, &id)?;
                // Whether others have such a session is none of the caller's business.
                visible.ok_or_else(|| format!("you have no session {id}"))?;
                let before = before.map(Before::seq).transpose()?.flatten();
                self.read(run, &id, before, limit)
            }
            SessionArguments::Search {
                query,
                since,
                limit,
            } => {
                let since = since.filter(|since| !since.is_empty());
                let since = since.map(|text| {
                    search::since(&text, SystemTime::now().into())
                        .ok_or_else(|| format!("`since` must be {SINCE_RULE}"))
                });
                let limit = limit.unwrap_or(FOUND_USUAL).clamp(1, FOUND_MAX);
                self.search(run, &query, since.transpose()?, limit)
            }
        }
    }

    /// The summary of a session that the caller may see.
    fn summary(&self, caller: &Caller<'_>, id: &SessionId) -> Result<Option<Summary>, ToolRefusal> {
        let summary = self.shelf.summary(id)?;
        Ok(summary.filter(|summary| is_visible(summary, &self.agent, self.scope, caller)))
    }

    fn list(&self, run: &Run<'_>, before: Option<SessionId>, limit: usize) -> BuiltinAnswer {
        let mut lines = Vec::new();
        let mut last = before;
        let mut looked_at = 0;
        let has_more = loop {
            let ids = self.shelf.ids(last.as_ref(), LISTED_MAX)?;
            let is_end = ids.len() < LISTED_MAX;
            for id in ids {
                builtin::go_on(run)?;
                looked_at += 1;
                // One that cannot be read is told to people elsewhere.
                if let Ok(Some(summary)) = self.summary(&run.caller, &id) {
                    lines.push(line(&id, &summary, id == *run.caller.session));
                }
                last = Some(id);
                if lines.len() == limit {
                    break;
                }
            }
            if lines.len() == limit || looked_at >= LOOKED_AT_MAX {
                break true;
            }
            if is_end {
                break false;
            }
        };
        let mut answer = if lines.is_empty() {
            "No sessions here.".to_owned()
        } else {
            lines.join("\n")
        };
        if let Some(last) = last.filter(|_| has_more) {
            answer.push_str(&format!("\n[older ones: \"before\": \"{last}\"]"));
        }
        Ok(answer)
    }

    fn search(
        &self,
        run: &Run<'_>,
        query: &str,
        since: Option<Timestamp>,
        limit: usize,
    ) -> BuiltinAnswer {
        if query.trim().is_empty() {
            return Err("`query` must say what to look for".into());
        }
        let found = self.shelf.search(&MessageSearch {
            query: &WordQuery::new(query),
            since,
            limit,
            asking: Some(run.caller.session),
            sees: &|_, summary| is_visible(summary, &self.agent, self.scope, &run.caller),
            goes_on: &|| builtin::go_on(run).is_ok(),
        })?;
        builtin::go_on(run)?;
        if found.is_empty() {
            return Ok(format!("No message fits {:?}.", text::start(query, 200)));
        }
        let mut answer =
            "The best first; `read` with this `session_id`, and as `before` a number that is \
             greater than a message's, shows what was said around it.\n"
                .to_owned();
        for one in &found {
            let who = match (&*one.role, &one.sender_name) {
                ("assistant", _) => "you".to_owned(),
                (_, Some(name)) => {
                    format!("user ({})", plain::spelled_out(name).replace('\n', " "))
                }
                (_, None) => "user".to_owned(),
            };
            let is_this = one.session_id == *run.caller.session;
            let here = if is_this { " (this one)" } else { "" };
            let named = called(one.title.as_ref());
            let time = minute(&one.created_at.to_string());
            let head = format!("{}{here}{named} [{}] {time} {who}", one.session_id, one.seq);
            answer.push_str(&format!("\n{head}:\n{}\n", unmistakable(&one.snippet)));
        }
        Ok(answer)
    }

    fn read(
        &self,
        run: &Run<'_>,
        id: &SessionId,
        before: Option<Seq>,
        limit: usize,
    ) -> BuiltinAnswer {
        let mut records: Vec<Record> = Vec::new();
        let mut first = before;
        for _ in 0..RECORD_PAGES_MAX {
            builtin::go_on(run)?;
            let mut page = self.shelf.records_before(id, first, RECORDS)?;
            let Some(oldest) = page.first() else { break };
            first = Some(oldest.seq);
            page.append(&mut records);
            records = page;
            // One more than is shown, which tells that there are more.
            if messages(&records).len() > limit || is_start(first) {
                break;
            }
        }
        let said = messages(&records);
        let skipped = said.len().saturating_sub(limit);
        let has_older = !is_start(first) || skipped > 0;
        Ok(shown(&said[skipped..], has_older))
    }
}

impl Tool for SessionTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        builtin::output(self.answer(run)).into()
    }
}

impl Before {
    /// `None` for an empty text, which stands for nothing.
    fn seq(self) -> Result<Option<Seq>, ToolRefusal> {
        match self {
            Before::Number(number) => Ok(Some(Seq(number))),
            Before::Text(text) if text.is_empty() => Ok(None),
            Before::Text(text) => match text.parse() {
                Ok(number) => Ok(Some(Seq(number))),
                Err(_) => Err(NO_NUMBER.into()),
            },
            Before::Other(_) => Err(NO_NUMBER.into()),
        }
    }
}

fn parse_id(text: &str) -> Result<SessionId, ToolRefusal> {
    SessionId::parse(text).map_err(|_| format!("{text:?} is not the id of a session").into())
}

/// Whether a session of this `summary` is one that the caller may see: its agent's, and its chat's
/// where the scope says so.
fn is_visible(
    summary: &Summary,
    agent: &AgentName,
    scope: MemoryScope,
    caller: &Caller<'_>,
) -> bool {
    let is_own = summary.agent == agent.as_str() && summary.owner.as_deref() == caller.owner;
    let chat = summary.chat();
    let chat = chat.as_ref().map(Chat::whole);
    let sees_all = scope == MemoryScope::Agent || caller.chat.is_none();
    is_own && (sees_all || chat == caller.chat)
}

fn line(id: &SessionId, summary: &Summary, is_this: bool) -> String {
    let mut line = format!(
        "{id}: {} messages, begun {}, last used {}",
        summary.message_count,
        minute(&summary.created_at.to_string()),
        minute(&summary.updated_at.to_string()),
    );
    line.push_str(&called(summary.title.as_ref()));
    if is_this {
        line.push_str(" (this one)");
    }
    line
}

/// What is said of a session's title, if it has one.
fn called(title: Option<&String>) -> String {
    let Some(title) = title.filter(|title| !title.is_empty()) else {
        return String::new();
    };
    let title: String = title.chars().take(TITLE_CHARS_MAX).collect();
    format!(", called {title:?}")
}

/// `2026-03-01 09:30` of a time.
fn minute(time: &str) -> String {
    text::start(time, 16).replace('T', " ")
}

/// A message, as it is shown.
#[derive(Debug, PartialEq, Eq)]
struct TranscriptMessage {
    seq: Seq,
    message_id: MessageId,
    head: String,
    text: String,
}

/// Whether nothing stands before a record: it is the first, or there is none.
fn is_start(seq: Option<Seq>) -> bool {
    seq.is_none_or(|seq| seq <= Seq::ZERO.next())
}

/// The messages in `records`; the parts of a reply that was cut off are one.
fn messages(records: &[Record]) -> Vec<TranscriptMessage> {
    let mut said: Vec<TranscriptMessage> = Vec::new();
    for record in records {
        if let Event::UserMessage(message) = &record.event {
            let who = match &message.sender_name {
                Some(name) => format!("user ({})", plain::spelled_out(name).replace('\n', " ")),
                None => "user".to_owned(),
            };
            said.push(one_said(
                record,
                &message.message_id,
                &who,
                &told_beside(&message.content, &message.attachments),
            ));
        } else if let Event::AssistantResponse(reply) = &record.event {
            let id = reply.continues.as_ref().unwrap_or(&reply.message_id);
            match said.iter_mut().rev().find(|one| one.message_id == *id) {
                Some(begun) => begun.text.push_str(&unmistakable(&reply.content)),
                None if reply.content.is_empty() => {}
                None => said.push(one_said(record, id, "you", &reply.content)),
            }
        } else if let Event::MessageDropped { message_id, .. } = &record.event {
            said.retain(|one| one.message_id != *message_id);
        }
    }
    said
}

fn one_said(record: &Record, id: &MessageId, who: &str, text: &str) -> TranscriptMessage {
    TranscriptMessage {
        seq: record.seq,
        message_id: id.clone(),
        head: format!(
            "[{}] {} {who}",
            record.seq,
            minute(&record.timestamp.to_string())
        ),
        text: unmistakable(text),
    }
}

/// A message none of whose lines passes for the head of another.
fn unmistakable(text: &str) -> String {
    let is_head = |line: &str| {
        let after = line.strip_prefix('[');
        after.is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()))
    };
    let lines = text.split('\n').map(|line| {
        if is_head(line) {
            format!("\\{line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The last messages that an answer has room for, and how to get those before them.
fn shown(said: &[TranscriptMessage], has_older: bool) -> String {
    let mut blocks = Vec::new();
    let mut room = ANSWER_BYTES_MAX - 200;
    for one in said.iter().rev() {
        let text = cut(&one.text, MESSAGE_BYTES_MAX, "the message is longer");
        let block = format!("{}:\n{text}", one.head);
        let Some(left) = room.checked_sub(block.len() + 2) else {
            break;
        };
        room = left;
        blocks.push(block);
    }
    let first = said.len() - blocks.len();
    let mut answer = String::new();
    match said.get(first) {
        Some(oldest) if has_older || first > 0 => {
            // A text takes everything.
            let _infallible = write!(answer, "[earlier ones: \"before\": {}]\n\n", oldest.seq);
        }
        Some(_) => {}
        None => return "No messages here.".to_owned(),
    }
    blocks.reverse();
    answer + &blocks.join("\n\n")
}

pub(super) fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": ["list", "read", "search"]},
            "session_id": {"type": "string", "description": "read: which session."},
            "before": {
                "type": "string",
                "description": "What to go back from: list: a session's id; read: a message's number.",
            },
            "query": {"type": "string", "description": "search: words to look for."},
            "since": {"type": "string", "description": "search: a day, a time or how long ago: 2026-03-01, 7d."},
            "limit": {"type": "integer", "minimum": 1, "maximum": READ_MAX},
        },
        "required": ["action"],
    })
}

#[cfg(test)]
mod tests;
