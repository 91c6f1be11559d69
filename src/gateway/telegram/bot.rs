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
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;

use crate::domain::secret::Secret;

/// The server that everybody has.
const API_URL: &str = "https://api.telegram.org";
/// A name that is looked up, and a connection that is made, cannot be ended from outside.
const LOOK_UP: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);

/// A bot, for calls of one kind: their time is bounded, and [`shut_down`](BotClient::shut_down) ends them.
pub struct BotClient {
    bot: Bot,
    agent: Agent,
}

impl BotClient {
    /// The bot with that token at `api_url`; a call takes `limit` at most, its body included.
    pub fn new(token: &Secret, api_url: Option<&str>, limit: Duration) -> BotClient {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(LOOK_UP))
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(limit))
            .input_buffer_size(16 << 10)
            .output_buffer_size(16 << 10)
            .build();
        let agent = Agent::new_with_config(config);
        let host = api_url.unwrap_or(API_URL).trim_end_matches('/');
        let bot = Bot::builder()
            .api_url(format!("{host}/bot{}", token.reveal()))
            .request_agent(agent.clone())
            .build();
        BotClient { bot, agent }
    }

    /// Calls a method.
    pub fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &(impl Serialize + fmt::Debug),
    ) -> Result<T, BotError> {
        let answer = self.bot.request(method, Some(params));
        let answer: MethodResponse<T> = answer.map_err(|error| BotError::of(method, error))?;
        Ok(answer.result)
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
            frankenstein::Error::HttpUreq(error) if is_not_sent(&error) => {
                BotError::NotReached { method }
            }
            frankenstein::Error::HttpUreq(_) => BotError::NoAnswer { method },
            _ => BotError::Garbled { method },
        }
    }
}

/// The request cannot have arrived.
fn is_not_sent(error: &ureq::Error) -> bool {
    use ureq::Timeout;
    matches!(
        error,
        ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect)
    )
}
