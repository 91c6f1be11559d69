//! Clients that nobody here wrote, and the proxies that they come through, with the real program.
//!
//! `make clients` installs them, and `make test-clients` alone runs these tests. A client is a script
//! of `scripts/clients`, which prints what its library understood.

mod client;
mod page;
mod proxy;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tempfile::TempDir;

use crate::support::bench::echo;
use crate::support::process::Limited as _;
use crate::support::server::{Event, Launch, Remote, Server, Workspace, text_of};
use crate::tidy;

use client::{Client, command};
use page::{Page, PageServer};
use proxy::Proxy;

const TOKEN: &str = "open-sesame";
/// Of these words a long reply is made, over and over.
const WORDS: [&str; 3] = ["one", "zwölf", "三"];
/// How many it has: at a rest of 20 ms after each it takes four seconds.
const LONG: usize = 200;

/// Asks for a call that takes longer than a stream is silent before it says that it lives.
const CALL: &str = "/tool bash {\"command\":\"sleep 1.2; echo made\"}";

/// A server, and a session that somebody watches.
struct Talk {
    workspace: Workspace,
    server: Server,
    session: String,
}

impl Talk {
    /// With a server that wants a token.
    fn new() -> Talk {
        Talk::with(&format!("  api_token: {TOKEN}\n"))
    }

    /// With a server that wants a token, and lets pages of this origin call.
    fn with_pages_of(origin: &str) -> Talk {
        Talk::with(&format!(
            "  api_token: {TOKEN}\n  allowed_origins: [\"{origin}\"]\n"
        ))
    }

    fn with(settings: &str) -> Talk {
        let workspace = Workspace::new();
        workspace.config(&format!(
            "server:\n  keep_alive_interval_seconds: 1\n{settings}"
        ));
        asking_agent(&workspace);
        let server = start(&workspace, 0);
        let session = server.create_session("helper");
        Talk {
            workspace,
            server,
            session,
        }
    }

    fn say(&self, content: &str) {
        let path = format!("/api/v1/sessions/{}/messages", self.session);
        let headers = [("Prefer", "respond-async")];
        let body = json!({ "content": content });
        let answer = self.server.send_json("POST", &path, &headers, &body);
        assert_eq!(answer.status, 202, "{}", answer.text());
    }

    /// Kills the server and starts it where it was.
    fn restart(&mut self) {
        self.server.kill();
        self.server = start(&self.workspace, self.server.address.port());
    }

    /// Whether a turn is on its way.
    fn is_working(&self) -> bool {
        let path = format!("/api/v1/sessions/{}", self.session);
        self.server.get(&path).json()["working"] == true
    }

    /// The session, as a client reaches it there: at the server's own address, or at a proxy's.
    fn session_at(&self, address: SocketAddr) -> String {
        format!("http://{address}/api/v1/sessions/{}", self.session)
    }
}

/// `helper`, who asks before its shell does anything.
fn asking_agent(workspace: &Workspace) {
    let helper = echo("helper").builtin("bash");
    helper.policy("mode: ask").write(workspace);
}

fn start(workspace: &Workspace, port: u16) -> Server {
    let mut server = Launch::new(workspace).port(port).start();
    server.token = Some(TOKEN.to_owned());
    server
}

/// What a client must understand that watches the session all the time: a reply, a question that it
/// says yes to, and a reply in which the server is killed.
fn converse(talk: &mut Talk, client: &mut Client) {
    let mut seen = vec![client.expect("session")];
    talk.say("hello there");
    seen.extend(client.until("done"));
    assert_eq!(text_of(&seen), "hello there");

    talk.say(CALL);
    let turn = client.until("done");
    let has = |name: &str| turn.iter().any(|event| event.name == name);
    assert!(
        has("approval_required") && has("approval_decision"),
        "{turn:#?}"
    );
    assert!(text_of(&turn).contains("made"), "{turn:#?}");
    seen.extend(turn);

    talk.say(&long_reply());
    let mut reply = client.read_while(|events| words_of(events) < 10);
    // Had the pieces been held back on their way, the reply would be whole by now.
    assert!(talk.is_working(), "the first pieces came late");
    talk.restart();
    reply.extend(client.until("done"));
    assert_eq!(text_of(&reply), long_text());
    seen.extend(reply);
    check_ids(&seen);
    assert_eq!(
        beside_tokens(&seen[1..]),
        beside_tokens(&shown_later(talk, &seen[0].id))
    );
}

fn long_reply() -> String {
    format!("/slow 20\n/repeat {LONG}\n{}", WORDS.join(" "))
}

fn words_of(events: &[Event]) -> usize {
    text_of(events).split_whitespace().count()
}

fn long_text() -> String {
    let words: Vec<&str> = WORDS.into_iter().cycle().take(LONG).collect();
    words.join(" ") + " "
}

/// Each event has an id of its own.
fn check_ids(events: &[Event]) {
    let ids: BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), events.len(), "{events:#?}");
    assert!(!ids.contains(""), "{events:#?}");
}

