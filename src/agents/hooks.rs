//! From what an agent's file says of hooks to hooks.

use crate::agents::raw;
use crate::base::yaml::read::{At, OneOrMore, Report, WordOr, or_default, plain};
use crate::domain::glob::Glob;
use crate::domain::hooks::{Guard, Hooks, Note, Rule, Selector};

/// So many hooks, and so many texts in one list of a hook.
const MAX: usize = 64;
/// So many globs in all hooks: each is compared with each call of a session's log.
const GLOBS_MAX: usize = 256;
/// The longest message: it goes to the model with each result.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The two rules.
#[derive(Clone, Copy)]
enum Type {
    DependsOn,
    SkipDuplicate,
}

const TYPES: &[(&str, Type)] = &[
    ("depends_on", Type::DependsOn),
    ("skip_duplicate", Type::SkipDuplicate),
];

/// Texts that may be one, or be left out.
type Texts = Option<At<OneOrMore<String>>>;

/// Checks `spec.hooks`.
pub(super) fn hooks(found: Option<At<raw::Hooks>>, report: &mut Report) -> Hooks {
    let at = found.as_ref().map(At::place);
    let raw = or_default(found);
    let guards = few(raw.before_tool, report).into_iter();
    let guards = guards.filter_map(|at| guard(at, report)).collect();
    let notes = few(raw.after_tool, report).into_iter();
    let notes = notes.filter_map(|at| note(at, report)).collect();
    let hooks = Hooks { guards, notes };
    if let Some(at) = at.filter(|_| hooks.globs() > GLOBS_MAX) {
        report.error(
            &at,
            format!("must have no more than {GLOBS_MAX} patterns in all"),
        );
    }
    hooks
}

/// A list that is short enough to be gone through for each call.
fn few<T>(found: Option<At<OneOrMore<T>>>, report: &mut Report) -> Vec<At<T>> {
    let Some(at) = found else {
        return Vec::new();
    };
    if at.value.0.len() > MAX {
        report.error(&at, format!("must have no more than {MAX} items"));
    }
    at.value.0
}

fn guard(found: At<raw::BeforeTool>, report: &mut Report) -> Option<Guard> {
    let (at, mut raw) = found.split();
    let calls = selector(&at, "match", raw.calls.take(), report);
    let rule = rule(&at, raw, report);
    Some(Guard {
        calls: calls?,
        rule: rule?,
    })
}

/// The rule: its keys stand beside `type`, or below its name, which may itself stand below `type`.
fn rule(at: &At<()>, raw: raw::BeforeTool, report: &mut Report) -> Option<Rule> {
    let (kind, rules) = type_and_rules(raw.kind, report)?;
    let depends_on = raw.depends_on.or(rules.depends_on);
    let skip_duplicate = raw.skip_duplicate.or(rules.skip_duplicate);
    match (kind, depends_on, skip_duplicate) {
        (None | Some(Type::DependsOn), Some(below), None) => {
            let (at, below) = below.split();
            let prior = below.prior.or(raw.prior);
            let args = [
                below.match_arg,
                below.match_args,
                raw.match_arg,
                raw.match_args,
            ];
            depends_on_rule(&at, prior, args, report)
        }
        (None | Some(Type::SkipDuplicate), None, Some(below)) => {
            let below = below.value;
            let args = [
                below.match_arg,
                below.match_args,
                raw.match_arg,
                raw.match_args,
            ];
            Some(skip_duplicate_rule(raw.prior, args, report))
        }
        (Some(Type::DependsOn), None, None) => {
            let args = [raw.match_arg, raw.match_args, None, None];
            depends_on_rule(at, raw.prior, args, report)
        }
        (Some(Type::SkipDuplicate), None, None) => {
            let args = [raw.match_arg, raw.match_args, None, None];
            Some(skip_duplicate_rule(raw.prior, args, report))
        }
        (None, None, None) => {
            report.require::<_, ()>(at, "type", None);
            None
        }
        (_, Some(_), _) | (_, _, Some(_)) => {
            report.error(at, "must have one rule: `depends_on` or `skip_duplicate`");
            None
        }
    }
}

