//! The client of the Bot API: the one place that knows the token.
//!
//! The token stands in the address of every request, and the library's errors tell addresses and whole
//! answers: neither leaves this file. What comes back is typed by whoever asks, in structs of ours that
//! read no more than is needed.

use std::fmt;
use std::time::Duration;

use frankenstein::TelegramApi as _;
use frankenstein::client_ureq::Bot;
use frankenstein::response::MethodResponse;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::Agent;

use crate::base::proxy::Proxies;
use crate::base::random;
use crate::base::tls;
use crate::domain::providers::Origin;
use crate::domain::secret::Secret;
use crate::gateway::incoming::FetchError;

/// The server that everybody has.
const API_URL: &str = "https://api.telegram.org";
/// A name that is looked up, and a connection that is made, cannot be ended from outside.
const LOOK_UP: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);
/// Something shorter is no secret: it stands in words by chance.
const SECRET_BYTES_MIN: usize = 8;
/// A file of 10 MiB at 1.5 Mbit/s.
const UPLOAD: Duration = Duration::from_secs(60);

/// A bot, for calls of one kind: their time is bounded, and [`shut_down`](BotClient::shut_down) ends them.
pub struct BotClient {
    bot: Bot,
    agent: Agent,
    token: Secret,
    /// Where files are, without their paths.
    files_url: String,
}

impl BotClient {
    /// The bot with that token at `api_url`; a call takes `limit` at most, its body included.
    pub fn new(token: &Secret, api_url: Option<&str>, limit: Duration) -> BotClient {
        let host = api_url.unwrap_or(API_URL).trim_end_matches('/');
        // What is on this machine no proxy reaches, nor is it to see the token.
        let is_here = Origin::of(host).is_some_and(|origin| origin.is_loopback());
        let proxies = Proxies::from_env(&|name| std::env::var(name).ok());
        let proxy = proxies.to(host).filter(|_| !is_here);
        let config = Agent::config_builder()
            .proxy(proxy.cloned())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(1)
            .timeout_resolve(Some(LOOK_UP))
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(limit))
            .input_buffer_size(16 << 10)
            .output_buffer_size(16 << 10)
            .build();
        let agent = tls::agent(config);
        let known = token.clone();
        let token = token.reveal();
        let bot = Bot::builder()
            .api_url(format!("{host}/bot{token}"))
            .request_agent(agent.clone())
            .build();
        let files_url = format!("{host}/file/bot{token}");
        BotClient {
            bot,
            agent,
            token: known,
            files_url,
        }
    }

    /// Calls a method.
    pub fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &(impl Serialize + fmt::Debug),
    ) -> Result<T, BotError> {
        let answer = self.bot.request(method, Some(params));
        let answer: MethodResponse<T> =
            answer.map_err(|error| self.without_token(BotError::of(method, error)))?;
        Ok(answer.result)
    }

    /// Calls a method that sends a file.
    ///
    /// The library takes files by their paths on disk; ours come from memory.
    /// Source: RFC 7578.
    pub(super) fn upload<T: DeserializeOwned>(
        &self,
        method: &'static str,
        fields: &[(&str, String)],
        file: &UploadFile<'_>,
    ) -> Result<T, BotError> {
        let boundary = random::secret().map_err(|_| BotError::NotReached { method })?;
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let request = self.agent.post(format!("{}/{method}", self.bot.api_url));
        let request = request.config().timeout_global(Some(UPLOAD)).build();
        let answer = request
            .header("Content-Type", content_type)
            .send(&multipart(&boundary, fields, file))
            .and_then(|answer| answer.into_body().read_to_string())
            .map_err(|error| BotError::of_transport(method, &error))?;
        match serde_json::from_str::<MethodResponse<T>>(&answer) {
            Ok(answer) => Ok(answer.result),
            Err(_) => Err(self.without_token(BotError::of_text(method, &answer))),
        }
    }

    /// A proxy, or a server of one's own, may tell the address that was asked.
    fn without_token(&self, mut error: BotError) -> BotError {
        if let BotError::Refused { description, .. } = &mut error {
            let token = self.token.reveal();
            let secret = token.split_once(':').map_or(token, |(_, secret)| secret);
            for told in [token, secret] {
                if told.len() >= SECRET_BYTES_MIN {
                    *description = description.replace(told, "…");
                }
            }
        }
        error
    }

    /// A file that somebody sent, at most `bytes_max` of it, within `limit`.
    pub(super) fn download(
        &self,
        path: &str,
        bytes_max: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, FetchError> {
        if !is_plain_path(path) {
            return Err(FetchError::Failed);
        }
        let request = self.agent.get(format!("{}/{path}", self.files_url));
        let request = request.config().timeout_global(Some(limit)).build();
        let mut answer = request.call().map_err(|_| FetchError::Failed)?;
        if !answer.status().is_success() {
            return Err(FetchError::Failed);
        }
        let body = answer.body_mut().with_config();
        // The library refuses what reaches its limit, also where it ends there.
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let read = body.limit(limit.saturating_add(1)).read_to_vec();
        match read {
            Ok(bytes) if bytes.len() > bytes_max => Err(FetchError::TooLarge),
            Ok(bytes) => Ok(bytes),
            Err(ureq::Error::BodyExceedsLimit(_)) => Err(FetchError::TooLarge),
            Err(_) => Err(FetchError::Failed),
        }
    }

    /// Ends the calls that are made, and all later ones.
    pub fn shut_down(&self) {
        self.agent.clone().shutdown();
    }
}

