use super::*;
use proptest::prelude::*;

const MAX: usize = 16 << 10;

fn refused(text: &str) -> u16 {
    match parse(text.as_bytes(), MAX) {
        Err(problem) => problem.status(),
        Ok(head) => panic!("{text:?} was taken for {head:?}"),
    }
}

fn parsed(text: &str) -> ParsedHead<'_> {
    parse(text.as_bytes(), MAX).unwrap().unwrap()
}

fn forwarded(text: &str) -> String {
    let stamp = GateStamp { conn: 7, key: "k" };
    String::from_utf8(parsed(text).forwarded(stamp)).unwrap()
}

#[test]
fn every_shape_that_readers_could_take_differently_is_refused() {
    let table = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\u{7f}c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e4}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", 505),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://me@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a:80:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("GET /\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        ("CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ];
    for (text, status) in table {
        assert_eq!(refused(text), status, "{text:?}");
    }
}

#[test]
fn every_doubtful_length_is_refused() {
    let table = [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: identity\r\n", 501),
        ("Transfer-Encoding: \u{b}chunked\r\n", 400),
        ("Expect: 200-ok\r\n", 417),
    ];
    for (lines, status) in table {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(refused(&text), status, "{lines:?}");
    }
    assert_eq!(
        refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        400
    );
    assert_eq!(refused("POST / HTTP/1.0\r\n\r\n"), 411);
}

#[test]
fn the_body_ends_where_the_head_says() {
    let framing =
        |lines: &str| parsed(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).framing;
    assert_eq!(framing(""), Framing::None);
    assert_eq!(framing("content-length: 007\r\n"), Framing::Length(7));
    assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Framing::Chunked);
    let huge = "Content-Length: 99999999999999999999999\r\n";
    assert_eq!(framing(huge), Framing::Length(u64::MAX));
}

#[test]
fn heads_are_limited_in_bytes_and_in_headers() {
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX));
    assert_eq!(refused(&long), 431);
    // To the byte: a head of so many is one, and one more is too much, whole or not.
    let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes();
    let statuses = |text: &[u8], max: usize| match parse(text, max) {
        Ok(head) => u16::from(head.is_some()),
        Err(problem) => problem.status(),
    };
    let len = text.len();
    assert_eq!(statuses(text, len), 1);
    assert_eq!(statuses(text, len - 1), 431);
    assert_eq!(statuses(&text[..len - 1], len), 0);
    assert_eq!(statuses(&text[..len - 1], len - 1), 431);
    assert_eq!(statuses(&text[..len - 2], len - 1), 0);
    let headers = |count: usize| {
        let lines = "X: y\r\n".repeat(count - 1);
        format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
    };
    assert_eq!(parsed(&headers(64)).headers.len(), 64);
    assert_eq!(refused(&headers(65)), 431);
}

#[test]
fn hop_by_hop_headers_and_tokens_end_here_and_our_own_cannot_be_forged() {
    let text = "POST /a?b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\n\
        x-gate-peer: 8.8.8.8:1\r\nX-GATE-KEY: z\r\nAuthorization: Bearer t\r\nTE: trailers\r\n\
        Upgrade: h2c\r\nKeep-Alive: 5\r\nExpect: 100-continue\r\nContent-Length: 2\r\nAccept:  */* \r\n\r\n";
    assert_eq!(
        forwarded(text),
        "POST /a?b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\
         X-Gate-Conn: 7\r\nX-Gate-Key: k\r\n"
    );
    assert!(parsed(text).expects_continue);
}

#[test]
fn a_target_in_absolute_form_is_a_name_and_a_path() {
    for (method, target, authority, want) in [
        ("GET", "/a?b", None, "/a?b"),
        ("GET", "//a", None, "//a"),
        ("GET", "http://a/b?c=http://d", Some("a"), "/b?c=http://d"),
        ("GET", "HTTPS://a:8080/b", Some("a:8080"), "/b"),
        ("GET", "hTTp://[::1]:80//b", Some("[::1]:80"), "//b"),
        ("GET", "http://a", Some("a"), "/"),
        ("GET", "http://a?b=@", Some("a"), "/?b=@"),
        ("OPTIONS", "http://a", Some("a"), "*"),
        ("OPTIONS", "http://a/", Some("a"), "/"),
        ("OPTIONS", "http://a?b", Some("a"), "/?b"),
        ("OPTIONS", "*", None, "*"),
    ] {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = parsed(&text);
        assert_eq!((head.authority, &*head.target), (authority, want), "{text}");
        let forwarded = forwarded(&text);
        let line = format!("{method} {want} HTTP/1.1\r\n");
        assert!(forwarded.starts_with(&line), "{forwarded}");
    }
}

#[test]
fn a_ticket_ends_here() {
    let text = forwarded("GET /a?b&ticket=secret&c HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(text.starts_with("GET /a?b&c HTTP/1.1\r\n"), "{text}");
    assert!(!text.contains("secret"));
}

#[test]
fn only_a_client_of_http_1_1_waits_for_leave_to_send() {
    let expects = |version: &str, line: &str| {
        let text = format!("POST / HTTP/{version}\r\nHost: a\r\nContent-Length: 1\r\n{line}\r\n");
        parsed(&text).expects_continue
    };
    for (version, line, expected) in [
        ("1.1", "", false),
        ("1.1", "Expect: 100-continue\r\n", true),
        ("1.1", "expect: 100-Continue\r\n", true),
        ("1.0", "Expect: 100-continue\r\n", false),
        ("1.0", "", false),
    ] {
        assert_eq!(expects(version, line), expected, "{version} {line:?}");
    }
}

#[test]
fn the_server_is_never_told_that_a_request_is_the_last_one() {
    for text in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, upgrade\r\n\r\n",
    ] {
        let forwarded = forwarded(text);
        assert!(forwarded.starts_with("GET / HTTP/1.1\r\n"), "{forwarded}");
        assert!(!forwarded.contains("Connection"), "{forwarded}");
    }
}

#[test]
fn connections_live_on_unless_the_client_says_otherwise() {
    let keeps = |text: &str| parsed(text).keeps_alive();
    assert!(keeps("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(!keeps(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n"
    ));
    assert!(!keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

proptest! {
    #[test]
    fn any_prefix_of_a_good_head_waits_for_the_rest(cut in 0_usize..76) {
        let text = b"\r\nPOST /a HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 3\r\nAccept: */*\r\n\r\nabc";
        let cut = cut.min(text.len() - 4);
        prop_assert_eq!(parse(&text[..cut], MAX), Ok(None));
        let whole = parse(text, MAX).unwrap().unwrap();
        prop_assert_eq!(whole.bytes, text.len() - 3);
        prop_assert_eq!(parse(&text[..whole.bytes], MAX), Ok(Some(whole)));
    }

    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let _outcome = parse(&text, MAX);
    }

    #[test]
    fn what_it_takes_is_forwarded_as_one_head(text in "(GET|POST) /[ -~]{0,20} HTTP/1.[01]\r\n([A-Za-z-]{1,8}:[ -~\r\n\t]{0,12}\r\n){0,4}\r\n") {
        if let Ok(Some(head)) = parse(text.as_bytes(), MAX) {
            let stamp = GateStamp { conn: 7, key: "k" };
            let text = String::from_utf8(head.forwarded(stamp)).unwrap();
            prop_assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
            prop_assert!(!text.contains("\r\n\r\n"));
        }
    }
}
