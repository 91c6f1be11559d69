use proptest::prelude::*;

use super::*;

#[test]
fn a_long_text_keeps_the_part_that_is_wanted_and_says_what_is_missing() {
    let text = "0123456789";
    for (bytes_max, how, expected) in [
        (10, Truncation::Head, "0123456789"),
        (4, Truncation::Head, "0123\n[6 of 10 bytes left out]"),
        (4, Truncation::Tail, "[6 of 10 bytes left out]\n6789"),
        (5, Truncation::Both, "012\n[5 of 10 bytes left out]\n89"),
        (0, Truncation::Both, "[10 of 10 bytes left out]"),
    ] {
        assert_eq!(truncated(text, bytes_max, how), expected);
    }
}

#[test]
fn a_mask_names_the_tool_and_what_it_hides_and_is_never_longer() {
    let long = "x".repeat(100);
    let mask = masked("date", &long, 5000);
    assert_eq!(mask, "[result of date, 5000 bytes, left out]");
    assert_eq!(masked("date", "short", 5), "short");
}

fn limits(model: &str) -> Limits {
    Limits {
        input_tokens: None,
        model: model.to_owned(),
        ..Limits::none()
    }
}

#[test]
fn what_a_model_takes_is_its_window_without_its_answer_and_what_is_always_there() {
    let none = Marks::default();
    let usual = limits("claude-sonnet-4-5");
    // 200,000 less a twentieth and 8,192.
    assert_eq!(usual.budget(None, &none).most, 181_808);
    let long_answers = Limits {
        output_tokens: Some(64_000),
        ..usual.clone()
    };
    assert_eq!(long_answers.budget(None, &none).most, 140_000);
    let fixed = Limits {
        fixed_tokens: 1_808,
        ..usual.clone()
    };
    assert_eq!(fixed.budget(None, &none).most, 180_000);
    // The session's own model, and what the agent's file says, which counts before all.
    assert_eq!(usual.budget(Some("gpt-4"), &none).most, 8_192 - 409 - 2_048);
    let said = Limits {
        input_tokens: Some(5_000),
        fixed_tokens: 1_000,
        ..usual.clone()
    };
    assert_eq!(said.budget(Some("gpt-4"), &none).most, 4_000);
    let hopeless = Limits {
        fixed_tokens: 1_000_000,
        ..usual
    };
    assert_eq!(hopeless.budget(None, &none).most, LEAST_TOKENS);
}

#[test]
fn the_history_is_what_is_wanted_or_what_fits() {
    let none = Marks::default();
    for (wanted, aim) in [(0, 181_808), (20_000, 20_000), (500_000, 181_808)] {
        let limits = Limits {
            history_tokens: wanted,
            ..limits("claude")
        };
        assert_eq!(limits.budget(None, &none).aim, aim);
    }
    let refused = Marks {
        ceiling_tokens: Some(3_000),
        ..none
    };
    let limits = Limits {
        history_tokens: 20_000,
        ..limits("claude")
    };
    let both = Budget {
        aim: 3_000,
        most: 3_000,
    };
    assert_eq!(limits.budget(None, &refused), both);
}

#[test]
fn the_estimate_is_corrected_by_what_was_counted_within_reason() {
    for (estimated, counted, percent) in [
        (10_000, 15_000, 150),
        (10_000, 9_000, 90),
        (10_000, 10, 80),
        (10_000, 100_000, 300),
        // Too little to tell, and nothing told.
        (1_000, 2_000, 100),
        (10_000, 0, 100),
    ] {
        let mut marks = Marks::default();
        marks.learn(estimated, Usage::new(counted, 1));
        assert_eq!(marks.percent, percent, "{counted} of {estimated}");
    }
    let mut marks = Marks::default();
    for (refused, ceiling) in [(10_000, 8_000), (6_000, 3_000), (2_000, 1_000)] {
        marks.lower_ceiling(refused);
        assert_eq!(marks.ceiling_tokens, Some(ceiling));
    }
    // What was counted in between did fit.
    marks.learn(900, Usage::new(900, 1));
    marks.lower_ceiling(1_000);
    assert_eq!(marks.ceiling_tokens, Some(800));
    let marks = Marks {
        percent: 200,
        ..Marks::default()
    };
    let limits = Limits {
        history_tokens: 20_000,
        ..Limits::none()
    };
    assert_eq!(limits.budget(None, &marks).aim, 10_000);
}

