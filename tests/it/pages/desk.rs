//! The place where a page is followed: a home, a folder in it, and one shell for all that is typed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::root;
use super::steps::{Step, quoted};
use crate::support::fake_model::FakeModel;

/// How long a page may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long what was interrupted may take to stop.
const GRACE: Duration = Duration::from_secs(20);
/// How often a program is looked at, which tells nobody when it ends.
const GLANCE: Duration = Duration::from_millis(5);
/// What readers see where a page is run at another port.
const PORT_SHOWN: &str = "8080";

/// A place where pages are followed: a home, and a folder in it.
pub struct Desk {
    folder: tempfile::TempDir,
    port: u16,
    model: FakeModel,
}

impl Desk {
    pub fn new() -> Desk {
        let desk = Desk {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            model: FakeModel::start(),
        };
        for folder in ["home/desk", "bin", "seen"] {
            fs::create_dir_all(desk.at(folder)).unwrap();
        }
        let link = |target: &Path, name| std::os::unix::fs::symlink(target, desk.at(name)).unwrap();
        link(Path::new(env!("CARGO_BIN_EXE_duragent")), "bin/duragent");
        // What pages name of the project itself.
        link(&root().join("docs"), "home/desk/docs");
        // An answer that is an error is one to whoever reads only the exit code, too.
        let habits = "fail-with-body\nsilent\nshow-error\nmax-time = 60\n";
        fs::write(desk.at("home/.curlrc"), habits).unwrap();
        desk
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Text of a page, with the port of this desk.
    fn told(&self, text: &str) -> String {
        text.replace(PORT_SHOWN, &self.port.to_string())
    }

    /// What goes wrong where somebody follows these steps.
    pub fn follow(&self, steps: &[Step]) -> Result<(), String> {
        let mut script = "set -eo pipefail\ntrap 'duragent serve stop || true' EXIT\n".to_owned();
        for (number, step) in steps.iter().enumerate() {
            script.push_str(&format!("echo {number} > \"$SEEN/at\"\n"));
            script.push_str(&self.told(&self.step(number, step)));
        }
        let end = self.run(&script);
        let seen = |number: usize| {
            fs::read_to_string(self.at(&format!("seen/{number}"))).unwrap_or_default()
        };
        if let Err(error) = end {
            let at = fs::read_to_string(self.at("seen/at")).unwrap_or_default();
            let at: usize = at.trim().parse().map_err(|_| error.clone())?;
            return Err(format!("{error} in {:#?}\n{}", steps[at], seen(at)));
        }
        for (number, step) in steps.iter().enumerate() {
            let Step::Run(run) = step else { continue };
            let output = seen(number);
            let has = |text: &String| output.contains(&self.told(text));
            if let Some(text) = run.prints.iter().find(|text| !has(text)) {
                return Err(format!("no {text:?} from {run:#?}\n{output}"));
            }
            let answers = run.answers_shown();
            let is_there =
                |answers: &Vec<Vec<String>>| answers.iter().any(|keys| keys.iter().all(has));
            if let Some(answers) = answers.iter().find(|answers| !is_there(answers)) {
                return Err(format!(
                    "no answer with {answers:?} from {run:#?}\n{output}"
                ));
            }
        }
        Ok(())
    }

    fn step(&self, number: usize, step: &Step) -> String {
        match step {
            Step::Write { name, text } => {
                let source = self.at(&format!("seen/{number}"));
                fs::write(&source, text).unwrap();
                let name = quoted(name);
                format!("mkdir -p \"$(dirname {name})\"; cp \"$SEEN/{number}\" {name}\n")
            }
            Step::Run(run) => {
                fs::write(self.at(&format!("seen/{number}.in")), &run.reads).unwrap();
                run.as_shell(number)
            }
        }
    }

    /// Runs a script to its end; what it leaves behind ends as well.
    pub fn run(&self, script: &str) -> Result<(), String> {
        let file = self.at("seen/page.sh");
        fs::write(&file, script).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash")
            .arg(&file)
            .current_dir(self.at("home/desk"))
            .env_clear()
            .env("PATH", format!("{}:{path}", self.at("bin").display()))
            .env("HOME", self.at("home"))
            .env("SEEN", self.at("seen"))
            .env("DURAGENT_PORT", self.port.to_string())
            .env(
                "OPENROUTER_BASE_URL",
                format!("{}/api/v1", self.model.url()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.at("seen/stderr")).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        let group = Pid::from_child(&shell);
        let status = end_within(PATIENCE, &mut shell);
        if status.is_none() {
            // The shell then stops the server that a `chat` has started in a session of its own.
            let _ = kill_process_group(group, Signal::TERM);
            end_within(GRACE, &mut shell);
        }
        // Streams that nobody ends.
        let _ = kill_process_group(group, Signal::KILL);
        drop(shell.wait());
        let told = || fs::read_to_string(self.at("seen/stderr")).unwrap_or_default();
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{status} {}", told())),
            None => Err("no end".to_owned()),
        }
    }
}

/// The end of a program, if it comes in time.
fn end_within(limit: Duration, program: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = program.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(GLANCE);
    }
    None
}

/// A port that nobody has, and that nobody gets who asks for any: those lie above.
fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(1_000);
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}
