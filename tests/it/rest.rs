//! A server that has nothing more to do: what it keeps of a load.

use std::fs;
use std::thread;

use crate::support::bench::{Bench, echo};
use crate::support::server::{Server, eventually};

const CLIENTS: usize = 16;
/// What a reply of the load is made of: 300 KB.
const WORDS: &str = "/repeat 60000\nword ";

/// Its memory behind which no file stands.
fn private_kb(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
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
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let session = server.create_session("echo");
                for _ in 0..4 {
                    assert_eq!(server.say(&session, WORDS).status, 200);
                }
            });
        }
    });
    let under_load = private_kb(&server);
    assert!(under_load > before + 8_000, "{before} kB, {under_load} kB");
    eventually("at most two threads wait for requests", || {
        (handlers(&server) <= 2).then_some(())
    });
    eventually("the memory comes back", || {
        (private_kb(&server) < before + 2_000).then_some(())
    });
    let session = server.create_session("echo");
    assert_eq!(server.say(&session, "still there").status, 200);
}
