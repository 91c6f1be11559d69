//! The tool `web`, against real servers on loopback: where it goes, what it reads, how it ends.

use crate::support::bench::{Bench, asking, echo};
use crate::support::process::Limited as _;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use duragent::domain::event::ToolOutput;
use duragent::domain::ids::{CallId, SessionId};
use duragent::domain::secret::Secret;
use duragent::tools::web::{Web, WebSettings};
use duragent::tools::{Caller, Effect, Run, Tool};
use serde_json::json;
use ureq::Proxy;

use crate::support::fake_model::{FakeModel, Step, text, tool_call};
use crate::support::server::{Launch, Server, Workspace, eventually};

/// The longest that a cancelled run may go on.
const CANCEL_MAX: Duration = Duration::from_millis(250);

/// A server with a script, and the requests that it was sent.
struct Site {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
    acceptor: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Clone)]
struct Asked {
    /// `GET /path`.
    line: String,
    /// Names in lower case.
    headers: BTreeMap<String, String>,
}

impl Site {
    /// A server whose answers `answer` writes.
    fn new(ip: &str, answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Site {
        let ip: IpAddr = ip.parse().unwrap();
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (kept, is_over, answer) = (asked.clone(), stopped.clone(), Arc::new(answer));
        let acceptor = thread::spawn(move || {
            for socket in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (mut socket, kept, answer) = (socket.unwrap(), kept.clone(), answer.clone());
                thread::spawn(move || {
                    if let Some(asked) = read_head(&socket) {
                        kept.lock().unwrap().push(asked.clone());
                        answer(&asked, &mut socket);
                    }
                });
            }
        });
        Site {
            address,
            asked,
            stopped,
            acceptor: Some(acceptor),
        }
    }

    /// A server that answers everything with these bytes.
    fn saying(ip: &str, head: &'static str, body: impl Into<Vec<u8>>) -> Site {
        let body = body.into();
        Site::new(ip, move |_, socket| say(socket, "200 OK", head, &body))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        self.acceptor.take().unwrap().join().unwrap();
    }
}

fn read_head(socket: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line()?.split_once(':') {
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let (line, _version) = first.rsplit_once(' ')?;
    Some(Asked {
        line: line.to_owned(),
        headers,
    })
}

fn say(socket: &mut TcpStream, status: &str, head: &str, body: &[u8]) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{head}\r\n");
    // A client that has read enough may be gone.
    let _ = socket.write_all(head.as_bytes());
    let _ = socket.write_all(body);
}

/// Sends elsewhere.
fn redirect(socket: &mut TcpStream, target: &str) {
    say(socket, "302 Found", &format!("Location: {target}\r\n"), b"");
}

fn settings(allowed: &[&str]) -> WebSettings {
    WebSettings {
        allow_addresses: allowed.iter().map(|range| range.parse().unwrap()).collect(),
        ..WebSettings::default()
    }
}

fn run(settings: WebSettings, arguments: &serde_json::Value) -> ToolOutput {
    let (_cancel_tx, cancel_rx) = bounded(0);
    run_until(settings, arguments, &cancel_rx)
}

fn run_until(
    settings: WebSettings,
    arguments: &serde_json::Value,
    cancel: &Receiver<Infallible>,
) -> ToolOutput {
    let web = Web::new(Arc::new(settings));
    let arguments = arguments.to_string();
    assert_eq!(web.effect(&arguments), Effect::Read);
    let ran = web.run(&Run {
        call_id: &CallId::parse("call_1").unwrap(),
        arguments: &arguments,
        cancel,
        caller: Caller::of(&SessionId::mint(1, 2)),
    });
    ran.done().unwrap()
}

/// Fetches from loopback, which is allowed.
fn fetch(url: &str) -> ToolOutput {
    run(
        settings(&["127.0.0.0/8"]),
        &json!({"action": "fetch", "url": url}),
    )
}

#[track_caller]
fn assert_failed(output: &ToolOutput, part: &str) {
    assert!(!output.success, "{output:?}");
    assert!(output.content.contains(part), "{output:?}");
}

