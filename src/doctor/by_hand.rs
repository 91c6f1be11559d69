//! What other programs have a command for, and is done by hand here: a newer version, and a key.

use super::check::{Check, environment};
use crate::domain::providers::KNOWN;
use crate::runtime::version;

/// How a newer version is put in place of this one.
pub const BY_HAND_UPGRADE: &str = "in a checkout of the newer sources, `cargo install --path . --locked`; then \
     `duragent serve stop`: the next start is of the new version";
/// How a server gets the key of a provider.
pub const BY_HAND_KEYS: &str = "make a key on the provider's own page, and set it where the server is started: \
     `export OPENROUTER_API_KEY=…`, say";

/// Which program this is.
pub(super) fn program() -> Check {
    let place = std::env::current_exe().unwrap_or_default();
    let message = format!("{} is version {}", place.display(), version::VERSION);
    Check::ok("program", message).hint(format!("to upgrade, {BY_HAND_UPGRADE}"))
}

/// Which keys of providers are set here.
pub(super) fn keys() -> Check {
    let variables = KNOWN
        .iter()
        .flat_map(|known| known.key_variables.iter().copied());
    let is_set = |name: &&str| environment(name).is_some_and(|value| !value.trim().is_empty());
    let set: Vec<&str> = variables.filter(is_set).collect();
    let message = match set.as_slice() {
        [] => "none of a provider is set here".to_owned(),
        set => format!("set here: {}", set.join(", ")),
    };
    Check::ok("keys", message).hint(format!("for another, {BY_HAND_KEYS}"))
}