impl fmt::Debug for BotClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BotClient").finish_non_exhaustive()
    }
}

/// A file that is sent.
pub(super) struct UploadFile<'a> {
    pub(super) field: &'a str,
    pub(super) name: &'a str,
    pub(super) mime: &'a str,
    pub(super) bytes: &'a [u8],
}

/// Why a method did nothing, or nobody knows whether it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BotError {
    /// Telegram says no.
    #[error("{method}: {description} ({code})")]
    Refused {
        /// What was asked for.
        method: &'static str,
        /// As HTTP has it.
        code: u64,
        /// Telegram's words.
        description: String,
        /// Not before so many seconds.
        retry_after: Option<u64>,
        /// The group has this id now.
        migrate_to: Option<i64>,
    },
    /// The answer is not one of Telegram's: a proxy's page, or cut off. The method may have done it.
    #[error("{method}: the answer cannot be read")]
    Garbled {
        /// What was asked for.
        method: &'static str,
    },
    /// Nothing was sent.
    #[error("{method}: the server is not reached")]
    NotReached {
        /// What was asked for.
        method: &'static str,
    },
    /// No answer came; the method may have done it.
    #[error("{method}: no answer")]
    NoAnswer {
        /// What was asked for.
        method: &'static str,
    },
}

impl BotError {
    fn of(method: &'static str, error: frankenstein::Error) -> BotError {
        match error {
            frankenstein::Error::Api(refused) => {
                let parameters = refused.parameters;
                BotError::Refused {
                    method,
                    code: refused.error_code,
                    description: refused.description,
                    retry_after: parameters.and_then(|more| more.retry_after.map(u64::from)),
                    migrate_to: parameters.and_then(|more| more.migrate_to_chat_id),
                }
            }
            frankenstein::Error::HttpUreq(error) => BotError::of_transport(method, &error),
            frankenstein::Error::JsonDecode { input, .. } => BotError::of_text(method, &input),
            _ => BotError::Garbled { method },
        }
    }

    fn of_transport(method: &'static str, error: &ureq::Error) -> BotError {
        match is_not_sent(error) {
            true => BotError::NotReached { method },
            false => BotError::NoAnswer { method },
        }
    }

    /// From an answer that is no success. The library does not read waits of more than 18 hours.
    fn of_text(method: &'static str, answer: &str) -> BotError {
        match serde_json::from_str::<RawRefusal>(answer) {
            Ok(refused) if !refused.ok => BotError::Refused {
                method,
                code: refused.error_code,
                description: refused.description,
                retry_after: refused.parameters.retry_after,
                migrate_to: refused.parameters.migrate_to_chat_id,
            },
            Ok(_) | Err(_) => BotError::Garbled { method },
        }
    }

