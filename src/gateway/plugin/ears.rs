//! What is made of the lines of a program, on the thread that reads them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use log::Level;
use serde_json::Value;

use crate::base::stop::Stop;
use crate::base::text;
use crate::base::thread::panic_text;
use crate::gateway::delivery::SenderNews;
use crate::gateway::incoming::{Inbound, InboundEvent, IntakeError};
use crate::gateway::outlet::CommandOutcome;
use crate::gateway::protocol::{AuthMethod, Capabilities, GatewayEvent, PROTOCOL_VERSION};

use super::parts::PluginParts;

/// Of a line that cannot be read so much goes into the log.
const SHOWN_BYTES: usize = 200;
/// After so long what could not be taken in is tried again, and twice as long after each further time …
const AGAIN_MIN: Duration = Duration::from_millis(200);
/// … up to this.
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// Hears one run of a program.
pub(super) struct Ears {
    parts: Arc<PluginParts>,
    stop: Stop,
}

impl Ears {
    pub(super) fn new(parts: Arc<PluginParts>, stop: Stop) -> Ears {
        Ears { parts, stop }
    }

    /// Takes a line; whether the program is ready from now on.
    pub(super) fn line(&self, line: &str) -> bool {
        if line.trim().is_empty() {
            return false;
        }
        match GatewayEvent::parse(line) {
            Ok(event) => self.event(event, line),
            Err(error) => {
                let shown = text::start(line, SHOWN_BYTES);
                log::warn!(
                    "gateway {}: a line is no event: {error}: {shown}",
                    self.name()
                );
                false
            }
        }
    }

    /// Takes a line of its standard error.
    pub(super) fn remark(&self, line: &str) {
        if !line.trim().is_empty() {
            log::info!("gateway {}: {line}", self.name());
            self.parts.state.note_remark(line);
        }
    }

    pub(super) fn too_long(&self) {
        log::warn!(
            "gateway {}: a line was longer than 1 MiB, and is left out",
            self.name()
        );
    }

    fn event(&self, event: GatewayEvent, line: &str) -> bool {
        let state = &self.parts.state;
        match event {
            GatewayEvent::Ready {
                gateway,
                version,
                capabilities,
            } => {
                self.check_version(&version);
                let words = capabilities.iter().map(String::as_str);
                let capabilities = Capabilities::of_words(words);
                log::info!("gateway {}: ready ({gateway} {version})", self.name());
                return state.ready(&gateway, &version, capabilities);
            }
            GatewayEvent::MessageReceived(message) => {
                self.take_in(line, || InboundEvent::Message(message.clone()));
            }
            GatewayEvent::CallbackQuery(press) => {
                self.take_in(line, || InboundEvent::Press(press.clone()));
            }
            GatewayEvent::ChatMigrated { from, to } => {
                self.take_in(line, || InboundEvent::Migrated {
                    from: from.clone(),
                    to: to.clone(),
                });
            }
            GatewayEvent::ChatState {
                chat_id,
                can_write,
                why,
            } => {
                self.take_in(line, || InboundEvent::State {
                    chat_id: chat_id.clone(),
                    can_write,
                    why: why.clone(),
                });
            }
            GatewayEvent::CommandOk {
                request_id,
                message_id,
            } => {
                self.ended(request_id, CommandOutcome::Done { message_id });
            }
            GatewayEvent::CommandError(failed) => {
                self.ended(failed.request_id.clone(), CommandOutcome::Refused(failed));
            }
            GatewayEvent::Pong { connected, .. } => state.pong(connected),
            GatewayEvent::Error {
                code,
                message,
                fatal,
            } => self.trouble(&code, &message, fatal),
            GatewayEvent::AuthRequired { method } => {
                log::warn!("gateway {}: {}", self.name(), wants(&method));
                state.note_auth(Some(method));
            }
            GatewayEvent::AuthSuccess => {
                log::info!("gateway {}: it was let in", self.name());
                state.note_auth(None);
            }
            GatewayEvent::Shutdown { reason } => {
                log::info!("gateway {}: it ends: {reason}", self.name());
            }
            GatewayEvent::Unknown => {
                let shown = text::start(line, SHOWN_BYTES);
                log::debug!(
                    "gateway {}: an event that nobody knows: {shown}",
                    self.name()
                );
            }
        }
        false
    }