#[test]
fn what_is_masked_once_stays_masked() {
    let hidden = |marks: Marks| {
        let seqs = (1..10).filter(|n| marks.hides(Seq(*n)));
        seqs.collect::<Vec<_>>()
    };
    let none = Marks::default();
    assert_eq!(hidden(none), [0; 0]);
    let some = none.masking(Seq(3), Seq(6));
    assert_eq!(hidden(some), [3, 4, 5]);
    for (from, before, expected) in [
        (2, 4, vec![2, 3, 4, 5]),
        (4, 5, vec![3, 4, 5]),
        (4, 8, vec![3, 4, 5, 6, 7]),
        (1, 8, vec![1, 2, 3, 4, 5, 6, 7]),
    ] {
        assert_eq!(hidden(some.masking(Seq(from), Seq(before))), expected);
    }
}

#[test]
fn a_ceiling_only_sinks() {
    let mut marks = Marks::default();
    marks.lower_ceiling(1_000);
    assert_eq!(marks.ceiling_tokens, Some(800));
    marks.lower_ceiling(2_000);
    assert_eq!(marks.ceiling_tokens, Some(800));
}

#[test]
fn no_result_takes_more_than_its_share_of_the_window() {
    let mut limits = limits("gpt-4");
    limits.tool_results.max_tokens = 8_000;
    assert_eq!(limits.result_bytes_max(), 4 * ((8_192 - 409 - 2_048) / 8));
    limits.model = "claude".to_owned();
    assert_eq!(limits.result_bytes_max(), 32_000);
}

proptest! {
    #[test]
    fn any_text_is_cut_between_characters(
        text in "[a-zé漢🦀\n]{0,60}",
        bytes_max in 0..80usize,
        how in prop_oneof![
            Just(Truncation::Head),
            Just(Truncation::Tail),
            Just(Truncation::Both)
        ],
    ) {
        let cut = truncated(&text, bytes_max, how);
        if text.len() <= bytes_max {
            prop_assert_eq!(&*cut, &text);
        } else {
            prop_assert!(cut.len() <= bytes_max + 40, "{}", cut);
            let (head, rest) = cut.split_once('[').unwrap();
            let (_, tail) = rest.rsplit_once(']').unwrap();
            prop_assert!(text.starts_with(head.trim_end_matches('\n')));
            prop_assert!(text.ends_with(tail.trim_start_matches('\n')));
        }
    }
}

#[test]
fn a_prompt_is_too_long_for_a_model_that_takes_no_more_and_surely_so_where_a_file_says_it() {
    let of = |fixed_tokens, input_tokens, model: &str| {
        let limits = Limits {
            fixed_tokens,
            input_tokens,
            ..Limits {
                input_tokens: None,
                ..Limits::none()
            }
        };
        let found = limits.too_long(model)?;
        Some((found.taken_tokens, found.known_by, found.is_certain))
    };
    for (fixed, input, model, expected) in [
        (999, Some(1_000), "x", None),
        (1_000, Some(1_000), "x", Some((1_000, KnownBy::File, false))),
        (1_250, Some(1_000), "x", Some((1_000, KnownBy::File, true))),
        // A guess is told, and never held against anybody.
        (20_000, None, "x", None),
        (90_000, None, "x", Some((22_938, KnownBy::Nobody, false))),
        // 8192, of which a quarter is for the answer and a twentieth for what nobody counts.
        (5_000, None, "gpt-4", None),
        (6_000, None, "gpt-4", Some((5_735, KnownBy::Name, false))),
        // A `gpt-4` of another name after it may take more: the least that is known refuses nobody.
        (10_240, None, "gpt-4", Some((5_735, KnownBy::Name, false))),
        (90_000, None, "gpt-4", Some((5_735, KnownBy::Name, false))),
        // A file may want less than the model takes.
        (
            1_250,
            Some(1_000),
            "gpt-4",
            Some((1_000, KnownBy::File, false)),
        ),
        (
            10_240,
            Some(1_000),
            "gpt-4",
            Some((1_000, KnownBy::File, true)),
        ),
    ] {
        assert_eq!(
            of(fixed, input, model),
            expected,
            "{fixed} {input:?} {model}"
        );
    }
}
