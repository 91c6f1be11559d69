//! The whole way: a person on IRC, a server of IRC, the gateway, Duragent, and back.

use crate::support::bench::{AgentFiles, Bench, Served, asking, echo};
use crate::support::fake_model::{FakeModel, text, tool_call};
use crate::support::server::{Launch, eventually};

use super::network::{Network, Person, Services};
use super::plugin;

/// Who answers everybody in every channel.
const OPEN: &str = "access: {groups: {policy: open}, dm: {policy: open}}";

/// A server of which `ada` is in `#room`, where this person is and hears her come.
fn serve(network: &Network, agent: AgentFiles, person: &Person) -> Served {
    let served = Bench::new().agent(agent).config(&config(network)).serve();
    person.hears(":ada!~ada@127.0.0.1 JOIN");
    served
}

fn config(network: &Network) -> String {
    let (command, port) = (plugin::path(), network.port());
    format!(
        "gateways:\n  external:\n    - name: irc\n      command: {command}\n      \
         args: [--server, 127.0.0.1, --port, '{port}', --nick, ada, --channel, '#room', --line-seconds, '0.01']\n\
         routes:\n  - agent: helper\n"
    )
}

/// What `ada` says next.
fn answer(person: &Person) -> String {
    let line = person.hears_from("ada", 1).remove(0);
    line.said().unwrap().2.to_owned()
}

#[test]
fn who_speaks_to_it_in_a_channel_is_answered_there_and_after_a_restart_too() {
    let network = Network::start();
    let mut bob = Person::enter(&network, "bob", "#room");
    let (workspace, mut server) = serve(&network, echo("helper").spec(OPEN), &bob).apart();
    bob.says("#room", "good morning, all");
    bob.says("#room", "ada: hello there");
    assert!(answer(&bob).contains("hello there"));
    server.kill();
    bob.hears("ada!~ada@127.0.0.1 QUIT");
    let mut server = Launch::new(&workspace).start();
    bob.hears(":ada!~ada@127.0.0.1 JOIN");
    bob.says("#room", "ada: and again");
    let mut said = answer(&bob);
    if said.contains("hello there") {
        // The server was killed before it heard that this was said.
        said = answer(&bob);
    }
    assert!(said.contains("and again"), "{said}");
    server.terminate();
    bob.hears("QUIT :");
    assert!(server.wait_for_exit().success());
    let sessions = workspace.run(&["session", "list", "--json"]);
    assert_eq!(sessions.matches("\"session_id\"").count(), 1, "{sessions}");
}

#[test]
fn a_stranger_is_admitted_by_the_code_and_not_before() {
    let network = Network::start();
    let mut bob = Person::enter(&network, "bob", "#room");
    let served = serve(&network, echo("helper"), &bob);
    bob.says("ada", "let me in");
    let told = answer(&bob);
    let code = told.split('`').nth(1).unwrap().to_owned();
    bob.says("ada", "please");
    served.workspace.run(&["gateway", "approve", &code]);
    bob.hears("admitted");
    bob.says("ada", "thank you");
    let mut said = answer(&bob);
    if said.contains("please") {
        // It came in only after the owner had let them in.
        said = answer(&bob);
    }
    assert!(said.contains("thank you"), "{said}");
    // Nobody answers in the channel, where nothing was allowed.
    bob.says("#room", "ada: hello");
    bob.says("ada", "and here?");
    let (_, target, words) = bob.hears_from("ada", 1)[0]
        .said()
        .map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
        .unwrap();
    assert_eq!(target, "bob");
    assert!(words.contains("and here?"));
}

#[test]
fn a_question_is_answered_by_an_account_that_may_and_by_no_nick() {
    let network = Network::start();
    let mut boss = Person::enter(&network, "boss", "#room");
    let mut services = Services::link(&network);
    let model = FakeModel::start();
    let call = tool_call("bash", r#"{"command":"echo made-$((40+2)) > made"}"#);
    model.reply(call).then(text("It is made."));
    let helper = asking("helper", &model).builtin("bash").policy("mode: ask");
    let access = "access:\n  groups: {policy: open}\n  approvers: [\"irc:account:the-boss\", \"irc:boss!~boss@127.0.0.1\"]";
    let served = serve(&network, helper.continues().spec(access), &boss);
    boss.says("#room", "ada: make it");
    boss.hears("/approve");
    // Even where the nick is named.
    boss.says("#room", "ada: !approve");
    boss.hears("logged in");
    services.log_in("boss", "the-boss");
    boss.says("#room", "ada: !approve");
    boss.hears("It is made.");
    let made = served.workspace.read(".duragent/agents/helper/work/made");
    assert_eq!(made, "made-42\n");
}

#[test]
fn what_was_answered_while_irc_was_away_arrives_once_it_is_back() {
    let network = Network::start();
    let mut bob = Person::enter(&network, "bob", "#room");
    let model = FakeModel::start();
    let long: String = (1..=40)
        .map(|n| format!("line {n} of a long answer\n"))
        .collect();
    model.reply(
        text("line ")
            .and_stall()
            .and_text(long.trim_start_matches("line ")),
    );
    let helper = asking("helper", &model).continues();
    let served = serve(&network, helper.spec(OPEN), &bob);
    bob.says("#room", "ada: tell me");
    model.wait_for_requests(1);
    network.stop();
    model.release();
    eventually("the answer is there", || {
        let log = served.log();
        log.contains("closed the connection").then_some(())
    });
    network.start_again();
    let bob = Person::enter(&network, "bob", "#room");
    let mut said = Vec::new();
    while said
        .last()
        .is_none_or(|line| line != "line 40 of a long answer")
    {
        said.push(answer(&bob));
    }
    let expected: Vec<String> = (1..=40)
        .map(|n| format!("line {n} of a long answer"))
        .collect();
    assert_eq!(said[said.len() - 40..], expected);
    drop(served);
}

/// A gateway of an older program, as its transcript tells: see `tests/data/gateways/replay.py`.
#[test]
fn a_gateway_of_an_older_program_works_as_it_is() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gateways");
    let helper = echo("helper")
        .builtin("bash")
        .policy("mode: ask")
        .continues();
    let access = "access: {dm: {policy: open}, approvers: [\"discord:410000000000000001\"]}";
    let served = Bench::new()
        .agent(helper.spec(access))
        .config(&format!(
            "gateways:\n  external:\n    - name: discord\n      command: python3\n      \
             args: [{data}/replay.py, {data}/chat.transcript, report]\nroutes:\n  - agent: helper\n"
        ))
        .serve();
    // All but the last command of the transcript comes by itself.
    eventually("the transcript comes to its end", || {
        let report = served.workspace.read("report");
        assert!(
            report
                .lines()
                .all(|line| line == "at the shutdown" || line == "done"),
            "{report}"
        );
        (!report.is_empty()).then_some(())
    });
    let outbox = served.workspace.run(&["gateway", "outbox"]);
    assert!(outbox.contains("chat not found"), "{outbox}");
    let (workspace, mut server) = served.apart();
    server.terminate();
    assert!(server.wait_for_exit().success());
    assert_eq!(workspace.read("report"), "at the shutdown\ndone\n");
}
