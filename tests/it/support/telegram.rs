//! A bot of Telegram with its agent and its server, killed and started again as a test likes.
//!
//! ```ignore
//! let mut bot = BotBench::echo(OPEN).serve();
//! let ann = bot.telegram.person(42, "Ann");
//! bot.telegram.says(&ann, "hi");
//! bot.telegram.wait_for_text(ann.id, "hi");
//! bot.kill_and_restart();
//! assert_eq!(bot.log_of_kind("user_message").len(), 1);
//! ```

#![allow(dead_code, reason = "a kit for every topic: each uses a part of it")]

use std::fs;

use serde_json::Value;

use super::bench::{AgentFiles, Bench, asking, echo};
use super::bot_api::{FakeTelegram, Person, ShownMessage};
use super::fake_model::FakeModel;
use super::server::{Launch, Server, Workspace, eventually};

/// Everybody may talk, and is answered at once.
pub const OPEN: &str = "access:\n  dm: {policy: open}\n  \
    groups: {policy: open, queue: {debounce: {enabled: false}}}";

/// The agent of every bot here.
const AGENT: &str = "ada";

/// A bot and what is behind it.
pub struct BotBench {
    // Ends first, and nobody misses it then.
    server: Option<Server>,
    pub model: FakeModel,
    pub telegram: FakeTelegram,
    pub workspace: Workspace,
}

impl BotBench {
    /// Whose agent echoes; `spec` is YAML.
    pub fn echo(spec: &str) -> BotBench {
        BotBench::of(FakeModel::start(), |_| echo(AGENT).spec(spec))
    }

    /// Whose agent asks the model of the bench.
    pub fn asking(spec: &str) -> BotBench {
        BotBench::of(FakeModel::start(), |model| asking(AGENT, model).spec(spec))
    }

    /// With an agent of the test's making, which must bear the usual name.
    pub fn of(model: FakeModel, agent: impl FnOnce(&FakeModel) -> AgentFiles) -> BotBench {
        let telegram = FakeTelegram::start();
        let settings = telegram.settings();
        let workspace = Bench::new()
            .agent(agent(&model))
            .config(&format!(
                "gateways: {{telegram: {settings}}}\nroutes: [{{match: {{}}, agent: {AGENT}}}]"
            ))
            .workspace();
        BotBench {
            server: None,
            model,
            telegram,
            workspace,
        }
    }

    /// Starts the server, and waits until it is ready.
    pub fn serve(mut self) -> BotBench {
        self.start();
        self
    }

    pub fn start(&mut self) {
        // A loop of crashes is what some tests are about: it must not leave turns waiting.
        let launch = Launch::new(&self.workspace).args(&["--resume", "always"]);
        self.server = Some(launch.start());
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("a server that runs")
    }

