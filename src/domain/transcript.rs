//! Records as a conversation that people read. Pure.

use serde::Deserialize;
use serde::de::Error as _;

use crate::domain::event::{Attachment, Event, Record, RecordHead};
use crate::domain::ids::MessageId;
use crate::domain::time::Timestamp;

/// The two sides of a conversation, as the API names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A person.
    User,
    /// The agent.
    Assistant,
}

impl Role {
    /// The word used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// A message as the API shows it: the parts of a continued reply are one, under the first id.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownMessage {
    /// Its side.
    pub role: Role,
    /// Its text.
    pub content: String,
    /// Its identifier.
    pub message_id: MessageId,
    /// When it was stored.
    pub created_at: Timestamp,
    /// The writer's name, where there are several.
    pub sender_name: Option<String>,
    /// Files that came or go with it.
    pub attachments: Vec<Attachment>,
}

/// What a record does to the conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// It says something: a message, or the beginning of one.
    Message(ShownMessage),
    /// It goes on with the reply of that id.
    More(ShownMessage),
    /// It withdraws a message.
    Dropped(MessageId),
}

impl Said {
    /// Reads of a line's JSON object no more than is shown; `None` if that is nothing.
    ///
    /// Errors: the JSON is bad, or what is shown is missing or ill-typed.
    pub fn parse(head: &RecordHead<'_>, json: &[u8]) -> Result<Option<Said>, serde_json::Error> {
        /// The keys of both sides' messages, and of what withdraws one.
        #[derive(Deserialize)]
        struct SaidLine {
            message_id: MessageId,
            content: Option<String>,
            sender_name: Option<String>,
            continues: Option<MessageId>,
            #[serde(default)]
            attachments: Vec<Attachment>,
        }
        let role = match &*head.kind {
            "user_message" => Some(Role::User),
            "assistant_response" => Some(Role::Assistant),
            "message_dropped" => None,
            _ => return Ok(None),
        };
        let line: SaidLine = serde_json::from_slice(json)?;
        let Some(role) = role else {
            return Ok(Some(Said::Dropped(line.message_id)));
        };
        let content = line.content;
        let content = content.ok_or_else(|| serde_json::Error::missing_field("content"))?;
        let message = ShownMessage {
            role,
            content,
            message_id: line.message_id,
            created_at: head.timestamp,
            sender_name: line.sender_name,
            attachments: line.attachments,
        };
        Ok(Said::new(message, line.continues))
    }

    /// The same of a record; the parts that others share are copied.
    pub fn of(record: &Record) -> Option<Said> {
        let shown = |role, content: &str, message_id: &MessageId| ShownMessage {
            role,
            content: content.to_owned(),
            message_id: message_id.clone(),
            created_at: record.timestamp,
            sender_name: None,
            attachments: Vec::new(),
        };
        if let Event::UserMessage(message) = &record.event {
            Some(Said::Message(ShownMessage {
                sender_name: message.sender_name.clone(),
                attachments: message.attachments.clone(),
                ..shown(Role::User, &message.content, &message.message_id)
            }))
        } else if let Event::AssistantResponse(reply) = &record.event {
            let message = ShownMessage {
                attachments: reply.attachments.clone(),
                ..shown(Role::Assistant, &reply.content, &reply.message_id)
            };
            Said::new(message, reply.continues.clone())
        } else if let Event::MessageDropped { message_id, .. } = &record.event {
            Some(Said::Dropped(message_id.clone()))
        } else {
            None
        }
    }

    fn new(message: ShownMessage, continues: Option<MessageId>) -> Option<Said> {
        match (message.role, continues) {
            (Role::Assistant, _)
                if message.content.is_empty() && message.attachments.is_empty() =>
            {
                None
            }
            (Role::Assistant, Some(message_id)) => Some(Said::More(ShownMessage {
                message_id,
                ..message
            })),
            (Role::User | Role::Assistant, _) => Some(Said::Message(message)),
        }
    }
}

/// The messages that `said`, in order, makes. The parts of a continued reply become one; a part
/// whose beginning is not there stands under the id of its beginning.
pub fn messages(said: Vec<Said>) -> Vec<ShownMessage> {
    let mut shown: Vec<ShownMessage> = Vec::with_capacity(said.len());
    for one in said {
        match one {
            Said::Message(message) => shown.push(message),
            Said::More(part) => match find_mut(&mut shown, &part.message_id) {
                Some(begun) => {
                    begun.content.push_str(&part.content);
                    begun.attachments.extend(part.attachments);
                }
                None => shown.push(part),
            },
            Said::Dropped(message_id) => shown.retain(|message| message.message_id != message_id),
        }
    }
    shown
}

/// How many messages `said` makes, at least.
pub fn least_messages(said: &[Said]) -> usize {
    let count = |wanted: fn(&Said) -> bool| said.iter().filter(|one| wanted(one)).count();
    let begun = count(|one| matches!(one, Said::Message(_)));
    begun.saturating_sub(count(|one| matches!(one, Said::Dropped(_))))
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
    use crate::domain::event::{FinishReason, UserMessage};
    use crate::domain::story::*;

    fn shown(records: &[Record]) -> Vec<ShownMessage> {
        messages(records.iter().filter_map(Said::of).collect())
    }

    fn told(records: &[Record]) -> Vec<String> {
        let shown = shown(records);
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
        let id = shown(&records[4..]).remove(0).message_id;
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
            let said: Vec<Said> = records.iter().filter_map(Said::of).collect();
            prop_assert!(least_messages(&said) as u64 <= count);
            prop_assert_eq!(messages(said).len() as u64, count);
        }

        #[test]
        fn a_line_says_what_its_record_says(
            choices in proptest::collection::vec(any::<u8>(), 0..100),
            text in any::<String>(),
        ) {
            let named = Event::from(UserMessage {
                sender_name: Some(text.clone()),
                ..user_message(1, &text)
            });
            let told = records_of(&walk(&choices));
            for record in told.into_iter().chain(log([named, dropped(1)])) {
                let json = serde_json::to_vec(&record).unwrap();
                let head = RecordHead::parse(&json).unwrap();
                prop_assert_eq!(Said::parse(&head, &json).unwrap(), Said::of(&record));
            }
        }
    }
}
