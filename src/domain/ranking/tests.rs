use proptest::prelude::*;

use super::*;

/// The places of the texts that are found, the best first; of equals the last one is the newest.
fn ranked(query: &str, texts: &[&str]) -> Vec<usize> {
    let query = WordQuery::new(query);
    let mut ranking = Ranking::new(&query);
    for (place, text) in texts.iter().enumerate() {
        ranking.add(query.count(text), place as u64, place);
    }
    ranking.best()
}

fn is_found(query: &str, text: &str) -> bool {
    !ranked(query, &[text]).is_empty()
}

#[test]
fn of_sixty_questions_the_note_that_answers_is_among_the_first_three_for_fifty_five() {
    let mut notes: Vec<&str> = Vec::new();
    let mut questions: Vec<(&str, usize)> = Vec::new();
    for line in include_str!("questions.txt").lines() {
        match line.split_at(2) {
            ("= ", note) => notes.push(note),
            (_, question) => questions.push((question, notes.len() - 1)),
        }
    }
    assert_eq!((notes.len(), questions.len()), (40, 60));
    let is_missed = |(question, note): &&(&str, usize)| {
        let found = ranked(question, &notes);
        !found.iter().take(3).any(|place| place == note)
    };
    let missed: Vec<_> = questions.iter().filter(is_missed).collect();
    assert!(missed.len() <= 5, "{missed:#?}");
}

#[test]
fn what_is_asked_in_many_words_brings_no_note_on_other_things() {
    let notes = [
        "The deploy key is rotated by the team on Mondays.",
        "Anna likes the tea when it is hot, and that is what we have in the morning.",
    ];
    assert_eq!(ranked("when is the key rotated", &notes), [0]);
    assert_eq!(ranked("deploying keys", &notes), [0]);
    let notes = ["项目评审定在周五。", "你什么时候喝茶?我在这里。"];
    assert_eq!(ranked("项目什么时候评审", &notes), [0]);
    // Where nothing else is asked for, such words count.
    assert_eq!(
        ranked("who are you", &["who are they", "a cup of tea"]),
        [0]
    );
    assert_eq!(ranked("", &notes), [0usize; 0]);
    assert_eq!(ranked("?! …", &notes), [0usize; 0]);
}

#[test]
fn a_word_fits_what_it_begins_or_what_begins_it_by_three_letters_at_most() {
    for (query, text) in [
        ("deploying", "deploy"),
        ("deploy", "deploying"),
        ("keys", "key"),
        ("key", "keys"),
        ("Termine", "Termin"),
        ("Haus", "Häuser"),
        ("Eier", "Ei"),
        ("Wohnung", "WOHNUNGEN"),
    ] {
        assert!(is_found(query, text), "{query} {text}");
    }
    for (query, text) in [
        ("deploy", "deployments"),
        ("car", "carpet"),
        ("tea", "teapot"),
        ("note", "not now"),
        ("team", "steam"),
        ("2026", "20261"),
        ("v1", "v12"),
        ("cat", "concatenate"),
    ] {
        assert!(!is_found(query, text), "{query} {text}");
    }
    // The word itself is better than one that is like it.
    assert_eq!(ranked("deploy", &["deploying it", "deploy it"]), [1, 0]);
}

#[test]
fn characters_that_are_the_same_to_a_reader_are_the_same() {
    for (one, other) in [
        ("Müller", "muller"),
        ("mu\u{308}ller", "MÜLLER"),
        ("Straße", "STRASSE"),
        ("Ｄｅｐｌｏｙ", "deploy"),
        ("ﬁnance", "finance"),
        ("ｶﾞｲﾄﾞ", "ガイド"),
        ("ハ\u{309a}ン", "パン"),
        ("\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}", "한글"),
        ("\u{f900}麥", "豈麥"),
        ("x²", "x2"),
        ("𝐝𝐞𝐩𝐥𝐨𝐲", "deploy"),
        ("Łódź", "lodz"),
        ("Ёлка", "елка"),
        ("ΟΔΟΣ", "οδός"),
        ("so\u{ad}lo", "solo"),
        ("Tiếng", "tieng"),
        ("①", "1"),
        ("㍿", "株式会社"),
    ] {
        assert!(
            is_found(one, other) && is_found(other, one),
            "{one} {other}"
        );
    }
    let cutter = Cutter::new();
    assert!(cutter.folds.is_sorted_by_key(|(code, _)| *code));
    // What a character becomes is not changed again.
    for (code, becomes) in &cutter.folds {
        for c in becomes.chars() {
            let again = cutter
                .folds
                .binary_search_by_key(&u32::from(c), |(code, _)| *code);
            assert!(again.is_err(), "{code:x} {becomes}");
        }
    }
}

