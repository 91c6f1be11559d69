//! The commands that Telegram shows to who types `/`.

use serde_json::{Value, json};

/// What each does. `/start` is shown by Telegram itself.
const COMMANDS: [(&str, &str); 9] = [
    ("status", "What I am doing"),
    ("stop", "Stop what I am doing"),
    (
        "reset",
        "End this conversation; your next message begins a new one",
    ),
    (
        "compact",
        "Have the older part of this conversation summarised",
    ),
    ("context", "How much of this conversation I have in view"),
    ("approve", "Answer my question with yes, if you may decide"),
    ("deny", "Answer my question with no, if you may decide"),
    ("grants", "What is allowed for this conversation"),
    ("help", "What can be said here"),
];

/// The parameters of `setMyCommands`.
pub(super) fn params() -> Value {
    let commands = COMMANDS.iter();
    let commands = commands
        .map(|(command, description)| json!({"command": command, "description": description}));
    json!({"commands": commands.collect::<Vec<_>>()})
}