/// The rule that is named, or the rules that stand in its place; `None` for a name that is none.
fn type_and_rules(
    found: Option<At<WordOr<raw::Rules>>>,
    report: &mut Report,
) -> Option<(Option<Type>, raw::Rules)> {
    Some(match found.map(At::split) {
        None => (None, raw::Rules::default()),
        Some((_, WordOr::Other(rules))) => (None, rules),
        Some((at, WordOr::Word(word))) => {
            let kind = report.choice(&word_at(at, word), TYPES)?;
            (Some(kind), raw::Rules::default())
        }
    })
}

fn word_at(at: At<()>, value: String) -> At<String> {
    At {
        value,
        node: at.node,
        key: at.key,
    }
}

fn depends_on_rule(
    at: &At<()>,
    prior: Texts,
    args: [Texts; 4],
    report: &mut Report,
) -> Option<Rule> {
    Some(Rule::DependsOn {
        prior: selector(at, "prior", prior, report)?,
        args: names(args, report),
    })
}

fn skip_duplicate_rule(prior: Texts, args: [Texts; 4], report: &mut Report) -> Rule {
    if let Some(prior) = prior {
        report.misplaced(&prior, "means nothing for `skip_duplicate`");
    }
    Rule::SkipDuplicate {
        args: names(args, report),
    }
}

/// The names of arguments.
fn names(found: [Texts; 4], report: &mut Report) -> Vec<String> {
    let mut names = Vec::new();
    let lists = found.map(|found| few(found, report));
    for at in lists.into_iter().flatten() {
        if !(1..=Glob::BYTES_MAX).contains(&at.value.len()) {
            report.error(&at, format!("must have 1 to {} bytes", Glob::BYTES_MAX));
        }
        names.push(at.value);
    }
    names
}

fn selector(parent: &At<()>, key: &str, found: Texts, report: &mut Report) -> Option<Selector> {
    let found = report.require(parent, key, found)?;
    if found.value.0.is_empty() {
        report.error(&found, "must not be empty");
        return None;
    }
    let mut globs = Vec::new();
    for at in few(Some(found), report) {
        if let Some((kind, name)) = at.value.split_once(':')
            && matches!(kind, "builtin" | "cli" | "mcp")
        {
            let remark =
                format!("begins with a tool's name, unlike the rules of a policy: `{name}`?");
            report.warning(&at, remark);
        }
        match Glob::parse(&at.value) {
            Ok(glob) => globs.push(glob),
            Err(why) => report.error(&at, why),
        }
    }
    Some(Selector(globs))
}

fn note(found: At<raw::AfterTool>, report: &mut Report) -> Option<Note> {
    let (at, raw) = found.split();
    let calls = selector(&at, "match", raw.calls, report);
    let message = report.require(&at, "message", raw.message);
    if let Some(message) = &message
        && !(1..=MESSAGE_BYTES_MAX).contains(&message.value.trim().len())
    {
        report.error(message, format!("must have 1 to {MESSAGE_BYTES_MAX} bytes"));
    }
    let mut unless = Vec::new();
    for (arg, values) in or_default(raw.unless) {
        let values = few(Some(values), report).into_iter();
        unless.push((arg, values.map(|at| at.value.0).collect()));
    }
    Some(Note {
        calls: calls?,
        message: plain(message)?.trim().to_owned(),
        unless: spelled_out(unless),
    })
}

/// `{arg: NAME, value: VALUE}` means `{NAME: VALUE}`.
fn spelled_out(unless: Vec<(String, Vec<String>)>) -> Vec<(String, Vec<String>)> {
    match unless.as_slice() {
        [(arg, names), (value, values)] if arg == "arg" && value == "value" => match &names[..] {
            [name] => vec![(name.clone(), values.clone())],
            _ => unless,
        },
        _ => unless,
    }
}