#[test]
fn a_page_is_fetched_as_markdown_or_raw() {
    let html = "<title>A page</title><h1>Hello</h1><p>It is <a href='b'>here</a>.";
    let site = Site::saying("127.0.0.1", "Content-Type: text/html\r\n", html);
    let url = site.url("/dir/a?x=1#part");
    let head = format!(
        "URL: {}\nStatus: 200 OK\nContent-Type: text/html\n",
        site.url("/dir/a?x=1")
    );
    let output = fetch(&url);
    assert!(output.success);
    let link = site.url("/dir/b");
    assert_eq!(
        output.content,
        format!("{head}Title: A page\n\n# Hello\n\nIt is [here]({link}).")
    );
    let raw = run(
        settings(&["127.0.0.1"]),
        &json!({"action": "fetch", "url": url, "format": "raw"}),
    );
    assert_eq!(raw.content, format!("{head}\n{html}"));

    let asked = &site.asked()[0];
    assert_eq!(asked.line, "GET /dir/a?x=1");
    assert_eq!(asked.headers["accept-encoding"], "identity");
    assert!(asked.headers["user-agent"].starts_with("duragent/"));
    assert!(!asked.headers.contains_key("cookie"));
}

#[test]
fn texts_come_as_they_are_and_others_are_named() {
    for (head, body, expected) in [
        (
            "Content-Type: application/json\r\n",
            &b"{\"a\": 1}"[..],
            "\n\n{\"a\": 1}",
        ),
        (
            "Content-Type: text/plain; charset=latin1\r\n",
            b"\xe4<b>",
            "\n\nä<b>",
        ),
        ("", b"<!doctype html><b>a</b>", "\n\n**a**"),
        ("Content-Type: text/html\r\n", b" ", "\n\n(no text)"),
        (
            "Content-Type: text/html; charset=windows-1251\r\n",
            b"<p>\xcf\xf0\xe8\xe2\xe5\xf2",
            "\n\nПривет",
        ),
        (
            "Content-Type: text/html\r\n",
            b"<meta charset=Shift_JIS><p>\x93\xfa\x96{\x8c\xea",
            "\n\n日本語",
        ),
        (
            "Content-Type: text/plain; charset=GBK\r\n",
            b"\xc4\xe3\xba\xc3",
            "\n\n你好",
        ),
        (
            "Content-Type: text/html; charset=x-own\r\n",
            b"a\xa4b",
            "Note: the encoding x-own is not known here; what is not ASCII may be wrong\n\na\u{fffd}b",
        ),
        (
            "Content-Type: image/png\r\n",
            b"\x89PNG",
            "\n\nThis is image/png, 4 bytes: not text.",
        ),
        ("", b"a\0b", "This is binary data, 3 bytes: not text."),
    ] {
        let site = Site::saying("127.0.0.1", head, body);
        let output = fetch(&site.url("/"));
        assert!(output.success, "{output:?}");
        assert!(output.content.ends_with(expected), "{output:?}");
    }
}

#[test]
fn a_status_is_told_and_what_is_compressed_is_refused() {
    let site = Site::new("127.0.0.1", |_, socket| {
        say(
            socket,
            "404 Not Found",
            "Content-Type: text/plain\r\n",
            b"gone",
        );
    });
    let output = fetch(&site.url("/"));
    assert_failed(&output, "Status: 404 Not Found\n");
    assert!(output.content.ends_with("\n\ngone"));

    let site = Site::saying(
        "127.0.0.1",
        "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n",
        b"\x1f\x8b",
    );
    assert_failed(&fetch(&site.url("/")), "compressed (gzip)");
}

