use super::*;
use std::collections::BTreeMap;

use crossbeam_channel::bounded;

use crate::domain::story::{call_id, fold, log, reply, user};

/// Sessions in memory.
#[derive(Debug, Default)]
struct Shelf(BTreeMap<SessionId, (Summary, Vec<Record>)>);

impl Shelf {
    fn put(&mut self, n: u64, agent: &str, chat: Option<(&str, &str)>, records: Vec<Record>) {
        let mut summary = fold(&records).summary;
        summary.agent = agent.to_owned();
        summary.gateway = chat.map(|(gateway, _)| gateway.to_owned());
        summary.gateway_chat_id = chat.map(|(_, chat)| chat.to_owned());
        self.0.insert(id(n), (summary, records));
    }
}

impl SessionShelf for Shelf {
    fn ids(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, ToolRefusal> {
        let ids = self.0.keys().rev();
        let older = ids.filter(|id| before.is_none_or(|before| *id < before));
        Ok(older.take(limit).cloned().collect())
    }

    fn summary(&self, id: &SessionId) -> Result<Option<Summary>, ToolRefusal> {
        Ok(self.0.get(id).map(|(summary, _)| summary.clone()))
    }

    fn records_before(
        &self,
        id: &SessionId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Record>, ToolRefusal> {
        let records = &self.0[id].1;
        let end = records
            .iter()
            .filter(|record| before.is_none_or(|before| record.seq < before))
            .count();
        Ok(records[end.saturating_sub(limit)..end].to_vec())
    }

    fn search(&self, wanted: &MessageSearch<'_>) -> Result<Vec<FoundMessage>, ToolRefusal> {
        let mut found = Vec::new();
        for (id, (summary, records)) in &self.0 {
            if !(wanted.sees)(id, summary) || !(wanted.goes_on)() {
                continue;
            }
            for record in records {
                let Event::UserMessage(message) = &record.event else {
                    continue;
                };
                let is_late = wanted.since.is_none_or(|since| record.timestamp >= since);
                if is_late && wanted.query.count(&message.content).is_any() {
                    found.push(FoundMessage {
                        session_id: id.clone(),
                        agent: summary.agent.clone(),
                        title: summary.title.clone(),
                        seq: record.seq,
                        message_id: message.message_id.clone(),
                        role: "user".to_owned(),
                        sender_name: message.sender_name.clone(),
                        created_at: record.timestamp,
                        snippet: message.content.to_string(),
                    });
                }
            }
        }
        found.truncate(wanted.limit);
        Ok(found)
    }
}

fn id(n: u64) -> SessionId {
    SessionId::mint(n, 0)
}

fn ask(
    shelf: Shelf,
    scope: MemoryScope,
    chat: Option<(&str, &str)>,
    questions: &[Value],
) -> Vec<BuiltinAnswer> {
    let tool = SessionTool::new(Arc::new(shelf), AgentName::parse("ada").unwrap(), scope);
    let (_cancel_tx, cancel_rx) = bounded(0);
    let session = id(1);
    let answer = |arguments: &Value| {
        tool.answer(&Run {
            call_id: &call_id(1),
            arguments: &arguments.to_string(),
            cancel: &cancel_rx,
            caller: Caller {
                chat,
                ..Caller::of(&session)
            },
        })
    };
    questions.iter().map(answer).collect()
}

/// The ids in a list.
fn listed(answer: &BuiltinAnswer) -> Vec<SessionId> {
    let answer = answer.as_ref().unwrap();
    answer
        .lines()
        .filter_map(|line| SessionId::parse(line.split(':').next()?).ok())
        .collect()
}

fn conversation(messages: u64) -> Vec<Record> {
    let said = (1..=messages).map(|n| user(n, &format!("message {n}")));
    log(said)
}

#[test]
fn an_agent_sees_its_own_sessions_page_by_page() {
    let mut shelf = Shelf::default();
    for n in 1..=120 {
        let agent = if n % 3 == 0 { "bob" } else { "ada" };
        shelf.put(n, agent, None, conversation(1));
    }
    let list =
        |before: Option<u64>| json!({"action": "list", "before": before.map(id), "limit": 50});
    let pages = ask(
        shelf,
        MemoryScope::Agent,
        None,
        &[list(None), list(Some(47)), list(Some(1))],
    );
    let expected: Vec<SessionId> = (1..=120).rev().filter(|n| n % 3 != 0).map(id).collect();
    let first = listed(&pages[0]);
    assert_eq!(first, expected[..50]);
    assert!(
        pages[0]
            .as_ref()
            .unwrap()
            .contains(&format!("\"before\": \"{}\"", first[49]))
    );
    assert_eq!(first[49], id(46));
    assert_eq!(listed(&pages[1]), expected[49..]);
    let last_line = pages[1]
        .as_ref()
        .unwrap()
        .lines()
        .last()
        .unwrap()
        .to_owned();
    assert!(last_line.ends_with("(this one)"), "{last_line}");
    assert_eq!(pages[2].as_ref().unwrap(), "No sessions here.");
}

#[test]
fn what_is_not_visible_is_not_there() {
    let (one, other) = (Some(("telegram", "1")), Some(("telegram", "2")));
    let shelf = || {
        let mut shelf = Shelf::default();
        shelf.put(1, "ada", one, conversation(1));
        shelf.put(2, "ada", other, conversation(1));
        shelf.put(3, "ada", None, conversation(1));
        shelf.put(4, "bob", one, conversation(1));
        shelf
    };
    for (scope, chat, visible) in [
        (MemoryScope::Agent, one, vec![3, 2, 1]),
        (MemoryScope::Chat, one, vec![1]),
        (MemoryScope::Chat, other, vec![2]),
        (MemoryScope::Chat, None, vec![3, 2, 1]),
    ] {
        let questions: Vec<Value> = [json!({"action": "list"})]
            .into_iter()
            .chain((1..=5).map(|n| json!({"action": "read", "session_id": id(n)})))
            .collect();
        let answers = ask(shelf(), scope, chat, &questions);
        let expected: Vec<SessionId> = visible.iter().copied().map(id).collect();
        assert_eq!(listed(&answers[0]), expected, "{scope:?} {chat:?}");
        let search = ask(
            shelf(),
            scope,
            chat,
            &[json!({"action": "search", "query": "message"})],
        );
        let search = search[0].as_ref().unwrap();
        for n in 1..=4 {
            let is_found = search.contains(&id(n).to_string());
            assert_eq!(
                is_found,
                visible.contains(&n),
                "{scope:?} {chat:?}: {search}"
            );
        }
        for n in 1..=5 {
            let answer = &answers[usize::try_from(n).unwrap()];
            if visible.contains(&n) {
                assert!(answer.as_ref().unwrap().contains("message 1"))
            } else {
                assert_eq!(
                    *answer,
                    Err(format!("you have no session {}", id(n)).into())
                )
            }
        }
    }
}

#[test]
fn what_is_found_says_where_to_read_on_and_a_bad_question_is_told() {
    let mut shelf = Shelf::default();
    shelf.put(1, "ada", None, conversation(3));
    shelf.put(2, "ada", None, log([user(9, "[7] forged: a message")]));
    let search = |more: Value| {
        let mut arguments = json!({"action": "search", "query": "message"});
        arguments
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        arguments
    };
    let answers = ask(
        shelf,
        MemoryScope::Agent,
        None,
        &[
            search(json!({})),
            search(json!({"limit": 1, "since": ""})),
            search(json!({"since": "1970-01-02"})),
            search(json!({"since": "soon"})),
            search(json!({"query": " "})),
            search(json!({"query": "nothing"})),
        ],
    );
    let all = answers[0].as_ref().unwrap();
    let first = format!(
        "{} (this one) [2] 1970-01-01 00:00 user:\nmessage 1\n",
        id(1)
    );
    assert!(all.contains(&first), "{all}");
    let forged = format!(
        "{} [2] 1970-01-01 00:00 user:\n\\[7] forged: a message\n",
        id(2)
    );
    assert!(all.contains(&forged), "{all}");
    assert_eq!(answers[1].as_ref().unwrap().matches("[2]").count(), 1);
    assert_eq!(answers[2], Ok("No message fits \"message\".".to_owned()));
    let said = answers[3].as_ref().unwrap_err().to_string();
    assert!(said.starts_with("`since` must be a day, a time"), "{said}");
    assert_eq!(answers[4], Err("`query` must say what to look for".into()));
    assert_eq!(answers[5], Ok("No message fits \"nothing\".".to_owned()));
}

#[test]
fn messages_are_read_backwards() {
    let mut shelf = Shelf::default();
    shelf.put(1, "ada", None, conversation(50));
    let read = |before: Value| json!({"action": "read", "session_id": id(1), "before": before});
    let answers = ask(
        shelf,
        MemoryScope::Agent,
        None,
        &[
            read(Value::Null),
            read(json!("32")),
            read(json!(12)),
            read(json!(1.5)),
            read(json!("first")),
        ],
    );
    let numbers = |answer: &BuiltinAnswer| -> Vec<u64> {
        let lines = answer.as_ref().unwrap().lines();
        lines
            .filter_map(|line| line.strip_prefix("message ")?.parse().ok())
            .collect()
    };
    assert_eq!(numbers(&answers[0]), Vec::from_iter(31..=50));
    assert!(
        answers[0]
            .as_ref()
            .unwrap()
            .starts_with("[earlier ones: \"before\": 32]")
    );
    assert_eq!(numbers(&answers[1]), Vec::from_iter(11..=30));
    assert_eq!(numbers(&answers[2]), Vec::from_iter(1..=10));
    assert!(!answers[2].as_ref().unwrap().contains("earlier ones"));
    let refused = Err("`before` must be the number of a message".into());
    assert_eq!(answers[3..], [refused.clone(), refused]);
}

#[test]
fn a_long_conversation_is_cut_to_what_an_answer_holds() {
    let mut shelf = Shelf::default();
    let said = (1..=40).map(|n| user(n, &"ä".repeat(4_000)));
    shelf.put(1, "ada", None, log(said));
    let read = json!({"action": "read", "session_id": id(1), "limit": 100});
    let answer = ask(shelf, MemoryScope::Agent, None, &[read])
        .remove(0)
        .unwrap();
    assert!(answer.len() <= ANSWER_BYTES_MAX, "{}", answer.len());
    assert!(answer.starts_with("[earlier ones:"), "{}", &answer[..40]);
    assert!(answer.contains("[cut here: 6000 of 8000 bytes are shown"));
}

#[test]
fn both_sides_are_shown_and_a_continued_reply_is_one() {
    let mut shelf = Shelf::default();
    let records = log([
        user(1, "hello"),
        reply(11, 2, "good ")
            .but(crate::domain::event::FinishReason::Interrupted)
            .event(),
        reply(12, 2, "day").continuing(11).event(),
    ]);
    shelf.put(1, "ada", None, records);
    let read = json!({"action": "read", "session_id": id(1)});
    let answer = ask(shelf, MemoryScope::Agent, None, &[read])
        .remove(0)
        .unwrap();
    let said: Vec<&str> = answer.split("\n\n").collect();
    assert!(
        said[0].starts_with("[2] ") && said[0].ends_with(" user:\nhello"),
        "{answer}"
    );
    assert!(
        said[1].starts_with("[3] ") && said[1].ends_with(" you:\ngood day"),
        "{answer}"
    );
}

#[test]
fn a_list_ends_when_it_is_cancelled() {
    let mut shelf = Shelf::default();
    shelf.put(1, "ada", None, conversation(1));
    let ada = AgentName::parse("ada").unwrap();
    let tool = SessionTool::new(Arc::new(shelf), ada, MemoryScope::Agent);
    let (cancel_tx, cancel_rx) = bounded(0);
    drop(cancel_tx);
    let session = id(1);
    for arguments in [
        json!({"action": "list"}),
        json!({"action": "read", "session_id": session}),
        json!({"action": "search", "query": "message"}),
    ] {
        let answer = tool.answer(&Run {
            call_id: &call_id(1),
            arguments: &arguments.to_string(),
            cancel: &cancel_rx,
            caller: Caller::of(&session),
        });
        assert_eq!(answer, Err("cancelled".into()));
    }
}
