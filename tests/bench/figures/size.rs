//! How large the program is.

use std::fs;

use anyhow::Context as _;
use duragent::runtime::version::FEATURES;

use crate::support::report::{Report, Target};
use crate::support::server::PROGRAM;

/// The default build has everything.
const WHOLE_MB: f64 = 9.0;
/// What `--no-default-features` leaves in.
const SMALL_MB: f64 = 7.5;

/// Measures the binary, which the release profile strips.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let bytes = fs::metadata(PROGRAM)?.len() as f64;
    let (name, limit_mb) = if is_small()? {
        ("size without default features", SMALL_MB)
    } else {
        ("size of the program", WHOLE_MB)
    };
    report.row(name, bytes / 1e6, "MB", Target::AtMost(limit_mb));
    Ok(())
}

/// Whether there are parts that can be left out, and this build has none of them.
fn is_small() -> anyhow::Result<bool> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let manifest = fs::read_to_string(manifest).context(manifest)?;
    let has_features = manifest.lines().any(|line| line == "[features]");
    Ok(has_features && FEATURES.is_empty())
}
