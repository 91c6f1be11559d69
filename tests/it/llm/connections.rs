//! Connections to providers, from one turn to the next.

use super::*;

/// A turn with one call, over whatever `providers` has.
fn turn(providers: &Providers, spec: &ModelSpec) -> Heard {
    let mut model = providers.model(spec);
    let (result, heard) = in_time(move || {
        let mut heard = Heard::default();
        (model.call(&hello(), &mut heard), heard)
    });
    result.unwrap();
    heard
}

/// `count` turns at once, of which each waits until all have begun.
fn turns_at_once(fake: &FakeModel, providers: &Providers, spec: &ModelSpec, count: usize) {
    fake.default_reply(text("one ").and_stall().and_text("two"));
    let turns: Vec<_> = (0..count)
        .map(|_| {
            let mut model = providers.model(spec);
            std::thread::spawn(move || model.call(&hello(), &mut Heard::default()).unwrap())
        })
        .collect();
    fake.wait_for_stalls(count);
    for _ in 0..count {
        fake.release();
    }
    for turn in turns {
        turn.join().unwrap();
    }
    fake.default_reply(text("ok"));
}

/// Which connection each request came over.
fn connections(fake: &FakeModel) -> Vec<usize> {
    fake.requests().iter().map(|one| one.connection).collect()
}

#[test]
fn turns_share_a_connection_whatever_the_answer_was() {
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(text("a few words"))
            .then(text("all of it").whole())
            .then(error(500, "later"))
            .then(text("called").and_call("date", "{}"))
            .then(error(429, "soon").retry_after("0"));
        let providers = Providers::new(settings_at(&fake));
        for _ in 0..5 {
            turn(&providers, &spec(provider.clone(), &fake));
        }
        assert_eq!(connections(&fake), [0; 7], "{provider:?}");
    }
}

#[test]
fn turns_at_once_have_a_connection_each_and_few_are_kept() {
    let fake = FakeModel::start();
    let providers = Providers::new(settings_at(&fake));
    let spec = spec(OPENAI, &fake);
    for _ in 0..2 {
        turns_at_once(&fake, &providers, &spec, 16);
    }
    assert!(connections(&fake).iter().all(|one| *one < 16));
    turns_at_once(&fake, &providers, &spec, 48);
    fake.wait_for_connections(32);
}

#[test]
fn a_cancelled_calls_connection_is_closed() {
    let fake = FakeModel::start();
    fake.reply(text("one")).then(text("two ").and_stall());
    let providers = Providers::new(settings_at(&fake));
    let spec = spec(OPENAI, &fake);
    turn(&providers, &spec);
    let (result, _time) = cancelled(providers.model(&spec), hello(), || fake.wait_for_stalls(1));
    assert_eq!(result, Err(LlmError::Cancelled));
    fake.wait_for_connections(0);
    turn(&providers, &spec);
    assert_eq!(connections(&fake), [0, 0, 1]);
}

#[test]
fn who_is_cancelled_after_its_call_disturbs_nobody() {
    let fake = FakeModel::start();
    fake.reply(text("one"))
        .then(text("two ").and_stall().and_text("three"));
    let providers = Providers::new(settings_at(&fake));
    let spec = spec(OPENAI, &fake);
    let mut first = providers.model(&spec);
    first.call(&hello(), &mut Heard::default()).unwrap();
    let mut second = providers.model(&spec);
    let second = std::thread::spawn(move || {
        let mut heard = Heard::default();
        second.call(&hello(), &mut heard).map(|_| heard.text)
    });
    fake.wait_for_stalls(1);
    first.canceller().cancel();
    fake.release();
    assert_eq!(second.join().unwrap().as_deref(), Ok("two three"));
    assert_eq!(connections(&fake), [0, 0]);
}

#[test]
fn an_answer_that_failed_or_closes_its_connection_ends_it() {
    let done = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n";
    for (step, is_ok) in [
        (raw("text/event-stream", done), true),
        (text("half").and_cut(), false),
        (text("half").and_error(503, "no more"), false),
    ] {
        let fake = FakeModel::start();
        fake.reply(step);
        let providers = Providers::new(settings_at(&fake));
        let spec = spec(OPENAI, &fake);
        let (result, _heard) = called(providers.model(&spec), Heard::default());
        assert_eq!(result.is_ok(), is_ok, "{result:?}");
        assert!(turn(&providers, &spec).notices.is_empty());
        assert_eq!(connections(&fake), [0, 1]);
    }
}

#[test]
fn a_connection_that_the_provider_closed_is_made_anew_and_nobody_is_told() {
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        let providers = Providers::new(settings_at(&fake));
        let spec = spec(provider, &fake);
        turn(&providers, &spec);
        fake.close_connections();
        assert_eq!(turn(&providers, &spec).codes(), [""; 0]);
        // The fake closes this one when it has the request, and not before.
        fake.reply(hang_up());
        assert_eq!(turn(&providers, &spec).codes(), [""; 0]);
        assert_eq!(connections(&fake), [0, 1, 1, 2]);
    }
}

#[test]
fn a_connection_serves_one_address_with_one_key() {
    let (fake, other) = (FakeModel::start(), FakeModel::start());
    let providers = Providers::new(settings_at(&fake));
    // Both are asked at the same path; one of them has no key.
    for provider in [OPENAI, local(), OPENAI, local()] {
        turn(&providers, &spec(provider, &fake));
    }
    assert_eq!(connections(&fake), [0, 1, 0, 1]);
    turn(&providers, &spec(local(), &other));
    assert_eq!((fake.request_count(), connections(&other)), (4, vec![0]));
}

/// A provider that needs no key.
fn local() -> Provider {
    Provider::parse("vllm").unwrap()
}

/// A proxy that leads whatever it is asked for to `fake`.
fn proxy_to(fake: &FakeModel) -> ureq::Proxy {
    let target = fake.url();
    let target = target.trim_start_matches("http://");
    let target = target.split('/').next().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            lead(client.unwrap(), TcpStream::connect(&target).unwrap());
        }
    });
    ureq::Proxy::new(&format!("http://{address}")).unwrap()
}

fn lead(mut client: TcpStream, server: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"CONNECT provider.example:"));
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
    let ways = [
        (client.try_clone().unwrap(), server.try_clone().unwrap()),
        (server, client),
    ];
    for (mut from, mut to) in ways {
        std::thread::spawn(move || {
            // Either end may be closed first.
            drop(std::io::copy(&mut from, &mut to));
            drop(to.shutdown(std::net::Shutdown::Both));
        });
    }
}

#[test]
fn a_connection_through_a_proxy_is_kept_and_carries_long_requests() {
    let fake = FakeModel::start();
    let providers = Providers::new(ProviderSettings {
        proxies: Proxies::all(proxy_to(&fake)),
        ..settings()
    });
    let elsewhere = fake.url().replace("127.0.0.1", "provider.example");
    let spec = ModelSpec {
        main: choice(local(), Some(elsewhere)),
        ..spec(OPENAI, &fake)
    };
    let words = "in a few pieces ".repeat(700);
    for said in ["hello", &words, "hello"] {
        let mut model = providers.model(&spec);
        let request = Request {
            messages: vec![user(said)],
            ..Request::default()
        };
        let (result, heard) = in_time(move || {
            let mut heard = Heard::default();
            (model.call(&request, &mut heard), heard)
        });
        assert!(result.is_ok() && heard.notices.is_empty(), "{result:?}");
    }
    assert_eq!(connections(&fake), [0, 0, 0]);
    assert_eq!(fake.requests()[1].last_message(), words);
}
