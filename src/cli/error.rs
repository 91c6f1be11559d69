//! Why a command failed: its line, its hint and its exit code.

use std::io;
use std::process::ExitCode;

use crate::client::ClientError;

/// A command that did not do what was asked.
#[derive(Debug)]
pub(super) struct CliError {
    error: anyhow::Error,
    hint: Option<String>,
    is_usage: bool,
}

/// The end of a command; what it has to say was printed.
pub(super) type CliResult = Result<(), CliError>;

impl CliError {
    /// Something went wrong: exit code 1.
    pub(super) fn new(message: impl Into<String>) -> CliError {
        CliError::from(anyhow::Error::msg(message.into()))
    }

    /// The command line or a file that a user wrote is wrong: exit code 2.
    pub(super) fn usage(message: impl Into<String>) -> CliError {
        CliError {
            is_usage: true,
            ..CliError::new(message)
        }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> CliError {
        self.hint = Some(hint.into());
        self
    }

    /// Nobody reads the output any more, as in `… | head -1`: that is no failure.
    pub(super) fn is_closed_output(&self) -> bool {
        self.error.chain().any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        }) && !self.error.chain().any(|cause| cause.is::<ClientError>())
    }

    /// The lines for the user: what failed, and the hint when one is known.
    pub(super) fn lines(&self) -> String {
        // One line, whatever is quoted in it.
        let text = crate::terminal::clean::clean(&format!("{:#}", self.error)).replace('\n', " ");
        let mut lines = format!("duragent: {text}\n");
        let of_client = || {
            let client_error = |cause: &(dyn std::error::Error + 'static)| {
                let hint = cause.downcast_ref::<ClientError>()?.hint();
                hint.map(str::to_owned)
            };
            self.error.chain().find_map(client_error)
        };
        if let Some(hint) = self.hint.clone().or_else(of_client) {
            lines.push_str(&format!("hint: {hint}\n"));
        }
        lines
    }

    /// 2 for wrong usage or configuration, else 1.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.is_usage { 2 } else { 1 })
    }
}

impl<E: Into<anyhow::Error>> From<E> for CliError {
    fn from(error: E) -> CliError {
        CliError {
            error: error.into(),
            hint: None,
            is_usage: false,
        }
    }
}
