//! The build script: finds out what `--version` says of this build.
//!
//! It hands over `DURAGENT_COMMIT`, `DURAGENT_DATE` and `DURAGENT_TARGET`, which
//! `src/runtime/version.rs` reads.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the binary is made of: a change here is a change of the program.
const SOURCES: [&str; 3] = ["src", "Cargo.toml", "Cargo.lock"];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let commit = checkout_commit(&root)
        .or_else(|| packaged_commit(&root))
        .unwrap_or_else(|| "unknown (not built from a git checkout)".to_owned());
    println!("cargo:rustc-env=DURAGENT_COMMIT={commit}");
    println!("cargo:rustc-env=DURAGENT_DATE={}", build_date());
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=DURAGENT_TARGET={target}");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
}

/// The commit that is checked out in `root`, marked when the sources differ from it.
fn checkout_commit(root: &Path) -> Option<String> {
    // Unpacked inside somebody's other repository, git would name that one's commit.
    git(root, &["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let commit = git(root, &["rev-parse", "HEAD"])?;
    watch_head(root);
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(SOURCES);
    let is_changed = git(root, &status).is_none_or(|changes| !changes.is_empty());
    Some(if is_changed {
        format!("{commit} (modified)")
    } else {
        commit
    })
}

/// Builds again when another commit is checked out or made.
fn watch_head(root: &Path) {
    let branch = git(root, &["symbolic-ref", "-q", "HEAD"]).unwrap_or_default();
    // The log of HEAD changes even where a branch moves from the packed refs to a file.
    for name in ["HEAD", "logs/HEAD", "packed-refs", branch.as_str()] {
        if name.is_empty() {
            continue;
        }
        let path = git(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
        // Cargo takes a missing file for one that changes all the time.
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
}

/// The commit that `cargo package` noted down in the archive.
fn packaged_commit(root: &Path) -> Option<String> {
    let note = fs::read_to_string(root.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = note.split_once("\"sha1\"")?;
    let commit = rest.split('"').nth(1)?;
    let is_hash = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| commit.to_owned())
}

/// What git prints, when it succeeds.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Today, or the day of `SOURCE_DATE_EPOCH` for a build that can be repeated; UTC, `YYYY-MM-DD`.
fn build_date() -> String {
    let fixed = env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds: u64 = fixed.unwrap_or_else(|| now().unwrap_or_default().as_secs());
    let (year, month, day) = civil_date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}
