//! Who may talk, and who may decide. Pure.

use crate::domain::access::{AccessSpec, DmPolicy, GroupPolicy, IdPattern, SenderRule};
use crate::domain::ids::GatewayName;
use crate::gateway::host::AdmittedAs;
use crate::gateway::protocol::ChatType;

/// The gateway that lists speak of also where it is off.
const BUILT_IN: &str = "telegram";

/// Somebody on a platform, as far as rules ask.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct Visitor<'a> {
    /// By which gateway they come.
    pub(in crate::gateway) gateway: &'a GatewayName,
    /// All that there are.
    pub(in crate::gateway) gateways: &'a [GatewayName],
    /// The platform's id.
    pub(in crate::gateway) id: &'a str,
    /// The id proves who they are.
    pub(in crate::gateway) is_verified: bool,
    /// How far the owner admitted them.
    pub(in crate::gateway) admitted: Option<AdmittedAs>,
}

/// Where somebody speaks, as far as rules ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChatPlace<'a> {
    pub(super) chat_type: ChatType,
    /// The platform's name, where the gateway tells it.
    pub(super) channel: Option<&'a str>,
    /// The names that the chat has, and had.
    pub(super) chat_ids: &'a [String],
}

/// Whether somebody may talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChatAdmission {
    /// They may.
    Admitted,
    /// They may not yet: the owner can admit them.
    Stranger,
    /// They may not.
    Refused,
}

/// Whether `visitor` may talk in `place`; in a group what becomes of it is for
/// [`sender_rule`] to say.
pub(super) fn admission(
    access: &AccessSpec,
    visitor: Visitor<'_>,
    place: ChatPlace<'_>,
) -> ChatAdmission {
    let admitted_if = |is_admitted| match is_admitted {
        true => ChatAdmission::Admitted,
        false => ChatAdmission::Refused,
    };
    let is_listed = || visitor.is_in(&access.dm.allowlist);
    match (place.chat_type, access.dm.policy, access.groups.policy) {
        (ChatType::Dm, DmPolicy::Open, _) => ChatAdmission::Admitted,
        (ChatType::Dm, DmPolicy::Disabled, _) => ChatAdmission::Refused,
        (ChatType::Dm, DmPolicy::Allowlist, _) => admitted_if(is_listed()),
        (ChatType::Dm, DmPolicy::Pairing, _) if visitor.admitted.is_some() || is_listed() => {
            ChatAdmission::Admitted
        }
        (ChatType::Dm, DmPolicy::Pairing, _) => ChatAdmission::Stranger,
        (ChatType::Group | ChatType::Channel, _, policy) => admitted_if(match policy {
            GroupPolicy::Open => true,
            GroupPolicy::Disabled => false,
            GroupPolicy::Allowlist => place.is_in(&access.groups.allowlist, visitor.gateway),
        }),
    }
}

/// What becomes of what `visitor` says in a group.
pub(super) fn sender_rule(access: &AccessSpec, visitor: Visitor<'_>) -> SenderRule {
    let groups = &access.groups;
    let mut named = groups.sender_overrides.iter();
    let found = named.find(|(pattern, _)| visitor.is(pattern));
    found.map_or(groups.sender_default, |(_, rule)| *rule)
}

/// Whether `visitor` may decide what waits for a person; `has_asked` says that they asked for it.
pub(in crate::gateway) fn may_decide(
    access: &AccessSpec,
    visitor: Visitor<'_>,
    has_asked: bool,
) -> bool {
    let is_approver =
        visitor.admitted == Some(AdmittedAs::Approver) || visitor.is_in(&access.approvers);
    let is_requester = access.requester_approves && has_asked;
    visitor.is_verified && (is_approver || is_requester)
}

/// Whether patterns of `{channel}:{chat_id}` speak of a chat with one of these names, on whatever platform.
pub(super) fn is_named_in<'p>(
    patterns: impl IntoIterator<Item = &'p IdPattern>,
    chat_ids: &[String],
) -> bool {
    patterns.into_iter().any(|pattern| {
        let rest = |text: &String| Some(text.split_once(':')?.1.to_owned());
        let of_chat = match pattern {
            IdPattern::Exact(text) => rest(text).map(IdPattern::Exact),
            // What is of a whole platform holds for any id.
            IdPattern::Prefix(text) => rest(text)
                .filter(|begin| !begin.is_empty())
                .map(IdPattern::Prefix),
        };
        of_chat.is_some_and(|pattern| chat_ids.iter().any(|chat_id| pattern.matches(chat_id)))
    })
}

