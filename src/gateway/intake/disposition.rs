//! What becomes of what is said by those who may talk. Pure.

use crate::domain::access::{Activation, BufferMode, GroupAccess, SenderRule};
use crate::engine::Overheard;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    /// The agent answers it.
    Answered,
    /// It is kept as talk.
    Overheard(Overheard),
    /// Nothing of it is kept.
    Ignored,
}

/// What becomes of a message in a group; `is_addressed` says that it is meant for the agent.
pub(super) fn in_group(groups: &GroupAccess, rule: SenderRule, is_addressed: bool) -> Disposition {
    let is_answered = is_addressed || groups.activation == Activation::Always;
    match rule {
        SenderRule::Block => Disposition::Ignored,
        SenderRule::Silent => Disposition::Overheard(Overheard::Logged),
        SenderRule::Passive => Disposition::Overheard(Overheard::Shown),
        SenderRule::Allow if is_answered => Disposition::Answered,
        SenderRule::Allow => unanswered(groups),
    }
}

/// What becomes of talk that the agent does not answer.
pub(super) fn unanswered(groups: &GroupAccess) -> Disposition {
    Disposition::Overheard(match groups.context_buffer.mode {
        BufferMode::Silent => Overheard::Logged,
        BufferMode::Passive => Overheard::Shown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::ContextBuffer;

    #[test]
    fn the_senders_rule_comes_first_then_whether_the_agent_is_meant() {
        use Disposition::{Answered, Ignored, Overheard as Talk};
        use Overheard::{Logged, Shown};
        let groups = |activation, mode| GroupAccess {
            activation,
            context_buffer: ContextBuffer {
                mode,
                ..ContextBuffer::default()
            },
            ..GroupAccess::default()
        };
        let silent = groups(Activation::Mention, BufferMode::Silent);
        let passive = groups(Activation::Mention, BufferMode::Passive);
        let always = groups(Activation::Always, BufferMode::Silent);
        for (rule, addressed, want_silent, want_passive, want_always) in [
            (SenderRule::Allow, true, Answered, Answered, Answered),
            (
                SenderRule::Allow,
                false,
                Talk(Logged),
                Talk(Shown),
                Answered,
            ),
            (
                SenderRule::Passive,
                true,
                Talk(Shown),
                Talk(Shown),
                Talk(Shown),
            ),
            (
                SenderRule::Silent,
                true,
                Talk(Logged),
                Talk(Logged),
                Talk(Logged),
            ),
            (SenderRule::Block, true, Ignored, Ignored, Ignored),
        ] {
            assert_eq!(in_group(&silent, rule, addressed), want_silent);
            assert_eq!(in_group(&passive, rule, addressed), want_passive);
            assert_eq!(in_group(&always, rule, addressed), want_always);
        }
    }
}
