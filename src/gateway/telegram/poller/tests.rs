use std::sync::Mutex;

use super::*;
use crate::base::lock::lock;
use crate::base::stop::{self, StopSource};
use crate::domain::secret::Secret;
use crate::store::documents::{DocumentName, Documents};
use crate::store::sim_documents::{SimDocuments, SimFault};

/// Takes in what a test lets it.
#[derive(Debug, Default)]
struct ScriptedInlet {
    /// The keys of what was taken in, with the number of files.
    taken: Mutex<Vec<(String, usize)>>,
    /// What fails, by key, and how; for ever.
    faults: Mutex<BTreeMap<String, Fault>>,
    /// The keys of what ends sessions.
    ends: Mutex<BTreeSet<String>>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Later,
    Unreadable,
    Panic,
}

impl Inlet for ScriptedInlet {
    fn take(&self, gateway: &GatewayName, incoming: Inbound) -> Result<TakenIn, IntakeError> {
        assert_eq!(gateway.as_str(), "ada");
        let key = incoming.key.unwrap().to_string();
        match lock(&self.faults).get(&key) {
            Some(Fault::Later) => return Err(IntakeError::Later("the disk is full".to_owned())),
            Some(Fault::Unreadable) => return Err(IntakeError::Unreadable("too long".to_owned())),
            Some(Fault::Panic) => panic!("on purpose"),
            None => {}
        }
        let ends = lock(&self.ends).contains(&key);
        lock(&self.taken).push((key, incoming.files.len()));
        Ok(match ends {
            true => TakenIn::Ended,
            false => TakenIn::Stored,
        })
    }
}

struct PollBench {
    poller: Poller,
    inlet: Arc<ScriptedInlet>,
    documents: Arc<SimDocuments>,
    now: Instant,
    _stop: StopSource,
}

impl PollBench {
    fn new() -> PollBench {
        let inlet = Arc::new(ScriptedInlet::default());
        let documents = Arc::new(SimDocuments::new());
        let (stop_source, stop) = stop::pair();
        // Nobody listens there.
        let nobody = BotClient::new(&Secret::new("7:x"), Some("http://127.0.0.1:9"), POLL_MAX);
        let client = Arc::new(nobody);
        let gateway = GatewayName::parse("ada").unwrap();
        let poller = Poller {
            client: Arc::clone(&client),
            files: client,
            set_aside: SetAsideLog::new(Arc::clone(&documents) as Arc<dyn Documents>, &gateway),
            gateway,
            inlet: Arc::clone(&inlet) as Arc<dyn Inlet>,
            health: GatewayHealth::default(),
            stop,
            state: PollState::default(),
        };
        PollBench {
            poller,
            inlet,
            documents,
            now: Instant::now(),
            _stop: stop_source,
        }
    }

    fn take(&mut self, updates: &[Value]) -> Option<Duration> {
        let me = BotUser {
            id: 7,
            username: "ada_bot".to_owned(),
        };
        let read =
            |update: &Value| RawUpdate::read(&RawValue::from_string(update.to_string()).unwrap());
        self.poller
            .take_all(updates.iter().map(read).collect(), &me, self.now)
    }

    fn fault(&self, id: i64, fault: Option<Fault>) {
        let mut faults = lock(&self.inlet.faults);
        let key = format!("telegram:{id}");
        match fault {
            Some(fault) => faults.insert(key, fault),
            None => faults.remove(&key),
        };
    }

    /// The numbers of what was taken in since this was last asked.
    fn taken(&self) -> Vec<i64> {
        let taken = std::mem::take(&mut *lock(&self.inlet.taken));
        let ids = taken
            .iter()
            .map(|(key, _)| key.strip_prefix("telegram:").unwrap());
        ids.map(|id| id.parse().unwrap()).collect()
    }

    fn offset(&self) -> Option<i64> {
        self.poller.state.offset
    }

