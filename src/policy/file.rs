//! `policy.yaml`, `policy.local.yaml`: what they may say, and reading them.
//!
//! Invariant: in a policy every unknown key is an error. A rule that is mistyped would be no rule.

use std::path::Path;
use std::sync::Arc;

use super::check;
use super::rules::{Delivery, Mode, Notify, Occasion, RuleFile, RulePattern, RulePlace, Tier};
use crate::base::text;
use crate::base::yaml::expand::Environment;
use crate::base::yaml::problem::{Level, Problem};
use crate::base::yaml::read::{self, At, FromYaml, Report, Sift, WordOrList, or_default, section};
use crate::base::yaml::tree::{Document, NodeId};
use crate::domain::chat::Chat;
use crate::domain::secret::Secret;
use crate::domain::spec::API_VERSION;

/// The `kind` of a policy file.
pub const KIND: &str = "Policy";

section! {
    /// The whole file.
    guarded section PolicyFile {
        "apiVersion" => api_version: String,
        "kind" => kind: String,
        "mode" => mode: String,
        "deny" => deny: Vec<At<String>>,
        "allow" => allow: Vec<At<RawRule>>,
        "notify" => notify: RawNotify,
    }
}

section! {
    /// `notify`.
    guarded section RawNotify {
        "on" => on: Vec<At<String>>,
        "enabled" => enabled: bool,
        "patterns" => patterns: Vec<At<String>>,
        "deliveries" => deliveries: Vec<At<RawDelivery>>,
        "chat" => chat: WordOrList,
    }
}

section! {
    /// One of `notify.deliveries`.
    guarded section RawDelivery {
        "type" => kind: String,
        "url" => url: String,
    }
}

section! {
    /// A rule of `allow` that is no pattern.
    guarded section RawExact {
        "exact" => exact: String,
    }
}

/// One of `allow`.
#[derive(Debug)]
pub(super) enum RawRule {
    Pattern(String),
    /// A script; `None` where the key is missing.
    Exact(Option<String>),
}

impl FromYaml for RawRule {
    const EXPECTED: &'static str = "a pattern, or a mapping with the key `exact`";

    fn read(place: read::Place<'_>, report: &mut Report) -> Option<RawRule> {
        if place.is_mapping() {
            let raw = RawExact::read(place, report)?;
            return Some(RawRule::Exact(raw.exact.map(|at| at.value)));
        }
        String::read(place, report).map(RawRule::Pattern)
    }

    fn keys(prefix: &str, found: &mut Vec<String>) {
        RawExact::keys(prefix, found);
    }
}

/// The most rules of a list: a call is compared with each.
const RULES_MAX: usize = 1_000;

/// A pattern as it stands in a file.
type FoundPattern = (String, NodeId);

/// Every key that a policy may have.
pub fn keys() -> Vec<String> {
    let mut found = Vec::new();
    PolicyFile::keys("", &mut found);
    found
}

/// Reads the text of a policy file.
///
/// Errors: everything that is wrong with it.
pub fn parse(
    text: String,
    path: &Path,
    environment: Environment<'_>,
) -> Result<Tier, Vec<Problem>> {
    let mut report = Report::new(Level::Error);
    let read = read::read_document(text, path, environment, &mut report);
    placed(read, report, path)
}

/// As [`parse`], of a document that is looked through first.
pub fn parse_sifted(text: String, path: &Path, sift: &dyn Sift) -> Result<Tier, Vec<Problem>> {
    let mut report = Report::new(Level::Error);
    let read = read::read_sifted_document(text, path, sift, &mut report);
    placed(read, report, path)
}

fn placed(
    read: Result<(Document, Option<At<PolicyFile>>), Problem>,
    mut report: Report,
    path: &Path,
) -> Result<Tier, Vec<Problem>> {
    let (document, file) = read.map_err(|problem| vec![problem])?;
    let checked = file.map(|file| check(file, &mut report));
    let Some(checked) = checked.filter(|_| !report.has_errors()) else {
        return Err(report.finish(&document, path));
    };
    let source = Arc::new(RuleFile {
        path: path.to_owned(),
        document,
    });
    Ok(checked.placed(&source))
}

/// What a file says, before its places can be named.
struct CheckedPolicy {
    mode: Option<(Mode, NodeId)>,
    deny: Vec<FoundPattern>,
    allow: Vec<(RawRule, NodeId)>,
    notify: Option<CheckedNotify>,
}

/// Who is told of what, before the places of patterns can be named.
struct CheckedNotify {
    on: Vec<Occasion>,
    patterns: Option<Vec<FoundPattern>>,
    deliveries: Vec<Delivery>,
}