#[test]
fn what_is_not_on_the_public_internet_is_refused_by_address_not_by_name() {
    let site = Site::saying("127.0.0.1", "", "secret");
    let port = site.address.port();
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1"] {
        let url = format!("http://{host}:{port}/");
        let output = run(settings(&[]), &json!({"action": "fetch", "url": url}));
        assert_failed(&output, "not on the public internet");
        assert!(!output.content.contains("secret"));
        // Another address that is allowed is none for this one.
        let output = run(
            settings(&["127.0.0.2", "10.0.0.0/8"]),
            &json!({"action": "fetch", "url": url}),
        );
        assert_failed(&output, "not on the public internet");
    }
    let mapped = format!("http://[::ffff:127.0.0.1]:{port}/");
    assert_failed(&fetch(&mapped), "not on the public internet");
    assert_eq!(site.lines(), Vec::<String>::new());
    let output = run(
        settings(&["127.0.0.1", "::1"]),
        &json!({"action": "fetch", "url": format!("http://localhost:{port}/")}),
    );
    assert!(output.success, "{output:?}");
}

#[test]
fn addresses_that_are_none_of_the_web_are_refused_in_words() {
    for (url, expected) in [
        ("file:///etc/passwd", "only http"),
        ("gopher://127.0.0.1/", "only http"),
        ("example.org", "must begin with https://"),
        ("http://me:secret@127.0.0.1/", "a name or a password"),
        ("http://127.0.0.1:1/", "could not be reached"),
        ("http://does-not-exist.invalid/", "could not be"),
    ] {
        assert_failed(&fetch(url), expected);
    }
}

#[test]
fn every_step_of_a_redirect_is_judged() {
    let inner = Site::saying("127.0.0.2", "", "secret");
    let target = inner.url("/");
    let other = Site::saying("127.0.0.1", "", "secret");
    let elsewhere = other.url("/x");
    let site = Site::new("127.0.0.1", move |asked, socket| match &*asked.line {
        "GET /a" => redirect(socket, "b/c?d"),
        "GET /b/c?d" => redirect(socket, "/end#x"),
        "GET /end" => say(socket, "200 OK", "Content-Type: text/plain\r\n", b"here"),
        "GET /private" => redirect(socket, &target),
        "GET /other" => redirect(socket, &elsewhere),
        "GET /file" => redirect(socket, "file:///etc/passwd"),
        "GET /userinfo" => redirect(socket, "http://me@127.0.0.1/"),
        "GET /nowhere" => say(socket, "302 Found", "Content-Type: text/plain\r\n", b"stay"),
        _ => redirect(socket, "/round"),
    });
    let fetch = |path: &str| {
        let url = site.url(path);
        run(
            settings(&["127.0.0.1/32"]),
            &json!({"action": "fetch", "url": url}),
        )
    };
    let output = fetch("/a");
    assert!(output.success);
    let end = site.url("/end");
    assert!(
        output.content.starts_with(&format!("URL: {end}\n")),
        "{output:?}"
    );
    // Whether another host is asked is for whoever judges calls.
    let output = fetch("/other");
    assert!(
        output
            .content
            .starts_with(&format!("URL: {}\nStatus: 302", site.url("/other")))
    );
    assert!(output.content.contains(&other.url("/x")), "{output:?}");
    assert_eq!(other.lines(), Vec::<String>::new());
    assert_failed(&fetch("/private"), "it leads to 127.0.0.2");
    assert_eq!(inner.lines(), Vec::<String>::new());
    assert_failed(&fetch("/file"), "only http");
    assert_failed(&fetch("/userinfo"), "a name or a password");
    assert_failed(&fetch("/nowhere"), "stay");
    let before = site.lines().len();
    assert_failed(&fetch("/round"), "after 10 redirects");
    assert_eq!(site.lines().len() - before, 11);
}

#[test]
fn a_body_that_is_too_long_is_cut_and_one_that_breaks_off_is_told() {
    let text = "äb ".repeat(500_000);
    let site = Site::saying(
        "127.0.0.1",
        "Content-Type: text/plain; charset=utf-8\r\n",
        text.as_str(),
    );
    let output = fetch(&site.url("/"));
    assert!(output.success);
    let note = "Note: the body is too long; this is from its first 1000000 of 2000000 bytes\n\n";
    let (_, body) = output.content.split_once(note).unwrap();
    assert_eq!(body, &text[..1_000_000]);

    let page = "<div>".repeat(400_000);
    let site = Site::saying("127.0.0.1", "Content-Type: text/html\r\n", page);
    assert!(fetch(&site.url("/")).content.ends_with("\n\n(no text)"));

    let site = Site::new("127.0.0.1", |_, socket| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Type: text/plain\r\n\r\nabc";
        socket.write_all(head.as_bytes()).unwrap();
    });
    let output = fetch(&site.url("/"));
    let is_told = output
        .content
        .contains("Note: the body is not whole; this is from its first 3 bytes");
    assert!(output.success && is_told, "{output:?}");
    assert!(output.content.ends_with("\n\nabc"), "{output:?}");
}

