//! A model that fails is asked again, for a while, and then another one.

use super::*;

/// A call of `main`, and of `other` after that.
fn with_fallback(
    main: &FakeModel,
    other: &FakeModel,
    request: &Request,
) -> (Result<ModelReply, LlmError>, Heard) {
    with_fallback_at(&MESSAGES, main, other, request)
}

fn with_fallback_at(
    place: &Place,
    main: &FakeModel,
    other: &FakeModel,
    request: &Request,
) -> (Result<ModelReply, LlmError>, Heard) {
    let spec = ModelSpec {
        fallbacks: vec![ModelChoice {
            name: "m2".into(),
            ..choice(OPENAI, Some(other.url()))
        }],
        ..spec_at(place, main)
    };
    let mut heard = Heard::default();
    let result = Providers::new(settings())
        .model(&spec)
        .call(request, &mut heard);
    (result, heard)
}

#[test]
fn a_busy_provider_is_tried_six_times() {
    for place in PLACES {
        let fake = FakeModel::start();
        fake.reply(error(503, "busy"))
            .then(error(429, "slow down"))
            .then(error(529, "overloaded"))
            .then(error(408, "too slow"))
            .then(error(502, "bad gateway"))
            .then(text("there"));
        let (result, heard) = ask_at(&place, &fake);
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(heard.codes(), ["retry"; 5]);
        let words = &heard.notices[0].1;
        assert!(
            words.contains("answered 503: busy; trying again in 0.0 s"),
            "{words}"
        );

        fake.default_reply(error(500, "out of order"));
        let before = fake.request_count();
        let (result, heard) = ask_at(&place, &fake);
        assert!(matches!(result, Err(LlmError::Status { status: 500, .. })));
        assert_eq!(fake.request_count() - before, 6);
        assert_eq!(heard.codes(), ["retry"; 5]);
    }
}

#[test]
fn a_time_is_believed_in_every_form_in_which_providers_name_it() {
    const INFO: &str =
        r#"{"error":{"code":429,"message":"quota","details":[{"retryDelay":"0.3s"}]}}"#;
    for step in [
        error(503, "later").retry_after("0.3"),
        error(429, "later").header("retry-after-ms", "300"),
        error(429, "later")
            .header("x-ratelimit-remaining-requests", "0")
            .header("x-ratelimit-reset-requests", "300ms"),
        error(429, "Rate limit reached. Please try again in 0.3s."),
        error(429, "").body(INFO),
        pieces(&[]).and_error(429, "Please retry in 0.3s."),
    ] {
        for place in [CHAT, RESPONSES, LOCAL] {
            let fake = FakeModel::start();
            fake.reply(step.clone()).then(text("now"));
            let begin = Instant::now();
            let (result, heard) = ask_at(&place, &fake);
            assert!(result.is_ok(), "{result:?}");
            assert!(begin.elapsed() >= Duration::from_millis(300), "{place:?}");
            assert_eq!(heard.codes(), ["retry"]);
            let asked = fake.requests();
            assert_eq!(asked[0].text, asked[1].text);
        }
    }
}

#[test]
fn a_longer_wait_than_ours_is_named_and_others_are_asked_at_once() {
    let (main, other) = (FakeModel::start(), FakeModel::start());
    main.reply(error(429, "later").header("retry-after-ms", "300000"));
    let (result, heard) = with_fallback(&main, &other, &hello());
    assert_eq!(result.unwrap().model, "openai/m2");
    assert_eq!(heard.codes(), ["fallback", "fallback"]);
    let words = &heard.notices[0].1;
    assert!(words.contains("asks to wait 300 s"), "{words}");
    assert!(words.ends_with("asking openai/m2 instead"), "{words}");
    assert_eq!(main.request_count(), 1);
    // Nor is there longer than the whole call has left.
    main.reply(error(429, "later").retry_after("30"));
    let request = Request {
        timeout: Some(Duration::from_secs(20)),
        ..hello()
    };
    let (result, heard) = with_fallback(&main, &other, &request);
    assert!(result.is_ok(), "{result:?}");
    assert!(
        heard.notices[0].1.contains("asks to wait 30 s"),
        "{heard:?}"
    );
}

