//! Files of sessions: brought by `POST …/files`, named by messages, kept through kills, gone with the
//! session.

mod care;
mod models;
mod sending;
mod tool;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use duragent::base::digest::sha256;
use serde_json::{Value, json};

use crate::support::bench::{Bench, Served, asking, echo};
use crate::support::fake_model::{FakeModel, stall, text};
use crate::support::server::{Answer, Launch, PATIENCE, Remote, eventually};

const FILE_BYTES_MAX: usize = 10 << 20;

fn bring(server: &Remote, session: &str, media_type: &str, bytes: &[u8]) -> Answer {
    let path = format!("/api/v1/sessions/{session}/files");
    server.request("POST", &path, &[("Content-Type", media_type)], bytes)
}

/// The key of a file that is taken.
fn brought(server: &Remote, session: &str, media_type: &str, bytes: &[u8]) -> String {
    let answer = bring(server, session, media_type, bytes);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["file"].as_str().unwrap().to_owned()
}

fn fetch(server: &Remote, session: &str, key: &str) -> Answer {
    server.get(&format!("/api/v1/sessions/{session}/files/{key}"))
}

fn say_with(server: &Remote, session: &str, body: &Value) -> Answer {
    server.post(&format!("/api/v1/sessions/{session}/messages"), body)
}

fn served() -> (Served, String) {
    let server = Bench::new().agent(echo("ada").continues()).serve();
    let session = server.create_session("ada");
    (server, session)
}

