//! What a program is started as: its command, and what it is told of the environment.

use std::process::Command;

use crate::base::child::{NoMonitor, Prepared};
use crate::base::os::ChildRules;
use crate::gateway::settings::PluginSettings;

/// What it is told of the server's environment, beside `LC_*` and what its entry in the configuration says: the
/// server's keys are not its business.
const TOLD: [&str; 8] = [
    "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TZ", "USER",
];

/// The program, ready to be started.
pub(super) fn prepared(settings: &PluginSettings) -> Prepared {
    let mut command = Command::new(&settings.command);
    command.args(settings.args.iter().map(|arg| arg.reveal()));
    command.env_clear();
    let told = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_told));
    command.envs(told);
    let own = settings.env.iter();
    command.envs(own.map(|(name, value)| (name, value.reveal())));
    Prepared {
        command,
        rules: ChildRules::default(),
        monitor: Box::new(NoMonitor),
    }
}

fn is_told(name: &str) -> bool {
    TOLD.contains(&name) || name.starts_with("LC_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_server_are_not_told() {
        for name in ["PATH", "HOME", "LC_ALL", "TZ"] {
            assert!(is_told(name), "{name}");
        }
        for name in [
            "OPENAI_API_KEY",
            "DURAGENT_TOKEN",
            "LD_PRELOAD",
            "NOTIFY_SOCKET",
        ] {
            assert!(!is_told(name), "{name}");
        }
    }
}
