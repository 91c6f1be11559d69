//! Carries commands out at Telegram.
//!
//! Each call is answered, or given up, within seconds: the thread that sends for all chats waits for it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::gateway::outlet::{CommandOutcome, Outlet, Performed, RateLimits, RenderedPiece};
use crate::gateway::protocol::{
    Capabilities, FailedCommand, GatewayCommand, InlineKeyboard, MediaPayload, error_codes,
};
use crate::gateway::telegram::bot::{BotClient, BotError, UploadFile};
use crate::gateway::telegram::markup;

/// For so long the sender waits for an answer.
pub(super) const CALL_MAX: Duration = Duration::from_secs(20);

/// The topic was deleted.
const THREAD_GONE: &str = "message thread not found";
/// What is shown to who pressed a button.
const PRESS_CHARS_MAX: usize = 200;

/// Telegram's limits. Source: <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>.
const RATES: RateLimits = RateLimits {
    chat_every: Duration::from_secs(1),
    chat_burst: 3,
    group_per_minute: 20,
    all_per_second: 30,
};

/// A bot, as the sender has it.
#[derive(Debug)]
pub(super) struct TelegramOutlet {
    pub(super) client: Arc<BotClient>,
}

#[derive(Debug, Deserialize)]
struct SentMessage {
    message_id: i64,
}

impl Outlet for TelegramOutlet {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            media: true,
            edit: true,
            delete: true,
            typing: true,
            reply: true,
            inline_keyboard: true,
        }
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn knows_threads(&self) -> bool {
        true
    }

    fn is_group(&self, chat_id: &str) -> bool {
        // People have positive numbers; channels have those of groups, and names that begin with `@`.
        number(chat_id).is_none_or(|id| id < 0)
    }

    fn rates(&self) -> Option<RateLimits> {
        Some(RATES)
    }

    fn render(&self, markdown: &str) -> Vec<RenderedPiece> {
        let mut pieces = markup::pieces(markdown, markup::MESSAGE_UNITS_MAX);
        if pieces.is_empty() {
            // Telegram takes no message in which there is nothing to be seen.
            pieces.push(RenderedPiece {
                content: "\u{2026}".to_owned(),
                plain: None,
            });
        }
        pieces
    }

    fn perform(&mut self, command: &GatewayCommand, plain: Option<&str>) -> Performed {
        let done = self.carry_out(command, plain);
        let request_id = command.request_id().unwrap_or_default();
        Performed::Ended(match done {
            Ok(message_id) => CommandOutcome::Done { message_id },
            Err(CallFailure::Bot(error)) => outcome(error, request_id),
            Err(CallFailure::Invalid(why)) => CommandOutcome::Refused(FailedCommand {
                request_id: request_id.to_owned(),
                code: error_codes::INVALID_REQUEST.to_owned(),
                message: why.to_owned(),
                retry_after: None,
                migrate_to: None,
            }),
        })
    }
}

