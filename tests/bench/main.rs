//! The figures that Duragent promises, measured against the built program: `make bench`, or
//! `cargo bench --bench figures -- relay start` for some of them.
//!
//! The server is the release binary, started as a child. Its provider and its clients are in this
//! process, each one thread with epoll, so that what is measured is the server. On a machine with
//! other work expect noise: each figure is the median of several runs where that makes sense, and
//! what depends on the machine is held to what a bare relay takes in the same minute
//! (`support/bare_relay.rs`).

#![expect(
    unreachable_pub,
    reason = "a program of its own, with the visibilities of its modules"
)]

mod figures;
mod support;

use std::process::ExitCode;

use support::bare_relay;
use support::report::Report;

/// A measurement, which adds its rows to the report.
type Figure = fn(&mut Report) -> anyhow::Result<()>;

const FIGURES: &[(&str, Figure)] = &[
    ("size", figures::size::measure),
    ("start", figures::start::measure),
    ("resume", figures::resume::measure),
    ("idle", figures::idle::measure),
    ("relay", figures::relay::measure),
    ("burst", figures::burst::measure),
    ("many", figures::many::measure),
    ("floor", figures::floor::measure),
    ("post", figures::post::measure),
    ("calls", figures::calls::measure),
    ("create", figures::create::measure),
    ("iteration", figures::iteration::measure),
    ("list", figures::list::measure),
    ("long", figures::long::measure),
    ("open", figures::open::measure),
    ("clients", figures::clients::measure),
    ("tools", figures::tools::measure),
    ("telegram", figures::telegram::measure),
    ("flood", figures::flood::measure),
    ("memory", figures::memory::measure),
];

fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(bare_relay::COMMAND) {
        bare_relay::run(words)?;
    }
    // Cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let known = |word: &String| FIGURES.iter().any(|(name, _)| name == word);
    if let Some(unknown) = wanted.iter().find(|word| !known(word)) {
        let names: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
        anyhow::bail!(
            "no figure is called {unknown}; there are: {}",
            names.join(" ")
        );
    }
    let mut report = Report::begin();
    for (name, measure) in FIGURES {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure(&mut report)?;
        }
    }
    Ok(if report.all_hold() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