#[test]
fn a_file_is_kept_under_its_digest_and_comes_back_as_it_was() {
    let (server, session) = served();
    let bytes = b"\x89PNG\r\n\0\xff and more";
    let digest = sha256(bytes);
    let answer = bring(&server, &session, "Image/PNG; x=y", bytes);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let key = format!("{digest}.png");
    assert_eq!(
        answer.json(),
        json!({"file": key, "mime": "image/png", "bytes": bytes.len(), "sha256": digest})
    );
    let place = format!("/api/v1/sessions/{session}/files/{key}");
    assert_eq!(answer.header("Location"), Some(place.as_str()));

    let files = server
        .workspace
        .file(&format!(".duragent/sessions/{session}/files"));
    let kept = files.join(&digest);
    assert_eq!(fs::read(&kept).unwrap(), bytes);
    assert_eq!(
        fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::metadata(&files).unwrap().permissions().mode() & 0o777,
        0o700
    );

    for method in ["GET", "HEAD"] {
        let answer = server.request(method, &place, &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        for (name, value) in [
            ("Content-Type", "image/png"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", "default-src 'none'; sandbox"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{method}");
        }
        let disposition = answer.header("Content-Disposition").unwrap();
        assert_eq!(
            disposition,
            format!("attachment; filename=\"{}.png\"", &digest[..8])
        );
        let body: &[u8] = if method == "GET" { bytes } else { b"" };
        assert_eq!(answer.body, body);
    }
    // The same bytes are one file, whatever they are called.
    assert_eq!(brought(&server, &session, "image/png", bytes), key);
    let other = brought(&server, &session, "video/x-matroska", bytes);
    assert_eq!(other, format!("{digest}.video_x-matroska"));
    let again = fetch(&server, &session, &other);
    assert_eq!(again.header("Content-Type"), Some("video/x-matroska"));
    let path = format!("/api/v1/sessions/{session}/files");
    let unnamed = server.request("POST", &path, &[], bytes);
    assert_eq!(unnamed.json()["mime"], "application/octet-stream");
    assert_eq!(fs::read_dir(&files).unwrap().count(), 1);
}

#[test]
fn a_page_that_is_brought_is_no_page_of_ours() {
    let (server, session) = served();
    let key = brought(&server, &session, "text/html", b"<script>alert(1)</script>");
    let answer = fetch(&server, &session, &key);
    assert!(
        answer
            .header("Content-Disposition")
            .unwrap()
            .starts_with("attachment")
    );
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
}

#[test]
fn what_is_no_file_is_refused_in_plain_words() {
    let (server, session) = served();
    for (media_type, bytes, status, part) in [
        ("image/png", &b""[..], 400, "the file is empty"),
        ("multipart/form-data; boundary=x", b"x", 415, "not a form"),
        (
            "application/x-www-form-urlencoded",
            b"x",
            415,
            "--data-binary",
        ),
        ("png", b"x", 415, "Content-Type"),
        ("../../x", b"x", 415, "Content-Type"),
    ] {
        let answer = bring(&server, &session, media_type, bytes);
        assert_eq!(answer.status, status, "{media_type}: {}", answer.text());
        assert!(answer.text().contains(part), "{}", answer.text());
    }
    let path = format!("/api/v1/sessions/{session}/files");
    let packed = [("Content-Type", "image/png"), ("Content-Encoding", "gzip")];
    assert_eq!(server.request("POST", &path, &packed, b"x").status, 415);
    let listed = server.get(&path);
    assert_eq!(listed.status, 405);
    assert_eq!(listed.header("Allow"), Some("POST, OPTIONS"));
    let nobody = "session_01J0000000000000000000000A";
    assert_eq!(bring(&server, nobody, "image/png", b"x").status, 404);
    let sessions = server.workspace.file(".duragent/sessions");
    assert!(!sessions.join(nobody).exists());

    let digest = sha256(b"never brought");
    for name in [
        format!("{digest}.png"),
        "events.jsonl".to_owned(),
        "..%2Fevents.jsonl".to_owned(),
        "%2Fetc%2Fpasswd".to_owned(),
        format!("{digest}%00.png"),
        format!("..%2F{digest}"),
    ] {
        let answer = fetch(&server, &session, &name);
        assert_eq!(answer.status, 404, "{name}: {}", answer.text());
    }
    let end = server.delete(&format!("/api/v1/sessions/{session}?keep=true"));
    assert_eq!(end.status, 204);
    assert_eq!(bring(&server, &session, "image/png", b"x").status, 410);
}

#[test]
fn a_file_has_a_limit_of_its_own_and_is_refused_before_it_is_read() {
    let (server, session) = served();
    let whole = vec![b'x'; FILE_BYTES_MAX];
    let key = brought(&server, &session, "application/zip", &whole);
    assert_eq!(fetch(&server, &session, &key).body, whole);

    // Nothing of it is sent but the head.
    let refused = |path: &str, length: usize| {
        let mut socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/zip\r\n\
             Content-Length: {length}\r\n\r\n",
            server.address
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    };
    let path = format!("/api/v1/sessions/{session}/files");
    let text = refused(&path, FILE_BYTES_MAX + 1);
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(text.contains("\"max_file_bytes\":10485760"), "{text}");
    assert!(refused(&path, 1 << 40).starts_with("HTTP/1.1 413"));
    // Whatever else is said has the limit that it had.
    for other in ["messages", "stream", "files/x", "filesx"] {
        let path = format!("/api/v1/sessions/{session}/{other}");
        let text = refused(&path, (1 << 20) + 1);
        assert!(text.starts_with("HTTP/1.1 413"), "{other}: {text}");
        assert!(text.contains("max_body_bytes"), "{other}: {text}");
    }
}

#[test]
fn a_message_brings_files_and_everybody_is_told_of_them() {
    let model = FakeModel::start();
    model.default_reply(text("I see."));
    let server = Bench::new()
        .agent(asking("ada", &model).continues())
        .serve();
    let session = server.create_session("ada");
    let picture = brought(&server, &session, "image/png", &[7; 2048]);
    let notes = brought(&server, &session, "text/plain", b"some notes");
    let mut attached = server.events(&session, "", None);
    attached.expect("session");

    let body = json!({
        "content": "look",
        "attachments": [{"file": picture, "name": "../My cat.png"}, {"file": notes}],
    });
    let answer = say_with(&server, &session, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let known = json!([
        {"file": picture, "mime": "image/png", "bytes": 2048, "sha256": &picture[..64],
         "name": "My cat.png"},
        {"file": notes, "mime": "text/plain", "bytes": 10, "sha256": &notes[..64]},
    ]);
    let log = server.workspace.log_of(&session);
    let stored = log.iter().find(|line| line["type"] == "user_message");
    assert_eq!(stored.unwrap()["attachments"], known);
    let said = attached.expect("user_message").data;
    assert_eq!(said["attachments"], known);
    let messages = server.get(&format!("/api/v1/sessions/{session}/messages"));
    assert_eq!(messages.json()["messages"][0]["attachments"], known);
    assert_eq!(messages.json()["messages"][1].get("attachments"), None);
    // A model that is not shown files is told of them, and reads texts.
    let told = model.requests()[0].last_message();
    let label = format!("{}.txt", &notes[..8]);
    assert_eq!(
        told,
        format!(
            "look\n\n[attached: My cat.png, image/png, 2.0 KB; you are not shown what is in it]\n\
             [attached: {label}, text/plain, 10 bytes]\nsome notes\n[end of {label}]"
        )
    );

    // Files need no words, on a stream either.
    let path = format!("/api/v1/sessions/{session}/stream");
    let body = json!({"attachments": [{"file": picture}]}).to_string();
    let headers = [("Content-Type", "application/json")];
    let mut stream = server.open_stream("POST", &path, &headers, body.as_bytes());
    stream.until("done");
    let told = model.requests()[1].last_message();
    assert!(told.starts_with("[attached: "), "{told}");

    let show = server.workspace.run(&["session", "show", &session]);
    assert!(
        show.contains("you: look\n  + My cat.png (image/png, 2.0 KB)\n"),
        "{show}"
    );
    let export = server.workspace.run(&["session", "export", &session]);
    assert!(
        export.contains("\nlook\n\n- file My cat.png (image/png, 2.0 KB)\n"),
        "{export}"
    );
}

#[test]
fn a_message_that_names_no_file_of_its_session_is_not_stored() {
    let (server, session) = served();
    let other = server.create_session("ada");
    let elsewhere = brought(&server, &other, "image/png", b"elsewhere");
    let here = brought(&server, &session, "image/png", b"here");
    let many: Vec<Value> = (0..33).map(|_| json!({"file": here})).collect();
    for (attachments, status, part) in [
        (
            json!([{"file": elsewhere}]),
            404,
            "not found in this session",
        ),
        (
            json!([{"file": "../events.jsonl"}]),
            400,
            "`attachments[0]`",
        ),
        (
            json!([{"file": here}, {"file": ""}]),
            400,
            "`attachments[1]`",
        ),
        (json!([{"file": 7}]), 400, "`attachments[0]`"),
        (json!([here]), 400, "`attachments[0]`"),
        (json!([{"file": here, "name": 1}]), 400, "`attachments[0]`"),
        (json!({"file": here}), 400, "must be an array"),
        (json!(many), 400, "more than 32"),
        (json!([]), 400, "`content`"),
    ] {
        let body = json!({"attachments": attachments});
        let answer = say_with(&server, &session, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().contains(part), "{}", answer.text());
    }
    assert_eq!(server.workspace.log_of(&session).len(), 1);
}

#[test]
fn the_same_key_is_the_same_message_with_the_same_files() {
    let (server, session) = served();
    let [one, two] = [b"one", b"two"].map(|bytes| brought(&server, &session, "image/png", bytes));
    let path = format!("/api/v1/sessions/{session}/messages");
    let say = |files: &[&str]| {
        let files: Vec<Value> = files.iter().map(|file| json!({"file": file})).collect();
        let body = json!({"content": "look", "attachments": files});
        server.send_json("POST", &path, &[("Idempotency-Key", "k")], &body)
    };
    let first = say(&[&one]);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(
        say(&[&one]).json()["message_id"],
        first.json()["message_id"]
    );
    for other in [&[][..], &[two.as_str()], &[one.as_str(), two.as_str()]] {
        assert_eq!(say(other).status, 409, "{other:?}");
    }
}

#[test]
fn a_file_that_was_taken_outlives_a_kill_and_goes_with_its_session() {
    let model = FakeModel::start();
    model.reply(stall());
    model.default_reply(text("ok"));
    let bench = Bench::new().agent(asking("ada", &model).continues());
    let (workspace, mut server) = bench.serve().apart();
    let session = server.create_session("ada");
    let [named, unnamed, late] = [&b"named"[..], b"unnamed", b"late"]
        .map(|bytes| brought(&server, &session, "image/png", bytes));
    let body = json!({"content": "", "attachments": [{"file": named}]});
    let path = format!("/api/v1/sessions/{session}/messages");
    let prefer = [("Prefer", "respond-async")];
    let accepted = server.send_json("POST", &path, &prefer, &body);
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    model.wait_for_requests(1);
    server.kill();
    let server = Launch::new(&workspace).start();
    // The turn goes on, and tells the model the same.
    model.wait_for_requests(2);
    let requests = model.requests();
    assert_eq!(requests[0].last_message(), requests[1].last_message());
    for key in [&named, &unnamed, &late] {
        assert_eq!(fetch(&server, &session, key).status, 200);
    }
    let body = json!({"attachments": [{"file": late}]});
    assert_eq!(say_with(&server, &session, &body).status, 200);

    let folder = workspace.file(&format!(".duragent/sessions/{session}"));
    assert!(folder.join("files").is_dir());
    let gone = server.delete(&format!("/api/v1/sessions/{session}"));
    assert_eq!(gone.status, 204);
    assert!(!folder.exists());
    assert_eq!(fetch(&server, &session, &named).status, 404);
    assert_eq!(bring(&server, &session, "image/png", b"x").status, 404);
    assert!(!folder.exists());
    eventually("the folder of the deleted", || {
        let left = fs::read_dir(workspace.file(".duragent/sessions")).unwrap();
        (left.count() == 0).then_some(())
    });
}
