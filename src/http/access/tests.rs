use super::*;

const HOST: (&str, &str) = ("Host", "localhost:8080");

type Headers<'a> = &'a [(&'a str, &'a str)];

/// When all requests of these tests come.
const NOW: u64 = 1_700_000_000_000_000;

fn check(settings: &AccessSettings, head: &HeadView<'_>) -> Result<Option<Requester>, HttpProblem> {
    super::check(settings, head, Timestamp::from_micros(NOW))
}

/// The server's owner, from this machine.
fn owner(credential: Credential) -> Requester {
    Requester {
        principal: Principal::Owner,
        credential,
        way: Way::Local,
    }
}

fn status(settings: &AccessSettings, head: &HeadView<'_>) -> u16 {
    check(settings, head).map_or_else(|problem| problem.status(), |_| 200)
}

fn get<'a>(target: &'a str, headers: &'a [(&'a str, &'a str)]) -> HeadView<'a> {
    HeadView {
        method: "GET",
        target,
        authority: None,
        version: HttpVersion::Http11,
        headers,
        peer: IpAddr::from([127, 0, 0, 1]),
        account: PeerAccount::Number(accounts::own()),
    }
}

fn with_tokens(api: Option<&str>, admin: Option<&str>) -> AccessSettings {
    AccessSettings {
        api_token: api.map(AccessToken::new),
        admin_token: admin.map(AccessToken::new),
        ..AccessSettings::default()
    }
}

#[test]
fn open_paths_are_open_to_everyone_with_any_settings() {
    let locked = with_tokens(Some("a"), Some("b"));
    for path in ["/", "/livez", "/readyz?x=1", "/version"] {
        let mut head = get(path, &[("Host", "evil.example"), ("Origin", "null")]);
        head.peer = IpAddr::from([192, 168, 1, 7]);
        assert_eq!(status(&locked, &head), 200, "{path}");
        assert_eq!(status(&AccessSettings::default(), &head), 200, "{path}");
    }
}

#[test]
fn everything_else_is_guarded() {
    let locked = with_tokens(Some("a"), None);
    for path in [
        "/api/v1/agents",
        "/metrics",
        "/livez/",
        "/LIVEZ",
        "//livez",
        "/openapi.yaml",
        "/nothing",
    ] {
        assert_eq!(status(&locked, &get(path, &[HOST])), 401, "{path}");
    }
}

#[test]
fn without_a_token_only_this_machine_may_call_and_only_directly() {
    let table: &[(&[(&str, &str)], u16)] = &[
        (&[HOST], 200),
        (&[("Host", "LOCALHOST")], 200),
        (&[("Host", "127.0.0.1:1")], 200),
        (&[("Host", "127.0.0.2:1")], 200),
        (&[("Host", "127.0.0.1.evil.example")], 403),
        (&[("Host", "[::1]:8080")], 200),
        (&[("Host", "[::1]")], 200),
        (&[("Host", "box.lan:9999")], 200),
        (&[("Host", "proxy.lan:81")], 200),
        (&[("Host", "proxy.lan:82")], 403),
        (&[("Host", "evil.example")], 403),
        (&[("Host", "localhost.evil.example")], 403),
        (&[("Host", "localhost:evil")], 403),
        (&[("Host", "localhost:99999")], 403),
        (&[("Host", "localhost:65535")], 200),
        (&[("Host", "localhost:+80")], 403),
        (&[("Host", "localhost:")], 403),
        (&[("Host", "localhost:80:80")], 403),
        (&[("Host", "localhost: 80")], 403),
        (&[("Host", "[::1]evil")], 403),
        (&[("Host", "")], 403),
        (&[], 403),
        (&[HOST, HOST], 403),
        (&[HOST, ("Origin", "http://localhost:8080")], 200),
        (&[HOST, ("Origin", "https://app.example")], 200),
        (&[HOST, ("Origin", "http://localhost:3000")], 403),
        // What speaks TLS under our name is none of ours.
        (&[HOST, ("Origin", "https://localhost:8080")], 403),
        (&[HOST, ("Origin", "ws://localhost:8080")], 403),
        (&[HOST, ("Origin", "localhost:8080")], 403),
        (&[HOST, ("Origin", "https://evil.example")], 403),
        (&[HOST, ("Origin", "null")], 403),
        (&[HOST, ("Sec-Fetch-Site", "same-origin")], 200),
        (&[HOST, ("Sec-Fetch-Site", "cross-site")], 403),
        (
            &[
                HOST,
                ("Origin", "https://app.example"),
                ("Sec-Fetch-Site", "cross-site"),
            ],
            200,
        ),
        (&[HOST, ("Forwarded", "for=1.2.3.4")], 403),
        (&[HOST, ("x-forwarded-for", "1.2.3.4")], 403),
        (&[HOST, ("X-Forwarded-Proto", "https")], 403),
        (&[HOST, ("X-Real-IP", "1.2.3.4")], 403),
        (&[HOST, ("via", "1.1 proxy")], 403),
    ];
    let settings = AccessSettings {
        allowed_hosts: vec!["box.lan".into(), "proxy.lan:81".into()],
        allowed_origins: vec!["https://app.example".into()],
        ..AccessSettings::default()
    };
    for (headers, expected) in table {
        let head = get("/api/v1/agents", headers);
        assert_eq!(status(&settings, &head), *expected, "{headers:?}");
    }
}

