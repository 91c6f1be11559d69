//! What a person is asked before a call runs. Pure.
//!
//! Invariants: everything that would run is named or counted; nothing is invisible; and the whole
//! fits on a screen of 24 rows of 80 columns, so that no text can scroll its meaning away.

use unicode_width::UnicodeWidthChar as _;

use crate::domain::event::ApprovalKind;
use crate::domain::plain;
use crate::wire::ApprovalBody;

/// So many commands are named: the first ones, and the last.
const COMMANDS: Fold = Fold { head: 6, tail: 3 };
/// So many where the rules for the session are shown, too.
const COMMANDS_FEW: Fold = Fold { head: 2, tail: 1 };
/// So many lines of the text are shown.
const LINES: Fold = Fold { head: 5, tail: 4 };
/// So many columns of each.
const COLUMNS: Fold = Fold {
    head: 120,
    tail: 60,
};
/// So many where there are too many rows else: what was left out is said in the others.
const COLUMNS_FEW: Fold = Fold { head: 36, tail: 16 };
/// A small screen, but for the row to answer in.
const ROWS_MAX: usize = 23;
const SCREEN_COLUMNS: usize = 80;

/// The parts of something long that are shown: its beginning and its end.
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
pub fn question(asked: &ApprovalBody) -> String {
    let session = match asked.session_rules.is_empty() {
        true => "",
        false => "[s] for this session  ",
    };
    let (head, answers) = match asked.kind {
        ApprovalKind::Policy if asked.exact => (
            "The agent wants to run",
            format!(
                "[y] once  {session}[a] always this text, whatever the files it reads hold  [n] deny"
            ),
        ),
        ApprovalKind::Policy => (
            "The agent wants to run",
            format!("[y] once  {session}[a] always  [n] deny"),
        ),
        ApprovalKind::Uncertain => (
            "This may have run before the server stopped",
            "[r]etry  [s]kip  [w]orked".to_owned(),
        ),
    };
    let shown = |columns, commands| {
        let rules = session_rules(asked, columns, commands);
        format!("{head}{}{rules}\n{answers}", what(asked, columns, commands))
    };
    let usual = shown(&COLUMNS, &COMMANDS);
    if rows(&usual) > ROWS_MAX {
        let few = shown(&COLUMNS_FEW, &COMMANDS);
        return match rows(&few) > ROWS_MAX {
            true => shown(&COLUMNS_FEW, &COMMANDS_FEW),
            false => few,
        };
    }
    usual
}

/// What is allowed for the session, if that is answered.
fn session_rules(asked: &ApprovalBody, columns: &Fold, fold: &Fold) -> String {
    if asked.session_rules.is_empty() {
        return String::new();
    }
    let rules = asked.session_rules.iter();
    let rules = rules.map(|one| plain::lines(one).join("⏎")).collect();
    let rules = indented(fold, rules, "rules", columns);
    format!("\nFor this session, in your own turns and 8 hours at most:{rules}")
}

/// Rows of a screen of usual width that a text takes up.
fn rows(text: &str) -> usize {
    let rows = |line: &str| {
        line.chars()
            .map(columns)
            .sum::<usize>()
            .div_ceil(SCREEN_COLUMNS)
    };
    text.lines().map(|line| rows(line).max(1)).sum()
}

/// A mark that is put on the letter before it counts, too: thousands of them are not one.
fn columns(c: char) -> usize {
    c.width().unwrap_or(1).max(1)
}

/// The command in question, behind a sentence: `: ls`.
pub fn in_words(asked: &ApprovalBody) -> String {
    let what = what(asked, &COLUMNS, &COMMANDS);
    match what.matches('\n').count() {
        1 => what.replace("\n    ", " "),
        _ => what,
    }
}

/// What is asked about: the command, or for more than a single one their number and names first.
fn what(asked: &ApprovalBody, columns: &Fold, fold: &Fold) -> String {
    let text = indented(&LINES, plain::lines(&asked.command), "lines", columns);
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
    let names = indented(fold, names, "commands", columns);
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

fn indented(fold: &Fold, lines: Vec<String>, what: &str, columns: &Fold) -> String {
    let shown = fold.apply(lines, |left| format!("⟨{} more {what}⟩", left.len()));
    let shown = shown
        .iter()
        .map(|line| format!("\n    {}", folded_line(line, columns)));
    shown.collect()
}

fn folded_line(line: &str, fold: &Fold) -> String {
    let all: usize = line.chars().map(columns).sum();
    // One more is shown rather than counted.
    if all <= fold.head + fold.tail + 1 {
        return line.to_owned();
    }
    let head = fitting(line.chars(), fold.head);
    let tail = fitting(line[head..].chars().rev(), fold.tail);
    let between = &line[head..line.len() - tail];
    let count = between.chars().count();
    let (head, tail) = (&line[..head], &line[line.len() - tail..]);
    format!("{head}⟨{count} more characters⟩{tail}")
}

/// The bytes of the letters that fit into so many columns.
fn fitting(letters: impl Iterator<Item = char>, most: usize) -> usize {
    let mut left = most;
    let mut bytes = 0;
    for c in letters {
        if columns(c) > left {
            break;
        }
        left -= columns(c);
        bytes += c.len_utf8();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(command: &str, commands: &[&str]) -> ApprovalBody {
        ApprovalBody {
            call_id: "c".to_owned(),
            command: command.to_owned(),
            kind: ApprovalKind::Policy,
            exact: false,
            session_rules: Vec::new(),
            lines: command.lines().count(),
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
    fn what_may_be_allowed_for_the_session_is_shown_before_it_is_offered() {
        let asked = ApprovalBody {
            session_rules: vec!["bash:ls\u{200b}".to_owned(), "bash:pwd".to_owned()],
            ..asked("ls\u{200b}; pwd", &["ls\u{200b}", "pwd"])
        };
        let end = "\nFor this session, in your own turns and 8 hours at most:\n    bash:ls\\u{200b}\n    bash:pwd\n\
            [y] once  [s] for this session  [a] always  [n] deny";
        let question = question(&asked);
        assert!(question.ends_with(end), "{question}");
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
        let padded = |letter: &str| {
            let ls = format!("ls {}", letter.repeat(170));
            [&[ls.as_str(); 3][..], &["rm -rf ~"], &[ls.as_str(); 40]]
                .concat()
                .join("\n")
        };
        let [plain, wide, marked] = ["x", "日", "e\u{301}"].map(padded);
        for (text, commands) in [
            (&empty, vec!["ls", "rm -rf ~"]),
            (&long, vec![first, "rm -rf ~"]),
            (&many, names),
            (&many, vec![]),
            (&plain, plain.lines().collect()),
            (&wide, wide.lines().collect()),
            (&marked, marked.lines().collect()),
            (&plain, vec![]),
        ] {
            let plain = asked(text, &commands);
            let rules = commands.iter().map(|one| format!("bash:{one}"));
            let with_rules = ApprovalBody {
                session_rules: rules.collect(),
                ..plain.clone()
            };
            for asked in [plain, with_rules] {
                let question = question(&asked);
                assert!(rows(&question) <= ROWS_MAX, "{question}");
                assert!(question.contains("rm -rf ~"), "{question}");
            }
        }
    }

    #[test]
    fn what_is_allowed_for_good_is_said_where_it_is_the_text_alone() {
        let always = |exact| {
            let asked = ApprovalBody {
                exact,
                ..asked("ls > x", &["ls"])
            };
            question(&asked).contains("whatever the files it reads hold")
        };
        assert_eq!([false, true].map(always), [false, true]);
    }
}