#[test]
fn runs_without_spaces_are_found_by_their_pairs_and_one_character_by_itself() {
    for (query, text) in [
        ("茶", "我喜欢喝绿茶"),
        ("绿茶", "我喜欢喝绿茶"),
        ("抹茶", "抹茶ラテ"),
        ("회의", "내일 회의는 세 시"),
        ("ประชุม", "การประชุมวันศุกร์"),
        ("PostgreSQL数据库", "用PostgreSQL"),
    ] {
        assert!(is_found(query, text), "{query} {text}");
    }
    assert!(!is_found("茶色", "色茶"));
    assert!(!is_found("绿茶", "绿 茶"));
}

#[test]
fn what_fits_less_than_a_tenth_is_left_out_and_of_equals_the_newest_comes_first() {
    assert_eq!(ranked("tea", &["tea with Ann", "tea with Ben"]), [1, 0]);
    let all = "one two three four five six seven eight nine ten eleven twelve";
    assert_eq!(ranked(all, &[all, "twelve", "milk"]), [0]);
    assert_eq!(ranked(all, &[all, "one two three four", "milk"]), [0, 1]);
}

#[test]
fn a_heading_counts_more_than_the_text() {
    let query = WordQuery::new("tea");
    let mut ranking = Ranking::new(&query);
    for (age, (heading, text)) in (0..).zip([("Tea", "with milk"), ("Drinks", "tea milk")]) {
        let mut tally = query.count(text);
        query.count_named(heading, &mut tally);
        ranking.add(tally, age, heading);
    }
    assert_eq!(ranking.best(), ["Tea", "Drinks"]);
}

#[test]
fn the_text_of_a_json_string_counts_as_what_it_says() {
    let query = WordQuery::new("tea milk müsli");
    for text in ["tea\nmilk \"müsli\"\\milk", "x\ttea", "C:\\tea", "milk"] {
        let json = serde_json::to_string(text).unwrap();
        let counted = query.count_json(&json[1..json.len() - 1]).unwrap();
        assert_eq!(counted, query.count(text), "{text}");
    }
    assert_eq!(query.count_json("te\\u0061"), None);
}

#[test]
fn a_snippet_shows_where_most_fits() {
    let query = WordQuery::new("deploy key");
    let text = format!(
        "{}a deploy, {}the deploy\nkey is {}",
        "x ".repeat(300),
        "y ".repeat(300),
        "z ".repeat(300)
    );
    let snippet = query.snippet(&text, 80);
    assert!(snippet.contains("the deploy key is z"), "{snippet}");
    assert!(snippet.starts_with('…') && snippet.ends_with('…') && snippet.len() < 90);
    assert_eq!(query.snippet("a key", 80), "a key");
    assert_eq!(query.snippet("none", 80), "none");
}

#[test]
fn of_many_texts_those_that_fit_best_are_kept() {
    let query = WordQuery::new("tea");
    let mut ranking = Ranking::new(&query);
    for place in 0..3 * KEPT_MAX {
        let text = if place == 7 { "tea tea tea" } else { "tea" };
        ranking.add(query.count(text), place as u64, place);
    }
    assert!(ranking.found.len() < 2 * KEPT_MAX);
    let best = ranking.best();
    assert_eq!(best[..2], [7, 3 * KEPT_MAX - 1]);
}

/// Making one takes a moment.
static CUTTER: std::sync::LazyLock<Cutter> = std::sync::LazyLock::new(Cutter::new);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_panics_and_a_text_is_found_by_its_own_words(
        query in "\\PC{0,60}", texts in proptest::collection::vec("\\PC{0,200}", 0..6), bytes in 0usize..80,
    ) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let found = ranked(&query, &texts);
        prop_assert!(found.len() <= texts.len());
        let asked = WordQuery::new(&query);
        prop_assert_eq!(ranked(&query, &[&query]).len(), usize::from(!asked.is_empty()));
        for text in texts {
            let snippet = asked.snippet(text, bytes);
            prop_assert!(snippet.len() <= bytes + 2 * '…'.len_utf8());
        }
    }

    /// However it is put together, a text takes no more looks than it has characters.
    #[test]
    fn what_a_text_takes_grows_with_its_length_alone(text in "[aä茶é 가\u{300}\u{3099}ﬁ]{0,50}") {
        let pieces = |text: &str| {
            let mut pieces = 0;
            CUTTER.cut(text, false, &TokenFilter::open(), &mut |_, _| pieces += 1);
            pieces
        };
        prop_assert!(pieces(&text) <= text.chars().count());
        prop_assert!(pieces(&text.repeat(20)) <= 20 * text.chars().count());
    }
}
