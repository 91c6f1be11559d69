//! The build script: finds out what `--version` says of this build, and how it is linked.
//!
//! It hands over `DURAGENT_COMMIT`, `DURAGENT_DATE` and `DURAGENT_TARGET`, which
//! `src/runtime/version.rs` reads. A release is linked smaller where the linker and the system can:
//! see [`SAVINGS`].

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the binary is made of: a change here is a change of the program.
const SOURCES: [&str; 3] = ["src", "Cargo.toml", "Cargo.lock"];

/// A way to link that makes the program smaller or quicker to start, and no other program.
struct Saving {
    name: &'static str,
    /// As `rustc` is told.
    flags: [&'static str; 2],
    /// As cargo is told, so that it tells `rustc` the same.
    instruction: &'static str,
}

/// Each is taken where a program that is linked that way can be made, and starts.
const SAVINGS: [Saving; 3] = [
    // What is left of each of 12,000 relocations is a bit: 0.3 MB less. Needs glibc 2.36.
    Saving {
        name: "relr",
        flags: ["-C", "link-arg=-Wl,-z,pack-relative-relocs"],
        instruction: "cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs",
    },
    // Functions with the same code are there once: 0.05 MB less. Rust promises no function an address
    // of its own. Not known to GNU ld; what stands in a backtrace may be the other one's name.
    Saving {
        name: "fold",
        flags: ["-C", "link-arg=-Wl,--icf=all"],
        instruction: "cargo:rustc-link-arg-bins=-Wl,--icf=all",
    },
    // The unwinder comes from the compiler's archive, not from a library that each start would have
    // to find, map and relocate: 0.3 ms and 0.1 MB of memory less.
    Saving {
        name: "unwinder",
        flags: ["-l", "static:-bundle=gcc_eh"],
        instruction: "cargo:rustc-link-lib=static:-bundle=gcc_eh",
    },
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let commit = checkout_commit(&root)
        .or_else(|| packaged_commit(&root))
        .unwrap_or_else(|| "unknown (not built from a git checkout)".to_owned());
    println!("cargo:rustc-env=DURAGENT_COMMIT={commit}");
    println!("cargo:rustc-env=DURAGENT_DATE={}", build_date());
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=DURAGENT_TARGET={target}");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let works = SAVINGS.iter().filter(|saving| saving.works());
        works.for_each(|saving| println!("{}", saving.instruction));
    }
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
}

impl Saving {
    /// Tries it with a program that does nothing. What is built for another machine can't be tried
    /// here, and goes without.
    fn works(&self) -> bool {
        self.probe()
            .and_then(|program| Command::new(program).status().ok())
            .is_some_and(|status| status.success())
    }

    /// Links that program, as this build links its own.
    fn probe(&self) -> Option<PathBuf> {
        let folder = PathBuf::from(env::var_os("OUT_DIR")?);
        let (source, program) = (folder.join("probe.rs"), folder.join(self.name));
        fs::write(&source, "fn main() {}").ok()?;
        let mut rustc = Command::new(env::var_os("RUSTC")?);
        rustc.arg("--target").arg(env::var_os("TARGET")?);
        if let Some(linker) = env::var_os("RUSTC_LINKER") {
            let mut setting = OsString::from("linker=");
            setting.push(linker);
            rustc.arg("-C").arg(setting);
        }
        let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
        rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
        rustc.args(self.flags).arg(&source).arg("-o").arg(&program);
        rustc.output().ok()?.status.success().then_some(program)
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
