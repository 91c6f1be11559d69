//! HTTP and server-sent events as clients speak them that nobody here wrote: what each part of a
//! request means, to the byte.

use serde_json::json;

use super::{detail, echo_server, of};
use crate::support::bench::{Bench, echo};
use crate::support::server::{Answer, Remote};

/// The value of a header without those that tell of the connection, and of the moment.
fn lasting(answer: &Answer) -> Vec<(String, String)> {
    let of_the_hop = ["connection", "date", "transfer-encoding"];
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| !of_the_hop.contains(&name.to_ascii_lowercase().as_str()));
    headers
}

fn count(server: &Remote) -> usize {
    let list = server.get("/api/v1/sessions").json();
    list["sessions"].as_array().unwrap().len()
}

#[test]
fn a_target_may_name_the_server() {
    let (_workspace, server) = echo_server();
    let address = server.address;
    let port = address.port();
    for origin in [
        format!("http://{address}"),
        format!("HTTP://localhost:{port}"),
        format!("https://[::1]:{port}"),
        "http://localhost".to_owned(),
    ] {
        let agents = server.get(&format!("{origin}/api/v1/agents"));
        assert_eq!(agents.status, 200, "{origin}: {}", agents.text());
        let home = server.get(&origin);
        assert_eq!(home.text(), server.get("/").text());
    }
    let body = json!({"agent": "echo"});
    let made = server.post(&format!("http://{address}/api/v1/sessions"), &body);
    assert_eq!(made.status, 201, "{}", made.text());
    let session = made.json()["session_id"].as_str().unwrap().to_owned();
    let events = format!("http://{address}{}", of(&session, "/events?history=0"));
    let asks = [("Accept", "text/event-stream")];
    let mut stream = server.open_stream("GET", &events, &asks, b"");
    assert_eq!(stream.expect("session").data["messages"], json!([]));
    for (target, status, says) in [
        ("http://evil.example/api/v1/agents", 403, "`Host`"),
        ("http://localhost.evil.example/api/v1/agents", 403, "`Host`"),
        ("http://me@localhost/api/v1/agents", 400, "target"),
        ("http:///api/v1/agents", 400, "target"),
        ("ftp://localhost/api/v1/agents", 400, "target"),
        ("localhost:80", 400, "target"),
        ("*", 400, "target"),
    ] {
        let answer = server.get(target);
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        assert!(
            detail(&answer).contains(says),
            "{target}: {}",
            answer.text()
        );
    }
    // Where everybody is let in, by whatever name.
    assert_eq!(server.get("http://evil.example/livez").text(), "ok");
    let connect = server.request("CONNECT", "localhost:80", &[], b"");
    assert_eq!(connect.status, 501, "{}", connect.text());
}

#[test]
fn the_server_as_a_whole_tells_its_methods() {
    let server = Bench::new()
        .agent(echo("echo"))
        .config("server: {api_token: t0ken}")
        .serve();
    let address = server.address;
    for target in ["*", &format!("http://{address}")] {
        let answer = server.request("OPTIONS", target, &[], b"");
        assert_eq!(answer.status, 204, "{target}: {}", answer.text());
        let all = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";
        assert_eq!(answer.header("Allow"), Some(all), "{target}");
    }
}

