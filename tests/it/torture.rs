//! `duragent torture` itself: a short run keeps every promise, and leaves nothing behind.

use crate::support::process::{Limited as _, duragent, end_of};
use std::fs;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

fn torture(folder: &TempDir, args: &[&str]) -> Output {
    duragent(folder.path())
        .args(["torture", "--dir", folder.path().to_str().unwrap()])
        .args(args)
        .output_in_time()
        .unwrap()
}

#[test]
fn a_short_run_breaks_no_promise() {
    let folder = TempDir::new().unwrap();
    let output = torture(&folder, &["--seconds", "6", "--seed", "1", "--json"]);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_str(&report).unwrap();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(report["violations"], Value::Array(Vec::new()));
    assert_eq!(count("seed"), 1);
    for name in ["kills", "power_cuts", "sessions", "messages", "tokens"] {
        assert!(count(name) > 0, "no {name}: {report}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn ctrl_c_ends_it_early_and_in_good_order() {
    let folder = TempDir::new().unwrap();
    let mut child = duragent(folder.path())
        .args(["torture", "--seconds", "600", "--dir"])
        .arg(folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Any moment will do, once its handler is there: it makes the folder after that.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while fs::read_dir(folder.path()).unwrap().count() == 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(end_of(&mut child).success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_is_not_there_is_refused_in_one_line() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    let output = duragent(std::path::Path::new("/"))
        .args(["torture", "--dir", missing.to_str().unwrap()])
        .output_in_time()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("duragent: cannot use "), "{said}");
}