    fn aside(&self) -> Vec<Value> {
        let name = DocumentName::parse("gateways/ada/set-aside.jsonl").unwrap();
        let text = self
            .documents
            .read(&name)
            .unwrap()
            .map_or(String::new(), |it| it.text);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn said(id: i64, chat: i64) -> Value {
    json!({"update_id": id, "message": {"message_id": id, "date": 1, "text": "hi",
        "from": {"id": chat, "first_name": "Ann"}, "chat": {"id": chat, "type": "private"}}})
}

fn photo(id: i64, chat: i64, album: &str) -> Value {
    let mut update = said(id, chat);
    update["message"]["media_group_id"] = json!(album);
    update["message"]["photo"] = json!([{"file_id": id.to_string()}]);
    update["message"].as_object_mut().unwrap().remove("text");
    update
}

#[test]
fn the_offset_follows_what_is_taken_in() {
    let mut bench = PollBench::new();
    assert_eq!(bench.take(&[]), None);
    assert_eq!(bench.offset(), None);
    let nothing = json!({"update_id": 12, "of_tomorrow": {}});
    assert_eq!(bench.take(&[said(10, 1), said(11, 2), nothing]), None);
    assert_eq!((bench.taken(), bench.offset()), (vec![10, 11], Some(13)));
    // All is confirmed: it may begin to count anew, below or above.
    assert_eq!(bench.take(&[]), None);
    assert_eq!(bench.offset(), None);
    bench.take(&[said(3, 1)]);
    assert_eq!((bench.taken(), bench.offset()), (vec![3], Some(4)));
    bench.take(&[said(900, 1)]);
    assert_eq!((bench.taken(), bench.offset()), (vec![900], Some(901)));
    assert!(bench.poller.health.heard_at().is_some());
}

#[test]
fn what_ends_a_session_is_confirmed_before_more_is_taken_in() {
    let mut bench = PollBench::new();
    for id in [11, 12] {
        lock(&bench.inlet.ends).insert(format!("telegram:{id}"));
    }
    let updates: Vec<Value> = [(10, 1), (11, 1), (12, 2), (13, 1)]
        .map(|(id, chat)| said(id, chat))
        .into();
    for (from, taken, offset) in [(0, &[10, 11][..], 12), (2, &[12], 13), (3, &[13], 14)] {
        assert_eq!(bench.take(&updates[from..]), None);
        assert_eq!(
            (bench.taken(), bench.offset()),
            (taken.to_vec(), Some(offset))
        );
    }
    assert!(!bench.poller.state.is_behind);
}

#[test]
fn what_cannot_be_taken_in_now_keeps_its_chat_waiting_and_no_other() {
    let mut bench = PollBench::new();
    bench.fault(11, Some(Fault::Later));
    let updates = [said(10, 1), said(11, 1), said(12, 1), said(13, 2)];
    assert_eq!(bench.take(&updates), Some(WAIT_FIRST));
    assert_eq!((bench.taken(), bench.offset()), (vec![10, 13], Some(11)));
    assert!(bench.poller.state.is_behind);
    // They come again, with a new one.
    let updates = [&updates[1..], &[said(14, 2)]].concat();
    assert_eq!(bench.take(&updates), Some(WAIT_FIRST * 2));
    assert_eq!((bench.taken(), bench.offset()), (vec![14], Some(11)));
    bench.fault(11, None);
    assert_eq!(bench.take(&updates), None);
    assert_eq!((bench.taken(), bench.offset()), (vec![11, 12], Some(15)));
    assert!(!bench.poller.state.is_behind);
    assert_eq!(bench.aside(), [Value::Null; 0]);
    assert!(bench.poller.state.late.is_empty());
}

#[test]
fn what_can_never_be_taken_in_is_set_aside_and_confirmed() {
    let mut bench = PollBench::new();
    bench.fault(11, Some(Fault::Unreadable));
    bench.fault(12, Some(Fault::Panic));
    let broken = json!({"update_id": 10, "message": {"message_id": "x"}});
    let updates = [broken.clone(), said(11, 1), said(12, 1), said(13, 1)];
    assert_eq!(bench.take(&updates), None);
    assert_eq!((bench.taken(), bench.offset()), (vec![13], Some(14)));
    let aside = bench.aside();
    let ids: Vec<_> = aside
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["10", "11", "12"]);
    assert_eq!(aside[0]["what"], broken);
    assert_eq!(aside[1]["why"], "too long");
    assert_eq!(aside[2]["why"], "the program failed: on purpose");
}

#[test]
fn updates_without_a_number_are_set_aside_once_and_the_order_is_that_of_the_numbers() {
    let mut bench = PollBench::new();
    bench.fault(11, Some(Fault::Later));
    let mut nameless = said(9, 1);
    nameless.as_object_mut().unwrap().remove("update_id");
    for _ in 0..3 {
        bench.take(&[said(12, 2), nameless.clone(), said(11, 1), said(10, 3)]);
        assert_eq!(bench.offset(), Some(11));
    }
    assert_eq!(bench.taken(), [10, 12]);
    assert_eq!(bench.aside().len(), 1);
    bench.fault(11, None);
    bench.take(&[said(12, 2), said(11, 1)]);
    assert_eq!((bench.taken(), bench.offset()), (vec![11], Some(13)));
}

#[test]
fn an_update_that_no_reader_can_read_is_set_aside_and_the_next_is_taken_in() {
    let mut bench = PollBench::new();
    let me = BotUser {
        id: 7,
        username: "ada_bot".to_owned(),
    };
    let garbage = r#"{"update_id": 10, "message": {"text": "\ud83d"}}"#.to_owned();
    let updates = [garbage.clone(), said(11, 1).to_string()];
    let read = |json: String| RawUpdate::read(&RawValue::from_string(json).unwrap());
    let updates = updates.map(read).to_vec();
    bench.poller.take_all(updates, &me, bench.now);
    assert_eq!((bench.taken(), bench.offset()), (vec![11], Some(12)));
    assert_eq!(bench.aside()[0]["what"], json!(garbage));
}

#[test]
fn what_is_late_for_more_than_a_minute_is_trouble_until_it_is_taken_in() {
    let mut bench = PollBench::new();
    let trouble = |bench: &PollBench| {
        bench.poller.tell_health(bench.now);
        bench.poller.health.trouble()
    };
    bench.fault(10, Some(Fault::Later));
    bench.take(&[said(10, 1)]);
    assert_eq!(trouble(&bench), None);
    bench.now += TROUBLE_AFTER + Duration::from_secs(1);
    bench.take(&[said(10, 1)]);
    assert!(trouble(&bench).unwrap().contains("the disk is full"));
    bench.fault(10, None);
    bench.take(&[said(10, 1)]);
    assert_eq!(trouble(&bench), None);
}

#[test]
fn what_cannot_be_set_aside_is_not_confirmed() {
    let mut bench = PollBench::new();
    let broken = json!({"update_id": 10, "message": 1});
    let next = bench.documents.operations() + 1;
    bench.documents.fail_at(next, SimFault::Refused);
    assert_eq!(bench.take(&[broken.clone(), said(11, 1)]), Some(WAIT_FIRST));
    assert_eq!((bench.taken(), bench.offset()), (vec![11], Some(10)));
    assert_eq!(bench.take(&[broken, said(11, 1)]), None);
    assert_eq!((bench.taken(), bench.offset()), (vec![], Some(12)));
    assert_eq!(bench.aside().len(), 1);
}

#[test]
fn one_that_fails_for_long_while_others_do_not_is_to_blame_itself() {
    let mut bench = PollBench::new();
    bench.fault(10, Some(Fault::Later));
    for second in 0..100 {
        bench.take(&[said(10, 1)]);
        bench.now += Duration::from_secs(1);
        assert_eq!(
            bench.offset(),
            Some(10),
            "nothing else went well, after {second} s"
        );
    }
    bench.take(&[said(10, 1), said(11, 2)]);
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.offset(), Some(10));
    bench.take(&[said(10, 1), said(11, 2)]);
    assert_eq!((bench.taken(), bench.offset()), (vec![11], Some(12)));
    assert_eq!(bench.aside()[0]["why"], "the disk is full");
}

