//! Where scripts run: a root with bash in it, and with programs that take themselves down.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::scripts::PROGRAMS;

/// Divides the words of a command, its words from its environment, and commands.
const WORD: char = '\u{1f}';
const GROUP: char = '\u{1d}';
const COMMAND: char = '\u{1e}';
/// Stands for a line's end in a word.
const LINE_END: char = '\u{1c}';

/// What a program does: it takes itself down in one write, and runs what it was given if that is
/// its trade. `-p`: no file and no function of the environment is read.
const STUB: &str = r#"#!/b/bash -p
l=$0$'\x1f'
for a do l+=$a$'\x1f'; done
l+=$'\x1d'
for n in $(compgen -e); do l+=$n=${!n}$'\x1f'; done
# A line's end would have it written in two pieces, between which another may write.
printf '%s\x1e' "${l//$'\n'/$'\x1c'}" >> /rec/ran
case ${0##*/} in
timeout) shift; exec "$@" ;;
nice) exec "$@" ;;
esac
exit 0
"#;

/// The environment of a script; the values are bait for whoever lets them become words.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("HOME", "/home"),
    ("PATH", "/bin"),
    ("A", "a[$(s5)]"),
    ("W", "/bin/s5"),
    ("X", "--output=f"),
    ("Y", "a b"),
    ("Z", "-exec s5 {} +"),
];

/// Variables that a command may be given: they steer nothing.
const HARMLESS: &[&str] = &[
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "CI",
    "NO_COLOR",
    "LC_ALL",
    "TZ",
    "RUST_BACKTRACE",
];

/// A command that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// Its words; the first is a name if it was found in `PATH`, else its path.
    pub(super) words: Vec<String>,
    /// A variable of its environment that the script set, and that may steer it.
    pub(super) steered_by: Option<String>,
}

/// What a script did.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) commands: Vec<Taken>,
    /// Files that were made, changed or removed.
    pub(super) left_behind: Vec<String>,
}

pub(super) struct Stage {
    folder: TempDir,
    /// What bash needs to run, at its own paths.
    libraries: Vec<PathBuf>,
}

impl Stage {
    pub(super) fn new() -> Stage {
        let stage = Stage {
            folder: tempfile::tempdir().unwrap(),
            libraries: libraries(),
        };
        let folders = ["bin", "home", "rec"].map(|name| stage.path(name));
        folders
            .iter()
            .for_each(|folder| fs::create_dir(folder).unwrap());
        for name in PROGRAMS {
            stub(&stage.path("bin").join(name));
        }
        for name in ["git", "ls", "s0", "s5"] {
            stub(&stage.path("home").join(name));
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a script as the shell's tool would, for some seconds at most.
    pub(super) fn run(&self, script: &str) -> Ran {
        drop(fs::remove_file(self.path("rec/ran")));
        drop(fs::remove_dir_all(self.path("work")));
        self.fill_work();
        let before = self.files();
        let ended = self.command(script).output().unwrap();
        // It was not bash's fault.
        let complaint = String::from_utf8_lossy(&ended.stderr);
        assert!(!complaint.contains("bwrap:"), "{complaint}");
        Ran {
            commands: self.taken(),
            left_behind: difference(&before, &self.files()),
        }
    }

    /// Files whose names are bait for whoever lets a glob become words.
    fn fill_work(&self) {
        let work = self.path("work");
        for folder in ["evil", "src"] {
            fs::create_dir_all(work.join(folder)).unwrap();
        }
        for name in [
            "a",
            "b c",
            "--output=f",
            "-exec",
            "x.rs",
            "src/m.rs",
            "src/-o",
        ] {
            fs::write(work.join(name), "").unwrap();
        }
        for name in ["git", "s0", "evil/git", "evil/ls", "evil/s0"] {
            stub(&work.join(name));
        }
    }

    /// Every name below the folder in which the script runs, with its size.
    fn files(&self) -> BTreeMap<String, u64> {
        let work = self.path("work");
        let mut found = BTreeMap::new();
        let mut folders = vec![work.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let (path, metadata) = (entry.path(), entry.metadata().unwrap());
                let name = path
                    .strip_prefix(&work)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.insert(name, if metadata.is_dir() { 0 } else { metadata.len() });
                if metadata.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args([
            "-s",
            "KILL",
            "5",
            "bwrap",
            "--unshare-all",
            "--die-with-parent",
            "--clearenv",
        ]);
        for library in &self.libraries {
            command.arg("--ro-bind").args([library, library]);
        }
        command.args(["--ro-bind", "/bin/bash", "/b/bash", "--dev", "/dev"]);
        for (name, how) in [
            ("bin", "--ro-bind"),
            ("home", "--ro-bind"),
            ("rec", "--bind"),
            ("work", "--bind"),
        ] {
            command
                .arg(how)
                .arg(self.path(name))
                .arg(format!("/{name}"));
        }
        for (name, value) in ENVIRONMENT {
            command.args(["--setenv", name, value]);
        }
        // What it leaves running is over with it: the namespace of processes goes.
        command.args(["--chdir", "/work", "/b/bash", "--norc", "-c", "--", script]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn taken(&self) -> Vec<Taken> {
        let ran = fs::read(self.path("rec/ran")).unwrap_or_default();
        let ran = String::from_utf8_lossy(&ran).into_owned();
        let commands: BTreeSet<&str> = ran.split_terminator(COMMAND).collect();
        commands.into_iter().map(taken).collect()
    }
}

fn taken(text: &str) -> Taken {
    let text = text.replace(LINE_END, "\n");
    let (words, environment) = text.split_once(GROUP).unwrap();
    let mut words: Vec<String> = words.split_terminator(WORD).map(str::to_owned).collect();
    if let Some(name) = words[0].strip_prefix("/bin/") {
        words[0] = name.to_owned();
    }
    let is_steering = |variable: &&str| {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        let is_as_given = ENVIRONMENT.contains(&(name, value));
        !is_as_given && !HARMLESS.contains(&name)
    };
    Taken {
        steered_by: environment
            .split_terminator(WORD)
            .find(is_steering)
            .map(str::to_owned),
        words,
    }
}

fn difference(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name));
    changed.cloned().collect()
}

fn stub(path: &Path) {
    fs::write(path, STUB).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The files that the dynamic loader maps for bash, the loader among them.
fn libraries() -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg("/bin/bash").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let paths = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).collect()
}
