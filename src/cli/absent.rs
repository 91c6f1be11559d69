//! Commands that there are not, and that people type: what is to be done instead.

use crate::cli::error::{CliError, CliResult};
use crate::doctor::{BY_HAND_KEYS, BY_HAND_UPGRADE};

/// `duragent upgrade`.
pub(super) fn upgrade() -> CliResult {
    let why = "there is no `upgrade`: nobody gives out releases that it could fetch";
    Err(CliError::usage(why).hint(BY_HAND_UPGRADE))
}

/// `duragent login`.
pub(super) fn login() -> CliResult {
    let why = "there is no `login`: Duragent is not registered with any provider";
    Err(CliError::usage(why).hint(BY_HAND_KEYS))
}
