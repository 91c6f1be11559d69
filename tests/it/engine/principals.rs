//! Who asks: what the log says of them, what is there for them, and whose a key is.

use duragent::domain::chat::Chat;
use duragent::domain::ids::TokenName;

use super::*;

fn token(name: &str) -> Principal {
    Principal::Token(TokenName::parse(name).unwrap())
}

fn said_by(who: &Principal, content: &str, key: &str) -> NewMessage {
    NewMessage {
        key: Some(SourceId::parse(key).unwrap()),
        detached: true,
        ..NewMessage::new(who.clone(), MessageText::parse(content).unwrap())
    }
}

/// The value of a field in the first event of the kind.
fn logged(world: &World, id: &SessionId, kind: &str, field: &str) -> Option<String> {
    let log = world.log(id);
    let mut lines = log
        .iter()
        .map(|record| serde_json::to_value(record).unwrap());
    let line = lines.find(|line| line["type"] == kind).unwrap();
    Some(line.get(field)?.as_str()?.to_owned())
}

#[test]
fn the_log_names_who_asked_unless_it_was_the_owner() {
    for (who, name) in [
        (Principal::Owner, None),
        (token("alice"), Some("token:alice")),
    ] {
        let world = World::with(Setup {
            on_disconnect: OnDisconnect::Continue,
            tools: tool("note", repeats),
            policy: Arc::new(AskAlways),
            ..Setup::default()
        });
        world.model.reply(tool_call("note", "{}"));
        world.model.reply(text("done"));
        let draft = SessionDraft::new("helper", who.clone());
        let id = world.sessions.create(&draft).unwrap().id;
        world
            .sessions
            .submit(&id, said_by(&who, "go", "k"))
            .unwrap();
        world.wait_for(&id, |event| matches!(event, Event::ApprovalRequired { .. }));
        let asked = world.sessions.show(&id).unwrap().pending_approval.unwrap();
        let call = asked.call_id.as_str();
        world
            .sessions
            .approve(&id, call, &asked.command, Decision::AllowOnce, &who)
            .unwrap();
        world.wait_for(&id, |event| matches!(event, Event::TurnEnded { .. }));
        for (kind, field) in [
            ("session_start", "owner"),
            ("user_message", "sender_id"),
            ("approval_decision", "by"),
        ] {
            let found = logged(&world, &id, kind, field);
            assert_eq!(found.as_deref(), name, "{kind} {field}");
        }
    }
}

#[test]
fn a_session_is_there_for_whoever_began_it_and_for_the_owner() {
    let world = World::new();
    let begin = |who: &Principal| {
        let draft = SessionDraft::new("helper", who.clone());
        world.sessions.create(&draft).unwrap().id
    };
    let (alice, bob) = (token("alice"), token("bob"));
    let ids = [Principal::Owner, alice.clone(), bob.clone()].map(|who| begin(&who));
    let world = world.restarted();
    for (who, seen) in [
        (&Principal::Owner, [true, true, true]),
        (&alice, [false, true, false]),
        (&bob, [false, false, true]),
    ] {
        for (id, is_seen) in ids.iter().zip(seen) {
            let refused = world.sessions.refuse_unseen(id, who);
            let not_found = matches!(&refused, Err(EngineError::SessionNotFound(no)) if no == id);
            assert_eq!((refused.is_ok(), not_found), (is_seen, !is_seen), "{who}");
        }
        let query = ListQuery {
            limit: 10,
            owner: Some(who.clone()),
            ..ListQuery::default()
        };
        let page = world.sessions.list(&query).unwrap();
        let count = seen.iter().filter(|is_seen| **is_seen).count();
        assert_eq!(page.sessions.len(), count, "{who}");
    }
}

#[test]
fn a_key_is_its_principal_s_own() {
    let world = World::new();
    let key = SourceId::parse("k").unwrap();
    let (alice, bob) = (token("alice"), token("bob"));
    let everybody = [Principal::Owner, alice.clone(), bob];
    let begin = |who: &Principal| {
        let draft = SessionDraft {
            key: Some(key.clone()),
            ..SessionDraft::new("helper", who.clone())
        };
        world.sessions.create(&draft).unwrap().id
    };
    let begun: Vec<SessionId> = everybody.iter().map(&begin).collect();
    assert_eq!(everybody.iter().map(begin).collect::<Vec<_>>(), begun);
    assert!(begun[0] != begun[1] && begun[1] != begun[2] && begun[0] != begun[2]);
    // And within a session, whoever may speak in it.
    for _ in &everybody {
        world.model.reply(text("yes"));
    }
    let say = |who: &Principal, content: &str| {
        let accepted = world.sessions.submit(&begun[0], said_by(who, content, "m"));
        world.wait_until_idle(&begun[0]);
        accepted.map(|accepted| (accepted.message_id, accepted.is_repeat))
    };
    let first = say(&Principal::Owner, "one").unwrap();
    let second = say(&alice, "two").unwrap();
    assert!(!first.1 && !second.1 && first.0 != second.0);
    assert_eq!(say(&Principal::Owner, "one").unwrap(), (first.0, true));
    assert_eq!(say(&alice, "two").unwrap(), (second.0, true));
    assert!(matches!(say(&alice, "one"), Err(EngineError::KeyReused)));
}

#[test]
fn a_chat_has_one_open_session_and_each_of_its_threads_has_one() {
    let world = World::new();
    let group = Chat::new("telegram", "-100");
    let chats = [
        group.clone(),
        group.clone().in_thread("7"),
        Chat::new("telegram", "42"),
        Chat::new("irc", "-100"),
    ];
    let find = |world: &World, chat: &Chat| {
        let found = world.sessions.find_by_chat("helper", chat).unwrap();
        found.map(|view| view.id)
    };
    let begin = |world: &World, chat: &Chat| {
        let draft = SessionDraft {
            chat: Some(chat.clone()),
            ..draft("helper")
        };
        world.sessions.create(&draft).unwrap().id
    };
    for chat in &chats {
        assert_eq!(find(&world, chat), None);
    }
    let begun: Vec<SessionId> = chats.iter().map(|chat| begin(&world, chat)).collect();
    let all = |found: Vec<SessionId>| assert_eq!(found, begun);
    all(chats.iter().map(|chat| begin(&world, chat)).collect());
    all(chats.iter().filter_map(|chat| find(&world, chat)).collect());
    let summary = world.sessions.show(&begun[1]).unwrap().summary;
    assert_eq!(summary.chat().as_ref(), Some(&chats[1]));
    // The index is only what the sessions say.
    let world = world.restarted();
    all(chats.iter().filter_map(|chat| find(&world, chat)).collect());
    world.sessions.end(&begun[0]).unwrap();
    assert_eq!(find(&world, &group), None);
    let next = begin(&world, &group);
    assert_eq!(find(&world, &group), Some(next.clone()));
    world.sessions.delete(&next).unwrap();
    assert_eq!(find(&world, &group), None);
    let nobody = world.sessions.find_by_chat("nobody", &group).unwrap();
    assert!(nobody.is_none());
}

#[test]
fn many_who_begin_in_a_chat_at_once_begin_one_session() {
    let world = World::new();
    let draft = SessionDraft {
        chat: Some(Chat::new("telegram", "42")),
        ..draft("helper")
    };
    let mut ids: Vec<SessionId> = std::thread::scope(|scope| {
        let begin = || world.sessions.create(&draft).unwrap().id;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    ids.dedup();
    assert_eq!(ids.len(), 1);
}
