//! What of a conversation a fallback is sent that takes less than the model for which it was made. Pure.

use crate::domain::message::Message;
use crate::domain::sight::Sight;
use crate::domain::spec::{ModelChoice, Provider};
use crate::domain::window::{Limits, masked, tokens_of_bytes};
use crate::llm::Request;

/// The request with as much of its conversation as `choice` takes: the latest turns, and the results of the last one
/// only named, where it alone is too long. `None` if all of it fits. `window` is what the provider has said that the
/// model takes.
///
/// The estimates are uncorrected: what a provider then refuses is made less of as ever.
pub(super) fn fitting(
    request: &Request,
    choice: &ModelChoice,
    window: Option<u64>,
) -> Option<Request> {
    // The built-in one takes what it is given.
    if choice.provider == Provider::ECHO {
        return None;
    }
    let tools = request.tools.iter();
    let tools = tools
        .map(|tool| tool.name.len() + tool.description.len() + tool.parameters.to_string().len());
    let limits = Limits {
        input_tokens: choice.settings.max_input_tokens,
        told: window.map(|tokens| (choice.name.clone(), tokens)),
        output_tokens: choice.settings.max_output_tokens,
        model: choice.name.clone(),
        fixed_tokens: tokens_of_bytes(request.system.len() + tools.sum::<usize>()),
        sight: Sight::of(choice),
        ..Limits::none()
    };
    let room = limits.room_tokens();
    let tokens = |messages: &[Message]| {
        let all = messages.iter().map(|one| tokens_of(one, &limits));
        all.sum::<u64>()
    };
    let messages = &request.messages;
    if tokens(messages) <= room {
        return None;
    }
    // What asks to go on with a reply begins no turn.
    let asked = messages.len() - usize::from(request.goes_on());
    let is_user = |at: &usize| matches!(messages[*at], Message::User { .. });
    let mut begins = (0..asked).filter(is_user);
    let last = begins.clone().next_back().unwrap_or(0);
    let begin = begins.find(|at| tokens(&messages[*at..]) <= room);
    let mut kept = messages[begin.unwrap_or(last)..].to_vec();
    for at in 0..kept.len() {
        if tokens(&kept) <= room {
            break;
        }
        if let Message::Tool {
            tool_name, output, ..
        } = &mut kept[at]
        {
            let bytes = output.content.len();
            output.content = masked(tool_name, &output.content, bytes).into_owned();
        }
    }
    Some(Request {
        messages: kept,
        ..request.clone()
    })
}

/// About how many tokens a message is.
fn tokens_of(message: &Message, limits: &Limits) -> u64 {
    /// Roles, separators and names around each.
    const FRAME_BYTES: usize = 16;
    let mut files_tokens = 0;
    let bytes = match message {
        Message::User { text, attachments } => {
            let files = attachments.iter();
            files_tokens = files.map(|file| limits.tokens_of_file(file)).sum();
            text.len()
        }
        Message::Assistant(reply) => {
            let calls = reply.tool_calls.iter();
            let calls = calls.map(|call| call.tool_name.len() + call.arguments.len() + FRAME_BYTES);
            reply.text.len() + calls.sum::<usize>()
        }
        Message::Tool { output, .. } => output.content.len(),
    };
    tokens_of_bytes(bytes + FRAME_BYTES) + files_tokens
}
