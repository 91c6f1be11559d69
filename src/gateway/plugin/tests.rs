use std::collections::BTreeMap;
use std::path::PathBuf;

use crossbeam_channel::unbounded;

use super::*;
use crate::base::clock::{Clock, FakeClock, SystemClock};
use crate::base::lock::lock;
use crate::domain::ids::GatewayName;
use crate::domain::secret::Secret;
use crate::gateway::delivery::{SenderInbox, sender_channel};
use crate::gateway::incoming::{Inbound, InboundEvent, Inlet, IntakeError, TakenIn};
use crate::gateway::outlet::{CommandOutcome, Outlet as _, Performed};
use crate::gateway::set_aside::SetAsideLog;
use crate::gateway::settings::PluginSettings;
use crate::store::documents::{DocumentName, Documents as _};
use crate::store::sim_documents::SimDocuments;

const SOON: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_secs(3600);
const LONG: PluginTimes = PluginTimes {
    ready: NEVER,
    ping: NEVER,
    end: Duration::from_secs(2),
};

/// Words at which the server fails.
const PANICS: &str = "boom";

/// Tells what it took; refuses so many times before.
#[derive(Debug)]
struct Taker {
    taken: Sender<String>,
    refusals: std::sync::Mutex<Vec<IntakeError>>,
}

impl Inlet for Taker {
    fn take(&self, _: &GatewayName, inbound: Inbound) -> Result<TakenIn, IntakeError> {
        if let Some(refusal) = lock(&self.refusals).pop() {
            return Err(refusal);
        }
        if let InboundEvent::Message(message) = inbound.what {
            let words = message.content.words().unwrap_or_default().to_owned();
            assert_ne!(words, PANICS);
            self.taken.send(words).unwrap();
        }
        Ok(TakenIn::Stored)
    }
}

struct Bench {
    plugin: Plugin,
    inbox: SenderInbox,
    taken: Receiver<String>,
    set_aside: Arc<SimDocuments>,
    outlet: PluginOutlet,
}

/// Runs a shell script as a gateway.
fn run(
    script: &str,
    restart: RestartRule,
    times: PluginTimes,
    refusals: Vec<IntakeError>,
) -> Bench {
    run_at(Arc::new(SystemClock), script, restart, times, refusals)
}

fn run_at(
    clock: Arc<dyn Clock>,
    script: &str,
    restart: RestartRule,
    times: PluginTimes,
    refusals: Vec<IntakeError>,
) -> Bench {
    let (taken_tx, taken) = unbounded();
    let (sender, inbox) = sender_channel();
    let name = GatewayName::parse("x").unwrap();
    let documents = Arc::new(SimDocuments::default());
    let state = Arc::new(PluginState::new(clock));
    let kept = Arc::clone(&documents) as _;
    let plugin = Plugin::start(PluginParts {
        set_aside: SetAsideLog::new(kept, &name),
        settings: PluginSettings {
            name,
            command: PathBuf::from("/bin/sh"),
            args: vec![Secret::new("-c"), Secret::new(script)],
            env: BTreeMap::new(),
            restart,
        },
        times,
        inlet: Arc::new(Taker {
            taken: taken_tx,
            refusals: refusals.into(),
        }),
        sender,
        state: Arc::clone(&state),
    });
    Bench {
        plugin: plugin.unwrap(),
        inbox,
        taken,
        set_aside: documents,
        outlet: PluginOutlet::new(state),
    }
}

impl Bench {
    fn set_aside(&self) -> String {
        let name = DocumentName::parse("gateways/x/set-aside.jsonl").unwrap();
        let kept = self.set_aside.read(&name).unwrap();
        kept.map(|kept| kept.text).unwrap_or_default()
    }

    fn news(&self) -> SenderNews {
        self.inbox.news_rx.recv_timeout(SOON).unwrap()
    }