impl Visitor<'_> {
    fn is_in(&self, patterns: &[IdPattern]) -> bool {
        patterns.iter().any(|pattern| self.is(pattern))
    }

    /// A pattern is of ids, or of `gateway:id`. What begins with a gateway's name is never an id alone: on a
    /// platform where ids are chosen, somebody's could read like another's elsewhere.
    fn is(&self, pattern: &IdPattern) -> bool {
        let (IdPattern::Exact(text) | IdPattern::Prefix(text)) = pattern;
        let begin = text.split_once(':').map(|(begin, _)| begin);
        let names = self.gateways.iter().map(GatewayName::as_str);
        let is_qualified = names.chain([BUILT_IN]).any(|name| begin == Some(name));
        (!is_qualified && pattern.matches(self.id))
            || pattern.matches(&format!("{}:{}", self.gateway, self.id))
    }
}

impl ChatPlace<'_> {
    /// A pattern is of `{channel}:{chat_id}`; the gateway's own name tells two of a platform apart.
    fn is_in(&self, patterns: &[IdPattern], gateway: &GatewayName) -> bool {
        let platforms = || self.channel.into_iter().chain([gateway.as_str()]);
        let mut names = self
            .chat_ids
            .iter()
            .flat_map(|chat_id| platforms().map(move |platform| format!("{platform}:{chat_id}")));
        names.any(|name| patterns.iter().any(|pattern| pattern.matches(&name)))
            || (self.channel.is_none() && self.may_be_in(patterns))
    }

    /// On some platform it is.
    fn may_be_in(&self, patterns: &[IdPattern]) -> bool {
        let is_whole_platform =
            |pattern: &IdPattern| matches!(pattern, IdPattern::Prefix(text) if text.ends_with(':'));
        patterns.iter().any(is_whole_platform) || is_named_in(patterns, self.chat_ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::{DmAccess, GroupAccess};

    fn patterns(texts: &[&str]) -> Vec<IdPattern> {
        let parsed = texts.iter().map(|text| IdPattern::parse(text).unwrap());
        parsed.collect()
    }

    fn dm(policy: DmPolicy, allowlist: &[&str]) -> AccessSpec {
        AccessSpec {
            dm: DmAccess {
                policy,
                allowlist: patterns(allowlist),
            },
            ..AccessSpec::default()
        }
    }

    fn groups(policy: GroupPolicy, allowlist: &[&str]) -> AccessSpec {
        AccessSpec {
            groups: GroupAccess {
                policy,
                allowlist: patterns(allowlist),
                ..GroupAccess::default()
            },
            ..AccessSpec::default()
        }
    }

    fn visitor<'a>(gateway: &'a GatewayName, id: &'a str) -> Visitor<'a> {
        Visitor {
            gateway,
            gateways: &[],
            id,
            is_verified: true,
            admitted: None,
        }
    }

    #[test]
    fn in_a_chat_of_two_the_policy_and_its_list_admit() {
        use ChatAdmission::{Admitted, Refused, Stranger};
        let gateway = GatewayName::parse("telegram").unwrap();
        let place = ChatPlace {
            chat_type: ChatType::Dm,
            channel: Some("telegram"),
            chat_ids: &["42".to_owned()],
        };
        let chat = Some(AdmittedAs::Chat);
        for (access, admitted, expected) in [
            (AccessSpec::default(), None, Stranger),
            (AccessSpec::default(), chat, Admitted),
            (AccessSpec::default(), Some(AdmittedAs::Approver), Admitted),
            (dm(DmPolicy::Open, &[]), None, Admitted),
            (dm(DmPolicy::Disabled, &["42"]), chat, Refused),
            (dm(DmPolicy::Allowlist, &[]), None, Refused),
            // Whom a code let in before the list was all that counts.
            (dm(DmPolicy::Allowlist, &[]), chat, Refused),
            (dm(DmPolicy::Allowlist, &["42"]), None, Admitted),
            (dm(DmPolicy::Allowlist, &["telegram:42"]), None, Admitted),
            (dm(DmPolicy::Allowlist, &["4*"]), None, Admitted),
            (dm(DmPolicy::Allowlist, &["telegram:*"]), None, Admitted),
            (
                dm(DmPolicy::Allowlist, &["irc:*", "421", "4"]),
                None,
                Refused,
            ),
            (dm(DmPolicy::Pairing, &["*"]), None, Admitted),
            (dm(DmPolicy::Pairing, &["43"]), None, Stranger),
            (groups(GroupPolicy::Open, &[]), None, Stranger),
        ] {
            let visitor = Visitor {
                admitted,
                ..visitor(&gateway, "42")
            };
            assert_eq!(admission(&access, visitor, place), expected, "{access:?}");
        }
    }

    #[test]
    fn a_nick_that_reads_like_anothers_id_elsewhere_is_not_that_one() {
        let gateway = GatewayName::parse("irc").unwrap();
        for (pattern, id, expected) in [
            ("telegram:42", "telegram:42", false),
            ("telegram:*", "telegram:42", false),
            ("matrix:42", "matrix:42", false),
            ("irc:telegram:42", "telegram:42", true),
            ("@ann:example.org", "@ann:example.org", true),
            ("account:ann", "account:ann", true),
            ("irc:account:ann", "account:ann", true),
        ] {
            let pattern = IdPattern::parse(pattern).unwrap();
            let visitor = Visitor {
                gateways: &[GatewayName::parse("matrix").unwrap()],
                ..visitor(&gateway, id)
            };
            assert_eq!(visitor.is(&pattern), expected, "{pattern:?}");
        }
    }

    #[test]
    fn a_group_is_admitted_by_its_platform_and_id_also_those_it_had() {
        use ChatAdmission::{Admitted, Refused};
        let gateway = GatewayName::parse("support").unwrap();
        let chat_ids = ["-100".to_owned(), "-1".to_owned()];
        for (access, expected) in [
            (AccessSpec::default(), Refused),
            (dm(DmPolicy::Open, &[]), Refused),
            (groups(GroupPolicy::Open, &[]), Admitted),
            (groups(GroupPolicy::Allowlist, &[]), Refused),
            (groups(GroupPolicy::Allowlist, &["telegram:-100"]), Admitted),
            (groups(GroupPolicy::Allowlist, &["telegram:-1"]), Admitted),
            (groups(GroupPolicy::Allowlist, &["support:-100"]), Admitted),
            (groups(GroupPolicy::Allowlist, &["telegram:*"]), Admitted),
            (
                groups(GroupPolicy::Allowlist, &["-100", "irc:-100"]),
                Refused,
            ),
            (groups(GroupPolicy::Disabled, &["telegram:-100"]), Refused),
        ] {
            for chat_type in [ChatType::Group, ChatType::Channel] {
                let place = ChatPlace {
                    chat_type,
                    channel: Some("telegram"),
                    chat_ids: &chat_ids,
                };
                let found = admission(&access, visitor(&gateway, "42"), place);
                assert_eq!(found, expected, "{access:?}");
            }
        }
    }

    #[test]
    fn the_first_override_that_fits_is_a_senders_rule() {
        let gateway = GatewayName::parse("telegram").unwrap();
        let rule = |text: &str, rule| (IdPattern::parse(text).unwrap(), rule);
        let access = AccessSpec {
            groups: GroupAccess {
                sender_default: SenderRule::Passive,
                sender_overrides: vec![
                    rule("telegram:42", SenderRule::Allow),
                    rule("4*", SenderRule::Block),
                ],
                ..GroupAccess::default()
            },
            ..AccessSpec::default()
        };
        for (id, expected) in [
            ("42", SenderRule::Allow),
            ("43", SenderRule::Block),
            ("5", SenderRule::Passive),
        ] {
            assert_eq!(sender_rule(&access, visitor(&gateway, id)), expected);
        }
    }

    #[test]
    fn only_approvers_decide_and_who_asked_where_that_is_said() {
        let gateway = GatewayName::parse("telegram").unwrap();
        let nobody = AccessSpec::default();
        let listed = AccessSpec {
            approvers: patterns(&["telegram:42"]),
            ..AccessSpec::default()
        };
        let requester = AccessSpec {
            requester_approves: true,
            ..AccessSpec::default()
        };
        let (chat, approver) = (Some(AdmittedAs::Chat), Some(AdmittedAs::Approver));
        for (access, admitted, has_asked, is_verified, expected) in [
            (&nobody, None, true, true, false),
            (&nobody, chat, true, true, false),
            (&nobody, approver, false, true, true),
            (&nobody, approver, true, false, false),
            (&listed, None, false, true, true),
            (&listed, None, false, false, false),
            (&requester, chat, true, true, true),
            (&requester, chat, false, true, false),
            (&requester, chat, true, false, false),
        ] {
            let visitor = Visitor {
                admitted,
                is_verified,
                ..visitor(&gateway, "42")
            };
            assert_eq!(
                may_decide(access, visitor, has_asked),
                expected,
                "{access:?} {admitted:?} {has_asked} {is_verified}"
            );
        }
    }
}
