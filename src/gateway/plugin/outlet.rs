//! Commands to a program.

use std::sync::Arc;

use crate::gateway::delivery::split_markdown;
use crate::gateway::outlet::{CommandOutcome, Outlet, Performed, RateLimits, RenderedPiece};
use crate::gateway::plugin::state::{PluginSendError, PluginState};
use crate::gateway::protocol::{Capabilities, FailedCommand, GatewayCommand, error_codes};

/// Programs cut longer messages themselves, by rules of their own, and tell the id of one piece alone: so none
/// is longer. The least that a usual platform takes is 2,000.
const CHARS_MAX: usize = 1_800;

/// The way to a program.
#[derive(Debug)]
pub struct PluginOutlet(Arc<PluginState>);

impl PluginOutlet {
    /// To that one.
    pub fn new(state: Arc<PluginState>) -> PluginOutlet {
        PluginOutlet(state)
    }
}

impl Outlet for PluginOutlet {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn rates(&self) -> Option<RateLimits> {
        None
    }

    fn render(&self, markdown: &str) -> Vec<RenderedPiece> {
        let mut pieces = split_markdown(markdown, CHARS_MAX, |_| 1);
        if pieces.is_empty() {
            pieces.push(markdown.to_owned());
        }
        let piece = |content| RenderedPiece {
            content,
            plain: None,
        };
        pieces.into_iter().map(piece).collect()
    }

    fn perform(&mut self, command: &GatewayCommand, _: Option<&str>) -> Performed {
        match (self.0.send(command), command.request_id()) {
            (Ok(()), Some(_)) => Performed::Waiting,
            (Ok(()), None) => Performed::Ended(CommandOutcome::Done { message_id: None }),
            (Err(PluginSendError::Process(_)), _) => Performed::Ended(CommandOutcome::NotSent),
            (Err(error @ (PluginSendError::TooLong | PluginSendError::Json(_))), id) => {
                Performed::Ended(CommandOutcome::Refused(FailedCommand {
                    request_id: id.unwrap_or_default().to_owned(),
                    code: error_codes::INVALID_REQUEST.to_owned(),
                    message: error.to_string(),
                    retry_after: None,
                    migrate_to: None,
                }))
            }
        }
    }
}