    /// Takes something in, however long that must wait: the program has confirmed it to its platform already.
    fn take_in(&self, line: &str, what: impl Fn() -> InboundEvent) {
        self.parts.state.note_event();
        self.parts.state.hold();
        self.take_in_patiently(line, what);
        self.parts.state.go_on();
    }

    fn take_in_patiently(&self, line: &str, what: impl Fn() -> InboundEvent) {
        let mut again_after = AGAIN_MIN;
        let mut is_last = false;
        loop {
            let inbound = Inbound {
                what: what(),
                key: None,
                files: Vec::new(),
            };
            let (inlet, name) = (&self.parts.inlet, &self.parts.settings.name);
            match catch_unwind(AssertUnwindSafe(|| inlet.take(name, inbound))) {
                Ok(Ok(taken)) => return log::debug!("gateway {}: {taken:?}", self.name()),
                Ok(Err(IntakeError::Unreadable(why))) => return self.set_aside(line, &why),
                Err(panic) => {
                    let why = format!("the server failed at it: {}", panic_text(&*panic));
                    return self.set_aside(line, &why);
                }
                Ok(Err(IntakeError::Later(why))) => {
                    log::warn!("gateway {}: a message waits: {why}", self.name());
                    self.parts.state.note_wait(&why);
                }
            }
            if is_last {
                let why = "the program was ended before it could be taken in";
                return self.set_aside(line, why);
            }
            is_last = self.stop.wait(again_after);
            again_after = (again_after * 2).min(AGAIN_MAX);
        }
    }

    fn set_aside(&self, line: &str, why: &str) {
        let what = serde_json::from_str(line).unwrap_or_else(|_| line.into());
        let id = text_of(&what, "chat_id") + "/" + &text_of(&what, "message_id");
        let (log, now) = (&self.parts.set_aside, self.parts.state.now());
        match log.keep(now, &id, why, &what) {
            Ok(()) => log::warn!(
                "gateway {}: {id} is set aside in {}: {why}",
                self.name(),
                log.location()
            ),
            Err(error) => log::error!("gateway {}: {id} is lost: {why}; {error}", self.name()),
        }
    }

    fn ended(&self, request_id: String, outcome: CommandOutcome) {
        self.parts.sender.tell(SenderNews::Ended {
            request_id,
            outcome,
        });
    }

    fn trouble(&self, code: &str, message: &str, is_fatal: bool) {
        let level = if is_fatal { Level::Error } else { Level::Warn };
        log::log!(level, "gateway {}: {code}: {message}", self.name());
        if is_fatal {
            self.parts.state.note_fault(format!("{code}: {message}"));
        }
    }

    /// Old programs tell their own version: that is said, and no more.
    fn check_version(&self, version: &str) {
        let rest = version.strip_prefix("v1");
        let fits = rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()));
        if !fits {
            let name = self.name();
            log::warn!(
                "gateway {name}: it speaks version {version:?} of the protocol; here it is {PROTOCOL_VERSION}"
            );
        }
    }

    fn name(&self) -> &str {
        self.parts.settings.name.as_str()
    }
}

fn text_of(what: &Value, field: &str) -> String {
    let found = what.get(field);
    found.map_or_else(String::new, |value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    })
}

/// What a person must do to let it in. Codes are for them, and short-lived.
fn wants(method: &AuthMethod) -> String {
    match method {
        AuthMethod::QrCode {
            qr_ascii,
            qr_data,
            expires_in,
        } => {
            let picture = qr_ascii.as_ref().unwrap_or(qr_data);
            format!("show this to your telephone within {expires_in} s:\n{picture}")
        }
        AuthMethod::PairCode { code, expires_in } => {
            format!("it is to be let in with the code {code} within {expires_in} s")
        }
    }
}
