//! What happens when, by the seed.

use std::time::Duration;

use fastrand::Rng;

use crate::domain::event::OnDisconnect;

/// Clients that talk at the same time, each in a session of its own.
pub(super) const ACTORS: usize = 6;

/// One run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerLife {
    /// On which disk.
    pub(super) disk: Disk,
    /// How it is ended.
    pub(super) end: ServerEnd,
    /// How long it serves, once it is ready.
    pub(super) length: Duration,
}

/// The disk of one run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// It does not.
    Sound,
    /// One in so many operations, by a seed of its own.
    Faulty {
        /// Decides which.
        seed: u64,
        /// How often.
        one_in: u32,
    },
}

/// How a server is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerEnd {
    /// `SIGKILL`.
    Killed,
    /// `SIGTERM`: it must exit with 0.
    Stopped,
}

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// `/stream`; after a lost connection `/events` from its last id on.
    StreamAndResume,
    /// `/stream`; after a lost connection the same request again.
    StreamAgain,
    /// `/messages`, until the answer.
    Blocking,
    /// `/messages` with `Prefer: respond-async`.
    Async,
}

/// The end of a session, after its last message is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlannedEnd {
    Keep,
    End,
    Delete,
}

/// A session from its creation to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedSession {
    pub(super) mode: OnDisconnect,
    pub(super) watchers: usize,
    /// Whether its client stays away for a run of the server, when it loses one.
    pub(super) stays_away: bool,
    pub(super) lines: Vec<PlannedMessage>,
    pub(super) farewell: PlannedEnd,
}

/// A message, and how it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedMessage {
    pub(super) manner: Manner,
    pub(super) content: String,
    /// The text that the built-in model answers.
    pub(super) answer: String,
}

pub(super) fn life(rng: &mut Rng) -> ServerLife {
    /// Long enough for a turn or two, short enough to strike in the middle of one.
    const LENGTH_MS: std::ops::Range<u64> = 20..450;
    let is_faulty = rng.u32(..5) == 0;
    ServerLife {
        disk: if is_faulty {
            Disk::Faulty {
                seed: rng.u64(..),
                one_in: rng.u32(12..250),
            }
        } else {
            Disk::Sound
        },
        end: if rng.u32(..8) == 0 {
            ServerEnd::Stopped
        } else {
            ServerEnd::Killed
        },
        length: Duration::from_millis(rng.u64(LENGTH_MS)),
    }
}

pub(super) fn act(rng: &mut Rng) -> PlannedSession {
    let mode = if rng.bool() {
        OnDisconnect::Continue
    } else {
        OnDisconnect::Pause
    };
    let stays_away = mode == OnDisconnect::Pause && rng.u32(..3) == 0;
    let lines = rng.usize(1..5);
    PlannedSession {
        mode,
        // A watcher would be the client that this one must not have.
        watchers: if stays_away { 0 } else { rng.usize(..3) },
        stays_away,
        lines: (0..lines).map(|_| line(rng, stays_away)).collect(),
        farewell: match rng.u32(..4) {
            0 => PlannedEnd::Delete,
            1 => PlannedEnd::End,
            _ => PlannedEnd::Keep,
        },
    }
}

fn line(rng: &mut Rng, must_stream: bool) -> PlannedMessage {
    let manner = match rng.u32(..6) {
        _ if must_stream => Manner::StreamAndResume,
        0..=2 => Manner::StreamAndResume,
        3 => Manner::StreamAgain,
        4 => Manner::Blocking,
        _ => Manner::Async,
    };
    let answer = words(rng);
    let rest_ms = rng.u32(..9);
    PlannedMessage {
        manner,
        content: format!("/slow {rest_ms}\n{answer}"),
        answer,
    }
}

/// Words that differ, with letters of two to four bytes and line breaks among them.
fn words(rng: &mut Rng) -> String {
    const LETTERS: [&str; 10] = ["a", "n", "e", "ß", "ø", "日", "本", "🦀", "\"", "\\"];
    let count = rng.usize(1..40);
    let word = |rng: &mut Rng| -> String {
        let letters = rng.usize(1..8);
        (0..letters)
            .map(|_| LETTERS[rng.usize(..LETTERS.len())])
            .collect()
    };
    let mut text = word(rng);
    for _ in 1..count {
        text.push_str(if rng.u32(..9) == 0 { "\n" } else { " " });
        text.push_str(&word(rng));
    }
    text
}
