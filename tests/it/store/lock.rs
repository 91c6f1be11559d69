//! One server for each workspace, with real processes.

use super::*;
use crate::support::process::{Limited as _, end_of};

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use duragent::store::lock::{
    LockError, LockHolder, Starter, WorkspaceLock, read_crashed, read_holder, workspace_hash,
};

/// Another process that holds the lock until its input ends.
fn other_process(workspace: &Path) -> Child {
    let lock = workspace.join("lock");
    let script = r#"printf 'pid: %s\naddress: 127.0.0.1:8080\n' $$ > "$0"; echo held; read line"#;
    let mut child = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", script])
        .arg(&lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    child
}

#[test]
fn a_second_server_is_told_who_the_first_is_and_gets_the_lock_after_it() {
    let workspace = tempfile::tempdir().unwrap();
    let mut first = other_process(workspace.path());
    let holder = read_holder(workspace.path()).unwrap();
    let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    assert_eq!(holder.address, Some(address));
    let error = WorkspaceLock::acquire(workspace.path()).unwrap_err();
    assert!(matches!(&error, LockError::Held { holder: Some(told), .. } if *told == holder));
    let text = error.to_string();
    let wanted = format!("the server at 127.0.0.1:8080 (process {})", holder.pid);
    assert!(text.contains(&wanted), "{text}");

    drop(first.stdin.take());
    end_of(&mut first);
    assert_eq!(
        read_holder(workspace.path()),
        None,
        "its words outlive it, its lock does not"
    );
    let lock = WorkspaceLock::acquire(workspace.path()).unwrap();
    let mut own = LockHolder {
        pid: std::process::id(),
        address: None,
        starter: Starter::Person,
    };
    assert_eq!(read_holder(workspace.path()).as_ref(), Some(&own));
    own.address = Some(address);
    for (starter, line) in [
        (Starter::Client, "started_by: client\n"),
        (Starter::Person, ""),
    ] {
        lock.set_address(&address, starter).unwrap();
        own.starter = starter;
        assert_eq!(read_holder(workspace.path()).as_ref(), Some(&own));
        let text = std::fs::read_to_string(workspace.path().join("lock")).unwrap();
        let pid = own.pid;
        assert_eq!(text, format!("pid: {pid}\naddress: 127.0.0.1:8080\n{line}"));
    }

    // A real second process finds it taken.
    let tried = Command::new("flock")
        .arg("-n")
        .arg(workspace.path().join("lock"))
        .arg("true")
        .status_in_time()
        .unwrap();
    assert_eq!(tried.code(), Some(1));
    drop(lock);
    assert_eq!(read_holder(workspace.path()), None);
    assert_eq!(read_crashed(workspace.path()), None);
    assert_eq!(std::fs::read(workspace.path().join("lock")).unwrap(), b"");
}

#[test]
fn a_killed_server_holds_no_lock() {
    let workspace = tempfile::tempdir().unwrap();
    let child = other_process(workspace.path());
    let holder = read_holder(workspace.path()).unwrap();
    let pid = rustix::process::Pid::from_raw(holder.pid as i32).unwrap();
    // First the shell that holds a copy of the lock, then `flock` itself.
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let mut child = child;
    child.kill().unwrap();
    end_of(&mut child);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while read_holder(workspace.path()).is_some() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(read_crashed(workspace.path()), Some(holder));
    WorkspaceLock::acquire(workspace.path()).unwrap();
}

#[test]
fn a_workspace_keeps_its_identifier() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path().join("w");
    let first = workspace_hash(&workspace).unwrap();
    assert_eq!(workspace_hash(&workspace).unwrap(), first);
    assert_ne!(workspace_hash(&folder.path().join("x")).unwrap(), first);
    std::fs::write(workspace.join("id"), "../../x").unwrap();
    assert_eq!(workspace_hash(&workspace).unwrap().len(), 16);
}