#[test]
fn what_comes_again_though_it_was_confirmed_is_not_asked_for_without_a_pause() {
    let mut bench = PollBench::new();
    assert_eq!(bench.take(&[said(10, 1)]), None);
    assert_eq!(bench.take(&[said(10, 1)]), Some(WAIT_FIRST));
    assert_eq!(bench.take(&[said(10, 1), said(11, 1)]), None);
    assert_eq!((bench.taken(), bench.offset()), (vec![10, 11], Some(12)));
}

#[test]
fn one_that_hides_those_after_it_is_waited_for_as_long_and_no_longer() {
    let mut bench = PollBench::new();
    bench.fault(1, Some(Fault::Later));
    let updates: Vec<Value> = (1..=100).map(|id| said(id, id)).collect();
    bench.take(&updates);
    assert_eq!((bench.taken().len(), bench.offset()), (99, Some(1)));
    bench.now += LATER_TIME_MAX;
    bench.take(&updates);
    assert_eq!(bench.offset(), Some(1));
    bench.now += Duration::from_secs(1);
    bench.take(&updates);
    assert_eq!((bench.taken(), bench.offset()), (vec![], Some(101)));
    assert_eq!(bench.aside().len(), 1);
}

#[test]
fn an_album_is_taken_in_whole_before_what_its_chat_says_later() {
    let mut bench = PollBench::new();
    let first = [photo(10, 1, "m"), said(11, 2)];
    assert_eq!(bench.take(&first), Some(ALBUM_QUIET));
    assert_eq!((bench.taken(), bench.offset()), (vec![11], Some(10)));
    bench.now += ALBUM_QUIET / 2;
    let more = [
        &first[..],
        &[photo(12, 1, "m"), said(13, 1), photo(14, 1, "m")],
    ]
    .concat();
    assert_eq!(bench.take(&more), Some(ALBUM_QUIET));
    assert_eq!(bench.taken(), [0_i64; 0]);
    bench.now += ALBUM_QUIET;
    assert_eq!(bench.take(&more), None);
    let taken = std::mem::take(&mut *lock(&bench.inlet.taken));
    assert_eq!(
        taken,
        [("telegram:10".to_owned(), 3), ("telegram:13".to_owned(), 0)]
    );
    assert_eq!(bench.offset(), Some(15));
    // It grows as fast as one looks: it does not for ever.
    let mut grown = Vec::new();
    for id in 20..26 {
        grown.push(photo(id, 1, "n"));
        bench.take(&grown);
        bench.now += ALBUM_QUIET / 2;
    }
    assert_eq!(bench.taken(), [20]);
    // Ten are all.
    let whole: Vec<Value> = (30..40).map(|id| photo(id, 1, "o")).collect();
    assert_eq!(bench.take(&whole), None);
    assert_eq!(bench.taken(), [30]);
    assert!(bench.take(&[]).is_none() && bench.poller.state.albums.is_empty());
}

