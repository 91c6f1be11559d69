use super::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crossbeam_channel::bounded;
use tempfile::TempDir;

use crate::base::clock::FakeClock;
use crate::base::fs::RealFs;
use crate::domain::ids::SessionId;
use crate::domain::story::call_id;
use crate::store::file::documents::FileDocuments;
use crate::tools::Caller;

/// An agent's memory, on the first of March at half past nine.
struct Home {
    folder: TempDir,
    clock: Arc<FakeClock>,
    tool: MemoryTool,
}

impl Home {
    fn new(scope: MemoryScope) -> Home {
        Home::in_zone(scope, Zone::default())
    }

    fn in_zone(scope: MemoryScope, zone: Zone) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let start = Timestamp::parse("2026-03-01T09:30:00Z").unwrap();
        let clock = Arc::new(FakeClock::at(
            UNIX_EPOCH + Duration::from_micros(start.as_micros()),
        ));
        let documents = |root: PathBuf, inner: &str| -> Arc<dyn Documents> {
            let folder = root.join(inner);
            Arc::new(FileDocuments::shared(Arc::new(RealFs), root, folder))
        };
        let tool = MemoryTool {
            spec: builtin::spec("memory", DESCRIPTION, parameters(), Effect::Idempotent),
            own: documents(folder.path().to_owned(), "memory"),
            world: documents(folder.path().join("world"), ""),
            clock: Arc::clone(&clock) as Arc<_>,
            scope,
            zone,
        };
        Home {
            folder,
            clock,
            tool,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ask_in(&self, chat: Option<(&str, &str)>, arguments: &Value) -> Result<String, String> {
        let (_cancel_tx, cancel_rx) = bounded(0);
        let session = SessionId::mint(1, 1);
        let output = self.tool.run(&Run {
            call_id: &call_id(1),
            arguments: &arguments.to_string(),
            cancel: &cancel_rx,
            caller: Caller {
                chat,
                ..Caller::of(&session)
            },
        });
        let output = output.done().unwrap();
        if output.success {
            Ok(output.content)
        } else {
            Err(output.content)
        }
    }

    fn ask(&self, arguments: &Value) -> String {
        self.ask_in(None, arguments).unwrap()
    }
}

fn remember(content: &str) -> Value {
    json!({"action": "remember", "content": content})
}

fn recall(query: &str) -> Value {
    json!({"action": "recall", "query": query})
}

#[test]
fn what_is_remembered_is_recalled() {
    let home = Home::new(MemoryScope::Agent);
    assert_eq!(home.ask(&recall("")), "The memory is empty.");
    home.ask(&remember("Anna likes tea."));
    home.clock.advance(Duration::from_secs(24 * 3600));
    home.ask(&remember("Ben likes coffee."));
    home.ask(&json!({"action": "reflect", "content": "Two people.", "version": ""}));
    home.ask(&json!({"action": "update_world", "topic": "hours", "content": "9 to 5"}));
    let all = home.ask(&json!({"action": "recall"}));
    assert_eq!(
        all,
        "=== MEMORY.md (version 903c33e2) ===\nTwo people.\n\n\
         === world: hours (version b285f6db) ===\n9 to 5\n\n\
         === notes of 2026-03-02 ===\n# 2026-03-02\n\n## 09:30:00\n\nBen likes coffee.\n\n\
         === notes of 2026-03-01 ===\n# 2026-03-01\n\n## 09:30:00\n\nAnna likes tea."
    );
    assert_eq!(
        home.ask(&recall("TEA")),
        "1 passage:\n\n=== notes of 2026-03-01 ===\n## 09:30:00\nAnna likes tea."
    );
    for file in [
        "memory/MEMORY.md",
        "memory/daily/2026-03-01.md",
        "world/hours.md",
    ] {
        assert!(home.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn notes_have_the_day_and_the_clock_of_the_agents_zone() {
    // Half past nine in the morning, UTC.
    let zone = jiff::tz::TimeZone::get("Pacific/Kiritimati").unwrap();
    let home = Home::in_zone(MemoryScope::Agent, zone.into());
    home.ask(&json!({"action": "remember", "content": "tea"}));
    let today = fs::read_to_string(home.path().join("memory/daily/2026-03-01.md")).unwrap();
    assert!(today.contains("23:30:00"), "{today}");
    home.clock.advance(Duration::from_secs(3600));
    home.ask(&json!({"action": "remember", "content": "sleep"}));
    let recalled = home.ask(&json!({"action": "recall", "days": 1}));
    assert!(
        recalled.contains("sleep") && !recalled.contains("tea"),
        "{recalled}"
    );
}

#[test]
fn a_recall_names_the_days_whose_notes_it_wants() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let home = Home::new(MemoryScope::Agent);
    for (note, days) in [
        ("Tea on the 1st.", 1),
        ("Tea on the 2nd.", 7),
        ("Cake on the 9th.", 1),
    ] {
        home.ask(&remember(note));
        home.clock.advance(DAY * days);
    }
    home.ask(&json!({"action": "reflect", "content": "Tea, always."}));
    // It is the 10th, of which there are no notes.
    let shown = |more: Value| {
        let mut arguments = json!({"action": "recall"});
        arguments
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let said = home.ask(&arguments);
        let has = |text: &str| said.contains(text);
        assert!(has("Tea, always."), "the summary is no note: {said}");
        ["1st", "2nd", "9th"].map(has)
    };
    for (more, expected) in [
        (json!({"days": 1}), [false, false, false]),
        (json!({"days": 2}), [false, false, true]),
        (json!({"days": 9}), [false, true, true]),
        (json!({"days": 10, "query": ""}), [true, true, true]),
        (json!({"days": 3660}), [true, true, true]),
        (json!({"days": "2"}), [false, false, true]),
        (json!({"days": 2.0}), [false, false, true]),
        (json!({"days": null}), [true, true, true]),
        (json!({"query": "tea"}), [true, true, false]),
        (json!({"query": "tea", "days": 9}), [false, true, false]),
        (json!({"query": "tea", "days": 2}), [false, false, false]),
    ] {
        assert_eq!(shown(more.clone()), expected, "{more}");
    }
    let said = home.ask(&json!({"action": "recall", "days": 2}));
    assert!(said.contains("There are notes of 2 earlier days"), "{said}");
    for bad in [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(3661),
        json!(1e300),
        json!("soon"),
        json!(""),
        json!([3]),
        json!(true),
    ] {
        let arguments = json!({"action": "recall", "days": bad});
        let said = home.ask_in(None, &arguments).unwrap_err();
        let expected = format!("`days` must be a whole number from 1 to 3660, not {bad}");
        assert_eq!(said, expected);
        assert_eq!(home.tool.effect(&arguments.to_string()), Effect::Read);
    }
}

#[test]
fn a_chat_with_a_memory_of_its_own_sees_nothing_else() {
    let home = Home::new(MemoryScope::Chat);
    let (one, other) = (Some(("telegram", "1")), Some(("telegram", "2")));
    home.ask(&remember("The owner is away."));
    home.ask(&json!({"action": "update_world", "topic": "hours", "content": "9 to 5"}));
    home.ask_in(one, &remember("One likes tea.")).unwrap();
    home.ask_in(other, &remember("The other likes coffee."))
        .unwrap();
    let seen = |chat| home.ask_in(chat, &recall("likes owner hours")).unwrap();
    assert!(seen(one).contains("One likes tea") && !seen(one).contains("coffee"));
    assert!(!seen(one).contains("owner is away") && !seen(one).contains("9 to 5"));
    assert!(seen(None).contains("owner is away") && !seen(None).contains("tea"));
    let refused = home.ask_in(
        one,
        &json!({"action": "update_world", "topic": "hours", "content": "never"}),
    );
    assert_eq!(refused, Err(NO_WORLD.to_owned()));
    let file = "memory/chats/telegram-1/daily/2026-03-01.md";
    assert!(home.path().join(file).is_file());
}

#[test]
fn an_agents_memory_is_the_same_in_every_chat_unless_its_file_says_otherwise() {
    let home = Home::new(MemoryScope::Agent);
    let chat = Some(("telegram", "1"));
    home.ask_in(chat, &remember("Anna likes tea.")).unwrap();
    assert!(home.ask(&recall("tea")).contains("Anna likes tea."));
}

#[test]
fn a_topic_is_no_path() {
    let home = Home::new(MemoryScope::Agent);
    for topic in ["../escaped", "a/b", "", "."] {
        let arguments = json!({"action": "update_world", "topic": topic, "content": "x"});
        let refused = home.ask_in(None, &arguments).unwrap_err();
        assert!(refused.contains("`topic` must be"), "{topic}: {refused}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn only_a_recall_changes_nothing() {
    let home = Home::new(MemoryScope::Agent);
    for (arguments, effect) in [
        (r#"{"action": "recall"}"#, Effect::Read),
        (
            r#"{"action": "remember", "content": "x"}"#,
            Effect::Idempotent,
        ),
        (
            r#"{"action": "reflect", "content": "x"}"#,
            Effect::Idempotent,
        ),
        (
            r#"{"action": "update_world", "topic": "x", "content": "x"}"#,
            Effect::Idempotent,
        ),
        (r#"{"action": "forget"}"#, Effect::Read),
    ] {
        assert_eq!(home.tool.effect(arguments), effect, "{arguments}");
    }
    let refused = home.ask_in(None, &json!({"action": "forget"})).unwrap_err();
    assert!(refused.contains("unknown variant `forget`"), "{refused}");
}

#[test]
fn what_people_wrote_into_the_files_is_read_and_what_is_no_text_is_told() {
    let home = Home::new(MemoryScope::Agent);
    let folder = home.path().join("memory");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("MEMORY.md"), "By hand.\n").unwrap();
    assert!(home.ask(&recall("hand")).contains("By hand."));
    fs::write(folder.join("MEMORY.md"), b"By \xff hand.\n").unwrap();
    let said = home.ask(&recall("hand"));
    assert_eq!(
        said,
        "Nothing in the memory fits \"hand\".\n\n\
         [the file MEMORY.md of the memory is not UTF-8 from 1:4 on]"
    );
}

#[test]
fn a_file_that_cannot_be_read_hides_none_of_the_others() {
    let home = Home::new(MemoryScope::Agent);
    home.ask(&remember("Anna likes tea."));
    fs::create_dir_all(home.path().join("world/folder.md")).unwrap();
    fs::write(home.path().join("world/hours.md"), "9 to 5\n").unwrap();
    fs::write(home.path().join("memory/MEMORY.md"), b"tea \xff\n").unwrap();
    fs::write(home.path().join("memory/daily/2026-02-01.md"), b"\xff\n").unwrap();
    let said = home.ask(&json!({"action": "recall"}));
    for part in ["9 to 5", "Anna likes tea."] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    let remarks = "\n\n[the file MEMORY.md of the memory is not UTF-8 from 1:5 on;\n\
                   the file folder.md of the memory is not a file;\n\
                   the file daily/2026-02-01.md of the memory is not UTF-8 from 1:1 on]";
    assert!(said.ends_with(remarks), "{said}");
    let said = home.ask(&recall("tea"));
    assert!(
        said.contains("Anna likes tea.") && said.ends_with(remarks),
        "{said}"
    );
    // What cannot be read is not replaced either.
    let reflect = json!({"action": "reflect", "content": "x"});
    let said = home.ask_in(None, &reflect).unwrap_err();
    assert!(said.contains("is not UTF-8"), "{said}");
}

#[test]
fn of_very_many_facts_a_part_is_looked_at() {
    let home = Home::new(MemoryScope::Agent);
    let world = home.path().join("world");
    fs::create_dir_all(&world).unwrap();
    let text = format!("needle\n{}", "x".repeat((1 << 20) - 7));
    for number in 10..20 {
        fs::write(world.join(format!("t{number}.md")), &text).unwrap();
    }
    for arguments in [json!({"action": "recall"}), recall("needle")] {
        let said = home.ask(&arguments);
        assert!(
            said.ends_with("\n\n[1 topics were not looked at]"),
            "{}",
            &said[said.len() - 200..]
        );
    }
}
