//! What a change of a text is, line by line: a unified diff, for models and people. Pure.

/// So many lines a diff has, the last of which counts the others.
const LINES_MAX: usize = 100;
/// Of a longer line the beginning is shown.
const LINE_CHARS_MAX: usize = 400;
/// So many unchanged lines stand around a change.
const CONTEXT: usize = 3;
/// Lines that are taken away or added before a text counts as another one: more are not shown.
const CHANGES_MAX: usize = 2 * LINES_MAX;

/// A line of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DiffStep {
    Same,
    Gone,
    New,
}

impl DiffStep {
    fn mark(self) -> char {
        match self {
            DiffStep::Same => ' ',
            DiffStep::Gone => '-',
            DiffStep::New => '+',
        }
    }
}

/// The difference of two texts, the first of which may not be there; empty where there is none.
pub(super) fn unified(name: &str, before: Option<&str>, after: &str) -> String {
    let old: Vec<&str> = before.unwrap_or_default().split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let first = old.iter().zip(&new).take_while(|(old, new)| old == new);
    let first = first.count();
    let (old_rest, new_rest) = (&old[first..], &new[first..]);
    let last = old_rest.iter().rev().zip(new_rest.iter().rev());
    let last = last.take_while(|(old, new)| old == new).count();
    let changed = steps(
        &old_rest[..old_rest.len() - last],
        &new_rest[..new_rest.len() - last],
    );
    if changed.is_empty() {
        return String::new();
    }
    let around = |count: usize| vec![DiffStep::Same; count.min(CONTEXT)];
    let begin = first - first.min(CONTEXT);
    let steps = [around(first), changed, around(last)].concat();
    let from = if before.is_some() { name } else { "/dev/null" };
    let mut lines = DiffLines::default();
    lines.add(&|| format!("--- {from}"));
    lines.add(&|| format!("+++ {name}"));
    let mut places = (begin, begin);
    let mut rest = &steps[..];
    while !rest.is_empty() {
        // What is too far from the next change is passed over.
        let same = rest
            .iter()
            .take_while(|step| **step == DiffStep::Same)
            .count();
        if same == rest.len() {
            break;
        }
        let skipped = same.saturating_sub(CONTEXT);
        places = (places.0 + skipped, places.1 + skipped);
        let hunk = &rest[skipped..skipped + hunk_length(&rest[skipped..])];
        add_hunk(hunk, &mut places, &old, &new, &mut lines);
        rest = &rest[skipped + hunk.len()..];
    }
    lines.joined()
}

/// The lines of a diff. Those that are not shown are only counted.
#[derive(Default)]
struct DiffLines {
    shown: Vec<String>,
    more: usize,
}

impl DiffLines {
    fn add(&mut self, line: &dyn Fn() -> String) {
        if self.shown.len() < LINES_MAX {
            self.shown.push(line());
        } else {
            self.more += 1;
        }
    }

    fn joined(mut self) -> String {
        if self.more > 0 {
            self.shown.pop();
            self.shown.push(format!("[… {} more lines]", self.more + 1));
        }
        self.shown.join("\n")
    }
}

/// As far as the changes are near to one another.
fn hunk_length(steps: &[DiffStep]) -> usize {
    let mut end = 0;
    let mut same = 0;
    for (at, step) in steps.iter().enumerate() {
        if *step == DiffStep::Same {
            same += 1;
        } else if end > 0 && same > 2 * CONTEXT {
            break;
        } else {
            (end, same) = (at + 1, 0);
        }
    }
    (end + CONTEXT).min(steps.len())
}

fn add_hunk(
    hunk: &[DiffStep],
    places: &mut (usize, usize),
    old: &[&str],
    new: &[&str],
    lines: &mut DiffLines,
) {
    let count = |left_out: DiffStep| hunk.iter().filter(|step| **step != left_out).count();
    let range = |place: usize, count: usize| match count {
        0 => format!("{place},0"),
        1 => (place + 1).to_string(),
        count => format!("{},{count}", place + 1),
    };
    let (gone, come) = (
        range(places.0, count(DiffStep::New)),
        range(places.1, count(DiffStep::Gone)),
    );
    lines.add(&|| format!("@@ -{gone} +{come} @@"));
    for step in hunk {
        let line = match step {
            DiffStep::New => new[places.1],
            DiffStep::Same | DiffStep::Gone => old[places.0],
        };
        places.0 += usize::from(*step != DiffStep::New);
        places.1 += usize::from(*step != DiffStep::Gone);
        lines.add(&|| format!("{}{}", step.mark(), shown(line)));
        if !line.ends_with('\n') {
            lines.add(&|| "\\ No newline at end of file".to_owned());
        }
    }
}

fn shown(line: &str) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{}[… {} more bytes]", &line[..end], line.len() - end),
        None => line.to_owned(),
    }
}

/// The shortest way from one list of lines to another, or where that is long, all of it anew.
///
/// Source: E. Myers, An O(ND) difference algorithm and its variations, 1986.
fn steps(old: &[&str], new: &[&str]) -> Vec<DiffStep> {
    let anew = || {
        let gone = vec![DiffStep::Gone; old.len()];
        [gone, vec![DiffStep::New; new.len()]].concat()
    };
    if old.is_empty() || new.is_empty() {
        return anew();
    }
    let most = CHANGES_MAX.min(old.len() + new.len());
    // How far each diagonal has come, by the number of changes.
    let mut reached = vec![0_usize; 2 * most + 3];
    let mut before: Vec<Vec<usize>> = Vec::new();
    let middle = most + 1;
    for changes in 0..=most {
        before.push(reached.clone());
        for diagonal in (middle - changes..=middle + changes).step_by(2) {
            let mut x = furthest(&reached, diagonal, middle, changes);
            let mut y = x + middle - diagonal;
            while x < old.len() && y < new.len() && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            reached[diagonal] = x;
            if x >= old.len() && y >= new.len() {
                return way_back(&before, old.len(), new.len(), middle);
            }
        }
    }
    anew()
}