    /// Sends SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Ends it in good order, as a service manager does.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.terminate();
            assert!(server.wait_for_exit().success(), "{}", server.log());
        }
    }

    // --- what is on disk ---

    /// The logs of all sessions, by their ids.
    pub fn logs(&self) -> Vec<(String, Vec<Value>)> {
        let folder = self.workspace.file(".duragent/sessions");
        let entries = fs::read_dir(folder).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("session_")).collect();
        names.sort();
        let logs = names.into_iter().map(|name| {
            let log = self.workspace.log_of(&name);
            (name, log)
        });
        logs.filter(|(_, log)| !log.is_empty()).collect()
    }

    /// The records of a kind in all logs.
    pub fn log_of_kind(&self, kind: &str) -> Vec<Value> {
        let records = self.logs().into_iter().flat_map(|(_, log)| log);
        records.filter(|record| record["type"] == kind).collect()
    }

    /// Waits until there are so many records of a kind, and returns them.
    pub fn wait_for_log(&self, kind: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} {kind} in the logs"), || {
            let found = self.log_of_kind(kind);
            (found.len() >= count).then_some(found)
        })
    }

    /// Waits until each turn that began has ended, and there were so many.
    pub fn wait_for_turns(&self, count: usize) {
        let ids = |kind: &str| {
            let records = self.log_of_kind(kind).into_iter();
            let mut ids: Vec<String> = records.map(|one| one["turn_id"].to_string()).collect();
            ids.sort();
            ids.dedup();
            ids
        };
        eventually(&format!("{count} turns have ended"), || {
            let ended = ids("turn_ended");
            (ended.len() >= count && ended == ids("turn_started")).then_some(())
        });
    }

    /// Waits until a message of the bot's is known on disk, so that a kill does not make another of it.
    pub fn wait_until_known(&self, message: &ShownMessage) {
        let id = format!("\"{}\"", message.id);
        eventually("the outbox knows the message", || {
            let mut found = Vec::new();
            look_for(&id, &self.workspace.file(".duragent/outbox"), &mut found);
            // What is being written is not there before it has its name.
            found.retain(|path| path.ends_with("lane.json"));
            (!found.is_empty()).then_some(())
        });
    }

    /// Waits until the outbox knows that every chat has everything: then a kill repeats nothing.
    pub fn wait_until_delivered(&self) {
        eventually("every chat has everything", || {
            let mut lanes = Vec::new();
            look_for(
                "\"chat_id\"",
                &self.workspace.file(".duragent/outbox"),
                &mut lanes,
            );
            lanes
                .iter()
                .all(|lane| self.is_delivered(lane))
                .then_some(())
        });
    }

    fn is_delivered(&self, lane: &str) -> bool {
        let text = fs::read_to_string(lane).unwrap_or_default();
        let Ok(lane) = serde_json::from_str::<Value>(&text) else {
            return false;
        };
        let mut sessions = lane["sessions"].as_array().into_iter().flatten();
        sessions.all(|one| {
            let log = self
                .workspace
                .log_of(one["session"].as_str().unwrap_or_default());
            let last = log.iter().rfind(|record| record["type"] == "turn_ended");
            let last = last.and_then(|record| record["seq"].as_u64());
            let is_seen = last.is_none_or(|last| one["seen"].as_u64() >= Some(last));
            is_seen && one["bubbles"].as_array().is_none_or(Vec::is_empty)
        })
    }

    /// What the bot has said in a chat, once all of it is said: what is asked for after it comes after it.
    pub fn settled_texts(&self, chat: i64, person: &Person) -> Vec<String> {
        let before = self.telegram.shown(chat).len();
        let asked = self.telegram.says_in(chat, person, "/help@ada_bot").message;
        let what = format!("an answer to /help after {before} messages");
        self.telegram.wait(&what, |world| {
            let mut shown = world.chat(chat)?.shown();
            let is_told =
                shown.any(|one| one.id > asked && one.is_bots && one.text.contains("/reset"));
            is_told.then_some(())
        });
        let mut texts = self.telegram.texts_in(chat);
        texts.retain(|text| !text.contains("/reset"));
        texts
    }

    /// The `source_id` of every message, as it stands in the logs.
    pub fn sources(&self) -> Vec<String> {
        let messages = self.log_of_kind("user_message").into_iter();
        let sources = messages.map(|one| one["source_id"].as_str().unwrap_or_default().to_owned());
        sources.collect()
    }

    /// What a message of the log says.
    pub fn contents(&self) -> Vec<String> {
        let messages = self.log_of_kind("user_message").into_iter();
        let texts = messages.map(|one| one["content"].as_str().unwrap_or_default().to_owned());
        texts.collect()
    }

    /// What the model was last asked.
    pub fn last_question(&self) -> String {
        let asked = self.model.requests();
        asked
            .last()
            .map(|asked| asked.last_message())
            .unwrap_or_default()
    }

    /// All that `/readyz` says.
    pub fn readiness(&self) -> Value {
        self.server().get("/readyz").json()
    }

    /// Runs `duragent gateway …`.
    pub fn gateway(&self, arguments: &[&str]) -> String {
        let all: Vec<&str> = ["gateway"].iter().chain(arguments).copied().collect();
        self.workspace.run(&all)
    }

    /// Every place in the workspace, and in what the server printed, where this stands.
    pub fn places_of(&self, secret: &str) -> Vec<String> {
        let mut found = Vec::new();
        look_for(secret, self.workspace.path(), &mut found);
        // Where the test itself wrote it.
        found.retain(|path| !path.ends_with("/duragent.yaml"));
        found
    }
}

fn look_for(secret: &str, folder: &std::path::Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            look_for(secret, &path, found);
        } else if fs::read(&path).is_ok_and(|bytes| contains(&bytes, secret)) {
            found.push(path.display().to_string());
        }
    }
}

fn contains(bytes: &[u8], secret: &str) -> bool {
    memchr::memmem::find(bytes, secret.as_bytes()).is_some()
}

/// The id that an update has in the log.
pub fn source(update: i64) -> String {
    format!("telegram:{update}")
}