/// A server that begins an answer and stays, until the client is gone.
fn slow(head: &'static str) -> (Site, Receiver<()>) {
    let (gone_tx, gone_rx): (Sender<()>, _) = bounded(1);
    let site = Site::new("127.0.0.1", move |_, socket| {
        socket.write_all(head.as_bytes()).unwrap();
        // The end of what the client sends, or its reset.
        let _ = socket.read(&mut [0; 1]);
        gone_tx.send(()).unwrap();
    });
    (site, gone_rx)
}

const SLOW_BODY: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nabc";

#[test]
fn a_cancel_ends_a_run_at_once_wherever_it_waits() {
    for head in ["", "HTTP/1.1 200 OK\r\n", SLOW_BODY] {
        let (site, gone_rx) = slow(head);
        let (cancel_tx, cancel_rx) = bounded::<Infallible>(0);
        let url = site.url("/");
        let runner = thread::spawn(move || {
            let arguments = json!({"action": "fetch", "url": url});
            let output = run_until(settings(&["127.0.0.1"]), &arguments, &cancel_rx);
            (output, Instant::now())
        });
        eventually("the request", || (!site.asked().is_empty()).then_some(()));
        let cancelled = Instant::now();
        drop(cancel_tx);
        let (output, ended) = runner.join().unwrap();
        assert!(ended - cancelled < CANCEL_MAX, "{:?}", ended - cancelled);
        assert_failed(&output, "cancelled");
        gone_rx.recv_timeout(Duration::from_secs(5)).unwrap();
    }
}

#[test]
fn the_time_for_all_of_it_is_limited() {
    for (head, expected, success) in [
        ("", "the answer was not whole in time", false),
        (SLOW_BODY, "this is from its first 3 bytes", true),
    ] {
        let (site, _gone_rx) = slow(head);
        let settings = WebSettings {
            time_limit: Duration::from_millis(300),
            ..settings(&["127.0.0.1"])
        };
        let arguments = json!({"action": "fetch", "url": site.url("/")});
        let output = run(settings, &arguments);
        assert_eq!(output.success, success, "{output:?}");
        assert!(output.content.contains(expected), "{output:?}");
    }
}

#[test]
fn a_search_lists_what_was_found_and_never_tells_the_key() {
    const KEY: &str = "key-0123456789";
    let brave = Site::new("127.0.0.1", |asked, socket| match &*asked.line {
        "GET /res/v1/web/search?q=a+%26+b&count=2&text_decorations=false" => {
            let body = json!({"web": {"results": [
                {"title": "One", "url": "https://one.org/", "description": "The &quot;first&quot;"},
                {"title": "Two", "url": "https://two.org/", "description": ""},
            ]}});
            say(socket, "200 OK", "", body.to_string().as_bytes());
        }
        "GET /moved/res/v1/web/search?q=x&count=5&text_decorations=false" => {
            redirect(socket, "http://127.0.0.1:1/");
        }
        _ => {
            let token = &asked.headers["x-subscription-token"];
            let body = json!({"error": {"detail": format!("no such token: {token}")}});
            say(
                socket,
                "422 Unprocessable Entity",
                "",
                body.to_string().as_bytes(),
            );
        }
    });
    let search = |base: &str, arguments: &serde_json::Value| {
        // No address is allowed: the service's own needs no leave.
        let settings = WebSettings {
            search_key: Some(Secret::new(KEY)),
            search_base_url: Some(format!("{}{base}", brave.url(""))),
            ..WebSettings::default()
        };
        run(settings, arguments)
    };
    let output = search(
        "",
        &json!({"action": "search", "query": "a & b", "count": 2}),
    );
    assert_eq!(
        output,
        ToolOutput {
            success: true,
            content:
                "1. One\n   https://one.org/\n   The \"first\"\n\n2. Two\n   https://two.org/\n"
                    .to_owned()
        }
    );
    assert_eq!(brave.asked()[0].headers["x-subscription-token"], KEY);
    let output = search("", &json!({"action": "search", "query": "x"}));
    assert_failed(
        &output,
        "422 Unprocessable Entity: no such token: [redacted]",
    );
    // A redirect would take the key elsewhere.
    let output = search("/moved", &json!({"action": "search", "query": "x"}));
    assert_failed(&output, "the search service answered 302 Found");
    let without_key = run(settings(&[]), &json!({"action": "search", "query": "x"}));
    assert_failed(&without_key, "BRAVE_API_KEY");
}

