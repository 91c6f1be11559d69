//! What a person is asked before a call runs. Pure.
//!
//! Invariants: everything that would run is named or counted; nothing is invisible; and the whole
//! fits on a screen, so that no text can scroll its meaning away.

use crate::client::event::PendingApproval;
use crate::domain::event::ApprovalKind;
use crate::domain::plain;

/// So many commands are named: the first ones, and the last.
const COMMANDS: Fold = Fold { head: 6, tail: 3 };
/// So many lines of the text are shown.
const LINES: Fold = Fold { head: 5, tail: 4 };
/// So many characters of each.
const CHARS: Fold = Fold {
    head: 120,
    tail: 60,
};

/// What is shown of something long: its beginning and its end.
struct Fold {
    head: usize,
    tail: usize,
}

impl Fold {
    /// The items, with what `folded` says of those in between.
    fn apply<T>(&self, items: Vec<T>, folded: impl Fn(&[T]) -> T) -> Vec<T> {
        // One more is shown rather than counted.
        if items.len() <= self.head + self.tail + 1 {
            return items;
        }
        let end = items.len() - self.tail;
        let between = folded(&items[self.head..end]);
        let mut items = items;
        let tail = items.split_off(end);
        items.truncate(self.head);
        items.push(between);
        items.extend(tail);
        items
    }
}

/// The question with its answers.
pub fn question(asked: &PendingApproval) -> String {
    let (head, answers) = match asked.kind {
        ApprovalKind::Policy if asked.exact => (
            "The agent wants to run",
            "[y] once  [a] always this text, whatever the files it reads hold  [n] deny",
        ),
        ApprovalKind::Policy => ("The agent wants to run", "[y] once  [a] always  [n] deny"),
        ApprovalKind::Uncertain => (
            "This may have run before the server stopped",
            "[r]etry  [s]kip  [w]orked",
        ),
    };
    format!("{head}{}\n{answers}", what(asked))
}

/// What is asked about, behind a sentence: `: ls`.
pub fn in_words(asked: &PendingApproval) -> String {
    let what = what(asked);
    match what.matches('\n').count() {
        1 => what.replace("\n    ", " "),
        _ => what,
    }
}

/// What is asked about: the command, or for more than a single one their number and names first.
fn what(asked: &PendingApproval) -> String {
    let text = indented(&LINES, plain::lines(&asked.command), "lines");
    let is_plain = match asked.commands.as_slice() {
        [] => true,
        [only] => only.trim() == asked.command.trim(),
        _ => false,
    };
    let lines = asked.command.lines().count().max(1);
    if is_plain && lines == 1 {
        return format!(":{text}");
    }
    let commands = match asked.commands.as_slice() {
        [] => std::slice::from_ref(&asked.command),
        known => known,
    };
    let count = commands.len();
    let names = commands
        .iter()
        .map(|one| plain::lines(one).join("⏎"))
        .collect();
    let names = indented(&COMMANDS, names, "commands");
    format!(
        " {count} {} in {lines} {}:{names}\nThe text:{text}",
        plural(count, "command"),
        plural(lines, "line"),
    )
}

fn plural(count: usize, word: &str) -> String {
    match count {
        1 => word.to_owned(),
        _ => format!("{word}s"),
    }
}

fn indented(fold: &Fold, lines: Vec<String>, what: &str) -> String {
    let shown = fold.apply(lines, |left| format!("⟨{} more {what}⟩", left.len()));
    let shown = shown
        .iter()
        .map(|line| format!("\n    {}", folded_line(line)));
    shown.collect()
}

fn folded_line(line: &str) -> String {
    let letters: Vec<String> = line.chars().map(String::from).collect();
    let folded = |left: &[String]| format!("⟨{} more characters⟩", left.len());
    CHARS.apply(letters, folded).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(command: &str, commands: &[&str]) -> PendingApproval {
        PendingApproval {
            call_id: "c".to_owned(),
            command: command.to_owned(),
            kind: ApprovalKind::Policy,
            exact: false,
            commands: commands.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    #[test]
    fn a_single_command_is_shown_as_it_is() {
        for commands in [&[][..], &["ls -l"]] {
            assert_eq!(
                question(&asked("ls -l", commands)),
                "The agent wants to run:\n    ls -l\n[y] once  [a] always  [n] deny"
            );
        }
    }

    #[test]
    fn a_question_hides_nothing_of_the_command() {
        assert_eq!(
            question(&asked(
                "ls\u{200b} && rm -rf /\r\nx",
                &["ls\u{200b}", "rm -rf /\r", "x"]
            )),
            "The agent wants to run 3 commands in 2 lines:\n    ls\\u{200b}\n    rm -rf /\\r\n    x\n\
             The text:\n    ls\\u{200b} && rm -rf /\\r\n    x\n[y] once  [a] always  [n] deny"
        );
    }

    #[test]
    fn no_text_is_so_long_that_its_meaning_scrolls_away() {
        let empty = format!("ls{}rm -rf ~{}", "\n".repeat(400), "\n".repeat(400));
        let long = format!("echo {} ; rm -rf ~", "x".repeat(50_000));
        let many = "true\n".repeat(500) + "rm -rf ~\n" + &"\n \n".repeat(100);
        let names: Vec<&str> = many
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let first = &long[..50_005];
        for (text, commands) in [
            (&empty, vec!["ls", "rm -rf ~"]),
            (&long, vec![first, "rm -rf ~"]),
            (&many, names),
            (&many, vec![]),
        ] {
            let question = question(&asked(text, &commands));
            assert!(question.lines().count() <= 24, "{question}");
            assert!(
                question.lines().all(|line| line.chars().count() <= 220),
                "{question}"
            );
            assert!(question.contains("rm -rf ~"), "{question}");
        }
    }

    #[test]
    fn what_is_allowed_for_good_is_said_where_it_is_the_text_alone() {
        let always = |exact| {
            let asked = PendingApproval {
                exact,
                ..asked("ls > x", &["ls"])
            };
            question(&asked).contains("whatever the files it reads hold")
        };
        assert_eq!([false, true].map(always), [false, true]);
    }
}