    /// Telegram's refusal with this code whose description holds these words.
    pub(super) fn says(&self, wanted: u64, words: &str) -> bool {
        match self {
            BotError::Refused {
                code, description, ..
            } => *code == wanted && description.to_lowercase().contains(words),
            BotError::Garbled { .. } | BotError::NotReached { .. } | BotError::NoAnswer { .. } => {
                false
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct RawRefusal {
    ok: bool,
    error_code: u64,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: RawParameters,
}

#[derive(Debug, Default, Deserialize)]
struct RawParameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

/// The request cannot have arrived.
fn is_not_sent(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    use ureq::Timeout;
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        ureq::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        _ => false,
    }
}

/// A server must not lead to another place by the path that it tells.
fn is_plain_path(path: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~/".contains(c);
    !path.is_empty()
        && path.chars().all(is_plain)
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn multipart(boundary: &str, fields: &[(&str, String)], file: &UploadFile<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(file.bytes.len() + 1024);
    let mut part = |head: &str, bytes: &[u8]| {
        body.extend(
            format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").bytes(),
        );
        body.extend(bytes);
        body.extend(b"\r\n");
    };
    for (name, value) in fields {
        part(&format!("name=\"{name}\""), value.as_bytes());
    }
    let name = head_safe(file.name);
    let mime = head_safe(file.mime);
    let head = format!(
        "name=\"{}\"; filename=\"{name}\"\r\nContent-Type: {mime}",
        file.field
    );
    part(&head, file.bytes);
    body.extend(format!("--{boundary}--\r\n").bytes());
    body
}

/// What would end a value in a part's head, or the head, becomes `_`.
fn head_safe(text: &str) -> String {
    let safe = |c: char| {
        if c.is_control() || c == '"' || c == '\\' {
            '_'
        } else {
            c
        }
    };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_below_the_bot() {
        for path in ["photos/file_0.jpg", "documents/a-b_c.tar.gz", "x"] {
            assert!(is_plain_path(path), "{path}");
        }
        for path in [
            "",
            "/var/lib/x",
            "a//b",
            "../x",
            "a/../b",
            "a/./b",
            "a?b",
            "a#b",
            "a b",
            "a%2e",
            "a\\b",
            "\u{e4}",
        ] {
            assert!(!is_plain_path(path), "{path}");
        }
    }

    #[test]
    fn a_name_ends_no_head() {
        let file = UploadFile {
            field: "document",
            name: "a\"b\r\nX: 1\\.txt",
            mime: "text/plain\r\nY: 1",
            bytes: b"\r\n--x",
        };
        let body = multipart("B", &[("chat_id", "42".to_owned())], &file);
        let expected = "--B\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n42\r\n\
            --B\r\nContent-Disposition: form-data; name=\"document\"; filename=\"a_b__X: 1_.txt\"\r\n\
            Content-Type: text/plain__Y: 1\r\n\r\n\r\n--x\r\n--B--\r\n";
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn a_refusal_is_read_whatever_it_asks_for() {
        let error = |text: &str| BotError::of_text("sendMessage", text);
        let long = error(
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":86400}}"#,
        );
        assert!(
            matches!(
                long,
                BotError::Refused {
                    retry_after: Some(86_400),
                    ..
                }
            ),
            "{long:?}"
        );
        assert!(long.says(429, "too many"));
        assert!(!long.says(400, "too many"));
        for text in [
            "",
            "<html>502</html>",
            r#"{"ok":true,"error_code":1,"description":"x"}"#,
            "[]",
        ] {
            assert_eq!(
                error(text),
                BotError::Garbled {
                    method: "sendMessage"
                }
            );
        }
    }

    #[test]
    fn nothing_that_is_shown_holds_the_token() {
        let token = Secret::new("7:secret");
        let client = BotClient::new(&token, Some("http://127.0.0.1:9"), Duration::from_secs(5));
        assert!(!format!("{client:?}").contains("secret"));
        let error = client.call::<u64>("getMe", &()).unwrap_err();
        assert_eq!(error, BotError::NotReached { method: "getMe" });
        assert!(!format!("{error:?} {error}").contains("secret"));
    }

    #[test]
    fn a_refusal_that_tells_the_address_tells_no_token() {
        let token = Secret::new("7:AAsecret-half");
        let client = BotClient::new(&token, None, Duration::from_secs(5));
        for told in [
            "no route to /bot7:AAsecret-half/getMe",
            "bot7%3AAAsecret-half",
        ] {
            let answer = format!(r#"{{"ok":false,"error_code":404,"description":"{told}"}}"#);
            let error = client.without_token(BotError::of_text("getMe", &answer));
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(error.says(404, "bot"), "{error}");
        }
    }
}
