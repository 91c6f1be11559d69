//! How large the program is.

use std::fs;

use crate::support::report::{Report, Target};
use crate::support::server::PROGRAM;

/// Measures the binary, which the release profile strips.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let bytes = fs::metadata(PROGRAM)?.len() as f64;
    report.row(
        "size of the program",
        bytes / 1e6,
        "MB",
        Target::AtMost(4.5),
    );
    Ok(())
}