#[test]
fn a_proxy_never_sees_the_key_of_the_search_service() {
    let proxy = proxy();
    let settings = WebSettings {
        proxy: Some(Proxy::new(&proxy.url("")).unwrap()),
        search_key: Some(Secret::new("key-0123456789")),
        search_base_url: Some("http://search.example".to_owned()),
        ..settings(&[])
    };
    let output = run(settings, &json!({"action": "search", "query": "x"}));
    assert_failed(&output, "the proxy would see the key");
    assert_eq!(proxy.lines(), Vec::<String>::new());
}

/// A proxy that connects to wherever it is told.
fn proxy() -> Site {
    Site::new("127.0.0.1", |asked, socket| {
        let Some(target) = asked.line.strip_prefix("CONNECT ") else {
            return say(socket, "400 Bad Request", "", b"");
        };
        // It has a mind of its own about names.
        let target = target.replace("intranet.example", "127.0.0.1");
        let Ok(mut there) = TcpStream::connect(target) else {
            return say(socket, "502 Bad Gateway", "", b"");
        };
        socket.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
        let (mut from_here, mut to_there) =
            (socket.try_clone().unwrap(), there.try_clone().unwrap());
        thread::spawn(move || {
            let _ = std::io::copy(&mut from_here, &mut to_there);
            let _ = to_there.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut there, socket);
        let _ = socket.shutdown(std::net::Shutdown::Both);
    })
}

#[test]
fn a_configured_proxy_is_used_and_resolves_names() {
    let site = Site::saying("127.0.0.1", "Content-Type: text/plain\r\n", "inside");
    let proxy = proxy();
    let port = site.address.port();
    let address = proxy.address;
    let fetch = |url: &str| {
        let settings = WebSettings {
            proxy: Some(Proxy::new(&format!("http://me:secret@{address}")).unwrap()),
            ..settings(&[])
        };
        run(settings, &json!({"action": "fetch", "url": url}))
    };
    let output = fetch(&format!("http://intranet.example:{port}/"));
    assert!(output.success, "{output:?}");
    assert!(output.content.ends_with("\n\ninside"), "{output:?}");
    assert_eq!(proxy.lines(), [format!("CONNECT intranet.example:{port}")]);
    assert_eq!(
        proxy.asked()[0].headers["proxy-authorization"],
        "Basic bWU6c2VjcmV0"
    );
    assert_eq!(site.lines(), ["GET /"]);
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
    ] {
        let output = fetch(&url);
        assert!(!output.success, "{output:?}");
        assert!(!output.content.contains("secret"), "{output:?}");
    }
    assert_eq!(proxy.lines().len(), 1);
}

/// What a process of its own runs, which sees a proxy in its environment.
#[test]
fn a_proxy_of_the_environment_is_not_used() {
    const TARGET: &str = "DURAGENT_TEST_WEB_TARGET";
    if let Ok(url) = std::env::var(TARGET) {
        let output = fetch(&url);
        assert!(output.success, "{output:?}");
        assert!(output.content.ends_with("\n\ninside"), "{output:?}");
        return;
    }
    let site = Site::saying("127.0.0.1", "Content-Type: text/plain\r\n", "inside");
    let proxy = proxy();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "web::a_proxy_of_the_environment_is_not_used"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .env(TARGET, site.url("/"));
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTPS_PROXY",
    ] {
        command.env(name, proxy.url(""));
    }
    let output = command.output_in_time().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(site.lines(), ["GET /"]);
    assert_eq!(proxy.lines(), Vec::<String>::new());
}

