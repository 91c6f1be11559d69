//! An agent on disk and its tools, run with real children in this process; and the same through
//! the real binary.

#![allow(dead_code, reason = "a kit for several topics: each uses a part of it")]

use super::process::Limited as _;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crossbeam_channel::{Receiver, never};
use duragent::domain::event::ToolOutput;
use duragent::domain::ids::{AgentName, CallId, SessionId};
use duragent::domain::spec::{AgentSpec, ModelChoice, Provider, ToolRef};
use duragent::sandbox::SandboxSettings;
use duragent::tools::program_tools::ProgramTools;
use duragent::tools::programs::Programs;
use duragent::tools::{Caller, Run, Toolbox};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server::{Answer, Remote, eventually, write_program};

/// The agent `ada` in a workspace of its own.
pub struct Desk {
    folder: TempDir,
    session: SessionId,
    workshop: ProgramTools,
    pub spec: AgentSpec,
}

impl Desk {
    /// With `bash`, in no sandbox.
    pub fn new() -> Desk {
        Desk::locked(|_| SandboxSettings::default())
    }

    /// With `bash`, in the sandbox that is made for the folder.
    pub fn locked(settings: impl FnOnce(&Path) -> SandboxSettings) -> Desk {
        let folder = TempDir::new().unwrap();
        let workspace = folder.path().join(".duragent");
        let home = workspace.join("agents/ada");
        fs::create_dir_all(&home).unwrap();
        let model = ModelChoice {
            provider: Provider::ECHO,
            name: "echo".into(),
            base_url: None,
            settings: Default::default(),
        };
        let spec = AgentSpec {
            skills_dir: home.join("skills"),
            home,
            tools: vec![bash()],
            ..AgentSpec::new(AgentName::parse("ada").unwrap(), model)
        };
        let programs = Arc::new(Programs::new(settings(folder.path())));
        Desk {
            session: SessionId::mint(1, 2),
            workshop: ProgramTools::new(programs, workspace),
            folder,
            spec,
        }
    }

    /// The folder with the workspace in it.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// A file that the agent's programs wrote.
    pub fn work(&self, name: &str) -> PathBuf {
        self.spec.home.join("work").join(name)
    }

    /// A file below the folder; one called `run` can be run.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if path.file_stem().unwrap() == "run" {
            write_program(&path, text)
        } else {
            fs::write(&path, text).unwrap()
        }
        path
    }

    pub fn tools(&self) -> Toolbox {
        self.workshop.toolbox(&self.spec)
    }

    pub fn run(&self, tool: &str, arguments: &Value) -> ToolOutput {
        self.run_until(tool, arguments, &never())
    }

    pub fn run_until(
        &self,
        tool: &str,
        arguments: &Value,
        cancel: &Receiver<Infallible>,
    ) -> ToolOutput {
        let tools = self.tools();
        let run = Run {
            call_id: &CallId::parse("call_1").unwrap(),
            arguments: &arguments.to_string(),
            cancel,
            caller: Caller::of(&self.session),
        };
        tools.get(tool).unwrap().run(&run).done().unwrap()
    }

    /// Runs a command line; it must succeed. Its output without the last line end.
    pub fn bash(&self, command: &str) -> String {
        let output = self.run("bash", &json!({ "command": command }));
        assert!(output.success, "{command}: {}", output.content);
        output.content.trim_end_matches('\n').to_owned()
    }

    /// Runs a command line that must fail; what the model is told.
    pub fn refused(&self, command: &str) -> String {
        let output = self.run("bash", &json!({ "command": command }));
        assert!(!output.success, "{command}: {}", output.content);
        output.content
    }
}

pub fn bash() -> ToolRef {
    ToolRef::Builtin {
        name: "bash".into(),
    }
}

/// Waits for the file that a program writes its number to, and returns that.
pub fn wait_for_pid(file: &Path) -> i32 {
    eventually("a program writes its number", || {
        let text = fs::read_to_string(file).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    })
}

/// Whether a process runs: one that nobody has waited for has ended as well.
pub fn is_running(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(')').next().unwrap().trim_start().chars().next();
    !matches!(state, Some('Z' | 'X'))
}

/// The processes that run with this word among their arguments.
pub fn processes_with(word: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    let numbers = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let has_word = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|found| found == word.as_bytes())
    };
    numbers
        .filter(has_word)
        .filter(|pid| is_running(*pid))
        .collect()
}

/// A word that no other process has among its arguments: a number of seconds to sleep.
pub fn marker() -> String {
    format!("{}.{:08}", 1000 + std::process::id(), next_number())
}

fn next_number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Says something that makes the agent call a tool, and allows it; the answer to that.
pub fn call_tool(server: &Remote, session: &str, tool: &str, arguments: &Value) -> Answer {
    let asked = server.say(session, &format!("/tool {tool} {arguments}"));
    assert_eq!(asked.status, 202, "{}", asked.text());
    allow(server, session, &asked.json())
}

/// Allows what was asked for.
pub fn allow(server: &Remote, session: &str, asked: &Value) -> Answer {
    let body = json!({
        "call_id": asked["call_id"],
        "command": asked["command"],
        "decision": "allow_once",
    });
    server.post(&format!("/api/v1/sessions/{session}/approve"), &body)
}

/// Where a program of the system is.
pub fn which(program: &str) -> PathBuf {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output_in_time()
        .unwrap();
    assert!(found.status.success(), "{program} is not installed");
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
}