#[test]
fn what_has_one_value_is_refused_with_two() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    let say = |path: &str, headers: &[(&str, &str)]| {
        let body = json!({"content": "hi", "agent": "echo"}).to_string();
        server.request("POST", &of(&session, path), headers, body.as_bytes())
    };
    let json_type = ("Content-Type", "application/json");
    let key = |key: &'static str| ("Idempotency-Key", key);
    for (path, headers, says) in [
        (
            "/messages",
            vec![json_type, key("a"), key("b")],
            "Idempotency-Key",
        ),
        (
            "/stream",
            vec![json_type, key("a"), key("A")],
            "Idempotency-Key",
        ),
        (
            "/messages",
            vec![json_type, ("content-type", "text/plain")],
            "Content-Type",
        ),
        ("/messages", vec![json_type, ("Host", "localhost")], "Host"),
        (
            "/messages",
            vec![json_type, ("Content-Length", "3")],
            "length",
        ),
    ] {
        let answer = say(path, &headers);
        assert_eq!(answer.status, 400, "{headers:?}: {}", answer.text());
        assert!(detail(&answer).contains(says), "{}", answer.text());
    }
    let twice = [key("a"), key("b"), json_type];
    let body = br#"{"agent":"echo"}"#;
    let answer = server.request("POST", "/api/v1/sessions", &twice, body);
    assert_eq!((answer.status, count(&server)), (400, 1));
    let messages = server.get(&of(&session, "/messages")).json();
    assert_eq!(messages, json!({"messages": []}));
    // The same one twice is one.
    let same = [json_type, json_type, key("a"), key("a")];
    let first = say("/messages", &same);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(say("/messages", &same).json(), first.json());

    let seen = |ids: [&'static str; 2]| {
        let ids = ids.map(|id| ("Last-Event-ID", id));
        let headers = [("Accept", "text/event-stream"), ids[0], ids[1]];
        server.request("HEAD", &of(&session, "/events"), &headers, b"")
    };
    assert_eq!(
        (seen(["2", "3"]).status, seen(["2", "2"]).status),
        (400, 200)
    );
}

#[test]
fn a_token_is_shown_once() {
    let server = Bench::new()
        .agent(echo("echo"))
        .config("server: {api_token: t0ken}")
        .serve();
    let shown = |tokens: &[&'static str]| {
        let headers: Vec<_> = tokens.iter().map(|one| ("Authorization", *one)).collect();
        server
            .request("GET", "/api/v1/agents", &headers, b"")
            .status
    };
    assert_eq!(shown(&["Bearer t0ken"]), 200);
    assert_eq!(shown(&["Bearer t0ken", "Bearer other"]), 401);
    assert_eq!(shown(&["Bearer other", "Bearer t0ken"]), 401);
}

#[test]
fn a_list_may_be_spread_over_several_headers() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    let spread = [("Accept", "text/html"), ("Accept", "application/json")];
    let agents = server.request("GET", "/api/v1/agents", &spread, b"");
    assert_eq!(agents.status, 200, "{}", agents.text());
    let events = of(&session, "/events");
    let spread = [
        ("Accept", "application/json;q=0.5"),
        ("Accept", "text/event-stream"),
    ];
    server
        .open_stream("GET", &events, &spread, b"")
        .expect("session");
    let path = of(&session, "/messages");
    let prefer = [("Prefer", "wait=10"), ("Prefer", "respond-async")];
    let answer = server.send_json("POST", &path, &prefer, &json!({"content": "hi"}));
    assert_eq!(answer.status, 202, "{}", answer.text());
}

