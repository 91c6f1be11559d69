//! Records as a conversation that people read. Pure.

use crate::domain::event::{AssistantResponse, Event, Record};
use crate::domain::ids::MessageId;
use crate::domain::time::Timestamp;
use crate::engine::view::{Role, ShownMessage};

/// The messages that `records`, in order, hold. The parts of a continued reply become one; a part
/// whose beginning is not among the records stands under the id of its beginning.
pub(super) fn messages(records: &[Record]) -> Vec<ShownMessage> {
    let mut shown: Vec<ShownMessage> = Vec::new();
    for record in records {
        if let Event::UserMessage(message) = &record.event {
            shown.push(ShownMessage {
                role: Role::User,
                content: message.content.clone(),
                message_id: message.message_id.clone(),
                created_at: record.timestamp,
                sender_name: message.sender_name.clone(),
            });
        } else if let Event::AssistantResponse(reply) = &record.event {
            add_reply(&mut shown, reply, record.timestamp);
        } else if let Event::MessageDropped { message_id, .. } = &record.event {
            shown.retain(|message| message.message_id != *message_id);
        }
    }
    shown
}

fn add_reply(shown: &mut Vec<ShownMessage>, reply: &AssistantResponse, at: Timestamp) {
    if reply.content.is_empty() {
        return;
    }
    let message_id = reply.continues.as_ref().unwrap_or(&reply.message_id);
    match find_mut(shown, message_id) {
        Some(begun) => begun.content.push_str(&reply.content),
        None => shown.push(ShownMessage {
            role: Role::Assistant,
            content: reply.content.clone(),
            message_id: message_id.clone(),
            created_at: at,
            sender_name: None,
        }),
    }
}

fn find_mut<'a>(shown: &'a mut [ShownMessage], id: &MessageId) -> Option<&'a mut ShownMessage> {
    shown
        .iter_mut()
        .rev()
        .find(|message| message.message_id == *id)
}