/// Why a command is not carried out.
enum CallFailure {
    Bot(BotError),
    /// It makes no sense.
    Invalid(&'static str),
}

impl From<BotError> for CallFailure {
    fn from(error: BotError) -> CallFailure {
        CallFailure::Bot(error)
    }
}

impl TelegramOutlet {
    /// Returns the message that was sent.
    fn carry_out(
        &self,
        command: &GatewayCommand,
        plain: Option<&str>,
    ) -> Result<Option<String>, CallFailure> {
        match command {
            GatewayCommand::SendMessage {
                chat_id,
                content,
                reply_to,
                inline_keyboard,
                thread_id,
                ..
            } => {
                let mut params = to_chat(chat_id, thread_id.as_deref());
                if let Some(answered) = reply_to.as_deref().and_then(number) {
                    params["reply_parameters"] =
                        json!({"message_id": answered, "allow_sending_without_reply": true});
                }
                if let Some(keyboard) = inline_keyboard {
                    params["reply_markup"] = buttons(keyboard);
                }
                let sent: SentMessage = self.text("sendMessage", params, content, plain)?;
                Ok(Some(sent.message_id.to_string()))
            }
            GatewayCommand::EditMessage {
                chat_id,
                message_id,
                content,
                ..
            } => {
                let params = of_message(chat_id, message_id)?;
                match self.text::<IgnoredAny>("editMessageText", params, content, plain) {
                    Err(error) if !error.says(400, "message is not modified") => Err(error.into()),
                    Ok(_) | Err(_) => Ok(None),
                }
            }
            GatewayCommand::DeleteMessage {
                chat_id,
                message_id,
                ..
            } => {
                let params = of_message(chat_id, message_id)?;
                match self.client.call::<IgnoredAny>("deleteMessage", &params) {
                    // Somebody else was quicker.
                    Err(error) if !error.says(400, "message to delete not found") => {
                        Err(error.into())
                    }
                    Ok(_) | Err(_) => Ok(None),
                }
            }
            GatewayCommand::SendTyping {
                chat_id,
                duration,
                thread_id,
            } => {
                // It ends by itself, within five seconds, or with the next message.
                if *duration > 0 {
                    let mut params = to_chat(chat_id, thread_id.as_deref());
                    params["action"] = json!("typing");
                    let _: IgnoredAny = self.client.call("sendChatAction", &params)?;
                }
                Ok(None)
            }
            GatewayCommand::AnswerCallbackQuery {
                callback_query_id,
                text,
                ..
            } => self.answer_press(callback_query_id, text.as_deref()),
            GatewayCommand::SendMedia {
                chat_id,
                media,
                caption,
                thread_id,
                ..
            } => {
                let mut params = to_chat(chat_id, thread_id.as_deref());
                if let Some(caption) = caption {
                    params["caption"] = json!(units(caption, markup::CAPTION_UNITS_MAX));
                }
                let sent = match self.media(&mut params, media) {
                    // As a text goes on without its topic.
                    Err(CallFailure::Bot(error))
                        if error.says(400, THREAD_GONE)
                            && remove(&mut params, "message_thread_id") =>
                    {
                        self.media(&mut params, media)?
                    }
                    sent => sent?,
                };
                Ok(Some(sent.message_id.to_string()))
            }
            GatewayCommand::Ping { .. } | GatewayCommand::Shutdown => Ok(None),
        }
    }

    /// Sends or changes a text. What Telegram cannot read is sent without any form, and what belongs to a topic
    /// that is gone goes to where everybody in the group reads it.
    fn text<T: serde::de::DeserializeOwned>(
        &self,
        method: &'static str,
        mut params: Value,
        content: &str,
        plain: Option<&str>,
    ) -> Result<T, BotError> {
        params["text"] = json!(content);
        params["parse_mode"] = json!("HTML");
        params["link_preview_options"] = json!({"is_disabled": true});
        loop {
            let result = self.client.call(method, &params);
            let Err(error) = &result else {
                return result;
            };
            if error.says(400, "can't parse") && remove(&mut params, "parse_mode") {
                log::warn!(
                    "Telegram cannot read what was made of a reply, which is sent plain: {error}"
                );
                params["text"] = json!(plain.unwrap_or(content));
            } else if !(error.says(400, THREAD_GONE) && remove(&mut params, "message_thread_id")) {
                return result;
            }
        }
    }