/// Where a diagonal begins with one change more than its neighbours: behind a line that is new, or behind
/// one that is gone.
fn furthest(reached: &[usize], diagonal: usize, middle: usize, changes: usize) -> usize {
    if is_new(reached, diagonal, middle, changes) {
        reached[diagonal + 1]
    } else {
        reached[diagonal - 1] + 1
    }
}

fn is_new(reached: &[usize], diagonal: usize, middle: usize, changes: usize) -> bool {
    let is_lowest = diagonal + changes == middle;
    let is_highest = diagonal == middle + changes;
    is_lowest || !is_highest && reached[diagonal - 1] < reached[diagonal + 1]
}

fn way_back(before: &[Vec<usize>], old: usize, new: usize, middle: usize) -> Vec<DiffStep> {
    let (mut x, mut y) = (old, new);
    let mut steps = Vec::new();
    for (changes, reached) in before.iter().enumerate().rev() {
        let diagonal = x + middle - y;
        let (from_x, from_y, step) = if changes == 0 {
            (0, 0, None)
        } else if is_new(reached, diagonal, middle, changes) {
            let x = reached[diagonal + 1];
            (x, x + middle - (diagonal + 1), Some(DiffStep::New))
        } else {
            let x = reached[diagonal - 1];
            (x, x + middle - (diagonal - 1), Some(DiffStep::Gone))
        };
        let begins = match step {
            Some(DiffStep::Gone) => from_x + 1,
            Some(DiffStep::New | DiffStep::Same) | None => from_x,
        };
        steps.extend(std::iter::repeat_n(DiffStep::Same, x - begins));
        steps.extend(step);
        (x, y) = (from_x, from_y);
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_change_is_shown_with_the_lines_around_it() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let after = before.replace("5\n", "five\nand a half\n");
        assert_eq!(
            unified("a/b", Some(before), &after),
            "--- a/b\n+++ a/b\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n+and a half\n 6\n 7\n 8"
        );
        assert_eq!(unified("x", Some(before), before), "");
        assert_eq!(
            unified("x", None, "a\nb"),
            "--- /dev/null\n+++ x\n@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file"
        );
        assert_eq!(
            unified("x", Some("a\nb"), "a\nb\n"),
            "--- x\n+++ x\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b"
        );
        assert_eq!(
            unified("x", Some("a\n"), ""),
            "--- x\n+++ x\n@@ -1 +0,0 @@\n-a"
        );
    }

    #[test]
    fn changes_that_are_far_from_one_another_stand_apart() {
        let lines: Vec<String> = (1..=40).map(|n| format!("{n}\n")).collect();
        let before = lines.concat();
        let after = before.replace("10\n", "ten\n").replace("30\n", "thirty\n");
        let diff = unified("x", Some(&before), &after);
        assert_eq!(diff.matches("@@ -").count(), 2, "{diff}");
        assert!(diff.contains("@@ -7,7 +7,7 @@\n 7\n"), "{diff}");
        assert!(diff.contains("@@ -27,7 +27,7 @@\n 27\n"), "{diff}");
        let near = before.replace("10\n", "ten\n").replace("16\n", "sixteen\n");
        let diff = unified("x", Some(&before), &near);
        assert_eq!(diff.matches("@@ -").count(), 1, "{diff}");
    }

    #[test]
    fn no_diff_is_longer_than_a_hundred_lines() {
        let before = "old\n".repeat(5_000);
        let after: String = (0..5_000).map(|n| format!("{n}\n")).collect();
        for (before, after) in [(Some(before.as_str()), after.as_str()), (None, &after)] {
            let diff = unified("x", before, after);
            assert_eq!(diff.lines().count(), LINES_MAX);
            let left = if before.is_some() { 9_904 } else { 4_904 };
            assert!(
                diff.ends_with(&format!("\n[… {left} more lines]")),
                "{diff}"
            );
        }
        let whole = unified("x", None, &"new\n".repeat(LINES_MAX - 3));
        assert_eq!(whole.lines().count(), LINES_MAX);
        assert!(whole.ends_with("\n+new"), "{whole}");
        let long = "x".repeat(1 << 20);
        assert!(unified("x", None, &long).len() < 1_000);
    }

    proptest! {
        #[test]
        fn a_diff_leads_from_the_one_text_to_the_other(
            old in prop::collection::vec("[abc]", 0..12),
            new in prop::collection::vec("[abc]", 0..12),
        ) {
            let [old, new] = [&old, &new].map(|lines| lines.iter().map(String::as_str).collect::<Vec<_>>());
            let steps = steps(&old, &new);
            let (mut from, mut to) = (old.iter(), new.iter());
            for step in steps {
                match step {
                    DiffStep::Same => prop_assert_eq!(from.next(), to.next()),
                    DiffStep::Gone => prop_assert!(from.next().is_some()),
                    DiffStep::New => prop_assert!(to.next().is_some()),
                }
            }
            prop_assert_eq!((from.next(), to.next()), (None, None));
        }
    }
}