impl CheckedPolicy {
    fn placed(self, source: &Arc<RuleFile>) -> Tier {
        let place = |node| RulePlace {
            source: Arc::clone(source),
            node,
        };
        let patterns = |found: Vec<FoundPattern>| -> Vec<RulePattern> {
            let pattern = |(text, node): FoundPattern| RulePattern::parse(&text, place(node)).ok();
            found.into_iter().filter_map(pattern).collect()
        };
        let rule = |(rule, node): (RawRule, NodeId)| match rule {
            RawRule::Pattern(text) => RulePattern::parse(&text, place(node)).ok(),
            RawRule::Exact(script) => Some(RulePattern::exact(script?, place(node))),
        };
        let mut tier = Tier {
            mode: self.mode.map(|(mode, node)| (mode, place(node))),
            deny: patterns(self.deny),
            allow: self.allow.into_iter().filter_map(rule).collect(),
            notify: self.notify.map(|told| Notify {
                on: told.on,
                patterns: told.patterns.map(patterns),
                deliveries: told.deliveries,
            }),
            remarks: Vec::new(),
        };
        tier.remarks = check::idle(&tier);
        tier
    }
}

fn check(file: At<PolicyFile>, report: &mut Report) -> CheckedPolicy {
    let (file, raw) = file.split();
    if let Some(at) = report.require(&file, "apiVersion", raw.api_version) {
        report.choice(&at, &[(API_VERSION, ())]);
    }
    if let Some(at) = report.require(&file, "kind", raw.kind) {
        report.choice(&at, &[(KIND, ())]);
    }
    let mode = raw.mode.and_then(|at| {
        let mode = report.choice(&at, Mode::WORDS)?;
        Some((mode, at.node))
    });
    CheckedPolicy {
        mode,
        deny: patterns(or_default(raw.deny), report),
        allow: rules(or_default(raw.allow), report),
        notify: raw.notify.and_then(|at| notify(at.value, report)),
    }
}

fn rules(found: Vec<At<RawRule>>, report: &mut Report) -> Vec<(RawRule, NodeId)> {
    refuse_many(&found, report);
    for at in &found {
        match &at.value {
            RawRule::Pattern(text) => check_pattern(at, text, report),
            RawRule::Exact(None) => report.error(at, "needs the key `exact`"),
            RawRule::Exact(Some(script)) if script.len() > RulePattern::SCRIPT_BYTES_MAX => {
                report.error(at, "is longer than 64 KiB");
            }
            RawRule::Exact(Some(_)) => {}
        }
    }
    found.into_iter().map(|at| (at.value, at.node)).collect()
}

fn check_pattern<T>(at: &At<T>, text: &str, report: &mut Report) {
    if let Err(why) = RulePattern::check(text) {
        report.error(at, why);
    }
}

fn refuse_many<T>(found: &[At<T>], report: &mut Report) {
    if let Some(at) = found.get(RULES_MAX) {
        report.error(at, format!("is one of more than {RULES_MAX} rules"));
    }
}

fn patterns(found: Vec<At<String>>, report: &mut Report) -> Vec<FoundPattern> {
    refuse_many(&found, report);
    for at in &found {
        check_pattern(at, &at.value, report);
    }
    found.into_iter().map(|at| (at.value, at.node)).collect()
}

fn notify(raw: RawNotify, report: &mut Report) -> Option<CheckedNotify> {
    let on = match raw.on {
        None => vec![Occasion::Call],
        Some(at) => {
            let words = at.value.iter();
            let chosen = words.filter_map(|at| report.choice(at, Occasion::WORDS));
            chosen.collect()
        }
    };
    let patterns = raw.patterns.map(|at| self::patterns(at.value, report));
    let chats = raw.chat.map_or(Vec::new(), |at| match at.value {
        WordOrList::Word(one) => vec![one],
        WordOrList::List(several) => several,
    });
    let mut deliveries: Vec<Delivery> = match raw.deliveries {
        None if chats.is_empty() => vec![Delivery::Log],
        None => Vec::new(),
        Some(at) => {
            let deliveries = at.value.into_iter();
            deliveries.filter_map(|at| delivery(at, report)).collect()
        }
    };
    deliveries.extend(chats.iter().filter_map(|at| chat(at, report)));
    let enabled = raw.enabled.is_none_or(|at| at.value);
    enabled.then_some(CheckedNotify {
        on,
        patterns,
        deliveries,
    })
}

/// `GATEWAY:CHAT`, as lists of groups write chats.
fn chat(at: &At<String>, report: &mut Report) -> Option<Delivery> {
    match at.value.split_once(':') {
        Some((gateway, chat)) if !gateway.is_empty() && !chat.trim().is_empty() => {
            Some(Delivery::Chat(Chat::new(gateway, chat.trim())))
        }
        Some(_) | None => {
            report.error(
                at,
                "must be a gateway's name, `:` and the platform's id of a chat",
            );
            None
        }
    }
}

fn delivery(at: At<RawDelivery>, report: &mut Report) -> Option<Delivery> {
    let (at, raw) = at.split();
    let kind = report.require(&at, "type", raw.kind)?;
    let is_webhook = report.choice(&kind, &[("log", false), ("webhook", true)])?;
    if !is_webhook {
        if let Some(url) = &raw.url {
            report.error(url, "means nothing for a delivery of type `log`");
        }
        return Some(Delivery::Log);
    }
    let url = report.require(&at, "url", raw.url)?;
    if !text::is_http_url(&url.value) {
        report.error(&url, "must begin with `http://` or `https://`");
        return None;
    }
    Some(Delivery::Webhook(Secret::new(url.value)))
}