#[test]
fn an_agent_that_asks_for_it_reads_the_web() {
    let site = Site::saying("127.0.0.1", "Content-Type: text/plain\r\n", "inside");
    let server = Bench::new()
        .agent(echo("reader").builtin("web"))
        .config("web: {allow_addresses: [127.0.0.1]}")
        .serve();
    let session = server.create_session("reader");
    let answer = server.call(
        &session,
        "web",
        &json!({"action": "fetch", "url": site.url("/")}),
    );
    assert!(answer.contains("inside"), "{answer}");
    assert_eq!(site.lines(), ["GET /"]);
}

/// An agent with the tool whose model is `model`, and a search service.
fn reader(workspace: &Workspace, model: &FakeModel, brave: &Site) -> Server {
    let reader = asking("reader", model).continues();
    reader.builtin("web").write(workspace);
    workspace.config("web: {allow_addresses: [127.0.0.1]}\n");
    Launch::new(workspace)
        .env("BRAVE_API_KEY", "key-0123456789")
        .env("BRAVE_BASE_URL", &brave.url(""))
        .start()
}

fn fetches(url: &str) -> Step {
    tool_call("web", &json!({"action": "fetch", "url": url}).to_string())
}

#[test]
fn a_model_fetches_what_it_was_sent_to_and_asks_before_it_goes_elsewhere_after_a_restart_too() {
    let page = |ip| Site::saying(ip, "Content-Type: text/plain\r\n", "a page");
    let (site, found, other) = (page("127.0.0.1"), page("127.0.0.1"), page("127.0.0.1"));
    let results = json!({"web": {"results": [
        {"title": "One", "url": found.url("/found"), "description": "It"},
    ]}});
    let nothing = json!({"web": {"results": []}});
    let brave = Site::new("127.0.0.1", move |asked, socket| {
        let answer = if asked.line.contains("q=q&") {
            &results
        } else {
            &nothing
        };
        say(socket, "200 OK", "", answer.to_string().as_bytes());
    });
    let model = FakeModel::start();
    let workspace = Workspace::new();
    let mut server = reader(&workspace, &model, &brave);
    let session = server.create_session("reader");
    let asked = |server: &Server, message: &str, step: Step| {
        model.reply(step).then(text("done"));
        let answer = server.say(&session, message).json();
        let question = answer["command"].as_str().map(str::to_owned);
        assert!(
            question.is_some() || answer["content"] == "done",
            "{answer}"
        );
        question
    };
    // The user named it; then its host has answered.
    let url = site.url("/a?b=c");
    let message = format!("read {url}, please");
    assert_eq!(asked(&server, &message, fetches(&url)), None);
    assert_eq!(asked(&server, "go on", fetches(&site.url("/next"))), None);
    // A search is free, and so is what it found.
    let search = tool_call("web", r#"{"action":"search","query":"q"}"#);
    assert_eq!(asked(&server, "search", search), None);
    assert_eq!(
        asked(&server, "open it", fetches(&found.url("/found"))),
        None
    );

    server.kill();
    let server = reader(&workspace, &model, &brave);
    assert_eq!(asked(&server, "again", fetches(&found.url("/later"))), None);
    // Nobody named that: it may hold what the model was told.
    let composed = other.url("/?told=secret");
    let searched = json!({"action": "search", "query": composed}).to_string();
    assert_eq!(asked(&server, "search", tool_call("web", &searched)), None);
    let question = asked(&server, "and now", fetches(&composed));
    assert!(question.is_some_and(|shown| shown.contains(&composed)));
    assert_eq!(other.lines(), Vec::<String>::new());
    assert_eq!(site.lines(), ["GET /a?b=c", "GET /next"]);
    assert_eq!(found.lines(), ["GET /found", "GET /later"]);
}
