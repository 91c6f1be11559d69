use super::*;
use crate::domain::event::{Decision, EndReason, Event, Trigger};
use crate::domain::state::Progress;
use crate::domain::story::*;

/// The next step, in a word, after a log of these events.
fn next(events: Vec<Event>) -> String {
    match next_step(&fold(&log(events))) {
        Step::Idle => "idle".to_owned(),
        Step::CallModel => "call the model".to_owned(),
        Step::RunTools(calls) => {
            let calls = calls.iter().map(|state| {
                let progress = match &state.progress {
                    Progress::Waiting => "waiting".to_owned(),
                    Progress::Decided(decision) => format!("{decision:?}"),
                    Progress::Started => "started".to_owned(),
                    Progress::Doubted => "doubted".to_owned(),
                    Progress::Parked { .. } | Progress::Asked | Progress::Done => {
                        "not to be run".to_owned()
                    }
                };
                format!("{} {progress}", state.call.call_id)
            });
            calls.collect::<Vec<_>>().join(", ")
        }
        Step::AwaitOthers => "await others".to_owned(),
        Step::EndTurn(outcome) => format!("end: {outcome:?}"),
        Step::Paused => "paused".to_owned(),
        Step::Summarise => "summarise".to_owned(),
    }
}

#[test]
fn a_turn_begins_with_a_message_and_ends_with_an_answer() {
    let asked = || vec![user(1, "a"), started(1, Trigger::Message)];
    let then = |more: Vec<Event>| asked().into_iter().chain(more).collect::<Vec<_>>();
    let ends_with = |why| vec![reply(11, 3, "b").but(why).event()];
    for (events, step) in [
        (vec![], "idle"),
        (vec![user(1, "a")], "call the model"),
        (vec![user(1, "a"), dropped(1)], "idle"),
        (asked(), "call the model"),
        (then(vec![started(1, Trigger::Resume)]), "call the model"),
        // Its message was withdrawn.
        (then(vec![dropped(1)]), "end: Cancelled"),
        // The end of the turn was torn off.
        (then(ends_with(FinishReason::Stop)), "end: Completed"),
        (then(ends_with(FinishReason::Length)), "end: Completed"),
        (then(ends_with(FinishReason::Cancelled)), "end: Cancelled"),
        (then(ends_with(FinishReason::Error)), "end: Failed"),
        (then(ends_with(FinishReason::Interrupted)), "call the model"),
        // A message came while the model spoke.
        (
            then(vec![user(2, "b"), reply(11, 3, "c").event()]),
            "call the model",
        ),
        (
            then(vec![
                user(2, "b"),
                reply(11, 3, "c").but(FinishReason::Cancelled).event(),
            ]),
            "end: Cancelled",
        ),
        (
            then(vec![
                reply(11, 3, "c").event(),
                ended(1, Outcome::Completed),
            ]),
            "idle",
        ),
        (
            then(vec![ended(1, Outcome::Failed), user(2, "b")]),
            "call the model",
        ),
    ] {
        assert_eq!(next(events.clone()), step, "{events:?}");
    }
}

#[test]
fn calls_come_to_their_results_before_the_model_is_asked_again() {
    let asked = |more: Vec<Event>| {
        let begun = [
            user(1, "a"),
            started(1, Trigger::Message),
            reply(11, 3, "b").asking(&[1, 2]).event(),
        ];
        begun.into_iter().chain(more).collect::<Vec<_>>()
    };
    let once = Decision::AllowOnce;
    for (more, step) in [
        (vec![], "call_1 waiting, call_2 waiting"),
        (vec![user(2, "b")], "call_1 waiting, call_2 waiting"),
        (vec![runs(1)], "call_1 started, call_2 waiting"),
        (
            vec![runs(1), started(1, Trigger::Resume)],
            "call_1 started, call_2 waiting",
        ),
        (vec![runs(1), result(1, "r")], "call_2 waiting"),
        (vec![result(1, "r"), asks(2)], "await others"),
        (vec![asks(1), user(2, "b")], "await others"),
        (
            vec![asks(1), decides(1, once)],
            "call_1 AllowOnce, call_2 waiting",
        ),
        (
            vec![asks(1), decides(1, Decision::Deny)],
            "call_1 Deny, call_2 waiting",
        ),
        (
            vec![asks(1), decides(1, once), runs(1)],
            "call_1 started, call_2 waiting",
        ),
        (vec![runs(1), parks(1)], "call_2 waiting"),
        (vec![runs(1), parks(1), runs(2)], "call_2 started"),
        (vec![runs(1), parks(1), asks(2)], "await others"),
        (vec![runs(1), parks(1), result(2, "r")], "await others"),
        (
            vec![runs(1), parks(1), result(2, "r"), user(2, "b")],
            "await others",
        ),
        (vec![runs(1), parks(1), runs(2), parks(2)], "await others"),
        (
            vec![runs(1), parks(1), runs(2), parks(2), result(1, "r")],
            "await others",
        ),
        // The question is still open.
        (
            vec![runs(1), parks(1), asks(2), result(1, "r")],
            "await others",
        ),
        (
            vec![runs(1), parks(1), asks(2), decides(2, once)],
            "call_2 AllowOnce",
        ),
        (
            vec![runs(1), parks(1), result(2, "r"), result(1, "r")],
            "call the model",
        ),
        (vec![result(1, "r"), result(2, "r")], "call the model"),
        (vec![result(1, "r"), skipped(&[2])], "call the model"),
        (vec![skipped(&[1, 2]), ended(1, Outcome::Cancelled)], "idle"),
        // The end of the turn was torn off: calls of an earlier reply want no answer any more.
        (
            vec![result(1, "r"), result(2, "r"), reply(12, 6, "so").event()],
            "end: Completed",
        ),
        (
            vec![skipped(&[1, 2]), reply(12, 5, "so").event()],
            "end: Completed",
        ),
        (
            vec![
                result(1, "r"),
                result(2, "r"),
                reply(12, 6, "half").but(FinishReason::Error).event(),
            ],
            "end: Failed",
        ),
        (
            vec![
                result(1, "r"),
                result(2, "r"),
                reply(12, 6, "more").asking(&[3]).event(),
            ],
            "call_3 waiting",
        ),
    ] {
        assert_eq!(next(asked(more.clone())), step, "{more:?}");
    }
}

#[test]
fn a_session_that_pauses_or_is_over_does_nothing() {
    let end = || Event::session_end(EndReason::Terminated);
    let asked = || vec![user(1, "a"), started(1, Trigger::Message)];
    let then = |more: Vec<Event>| asked().into_iter().chain(more).collect::<Vec<_>>();
    for (events, step) in [
        (then(vec![pauses()]), "paused"),
        (then(vec![pauses(), user(2, "b")]), "paused"),
        (then(vec![pauses(), wakes()]), "call the model"),
        (then(vec![end()]), "idle"),
        (then(vec![pauses(), end()]), "idle"),
    ] {
        assert_eq!(next(events.clone()), step, "{events:?}");
    }
}