#[test]
fn an_album_that_fails_is_set_aside_whole() {
    let mut bench = PollBench::new();
    bench.fault(10, Some(Fault::Unreadable));
    let album: Vec<Value> = (10..20).map(|id| photo(id, 1, "o")).collect();
    assert_eq!(bench.take(&album), None);
    assert_eq!(bench.offset(), Some(20));
    assert_eq!(bench.aside()[0]["what"], json!(album));
}

#[test]
fn failures_are_told_once_each_and_waited_for_longer_and_longer() {
    let mut bench = PollBench::new();
    let refused = |code, description: &str| BotError::Refused {
        method: "getUpdates",
        code,
        description: description.to_owned(),
        retry_after: None,
        migrate_to: None,
    };
    let trouble = |bench: &PollBench| bench.poller.health.trouble().unwrap_or_default();
    let no_answer = BotError::NoAnswer {
        method: "getUpdates",
    };
    assert_eq!(bench.poller.failed(&no_answer), WAIT_FIRST);
    assert_eq!(bench.poller.failed(&no_answer), WAIT_FIRST * 2);
    assert_eq!(trouble(&bench), "");
    assert_eq!(bench.poller.failed(&no_answer), WAIT_FIRST * 4);
    assert!(trouble(&bench).contains("not reached"));
    for _ in 0..100 {
        assert!(bench.poller.failed(&no_answer) <= FAILED_MAX);
    }
    assert_eq!(
        bench.poller.failed(&refused(401, "Unauthorized")),
        REFUSED_MAX
    );
    assert!(trouble(&bench).contains("token (401)"));
    bench.poller.failed(&refused(
        409,
        "Conflict: terminated by other getUpdates request",
    ));
    assert!(trouble(&bench).contains("409 from getUpdates"));
    let flood = |seconds| BotError::Refused {
        method: "getUpdates",
        code: 429,
        description: "Too Many Requests".to_owned(),
        retry_after: Some(seconds),
        migrate_to: None,
    };
    assert_eq!(bench.poller.failed(&flood(30)), Duration::from_secs(30));
    // Neither as fast as it answers, nor for days.
    assert_eq!(bench.poller.failed(&flood(0)), FAILED_MAX);
    assert_eq!(bench.poller.failed(&flood(u64::MAX)), ASKED_WAIT_MAX);
    assert!(trouble(&bench).contains("asks the bot to wait"));
    bench.poller.fell_over("on purpose");
    assert!(trouble(&bench).contains("on purpose"));
}
