//! A page in a headless Chromium, and the server that it comes from.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::process::{end_of, lines_of};
use crate::support::server::{PATIENCE, eventually};

use super::client::{Client, command, installed};

/// How often a page is looked at, which tells nobody when it changes.
const GLANCE: Duration = Duration::from_millis(20);

/// `python3 -m http.server`, which `docs/api.md` names.
pub struct PageServer {
    child: Child,
    /// As a browser names it.
    pub origin: String,
}

impl PageServer {
    pub fn of(folder: &Path) -> PageServer {
        let mut child = Command::new(installed().join("python/bin/python"))
            .env_clear()
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let line_rx = lines_of(child.stdout.take().unwrap());
        // Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...
        let line = line_rx.recv_timeout(PATIENCE).unwrap();
        let port = line.split(' ').nth(5).unwrap();
        let origin = format!("http://localhost:{port}");
        PageServer { child, origin }
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        end_of(&mut self.child);
    }
}

/// An open page. What it logs are the lines of a client.
pub struct Page {
    pub client: Client,
    _profile: TempDir,
}

impl Page {
    pub fn open(url: &str) -> Page {
        let profile = TempDir::new().unwrap();
        let mut driver = command("chromium.mjs");
        driver.arg(profile.path()).arg(url).stdin(Stdio::piped());
        driver.env("HOME", profile.path());
        Page {
            client: Client::start(&mut driver),
            _profile: profile,
        }
    }

    /// Runs a line of JavaScript in it.
    pub fn run(&mut self, script: &str) {
        let input = self.client.child.stdin.as_mut().unwrap();
        writeln!(input, "{script}").unwrap();
    }

    /// Types into a field of the chat page.
    pub fn fill(&mut self, field: &str, value: &str) {
        self.wait_until(&format!("!!document.getElementById('{field}')"));
        self.run(&format!("{field}.value = {}", Value::from(value)));
    }

    /// Sends a message from the chat page, when it has sent the one before.
    pub fn send(&mut self, message: &str) {
        self.wait_until("text.value === ''");
        self.fill("text", message);
        self.run("say.requestSubmit()");
    }

    /// Waits until these are the last lines that the chat page shows.
    pub fn wait_for_lines(&mut self, lines: &[&str]) {
        let shown = "Array.from(log.children, line => line.textContent)";
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = self.value(&format!("{shown}.slice(-{})", lines.len()));
            if last == json!(lines) {
                return;
            }
            assert!(Instant::now() < deadline, "{last:#?} is not {lines:#?}");
            thread::sleep(GLANCE);
        }
    }

    /// Waits until this is so.
    pub fn wait_until(&mut self, condition: &str) {
        eventually(condition, || self.value(condition).as_bool()?.then_some(()));
    }

    /// What an expression is worth in it; nothing else may be logged meanwhile.
    pub fn value(&mut self, expression: &str) -> Value {
        self.run(&format!(
            "console.log(JSON.stringify(({expression}) ?? null))"
        ));
        serde_json::from_str(&self.client.next_line()).unwrap()
    }
}

impl Drop for Page {
    /// The browser ends before its profile goes.
    fn drop(&mut self) {
        drop(self.client.child.stdin.take());
        end_of(&mut self.client.child);
    }
}
