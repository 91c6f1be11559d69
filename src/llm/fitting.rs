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
    let messages = &request.messages;
    let each: Vec<u64> = messages.iter().map(|one| tokens_of(one, &limits)).collect();
    let mut tokens: u64 = each.iter().sum();
    if tokens <= room {
        return None;
    }
    // What asks to go on with a reply begins no turn.
    let asked = messages.len() - usize::from(request.goes_on());
    let is_user = |at: &usize| matches!(messages[*at], Message::User { .. });
    let mut begin = 0;
    for at in (0..asked).filter(is_user) {
        tokens -= each[begin..at].iter().sum::<u64>();
        begin = at;
        if tokens <= room {
            break;
        }
    }
    let mut kept = messages[begin..].to_vec();
    for (message, before) in kept.iter_mut().zip(&each[begin..]) {
        if tokens <= room {
            break;
        }
        if let Message::Tool {
            tool_name, output, ..
        } = message
        {
            let bytes = output.content.len();
            output.content = masked(tool_name, &output.content, bytes).into_owned();
            tokens = tokens - before + tokens_of(message, &limits);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::ToolOutput;
    use crate::domain::ids::CallId;

    fn user() -> Message {
        Message::User {
            text: "x".repeat(784).as_str().into(),
            attachments: Vec::new(),
        }
    }

    fn result(bytes: usize) -> Message {
        Message::Tool {
            call_id: CallId::parse("a").unwrap(),
            tool_name: "t".to_owned(),
            output: ToolOutput {
                success: true,
                content: "r".repeat(bytes).as_str().into(),
            },
        }
    }

    /// A message is 200 tokens, and the model takes so many.
    #[test]
    fn the_latest_turns_are_kept_and_results_of_the_last_only_named_where_it_is_too_long() {
        let talk = || vec![user(), result(784), user(), result(784), result(784)];
        for (takes, kept, named) in [
            (1_000, None, 0),
            (999, Some(3), 0),
            (600, Some(3), 0),
            (599, Some(3), 1),
            (300, Some(3), 2),
        ] {
            let request = Request {
                messages: talk(),
                ..Request::default()
            };
            let mut choice = ModelChoice::new(Provider::OPENAI, "m");
            choice.settings.max_input_tokens = Some(takes);
            let found = fitting(&request, &choice, None).map(|shorter| shorter.messages);
            assert_eq!(found.as_ref().map(Vec::len), kept, "{takes}");
            let is_named = |one: &Message| matches!(one, Message::Tool { output, .. } if output.content.len() < 784);
            let shorter: Vec<bool> = found.unwrap_or_default().iter().map(is_named).collect();
            let expected: Vec<bool> = (0..shorter.len())
                .map(|at| (1..=named).contains(&at))
                .collect();
            assert_eq!(shorter, expected, "{takes}");
        }
    }
}
