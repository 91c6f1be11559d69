//! A server that has nothing more to do: what it keeps of a load.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::support::bench::{Bench, echo};
use crate::support::server::{Server, eventually};

const CLIENTS: usize = 8;
/// What a reply of the load is made of: 100 KB.
const WORDS: &str = "/repeat 20000\nword ";

/// Its memory behind which no file stands.
fn private_kb(server: &Server) -> u64 {
    memory_kb(server, "RssAnon:")
}

/// What is mapped of its program, and of other files.
fn files_kb(server: &Server) -> u64 {
    memory_kb(server, "RssFile:")
}

fn memory_kb(server: &Server, kind: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(kind));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// How many threads take requests.
fn handlers(server: &Server) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("http-")).count()
}

#[test]
fn what_a_load_took_of_memory_and_threads_comes_back() {
    let server = Bench::new().agent(echo("echo")).serve();
    let before = private_kb(&server);
    let most = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let session = server.create_session("echo");
                for _ in 0..3 {
                    assert_eq!(server.say(&session, WORDS).status, 200);
                    most.fetch_max(private_kb(&server), Ordering::Relaxed);
                }
            });
        }
    });
    let most = most.into_inner();
    let files_under_load = files_kb(&server);
    assert!(most > before + 3_000, "{before} kB, {most} kB");
    eventually("at most two threads wait for requests", || {
        (handlers(&server) <= 2).then_some(())
    });
    eventually("the memory comes back", || {
        (private_kb(&server) < before + 2_000).then_some(())
    });
    eventually("code is given back", || {
        (files_kb(&server) < files_under_load * 3 / 4).then_some(())
    });
    let session = server.create_session("echo");
    assert_eq!(server.say(&session, "still there").status, 200);
}