#[test]
fn what_is_wrong_with_one_provider_is_said_and_another_asked() {
    let wrong = [
        (error(401, "wrong key"), "wrong key"),
        (error(402, "no credits"), "no credits"),
        (error(403, "not your region"), "not your region"),
        (error(404, "no such model"), "no such model"),
        (
            error(429, "You exceeded your current quota"),
            "current quota",
        ),
        (raw("text/html", "<html>welcome</html>"), "a web page"),
    ];
    let cases = PLACES
        .iter()
        .flat_map(|place| wrong.iter().map(move |case| (place, case)));
    for (place, (step, words)) in cases {
        let (main, other) = (FakeModel::start(), FakeModel::start());
        main.default_reply(step.clone());
        other.reply(text("here"));
        let (result, heard) = with_fallback_at(place, &main, &other, &hello());
        assert_eq!(result.unwrap().model, "openai/m2", "{words}");
        assert_eq!(heard.codes(), ["fallback", "fallback"], "{words}");
        assert!(heard.notices[0].1.contains(words), "{heard:?}");
        assert_eq!(heard.notices[1].1, "answered by openai/m2");
        // A path that is nowhere may be one that the server does not know.
        let asked = 1 + usize::from(*place == RESPONSES && *words == "no such model");
        assert_eq!((heard.text.as_str(), main.request_count()), ("here", asked));
        assert_eq!(other.requests()[0].last_message(), "hello");
    }
    // A bad request would be as bad elsewhere.
    let (main, other) = (FakeModel::start(), FakeModel::start());
    main.reply(error(400, "`tools` must be a list"));
    let (result, heard) = with_fallback(&main, &other, &hello());
    assert!(matches!(result, Err(LlmError::Status { status: 400, .. })));
    assert_eq!((heard.codes(), other.request_count()), (vec![], 0));
}

#[test]
fn what_is_too_long_is_told_first_and_asked_elsewhere_when_it_was_shortened() {
    use duragent::llm::OnOverflow;
    for (on_overflow, answers, asked) in [
        (OnOverflow::Tell, false, 1),
        (OnOverflow::FallBack, true, 1),
        (OnOverflow::HasFallen, true, 0),
    ] {
        let (main, other) = (FakeModel::start(), FakeModel::start());
        main.reply(error(400, "prompt is too long: 9 tokens > 8 maximum"));
        let request = Request {
            on_overflow,
            ..hello()
        };
        let (result, heard) = with_fallback(&main, &other, &request);
        assert_eq!(result.is_ok(), answers, "{result:?}");
        assert_eq!(main.request_count(), asked);
        assert_eq!(heard.codes().len(), usize::from(answers) * 2, "{heard:?}");
    }
}

#[test]
fn a_reply_of_nothing_and_calls_that_were_not_asked_for_are_remarked_on() {
    for place in PLACES {
        let fake = FakeModel::start();
        fake.reply(pieces(&[]).finish_reason("stop"))
            .then(text("a word"));
        let (result, heard) = ask_at(&place, &fake);
        assert_eq!(result.unwrap().finish_reason, FinishReason::Stop);
        assert_eq!(heard.codes(), ["empty_reply"]);
        assert_eq!(ask_at(&place, &fake).1.codes(), [""; 0]);

        fake.reply(text("so").and_call("date", "{}"));
        let request = Request {
            tool_choice: ToolChoice::None,
            tools: long_request().tools,
            ..hello()
        };
        let mut heard = Heard::default();
        let mut model = Providers::new(settings_at(&fake)).model(&spec_at(&place, &fake));
        let result = model.call(&request, &mut heard);
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(heard.codes(), ["calls_ignored"]);
        assert!(heard.notices[0].1.contains("date"), "{heard:?}");
    }
}

#[test]
fn what_a_provider_says_of_another_try_counts() {
    for (status, told, asked) in [(500, "false", 1), (400, "true", 2), (409, "true", 2)] {
        let fake = FakeModel::start();
        fake.reply(error(status, "so it is").header("x-should-retry", told))
            .then(text("there"));
        let (result, heard) = ask(ANTHROPIC, &fake);
        assert_eq!(result.is_ok(), asked == 2, "{result:?}");
        assert_eq!(fake.request_count(), asked, "{status} {told}");
        assert_eq!(heard.codes(), vec!["retry"; asked - 1]);
    }
    let (main, other) = (FakeModel::start(), FakeModel::start());
    main.reply(error(500, "so it is").header("x-should-retry", "false"));
    let (result, heard) = with_fallback(&main, &other, &hello());
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((main.request_count(), other.request_count()), (1, 1));
    assert_eq!(heard.codes(), ["fallback", "fallback"]);
}
