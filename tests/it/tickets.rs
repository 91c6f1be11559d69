//! Tickets: what a browser's `EventSource`, which can send no token, watches a session with.

use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use duragent::domain::ids::{SessionId, TokenName};
use duragent::domain::principal::Principal;
use duragent::engine::SessionDraft;
use serde_json::json;

use crate::support::fake_model::FakeModel;
use crate::support::local_api::LocalApi;
use crate::support::server::{Answer, EventStream, Launch, Remote, Server, Workspace, text_of};
use crate::support::sessions::Setup;

/// A server that wants a token, whose log keeps all that is said; without a token, and with it.
fn guarded(workspace: &Workspace) -> (Server, Remote) {
    workspace.echo_agent("echo");
    workspace.config(
        "server:\n  api_token: t0ken\n  allowed_origins: [\"https://app.example\"]\n\
         logging: {level: debug}\n",
    );
    let server = Launch::new(workspace).start();
    let mut owner = Remote::at(server.address);
    owner.token = Some("t0ken".into());
    (server, owner)
}

fn of(session: &str, rest: &str) -> String {
    format!("/api/v1/sessions/{session}{rest}")
}

fn ticket_for(owner: &Remote, session: &str) -> String {
    let answer = owner.request("POST", &of(session, "/ticket"), &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

/// As an `EventSource` asks.
fn watch(page: &Remote, session: &str, query: &str) -> EventStream {
    let path = of(session, &format!("/events?{query}"));
    page.open_stream("GET", &path, &[("Accept", "text/event-stream")], b"")
}

fn refused(page: &Remote, path: &str) -> Answer {
    let asks = [("Accept", "text/event-stream")];
    let Err(answer) = page.try_stream("GET", path, &asks, b"") else {
        panic!("{path} is shown");
    };
    assert_eq!(answer.status, 401, "{path}: {}", answer.text());
    assert_eq!(
        answer.header("Content-Type"),
        Some("application/problem+json")
    );
    answer
}

#[test]
fn a_ticket_shows_its_session_to_whoever_has_no_token_and_takes_no_part() {
    let workspace = Workspace::new();
    let (page, owner) = guarded(&workspace);
    let session = owner.create_session("echo");
    assert_eq!(page.post(&of(&session, "/ticket"), &json!({})).status, 401);
    let ticket = ticket_for(&owner, &session);
    let mut attached = owner.events(&session, "", None);
    attached.expect("session");
    let query = format!("ticket={ticket}&detach_others=true&readonly=false");
    let mut streams = [(); 3].map(|()| watch(&page, &session, &query));
    for stream in &mut streams {
        stream.expect("session");
    }
    assert_eq!(owner.get(&of(&session, "")).json()["attached"], 1);
    owner.say(&session, "one two three");
    let mut last = String::new();
    for stream in &mut streams {
        let events = stream.until("done");
        assert_eq!(text_of(&events), "one two three");
        last = events[0].id.clone();
    }
    attached.until("done");
    // To come back to the same address, with what was seen in the header, or in the query.
    let path = of(&session, &format!("/events?ticket={ticket}"));
    let seen = [("Accept", "text/event-stream"), ("Last-Event-ID", &last)];
    let mut by_header = page.open_stream("GET", &path, &seen, b"");
    let in_query = last.replace('+', "%2B");
    let mut by_query = watch(
        &page,
        &session,
        &format!("last_event_id={in_query}&ticket={ticket}"),
    );
    for stream in [&mut by_header, &mut by_query] {
        let events = stream.until("done");
        assert!(!events.iter().any(|event| event.name == "session"));
        assert_eq!(text_of(&events), "one two three");
    }
}

#[test]
fn a_ticket_opens_nothing_but_its_stream() {
    let workspace = Workspace::new();
    let (page, owner) = guarded(&workspace);
    let session = owner.create_session("echo");
    let other = owner.create_session("echo");
    let ticket = ticket_for(&owner, &session);
    let with = |id: &str, rest: &str| of(id, &format!("{rest}?ticket={ticket}"));
    refused(&page, &with(&other, "/events"));
    for rest in ["", "/messages"] {
        refused(&page, &with(&session, rest));
    }
    for rest in ["/messages", "/stream", "/cancel", "/approve", "/ticket"] {
        let answer = page.request("POST", &with(&session, rest), &[], b"");
        assert_eq!(answer.status, 401, "{rest}: {}", answer.text());
    }
    let shortened = &ticket[..ticket.len() - 1];
    for bad in ["", "x", shortened, &ticket.replace("owner", "root")] {
        let answer = refused(&page, &of(&session, &format!("/events?ticket={bad}")));
        assert!(answer.header("WWW-Authenticate").is_some());
        assert!(!answer.text().contains(shortened));
    }
    // A token does not mend it, nor that it cannot be read.
    for bad in [
        "x".to_owned(),
        format!("{ticket}%"),
        format!("{ticket}x&a=%"),
    ] {
        refused(&owner, &of(&session, &format!("/events?ticket={bad}")));
    }
    let json = [("Accept", "application/json")];
    let answer = page.request("HEAD", &with(&session, "/events"), &json, b"");
    assert_eq!(answer.status, 406);
    let anything = page.request("HEAD", &with(&session, "/events"), &[], b"");
    assert_eq!(anything.status, 200);
    assert_eq!(anything.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(anything.header("Set-Cookie"), None);

    let mut open = watch(&page, &session, &format!("ticket={ticket}"));
    open.expect("session");
    assert_eq!(owner.delete(&of(&session, "")).status, 204);
    open.rest();
    let gone = page.request("HEAD", &with(&session, "/events"), &[], b"");
    assert_eq!(gone.status, 404);
    let never = of("session_01J0000000000000000000000A", "/ticket");
    assert_eq!(owner.post(&never, &json!({})).status, 404);
    // With everything that is logged.
    assert!(page.log().contains(" debug "), "{}", page.log());
    assert!(!page.log().contains(shortened), "{}", page.log());
}

#[test]
fn a_ticket_outlives_a_restart_and_its_key_is_for_this_account_alone() {
    let workspace = Workspace::new();
    let (mut page, owner) = guarded(&workspace);
    let session = owner.create_session("echo");
    let ticket = ticket_for(&owner, &session);
    page.kill();
    let page = Launch::new(&workspace).start();
    let query = format!("ticket={ticket}");
    watch(&page, &session, &query).expect("session");
    let key = workspace.file(".duragent/ticket.key");
    let mode = key.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(page);
    // As in a workspace that came from somebody else.
    let own = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_dir_all(workspace.file(".local")).unwrap();
    let page = Launch::new(&workspace).start();
    refused(&page, &of(&session, &format!("/events?{query}")));
    drop(page);
    // As when somebody else's files were unpacked over a workspace in use: that key is one that this
    // account knows, and has not made last.
    std::fs::write(&key, &own).unwrap();
    let page = Launch::new(&workspace).start();
    refused(&page, &of(&session, &format!("/events?{query}")));
}

#[test]
fn pages_of_an_allowed_origin_read_what_a_ticket_shows_and_why_it_does_not() {
    let workspace = Workspace::new();
    let (page, owner) = guarded(&workspace);
    let session = owner.create_session("echo");
    let ticket = ticket_for(&owner, &session);
    let ask = |ticket: &str, origin: &str| {
        let path = of(&session, &format!("/events?ticket={ticket}"));
        page.request("HEAD", &path, &[("Origin", origin)], b"")
    };
    for (ticket, origin, status, allowed) in [
        (&ticket[..], "https://app.example", 200, true),
        ("x", "https://app.example", 401, true),
        (&ticket[..], "https://evil.example", 403, false),
        (&ticket[..], "null", 403, false),
    ] {
        let answer = ask(ticket, origin);
        assert_eq!(answer.status, status, "{origin}");
        let header = answer.header("Access-Control-Allow-Origin");
        assert_eq!(header, allowed.then_some(origin));
    }
}

#[test]
fn a_ticket_shows_nobody_a_session_that_is_not_there_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let model = FakeModel::start();
    let api = LocalApi::start(folder.path(), &model, &Setup::default());
    let token = |name: &str| Principal::Token(TokenName::parse(name).unwrap());
    let begin = |owner: Principal| {
        let draft = SessionDraft::new("helper", owner);
        api.sessions.create(&draft).unwrap().id
    };
    let (alices, owners) = (begin(token("alice")), begin(Principal::Owner));
    let look = |session: &SessionId, who: &Principal| {
        let ticket = api.tickets.issue(session, who, SystemTime::now().into());
        let path = of(session.as_str(), &format!("/events?ticket={}", ticket.text));
        let asks = [("Accept", "text/event-stream")];
        match api.try_stream("GET", &path, &asks, b"") {
            Ok(_) => (200, String::new()),
            Err(answer) => (answer.status, answer.text()),
        }
    };
    for (session, who, status) in [
        (&alices, token("alice"), 200),
        (&alices, Principal::Owner, 200),
        (&owners, Principal::Owner, 200),
        (&alices, token("bob"), 404),
        (&owners, token("alice"), 404),
    ] {
        assert_eq!(look(session, &who).0, status, "{who}");
    }
    // Nor that there is one.
    let missing = SessionId::mint(1, 1);
    let of_none = look(&missing, &token("bob"));
    let of_alices = look(&alices, &token("bob"));
    assert_eq!(of_none.0, 404);
    let names = |text: &str, id: &SessionId| text.replace(id.as_str(), "ID");
    assert_eq!(names(&of_alices.1, &alices), names(&of_none.1, &missing));
}