/// What our own client is shown after an id, up to the third turn's end.
fn shown_later(talk: &Talk, after: &str) -> Vec<Event> {
    let mut stream = talk
        .server
        .events(&talk.session, "readonly=true", Some(after));
    (0..3).flat_map(|_| stream.until("done")).collect()
}

/// Pieces of a reply are as large as they happened to be.
fn beside_tokens(events: &[Event]) -> Vec<&Event> {
    events
        .iter()
        .filter(|event| event.name != "token")
        .collect()
}

// --- libraries ---

/// Watches by a script, directly.
fn check_watcher(script: &str) {
    let mut talk = Talk::new();
    let mut client =
        Client::start(command(script).args([&talk.session_at(talk.server.address), TOKEN]));
    converse(&mut talk, &mut client);
}

#[test]
#[ignore = "needs `make clients`"]
fn httpx_sse_misses_nothing_and_sees_nothing_twice() {
    check_watcher("watch_httpx_sse.py");
}

#[test]
#[ignore = "needs `make clients`"]
fn sseclient_py_misses_nothing_and_sees_nothing_twice() {
    check_watcher("watch_sseclient.py");
}

#[test]
#[ignore = "needs `make clients`"]
fn eventsource_misses_nothing_and_sees_nothing_twice() {
    check_watcher("watch_eventsource.mjs");
}

#[test]
#[ignore = "needs `make clients`"]
fn fetch_event_source_misses_nothing_and_sees_nothing_twice() {
    check_watcher("watch_fetch_event_source.mjs");
}

#[test]
#[ignore = "needs `make clients`"]
fn who_follows_an_answer_goes_on_with_the_session_after_a_kill() {
    let mut talk = Talk::new();
    let arguments = [&talk.session_at(talk.server.address), TOKEN, &long_reply()];
    let mut client = Client::start(command("follow_httpx_sse.py").args(arguments));
    let mut seen = client.read_while(|events| words_of(events) < 10);
    assert_eq!(seen[0].name, "start");
    assert!(talk.is_working(), "the first pieces came late");
    talk.restart();
    seen.extend(client.until("done"));
    assert_eq!(text_of(&seen), long_text());
    check_ids(&seen);
}

#[test]
#[ignore = "needs `make clients`"]
fn who_knows_the_five_events_of_0_5_can_talk_and_approve() {
    let workspace = Workspace::new();
    asking_agent(&workspace);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let url = format!("http://{}/api/v1/sessions/{session}", server.address);
    let say = |message: &str| {
        let mut client = command("chat_v05.py");
        let output = client.args([&url, message]).output_in_time().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        (text(output.stdout), text(output.stderr))
    };
    let said = |words: &str| (words.to_owned(), String::new());
    assert_eq!(say("hello there"), said("hello there"));
    assert_eq!(say(&long_reply()), said(long_text().trim_end()));
    // A call is no event that it knows; what it says next brings the question again.
    let stopped = say(CALL);
    assert_eq!(
        stopped,
        (String::new(), "Unknown event type: tool_call".to_owned())
    );
    assert_eq!(say("go on"), said("go on"));
    let log = workspace.log_of(&session);
    let results = log.iter().filter(|line| line["type"] == "tool_result");
    assert_eq!(results.count(), 1, "{log:#?}");
}

// --- a browser ---

/// Watches by a page of another origin.
fn check_page(page: &str) {
    let pages = PageServer::of(&client::installed());
    let mut talk = Talk::with_pages_of(&pages.origin);
    let query = format!(
        "session={}&token={TOKEN}",
        talk.session_at(talk.server.address)
    );
    let mut page = Page::open(&format!("{}/{page}?{query}", pages.origin));
    converse(&mut talk, &mut page.client);
}

#[test]
#[ignore = "needs `make clients`"]
fn a_browsers_event_source_with_a_ticket_misses_nothing_and_sees_nothing_twice() {
    check_page("watch_event_source.html");
}

#[test]
#[ignore = "needs `make clients`"]
fn a_browsers_fetch_with_a_token_misses_nothing_and_sees_nothing_twice() {
    check_page("watch_fetch.html");
}

