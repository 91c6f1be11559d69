//! What bounds the conversations of an agent. Pure.

use std::fmt;

use crate::domain::models;
use crate::domain::sight::Sight;
use crate::domain::spec::{AgentSpec, ModelChoice, ModelSpec, Provider};
use crate::domain::time::Timestamp;
use crate::domain::window::{Limits, TooLong, tokens_of_bytes};
use crate::engine::agent::Agent;
use crate::engine::prompt;

/// The limits of a session of `agent`, as its files are now.
pub(in crate::engine) fn limits(agent: &Agent) -> &Limits {
    agent.limits.get_or_init(|| new_limits(agent))
}

fn new_limits(agent: &Agent) -> Limits {
    let spec: &AgentSpec = &agent.spec;
    Limits {
        history_tokens: spec.session.max_history_tokens,
        summarises: can_summarise(spec),
        input_tokens: spec.model.main.settings.max_input_tokens,
        told: None,
        output_tokens: spec.model.main.settings.max_output_tokens,
        model: spec.model.main.name.clone(),
        fixed_tokens: tokens_of_bytes(fixed_bytes(agent)),
        tool_results: spec.session.tool_results.clone(),
        talk: spec.access.groups.context_buffer.clone(),
        sight: Sight::of(&spec.model.main),
    }
}

/// Conversations are summarised: the agent's file does not say otherwise, and there is a model that can. The
/// built-in one says again what it is told.
pub fn can_summarise(spec: &AgentSpec) -> bool {
    let session = &spec.session;
    let writer = session.summary_model.as_deref();
    let writer = writer.unwrap_or(&spec.model.main);
    session.summary && writer.provider != Provider::ECHO
}

/// The most bytes of a record that `model` can summarise at once, whose provider has `told` how many tokens it
/// takes: less than the usual four for a token, as much of a record is code and numbers.
pub(in crate::engine) fn record_bytes(
    agent: &Agent,
    model: &ModelChoice,
    told: Option<u64>,
) -> usize {
    const TOKEN_BYTES: u64 = 3;
    let limits = Limits {
        input_tokens: model.settings.max_input_tokens,
        output_tokens: model.settings.max_output_tokens,
        model: model.name.clone(),
        told: told.map(|tokens| (model.name.clone(), tokens)),
        ..limits(agent).clone()
    };
    usize::try_from(limits.taken(None).saturating_mul(TOKEN_BYTES)).unwrap_or(usize::MAX)
}

/// What stands before every conversation of an agent is more than a model of it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongPrompt {
    /// The first such model.
    pub first: TooLong,
    /// It is certainly more than any of them takes, so that asking is no use.
    pub is_hopeless: bool,
}

/// A sentence about "its prompt".
impl fmt::Display for LongPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)
    }
}

/// Tells when an agent's prompt is too long for its model, or for one that may take that one's place.
pub fn long_prompt(agent: &Agent) -> Option<LongPrompt> {
    long_prompt_for(agent, &agent.spec.model)
}

/// As [`long_prompt`], for a session that has a model of its own.
pub(in crate::engine) fn long_prompt_for(agent: &Agent, model: &ModelSpec) -> Option<LongPrompt> {
    let limits = limits(agent);
    let choices: Vec<&ModelChoice> = std::iter::once(&model.main)
        .chain(&model.fallbacks)
        .collect();
    // The built-in one takes what it is given.
    let asked = choices
        .iter()
        .filter(|choice| choice.provider != Provider::ECHO);
    let found: Vec<TooLong> = asked
        .filter_map(|choice| limits.too_long(&choice.name))
        .collect();
    let certain = found.iter().filter(|one| one.is_certain).count();
    Some(LongPrompt {
        is_hopeless: certain == choices.len(),
        first: found.into_iter().next()?,
    })
}

/// The tokens of a window that holds any call of a session which uses `model`, with its answer: what a server
/// of one's own sets aside for it.
pub(in crate::engine) fn window_tokens(agent: &Agent, model: &ModelChoice) -> u64 {
    /// For an answer whose length no file limits.
    const ANSWER_TOKENS: u64 = 8_192;
    /// What servers like: a size that does not change with every word of the prompt.
    const STEP: u64 = 1_024;
    let limits = limits(agent);
    let answer = limits.output_tokens.unwrap_or(ANSWER_TOKENS);
    let whole = match limits.input_tokens {
        Some(tokens) => tokens.saturating_add(answer.min(tokens)),
        None => models::context_tokens(&model.name),
    };
    if limits.history_tokens == 0 {
        return whole;
    }
    // The prompt is estimated, and may be more.
    let prompt = limits.fixed_tokens + limits.fixed_tokens / 2;
    let used = prompt
        .saturating_add(answer)
        .saturating_add(limits.history_tokens);
    whole.min(used.checked_next_multiple_of(STEP).unwrap_or(whole))
}

/// The size of what every call contains beside the conversation.
fn fixed_bytes(agent: &Agent) -> usize {
    // Sessions differ in the time of their start, which is as long for all.
    let any = Timestamp::default();
    prompt::system(&agent.spec, any, None).len() + tools_bytes(agent)
}

/// The size of the tools as a model is told of them.
pub(in crate::engine) fn tools_bytes(agent: &Agent) -> usize {
    let tools = prompt::definitions(&agent.spec, &agent.tools).into_iter();
    let tools = tools
        .map(|tool| tool.name.len() + tool.description.len() + tool.parameters.to_string().len());
    tools.sum()
}
