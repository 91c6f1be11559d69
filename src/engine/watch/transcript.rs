//! Records as a conversation that people read. Pure.

use crate::domain::event::{AssistantResponse, Event, Record};
use crate::domain::ids::MessageId;
use crate::domain::time::Timestamp;
use crate::engine::watch::view::{Role, ShownMessage};

/// The messages that `records`, in order, hold. The parts of a continued reply become one; a part
/// whose beginning is not among the records stands under the id of its beginning.
pub(in crate::engine) fn messages(records: &[Record]) -> Vec<ShownMessage> {
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

/// Whether a record matters to [`messages`].
pub(in crate::engine) fn is_about_messages(record: &Record) -> bool {
    matches!(
        record.event,
        Event::UserMessage(_) | Event::AssistantResponse(_) | Event::MessageDropped { .. }
    )
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
            content: String::clone(&reply.content),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::event::FinishReason;
    use crate::domain::story::*;

    fn told(records: &[Record]) -> Vec<String> {
        let shown = messages(records);
        let words = shown
            .iter()
            .map(|message| format!("{} {}", message.role.as_str(), message.content));
        words.collect()
    }

    #[test]
    fn the_parts_of_a_continued_reply_are_one_message_where_it_began() {
        let records = log([
            user(1, "a"),
            reply(11, 2, "hel").but(FinishReason::Interrupted).event(),
            user(2, "b"),
            reply(12, 4, "lo").continuing(11).event(),
            reply(13, 5, "").asking(&[1]).event(),
        ]);
        assert_eq!(told(&records), ["user a", "assistant hello", "user b"]);
        let id = messages(&records[4..]).remove(0).message_id;
        assert_eq!(id, message_id(11), "its beginning is on another page");
    }

    #[test]
    fn a_dropped_message_is_not_shown() {
        assert_eq!(
            told(&log([user(1, "a"), user(2, "b"), dropped(1)])),
            ["user b"]
        );
    }

    proptest! {
        #[test]
        fn a_summary_counts_as_many_messages_as_are_shown(
            choices in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let records = records_of(&walk(&choices));
            let count = fold(&records).summary.message_count;
            prop_assert_eq!(messages(&records).len() as u64, count);
        }
    }
}