#[test]
fn a_packed_body_is_refused_and_nothing_comes_of_it() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    let body = json!({"content": "hi", "title": "T", "agent": "echo"});
    for (method, path) in [
        ("POST", "/api/v1/sessions".to_owned()),
        ("POST", of(&session, "/messages")),
        ("POST", of(&session, "/stream")),
        ("POST", of(&session, "/approve")),
        ("PATCH", of(&session, "")),
    ] {
        for coding in ["gzip", "br", "identity, zstd", "nonsense"] {
            let packed = [("Content-Encoding", coding)];
            let answer = server.send_json(method, &path, &packed, &body);
            assert_eq!(answer.status, 415, "{path} {coding}: {}", answer.text());
            assert_eq!(answer.header("Accept-Encoding"), Some("identity"));
        }
    }
    let shown = server.get(&of(&session, "")).json();
    assert_eq!(
        (&shown["message_count"], shown.get("title")),
        (&json!(0), None)
    );
    assert_eq!(count(&server), 1);
    let path = of(&session, "/messages");
    let plain = [("Content-Encoding", "Identity")];
    let answer = server.send_json("POST", &path, &plain, &json!({"content": "hi"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_head_has_the_headers_of_its_get() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    server.say(&session, "hi");
    let over = server.create_session("echo");
    server.delete(&of(&over, "?keep=true"));
    let seen = ("Last-Event-ID", "2");
    let stream = ("Accept", "text/event-stream");
    for (path, headers) in [
        ("/".to_owned(), vec![]),
        ("/livez".to_owned(), vec![]),
        ("/readyz".to_owned(), vec![]),
        ("/version".to_owned(), vec![]),
        ("/nowhere".to_owned(), vec![]),
        ("/metrics".to_owned(), vec![]),
        ("/api/v1/agents".to_owned(), vec![]),
        ("/api/v1/agents/echo".to_owned(), vec![]),
        ("/api/v1/agents/nobody".to_owned(), vec![]),
        ("/api/v1/sessions?limit=1".to_owned(), vec![]),
        ("/api/v1/sessions".to_owned(), vec![("Accept", "image/png")]),
        (of(&session, ""), vec![]),
        (of(&session, "/messages"), vec![]),
        (of(&session, "/stream"), vec![]),
        (of(&session, "/ticket"), vec![]),
        (of(&session, "/events?limit=2"), vec![]),
        (of(&session, "/events"), vec![("Accept", "text/html")]),
        (of(&session, "/events"), vec![stream]),
        (
            of(&session, "/events"),
            vec![stream, ("Last-Event-ID", "x")],
        ),
        (of(&session, "/events?history=x"), vec![stream]),
        (of(&over, "/events"), vec![stream]),
        // It has seen the end.
        (of(&over, "/events"), vec![stream, seen]),
        (
            of("session_01J0000000000000000000000A", "/events"),
            vec![stream],
        ),
    ] {
        let head = server.request("HEAD", &path, &headers, b"");
        let get = match server.try_stream("GET", &path, &headers, b"") {
            Ok(stream) => stream.head,
            Err(answer) => answer,
        };
        assert_eq!(head.status, get.status, "{path} {headers:?}");
        assert_eq!(lasting(&head), lasting(&get), "{path} {headers:?}");
    }
    // Who asks for the head has not come.
    let path = of(&session, "/events?detach_others=true");
    let mut watcher = server.events(&session, "", None);
    watcher.expect("session");
    assert_eq!(server.request("HEAD", &path, &[stream], b"").status, 200);
    assert_eq!(server.get(&of(&session, "")).json()["attached"], 1);
    server.say(&session, "still there?");
    watcher.until("done");
}

#[test]
fn a_place_beyond_the_log_is_a_gap_also_where_the_session_is_over() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    server.say(&session, "hi");
    let mut open = server.events(&session, "", Some("999"));
    let gap = open.expect("gap");
    assert_eq!(gap.data, json!({"from_seq": 6, "to_seq": 999}));
    server.say(&session, "again");
    assert_eq!(open.expect("user_message").data["content"], "again");
    server.delete(&of(&session, "?keep=true"));
    open.until("status");
    assert_eq!(open.next(), None);

    let mut late = server.events(&session, "", Some("999"));
    late.expect("gap");
    let end = late.expect("status");
    assert_eq!(end.data, json!({"to": "completed"}));
    assert_eq!(late.next(), None);
    let headers = [("Accept", "text/event-stream"), ("Last-Event-ID", &end.id)];
    let answer = server.request("GET", &of(&session, "/events"), &headers, b"");
    assert_eq!(answer.status, 204);
}

#[test]
fn a_stream_that_has_nothing_to_show_yet_says_with_its_first_event_when_to_come_back() {
    let server = Bench::new()
        .agent(echo("echo"))
        .config("server:\n  keep_alive_interval_seconds: 1")
        .serve();
    let session = server.create_session("echo");
    let last = server.events(&session, "", None).expect("session").id;
    let mut again = server.events(&session, "", Some(&last));
    again.expect_comment("keep-alive");
    // The kit refuses a first event without `retry`, and one after a comment that is none.
    server.say(&session, "hi");
    again.expect("user_message");
    again.until("done");
}

#[test]
fn the_bytes_of_a_stream_are_those_of_the_standard() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    let body = json!({"content": "hi"});
    let answer = server.post(&of(&session, "/stream"), &body);
    let text = answer.text();
    assert!(
        text.starts_with("retry: 1000\nid: 2\nevent: start\ndata: {"),
        "{text}"
    );
    assert_eq!(text.matches("retry:").count(), 1, "{text}");
    for block in text.strip_suffix("\n\n").unwrap().split("\n\n") {
        assert!(block.contains("\ndata: "), "{block:?}");
    }
}