    fn until(&self, state: &str) -> PluginStatus {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.plugin.state().status();
            if status.state == state {
                return status;
            }
            assert!(Instant::now() < deadline, "{status:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn ready(capabilities: &str) -> String {
    let line = r#"{"type":"ready","gateway":"x","version":"v1alpha1","capabilities":[CAPS]}"#;
    format!("echo '{}'\n", line.replace("CAPS", capabilities))
}

fn message(text: &str) -> String {
    format!(
        "echo '{{\"type\":\"message_received\",\"message_id\":1,\"chat_id\":7,\"sender\":{{\"id\":9}},\
         \"content\":{{\"type\":\"text\",\"text\":\"{text}\"}},\"routing\":{{\"channel\":\"x\",\
         \"chat_type\":\"dm\",\"chat_id\":7,\"sender_id\":9,\"guild\":null}},\"metadata\":null}}'\n"
    )
}

fn typing() -> GatewayCommand {
    GatewayCommand::SendTyping {
        chat_id: "7".into(),
        duration: 0,
        thread_id: None,
    }
}

fn edit() -> GatewayCommand {
    GatewayCommand::EditMessage {
        request_id: "r1".into(),
        chat_id: "7".into(),
        message_id: "5".into(),
        content: "ä".into(),
    }
}

#[test]
fn a_program_gets_commands_once_it_is_ready_and_its_answers_are_told() {
    let script = format!(
        "read -r go; {}read -r line; case $line in *'\"message_id\":\"5\"'*) \
         echo '{{\"type\":\"command_ok\",\"request_id\":\"r1\",\"message_id\":12}}';; esac; read -r end",
        ready("\"edit\",\"what\"")
    );
    let mut bench = run(&script, RestartRule::Never, LONG, vec![]);
    assert!(!bench.outlet.is_ready());
    // The script waits for a line.
    let deadline = Instant::now() + SOON;
    while bench.outlet.perform(&typing(), None) == Performed::Ended(CommandOutcome::NotSent) {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(bench.news(), SenderNews::Ready(true));
    assert!(bench.outlet.is_ready() && bench.outlet.capabilities().edit);
    assert_eq!(bench.outlet.perform(&edit(), None), Performed::Waiting);
    let outcome = CommandOutcome::Done {
        message_id: Some("12".into()),
    };
    let expected = SenderNews::Ended {
        request_id: "r1".into(),
        outcome,
    };
    assert_eq!(bench.news(), expected);
    bench.plugin.restart();
    assert_eq!(bench.news(), SenderNews::Ready(false));
    assert!(!bench.outlet.capabilities().edit);
}

#[test]
fn a_command_that_does_not_fit_into_a_line_is_refused() {
    let script = format!("{}read -r end", ready(""));
    let mut bench = run(&script, RestartRule::Never, LONG, vec![]);
    assert_eq!(bench.news(), SenderNews::Ready(true));
    let long = GatewayCommand::EditMessage {
        request_id: "r1".into(),
        chat_id: "7".into(),
        message_id: "5".into(),
        content: "x".repeat(LINE_BYTES_MAX),
    };
    let performed = bench.outlet.perform(&long, None);
    assert!(
        matches!(performed, Performed::Ended(CommandOutcome::Refused(_))),
        "{performed:?}"
    );
}

#[test]
fn what_cannot_be_taken_in_now_waits_and_what_never_can_is_set_aside() {
    let script = format!(
        "{}{}{}read -r end",
        ready(""),
        message("one"),
        message("two")
    );
    let refusals = vec![
        IntakeError::Unreadable("no".into()),
        IntakeError::Later("full".into()),
    ];
    let bench = run(&script, RestartRule::Never, LONG, refusals);
    assert_eq!(bench.taken.recv_timeout(SOON).unwrap(), "two");
    assert!(bench.set_aside().contains("one"));
}

#[test]
fn a_message_at_which_the_server_fails_is_set_aside_and_the_next_one_taken() {
    let script = format!(
        "{}{}{}read -r end",
        ready(""),
        message(PANICS),
        message("two")
    );
    let bench = run(&script, RestartRule::Never, LONG, vec![]);
    assert_eq!(bench.taken.recv_timeout(SOON).unwrap(), "two");
    assert!(bench.set_aside().contains("the server failed at it"));
}

/// Fails in the thread that reads what a program says.
#[derive(Debug)]
struct BrokenClock;

impl Clock for BrokenClock {
    fn now(&self) -> std::time::SystemTime {
        panic!("on purpose");
    }

    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }

    fn boot(&self) -> String {
        String::new()
    }
}

#[test]
fn a_program_that_nobody_hears_any_more_is_ended_and_started_again() {
    let script = format!("{}{}read -r end", ready(""), message("hi"));
    let clock = Arc::new(BrokenClock);
    let bench = run_at(clock, &script, RestartRule::OnFailure, LONG, vec![]);
    let deadline = Instant::now() + SOON;
    while bench.plugin.state().status().starts < 2 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn refused(times: usize) -> Vec<IntakeError> {
    vec![IntakeError::Later("the disk is full".into()); times]
}

#[test]
fn a_message_that_waits_does_not_delay_the_end_of_its_program() {
    let times = PluginTimes {
        end: SOON * 2,
        ..LONG
    };
    let script = format!("{}{}read -r end", ready(""), message("one"));
    let bench = run(&script, RestartRule::Never, times, refused(1000));
    assert_eq!(bench.news(), SenderNews::Ready(true));
    // It waits by now, or comes while the program ends.
    bench.plugin.restart();
    assert_eq!(bench.news(), SenderNews::Ready(false));
    assert!(bench.set_aside().contains("one"), "{}", bench.set_aside());
}

#[test]
fn a_message_that_waits_for_long_is_a_trouble_of_its_gateway_until_it_is_taken_in() {
    let clock = Arc::new(FakeClock::at(std::time::SystemTime::UNIX_EPOCH));
    let script = format!("{}{}read -r end", ready(""), message("one"));
    let times = Arc::clone(&clock) as _;
    let bench = run_at(times, &script, RestartRule::Never, LONG, refused(4));
    bench.until("ready");
    let deadline = Instant::now() + SOON;
    let status = loop {
        let status = bench.plugin.state().status();
        if status.state == "trouble" {
            break status;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        clock.advance(Duration::from_secs(61));
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.detail.unwrap().contains("the disk is full"));
    assert_eq!(bench.taken.recv_timeout(SOON).unwrap(), "one");
    assert_eq!(bench.until("ready").detail, None);
}

#[test]
fn lines_that_are_no_events_are_left_out() {
    let script = format!(
        "{}echo '{{'; echo; echo '[1]'; echo '{{\"type\":\"later\"}}'; echo '{{\"type\":\"message_received\"}}'; \
         head -c 2000000 /dev/zero | tr '\\0' x; echo; echo oh >&2; {}read -r end",
        ready(""),
        message("hi")
    );
    let bench = run(&script, RestartRule::Never, LONG, vec![]);
    assert_eq!(bench.taken.recv_timeout(SOON).unwrap(), "hi");
    // The two outputs are read apart.
    let deadline = Instant::now() + SOON;
    while bench.plugin.state().log() != ["oh"] {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(bench.plugin.state().status().last_event.is_some());
}

#[test]
fn one_that_fails_is_started_again_and_one_that_ends_in_good_order_is_not() {
    for (script, rule, starts, state) in [
        ("exit 0", RestartRule::OnFailure, 1, "down"),
        ("exit 3", RestartRule::Never, 1, "failed"),
        ("exit 3", RestartRule::OnFailure, 2, "starting"),
        ("exit 0", RestartRule::Always, 2, "starting"),
        (
            "echo '{\"type\":\"error\",\"code\":\"init_failed\",\"message\":\"no token\",\"fatal\":true}'",
            RestartRule::OnFailure,
            2,
            "starting",
        ),
    ] {
        let script = format!("[ -e \"$0.again\" ] || {{ {script}; exit; }}; read -r end");
        let folder = tempfile::tempdir().unwrap();
        let marked = script.replace("$0", folder.path().to_str().unwrap());
        let marked = format!(
            "trap ': > {}/.again' EXIT; {marked}",
            folder.path().display()
        )
        .replace(".again\" ]", "/.again\" ]");
        let bench = run(&marked, rule, LONG, vec![]);
        let deadline = Instant::now() + SOON;
        loop {
            let status = bench.plugin.state().status();
            if status.starts == starts && status.state == state {
                break;
            }
            assert!(Instant::now() < deadline, "{script}: {status:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn one_that_is_not_there_is_down_and_comes_back_when_it_is_wanted() {
    let bench = run("exit 0", RestartRule::Never, LONG, vec![]);
    bench.until("down");
    bench.plugin.restart();
    let deadline = Instant::now() + SOON;
    while bench.plugin.state().status().starts < 2 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_that_does_not_say_ready_or_does_not_answer_is_ended() {
    let short = Duration::from_millis(50);
    let bench = run(
        "read -r end",
        RestartRule::Never,
        PluginTimes {
            ready: short,
            ..LONG
        },
        vec![],
    );
    let why = bench.until("failed").detail.unwrap();
    assert!(why.contains("did not say `ready`"), "{why}");
    let times = PluginTimes {
        ping: short,
        ..LONG
    };
    let script = format!(
        "{}while read -r line; do case $line in *shutdown*) exit;; esac; done",
        ready("")
    );
    let bench = run(&script, RestartRule::Never, times, vec![]);
    let why = bench.until("failed").detail.unwrap();
    assert!(why.contains("does not answer `ping`"), "{why}");
}

#[test]
fn one_that_answers_goes_on() {
    let times = PluginTimes {
        ping: Duration::from_millis(10),
        ..LONG
    };
    let script = format!(
        "{}n=0; while read -r line; do case $line in *ping*) n=$((n+1)); id=${{line##*request_id\\\":\\\"}}; \
         echo '{{\"type\":\"pong\",\"request_id\":\"'${{id%%\\\"*}}'\",\"uptime_seconds\":1,\"connected\":true}}';; \
         *) exit;; esac; [ $n = 5 ] && {}done",
        ready(""),
        message("five").replace('\n', ";")
    );
    let bench = run(&script, RestartRule::Never, times, vec![]);
    assert_eq!(bench.taken.recv_timeout(SOON).unwrap(), "five");
    assert_eq!(bench.plugin.state().status().is_connected, Some(true));
}

#[test]
fn one_that_does_not_end_is_told_by_a_signal_and_then_killed() {
    let short = PluginTimes {
        end: Duration::from_millis(50),
        ..LONG
    };
    for script in [
        "while :; do sleep 1; done",
        "trap '' TERM; while :; do sleep 1; done",
    ] {
        let script = format!("{}{script}", ready(""));
        let bench = run(&script, RestartRule::Never, short, vec![]);
        assert_eq!(bench.news(), SenderNews::Ready(true));
        drop(bench.plugin);
    }
}

#[test]
fn a_person_sees_how_to_let_it_in() {
    let script = format!(
        "{}echo '{{\"type\":\"auth_required\",\"method\":{{\"method\":\"pair_code\",\"code\":\"12-34\",\"expires_in\":60}}}}'; {}\
         read -r end",
        ready(""),
        message("hi")
    );
    let bench = run(&script, RestartRule::Never, LONG, vec![]);
    bench.taken.recv_timeout(SOON).unwrap();
    let (method, left) = bench.plugin.state().status().auth.unwrap();
    assert!(matches!(
        method,
        crate::gateway::protocol::AuthMethod::PairCode { .. }
    ));
    assert!((50..=60).contains(&left));
}