/// The folder of the chat page, as `docs/api.md` says to save it.
fn chat_page() -> TempDir {
    let (_, section) = include_str!("../../docs/api.md")
        .split_once("## A chat page")
        .unwrap();
    let folder = TempDir::new().unwrap();
    let pasted = &tidy::blocks(section, "html")[0];
    fs::write(folder.path().join("chat.html"), pasted).unwrap();
    // The server of the pages may be another account.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Talks by the chat page; the server, once it is killed, stays away until the page finds it so.
fn converse_by_page(talk: &mut Talk, page: &mut Page, is_found_away: &str) {
    page.fill("agent", "helper");
    page.send("hello there");
    page.wait_for_lines(&["user: hello there", "assistant: hello there"]);

    page.send(CALL);
    let question = "May this run? sleep 1.2, echo made (lines: 1)\nsleep 1.2; echo made\n";
    let asked = format!("{question}allow_oncedeny");
    page.wait_for_lines(&[&format!("user: {CALL}"), &asked]);
    page.run("document.querySelector('#log button').click()");
    page.wait_for_lines(&[&format!("{asked} allow_once"), "assistant: made\n"]);

    // The finished message mends the text at the end: each piece must fit.
    let reply = format!("assistant: {}", long_text());
    page.run(&format!(
        "const taken = on.token; on.token = e => {{ taken(e); \
         if (!{}.startsWith(reply.textContent)) show('wrong: ', reply.textContent) }}",
        json!(reply)
    ));
    let message = long_reply();
    page.send(&message);
    page.wait_until("reply && reply.textContent.length > 50");
    // As it does when a ticket is about to end.
    page.run("watch()");
    page.wait_until("reply && reply.textContent.length > 150");
    talk.server.kill();
    page.wait_until(is_found_away);
    talk.restart();
    page.wait_for_lines(&[&format!("user: {message}"), &reply]);
    assert_eq!(page.value("log.children.length"), 7);
    // Who is late is told what was said before.
    page.run("source.close(); lastId = undefined; log.replaceChildren(); watch()");
    page.wait_for_lines(&[&format!("user: {message}"), &reply]);
}

#[test]
#[ignore = "needs `make clients`"]
fn the_chat_page_of_the_documentation_works_as_pasted() {
    let folder = chat_page();
    let pages = PageServer::of(folder.path());
    let mut talk = Talk::with(&format!("  allowed_origins: [\"{}\"]\n", pages.origin));
    let mut page = Page::open(&format!("{}/chat.html", pages.origin));
    page.fill("server", &format!("http://{}", talk.server.address));
    converse_by_page(
        &mut talk,
        &mut page,
        "source.readyState === EventSource.CONNECTING",
    );
}

#[test]
#[ignore = "needs `make clients`"]
fn the_chat_page_comes_back_when_a_proxy_answers_for_the_server() {
    let folder = chat_page();
    let mut talk = Talk::new();
    let root = format!(
        "location = /chat.html {{ root {}; }}",
        folder.path().display()
    );
    let proxy = Proxy::nginx(&format!(
        "{root}\n{}",
        documented_nginx(talk.server.address)
    ));
    let mut page = Page::open(&format!("http://{}/chat.html", proxy.address));
    page.fill("server", &format!("http://{}", proxy.address));
    page.fill("token", TOKEN);
    converse_by_page(
        &mut talk,
        &mut page,
        "source.readyState === EventSource.CLOSED",
    );
}

// --- proxies ---

/// Watches by scripts through a proxy that is started before the server's address.
fn check_proxy(start: impl Fn(SocketAddr) -> Proxy) {
    // An `EventSource` gives up at the 502 of a proxy whose server is away: these do not.
    for script in ["watch_httpx_sse.py", "watch_fetch_event_source.mjs"] {
        let mut talk = Talk::new();
        let proxy = start(talk.server.address);
        let url = talk.session_at(proxy.address);
        let mut client = Client::start(command(script).args([&url, TOKEN]));
        converse(&mut talk, &mut client);
        // As those send it who take what is there for their own proxy; haproxy passes it on so.
        let mut remote = Remote::at(proxy.address);
        remote.token = Some(TOKEN.to_owned());
        assert_eq!(remote.get(&url).json()["session_id"], talk.session.as_str());
    }
}

#[test]
#[ignore = "needs `make clients`"]
fn through_nginx_as_it_comes_nothing_is_late_or_missing() {
    // It keeps answers back unless they say otherwise, and asks by HTTP/1.0.
    check_proxy(|upstream| {
        Proxy::nginx(&format!(
            "    location / {{ proxy_pass http://{upstream}; }}"
        ))
    });
}

#[test]
#[ignore = "needs `make clients`"]
fn through_nginx_as_the_documentation_has_it_nothing_is_late_or_missing() {
    check_proxy(|upstream| Proxy::nginx(&documented_nginx(upstream)));
}

/// The `location` of `docs/deployment.md`.
fn documented_nginx(upstream: SocketAddr) -> String {
    let page = include_str!("../../docs/deployment.md");
    let (_, block) = page.split_once("```nginx\n").unwrap();
    let (_, location) = block.split_once("\n\n").unwrap();
    let (location, _) = location.split_once("\n}\n```").unwrap();
    let replaced = location.replace("127.0.0.1:8080", &upstream.to_string());
    assert_ne!(replaced, location);
    replaced
}

#[test]
#[ignore = "needs `make clients`"]
fn through_haproxy_nothing_is_late_or_missing() {
    check_proxy(Proxy::haproxy);
}

#[test]
#[ignore = "needs `make clients`"]
fn through_caddy_nothing_is_late_or_missing() {
    check_proxy(Proxy::caddy);
}