#[test]
fn the_name_in_a_target_must_be_known_as_well_as_the_host() {
    let settings = AccessSettings {
        allowed_hosts: vec![
            "box.lan".into(),
            "proxy.lan:80".into(),
            "tls.lan:443".into(),
        ],
        ..AccessSettings::default()
    };
    let ours = ("Origin", "http://127.0.0.1:8080");
    let table: &[(Option<&str>, Headers<'_>, u16)] = &[
        (Some("localhost:8080"), &[HOST], 200),
        (Some("127.0.0.1:8080"), &[HOST], 200),
        (Some("[::1]"), &[HOST], 200),
        (Some("BOX.lan:7"), &[HOST], 200),
        (Some("proxy.lan"), &[HOST], 200),
        (Some("proxy.lan:80"), &[HOST], 200),
        (Some("proxy.lan:81"), &[HOST], 403),
        (Some("proxy.lan:443"), &[HOST], 403),
        (None, &[("Host", "tls.lan")], 200),
        (None, &[("Host", "tls.lan:80")], 403),
        (Some("evil.example"), &[HOST], 403),
        (Some("localhost"), &[("Host", "evil.example")], 403),
        (Some("localhost"), &[], 403),
        // A page is of the name that counts.
        (Some("127.0.0.1:8080"), &[HOST, ours], 200),
        (
            Some("localhost:8080"),
            &[("Host", "127.0.0.1:8080"), ours],
            403,
        ),
    ];
    for (authority, headers, want) in table {
        let mut head = get("/api/v1/agents", headers);
        head.authority = *authority;
        assert_eq!(status(&settings, &head), *want, "{authority:?} {headers:?}");
    }
}

#[test]
fn without_a_token_other_peers_and_old_clients_are_refused() {
    let settings = AccessSettings::default();
    let peers: &[(&str, u16)] = &[
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("10.0.0.1", 403),
        ("::ffff:10.0.0.1", 403),
        ("2001:db8::1", 403),
    ];
    for (peer, expected) in peers {
        let mut head = get("/metrics", &[HOST]);
        head.peer = peer.parse().unwrap();
        assert_eq!(status(&settings, &head), *expected, "{peer}");
    }
    let mut old = get("/metrics", &[HOST]);
    old.version = HttpVersion::Http10;
    assert_eq!(status(&settings, &old), 403);
    let problem = check(&settings, &old).unwrap_err();
    assert!(problem.detail().contains("set server.api_token"));
}

#[test]
fn a_token_is_what_counts_once_one_is_set() {
    let settings = with_tokens(Some("s3cret"), None);
    let table: &[(&[(&str, &str)], u16)] = &[
        (&[("Authorization", "Bearer s3cret")], 200),
        (&[("authorization", "bEARER s3cret")], 200),
        (&[("Authorization", "Bearer  s3cret ")], 200),
        (&[("Authorization", "Bearer s3cre")], 401),
        (&[("Authorization", "Bearer s3cret2")], 401),
        (&[("Authorization", "Basic s3cret")], 401),
        (&[("Authorization", "s3cret")], 401),
        (&[("Authorization", "Bearer")], 401),
        (
            &[
                ("Authorization", "Bearer s3cret"),
                ("Authorization", "Bearer s3cret"),
            ],
            401,
        ),
        (&[], 401),
    ];
    for (headers, expected) in table {
        let mut head = get("/api/v1/agents", headers);
        head.peer = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(status(&settings, &head), *expected, "{headers:?}");
    }
}

#[test]
fn the_administration_has_its_own_token_or_that_of_the_api() {
    let api = ("Authorization", "Bearer api");
    let admin = ("Authorization", "Bearer admin");
    let both = with_tokens(Some("api"), Some("admin"));
    let only_api = with_tokens(Some("api"), None);
    let only_admin = with_tokens(None, Some("admin"));
    let path = "/api/admin/v1/shutdown";
    assert_eq!(status(&both, &get(path, &[admin])), 200);
    assert_eq!(status(&both, &get(path, &[api])), 401);
    assert_eq!(status(&both, &get("/api/v1/agents", &[admin])), 401);
    assert_eq!(status(&only_api, &get(path, &[api])), 200);
    assert_eq!(status(&only_admin, &get(path, &[HOST])), 401);
    assert_eq!(status(&only_admin, &get("/api/v1/agents", &[HOST])), 200);
    assert_eq!(status(&AccessSettings::default(), &get(path, &[HOST])), 200);
}

#[test]
fn no_spelling_of_an_admin_path_is_taken_for_the_api() {
    let settings = with_tokens(Some("api"), Some("admin"));
    let spellings = [
        "/api/%61dmin/v1/shutdown",
        "/API/Admin/v1/shutdown",
        "//api//admin/v1/shutdown",
        "/./api/./admin/v1",
        "/api/v1/../admin/v1/shutdown",
        "/api/v1/%2e%2e/admin/v1/shutdown",
    ];
    for path in spellings {
        let head = get(path, &[("Authorization", "Bearer api")]);
        assert_eq!(status(&settings, &head), 401, "{path}");
    }
}

#[test]
fn no_text_shows_a_token() {
    let settings = with_tokens(Some("s3cret"), Some("s4cret"));
    assert!(!format!("{settings:?}").contains("cret"));
    let head = get("/metrics", &[("Authorization", "Bearer s3crets")]);
    let problem = check(&settings, &head).unwrap_err();
    assert!(
        !String::from_utf8(problem.body())
            .unwrap()
            .contains("s3cret")
    );
}

#[test]
fn only_allowed_origins_get_cors_headers() {
    let settings = AccessSettings {
        allowed_origins: vec!["https://app.example/".into()],
        ..AccessSettings::default()
    };
    let asks = ("Access-Control-Request-Method", "POST");
    let good = [HOST, ("Origin", "https://app.example"), asks];
    let bad = [HOST, ("Origin", "https://evil.example"), asks];
    let mut head = get("/api/v1/sessions", &good);
    assert_eq!(
        cors_headers(&settings, &head),
        [
            ("Vary", "Origin".to_owned()),
            (
                "Access-Control-Allow-Origin",
                "https://app.example".to_owned()
            ),
            (
                "Access-Control-Expose-Headers",
                "Location, Preference-Applied, Retry-After".to_owned()
            )
        ]
    );
    assert_eq!(preflight(&settings, &head), None, "not an OPTIONS request");
    head.method = "OPTIONS";
    assert!(preflight(&settings, &head).is_some());
    head.headers = &bad;
    assert_eq!(preflight(&settings, &head), None);
    assert_eq!(
        cors_headers(&settings, &head),
        [("Vary", "Origin".to_owned())]
    );
    assert_eq!(cors_headers(&AccessSettings::default(), &head), []);
}

#[test]
fn without_a_token_only_the_owner_root_and_who_is_named_may_call() {
    let own = accounts::own();
    let these = |uids: &[u32]| LocalAccounts::These(uids.iter().copied().collect());
    let default = LocalAccounts::default();
    let table = [
        (default.clone(), PeerAccount::Number(own), 200),
        (default.clone(), PeerAccount::Number(0), 200),
        (default.clone(), PeerAccount::Number(own + 1), 403),
        (default.clone(), PeerAccount::Stranger, 403),
        (
            LocalAccounts::owner_and(&[own + 1]),
            PeerAccount::Number(own + 1),
            200,
        ),
        (
            LocalAccounts::owner_and(&[own + 1]),
            PeerAccount::Number(own),
            200,
        ),
        (
            LocalAccounts::owner_and(&[own + 1]),
            PeerAccount::Number(own + 2),
            403,
        ),
        (these(&[7]), PeerAccount::Stranger, 403),
        (LocalAccounts::Any, PeerAccount::Number(own + 1), 200),
        (LocalAccounts::Any, PeerAccount::Stranger, 200),
    ];
    for (local_users, account, expected) in table {
        let settings = AccessSettings {
            local_users: local_users.clone(),
            ..AccessSettings::default()
        };
        for path in ["/api/v1/agents", "/api/admin/v1/shutdown", "/nothing"] {
            let mut head = get(path, &[HOST]);
            head.account = account;
            assert_eq!(
                status(&settings, &head),
                expected,
                "{local_users:?} {account:?}"
            );
        }
        let mut open = get("/readyz", &[HOST]);
        open.account = account;
        let requester = (expected == 200).then(|| owner(Credential::Account));
        assert_eq!(check(&settings, &open), Ok(requester), "{account:?}");
    }
    let mut head = get("/api/v1/agents", &[HOST]);
    head.account = PeerAccount::Stranger;
    let problem = check(&AccessSettings::default(), &head).unwrap_err();
    let text = String::from_utf8(problem.body()).unwrap();
    for name in ["server.api_token", "server.local_users"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn the_number_that_stands_for_strangers_lets_nobody_in() {
    let overflow = accounts::overflow();
    let LocalAccounts::These(uids) = LocalAccounts::owner_and(&[overflow, 7]) else {
        panic!("not all");
    };
    assert!(uids.contains(&7) && !uids.contains(&overflow));
}

#[test]
fn a_token_decides_alone_and_the_account_is_asked_for_only_where_it_counts() {
    let settings = with_tokens(Some("a"), None);
    let mut head = get("/api/v1/agents", &[HOST, ("Authorization", "Bearer a")]);
    head.account = PeerAccount::Stranger;
    let by_token = owner(Credential::Token);
    assert_eq!(check(&settings, &head), Ok(Some(by_token.clone())));
    assert_eq!(check(&settings, &get("/livez", &[HOST])), Ok(None));
    // The same from elsewhere, by either way.
    let proxied = [
        HOST,
        ("Authorization", "Bearer a"),
        ("X-Forwarded-For", "::1"),
    ];
    let mut remote = head;
    remote.peer = IpAddr::from([10, 0, 0, 1]);
    for head in [remote, get("/api/v1/agents", &proxied)] {
        let over_network = Requester {
            way: Way::Network,
            ..by_token.clone()
        };
        assert_eq!(check(&settings, &head), Ok(Some(over_network)));
    }
    let here = IpAddr::from([127, 0, 0, 1]);
    assert!(!settings.asks_for_account(here));
    let without = AccessSettings::default();
    assert!(without.asks_for_account(here));
    assert!(without.asks_for_account("::ffff:127.0.0.1".parse().unwrap()));
    assert!(!without.asks_for_account(IpAddr::from([10, 0, 0, 1])));
    // What the administration asks for does not help the rest.
    assert!(with_tokens(None, Some("b")).asks_for_account(here));
    let any = AccessSettings {
        local_users: LocalAccounts::Any,
        ..AccessSettings::default()
    };
    assert!(!any.asks_for_account(here));
}

#[test]
fn a_ticket_lets_its_holder_in_and_the_rules_for_pages_hold() {
    const ID: &str = "session_01J0000000000000000000000A";
    let key = TicketKey::new("k");
    let session = SessionId::parse(ID).unwrap();
    let ticket = |at: u64| {
        let now = Timestamp::from_micros(at);
        key.issue(&session, &Principal::Owner, now).text
    };
    let good = ticket(NOW);
    let old = ticket(NOW - 900_000_000);
    let events = |query: &str| format!("/api/v1/sessions/{ID}/events?{query}");
    let local = AccessSettings {
        tickets: Some(key.clone()),
        allowed_hosts: vec!["box.lan".into()],
        allowed_origins: vec!["https://app.example".into()],
        ..AccessSettings::default()
    };
    let guarded = AccessSettings {
        api_token: Some(AccessToken::new("t")),
        ..local.clone()
    };
    let answers = |target: &str, headers: &[(&str, &str)]| {
        [&local, &guarded].map(|settings| {
            let mut head = get(target, headers);
            // A browser of another account.
            head.account = PeerAccount::Stranger;
            match check(settings, &head) {
                Ok(requester) => {
                    let requester = requester.unwrap();
                    assert_eq!(requester.credential, Credential::Ticket, "{target}");
                    assert_eq!(requester.principal, Principal::Owner, "{target}");
                    200
                }
                Err(problem) => {
                    assert!(!String::from_utf8(problem.body()).unwrap().contains(&good));
                    problem.status()
                }
            }
        })
    };
    let bearer = ("Authorization", "Bearer t");
    for (query, want) in [
        (format!("ticket={good}"), [200, 200]),
        (format!("readonly=true&ticket={good}&history=3"), [200, 200]),
        (format!("ticket={old}"), [401, 401]),
        (format!("ticket={good}0"), [401, 401]),
        (format!("ticket={good}&ticket={good}"), [401, 401]),
        ("ticket=".to_owned(), [401, 401]),
        ("ticket".to_owned(), [401, 401]),
        ("ticket=%zz".to_owned(), [401, 401]),
        (format!("ticket={good}%"), [401, 401]),
        // The rest of the query is the handler's matter.
        (format!("ticket={good}&a=%zz"), [200, 200]),
        // None at all: the usual rules.
        ("tickets=x".to_owned(), [403, 401]),
    ] {
        assert_eq!(answers(&events(&query), &[HOST]), want, "{query}");
    }
    // What a ticket says is not mended by a token.
    assert_eq!(answers(&events("ticket=x"), &[HOST, bearer]), [401, 401]);
    for elsewhere in ["", "/messages", "/stream", "/ticket"] {
        let target = format!("/api/v1/sessions/{ID}{elsewhere}?ticket={good}");
        assert_eq!(answers(&target, &[HOST]), [403, 401], "{target}");
    }
    let table: &[(Headers<'_>, [u16; 2])] = &[
        (&[("Host", "box.lan:1")], [200, 200]),
        // With a token, the name is a proxy's matter.
        (&[("Host", "evil.example")], [403, 200]),
        (&[HOST, ("X-Forwarded-For", "1.2.3.4")], [403, 200]),
        (&[HOST, ("Origin", "https://app.example")], [200, 200]),
        (&[HOST, ("Origin", "http://localhost:8080")], [200, 200]),
        (&[HOST, ("Origin", "https://localhost:8080")], [403, 200]),
        (&[HOST, ("Origin", "https://evil.example")], [403, 403]),
        (&[HOST, ("Origin", "null")], [403, 403]),
        (&[HOST, ("Sec-Fetch-Site", "cross-site")], [403, 403]),
        (&[HOST, ("Sec-Fetch-Site", "same-origin")], [200, 200]),
    ];
    let target = events(&format!("ticket={good}"));
    for (headers, want) in table {
        assert_eq!(answers(&target, headers), *want, "{headers:?}");
    }
    let mut from_elsewhere = get(&target, &[HOST]);
    from_elsewhere.peer = IpAddr::from([192, 168, 1, 7]);
    assert_eq!(status(&local, &from_elsewhere), 403);
    assert_eq!(status(&guarded, &from_elsewhere), 200);
    let without_key = AccessSettings::default();
    assert_eq!(status(&without_key, &get(&target, &[HOST])), 401);
}