    fn answer_press(&self, id: &str, text: Option<&str>) -> Result<Option<String>, CallFailure> {
        let mut params = json!({"callback_query_id": id});
        if let Some(text) = text {
            params["text"] = json!(text.chars().take(PRESS_CHARS_MAX).collect::<String>());
        }
        match self
            .client
            .call::<IgnoredAny>("answerCallbackQuery", &params)
        {
            // Nobody waits for it any more; what was decided counts.
            Err(error) if !error.says(400, "query is too old") => Err(error.into()),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn media(&self, params: &mut Value, media: &MediaPayload) -> Result<SentMessage, CallFailure> {
        match media {
            MediaPayload::Url { url, .. } => {
                params["document"] = json!(url);
                Ok(self.client.call("sendDocument", params)?)
            }
            MediaPayload::Base64 {
                data,
                mime_type,
                filename,
            } => {
                let bytes = BASE64.decode(data);
                let bytes = bytes.map_err(|_| CallFailure::Invalid("the file is not in base64"))?;
                let mut file = UploadFile {
                    field: "photo",
                    name: filename.as_deref().unwrap_or("file"),
                    mime: mime_type,
                    bytes: &bytes,
                };
                if is_picture(mime_type) {
                    match self.client.upload("sendPhoto", &fields(params), &file) {
                        // It is too large, too long or too narrow for one that is shown.
                        Err(error) if error.says(400, "photo") || error.says(400, "image") => {}
                        sent => return Ok(sent?),
                    }
                }
                file.field = "document";
                Ok(self.client.upload("sendDocument", &fields(params), &file)?)
            }
        }
    }
}

/// Removes a parameter; returns whether it was there.
fn remove(params: &mut Value, name: &str) -> bool {
    let params = params.as_object_mut();
    params.is_some_and(|params| params.remove(name).is_some())
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Chats have numbers, or names that begin with `@`.
fn chat(chat_id: &str) -> Value {
    number(chat_id).map_or_else(|| json!(chat_id), |id| json!(id))
}

fn to_chat(chat_id: &str, thread_id: Option<&str>) -> Value {
    let mut params = json!({"chat_id": chat(chat_id)});
    if let Some(thread) = thread_id.and_then(number) {
        params["message_thread_id"] = json!(thread);
    }
    params
}

fn of_message(chat_id: &str, message_id: &str) -> Result<Value, CallFailure> {
    let id = number(message_id).ok_or(CallFailure::Invalid("the message's id is no number"))?;
    Ok(json!({"chat_id": chat(chat_id), "message_id": id}))
}

fn buttons(keyboard: &InlineKeyboard) -> Value {
    json!({"inline_keyboard": keyboard.rows})
}

fn is_picture(mime: &str) -> bool {
    matches!(mime, "image/jpeg" | "image/png" | "image/webp")
}

/// The beginning of a text, in so many units of UTF-16.
fn units(text: &str, units_max: usize) -> &str {
    let mut units = 0;
    let end = text.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > units_max
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// As the parts of a form have them.
fn fields(params: &Value) -> Vec<(&str, String)> {
    let params = params.as_object().into_iter().flatten();
    let fields = params.map(|(name, value)| {
        let text = value.as_str().map(str::to_owned);
        (name.as_str(), text.unwrap_or_else(|| value.to_string()))
    });
    fields.collect()
}

fn outcome(error: BotError, request_id: &str) -> CommandOutcome {
    match error {
        BotError::NotReached { .. } => CommandOutcome::NotSent,
        BotError::NoAnswer { .. } | BotError::Garbled { .. } => CommandOutcome::Unanswered,
        BotError::Refused {
            code,
            description,
            retry_after,
            migrate_to,
            ..
        } => CommandOutcome::Refused(FailedCommand {
            request_id: request_id.to_owned(),
            code: word_for(code, &description).to_owned(),
            message: description,
            retry_after,
            migrate_to: migrate_to.map(|id| id.to_string()),
        }),
    }
}

fn word_for(code: u64, description: &str) -> &'static str {
    let words = description.to_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    match code {
        429 => error_codes::RATE_LIMITED,
        // Of a token that is none Telegram says that there is no such address.
        401 | 404 => error_codes::UNAUTHORIZED,
        403 if says(&["bot can't"]) => error_codes::CHAT_NOT_FOUND,
        403 => error_codes::UNAUTHORIZED,
        400 if says(&["chat not found", "peer_id_invalid"]) => error_codes::CHAT_NOT_FOUND,
        400 if says(&[
            "message to edit not found",
            "message to delete not found",
            "message can't be",
            "message_id_invalid",
        ]) =>
        {
            error_codes::MESSAGE_NOT_FOUND
        }
        400..500 if code != 409 => error_codes::INVALID_REQUEST,
        _ => error_codes::PLATFORM_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_protocols_word() {
        for (code, description, expected) in [
            (429, "Too Many Requests: retry after 30", "rate_limited"),
            (401, "Unauthorized", "unauthorized"),
            (404, "Not Found", "unauthorized"),
            (
                403,
                "Forbidden: bot was blocked by the user",
                "unauthorized",
            ),
            (
                403,
                "Forbidden: bot can't initiate conversation with a user",
                "chat_not_found",
            ),
            (400, "Bad Request: chat not found", "chat_not_found"),
            (
                400,
                "Bad Request: message to edit not found",
                "message_not_found",
            ),
            (
                400,
                "Bad Request: message can't be edited",
                "message_not_found",
            ),
            (400, "Bad Request: TOPIC_CLOSED", "invalid_request"),
            (413, "Request Entity Too Large", "invalid_request"),
            (409, "Conflict", "platform_error"),
            (500, "Internal Server Error", "platform_error"),
            (502, "Bad Gateway", "platform_error"),
        ] {
            assert_eq!(word_for(code, description), expected, "{description}");
        }
    }

    #[test]
    fn a_caption_is_cut_between_characters() {
        assert_eq!(units("tea", 3), "tea");
        assert_eq!(units("t\u{1f600}a", 3), "t\u{1f600}");
        assert_eq!(units("t\u{1f600}a", 2), "t");
        assert_eq!(units("", 0), "");
    }
}
