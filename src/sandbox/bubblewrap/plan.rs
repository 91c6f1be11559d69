//! What a locked-in program sees of the machine.
//!
//! Of the system: `/usr` and what belongs to it, and `/etc` without what not everybody may read.
//! Nothing of `/home`, `/root`, `/var`, `/run`, `/srv` or `/opt`, and nothing of Duragent's but
//! the agent's folder to work in, its tools and its skills.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::base::order;
use crate::sandbox::job::Job;
use crate::sandbox::settings::SandboxSettings;
use crate::sandbox::view::{Opened, View};

/// What belongs to `/usr`, and on older systems stands beside it. `/nix` and the link are the `/usr` of NixOS.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/run/current-system",
];
const ETC: &str = "/etc";
/// Far more than any system has there.
const ETC_ENTRIES_MAX: usize = 100_000;

/// What the plan needs to know of the machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// Whether `bwrap` can limit the size of a file system in memory: since 0.7.
    has_sizes: bool,
    /// Whether `bwrap` can keep a program from making namespaces of its own: since 0.8.
    can_disable_namespaces: bool,
    /// Whether `bwrap` can mount what is open already: since 0.8, with the corrections of 2024. With
    /// an older one a name could lead elsewhere between the look at it and the mount.
    binds_by_fd: bool,
    /// What of the system is there.
    system: Vec<SystemFolder>,
    /// What in `/proc` root could write to, with an effect on the whole machine.
    writable_proc: Vec<PathBuf>,
    /// The real place of `/etc/resolv.conf`, if that is elsewhere.
    resolver: Option<PathBuf>,
}

/// A folder of the system.
#[derive(Debug, PartialEq, Eq)]
enum SystemFolder {
    Folder(PathBuf),
    Link { from: PathBuf, to: PathBuf },
}

/// Something to be covered.
#[derive(Debug, PartialEq, Eq)]
enum Private {
    Folder(PathBuf),
    File(PathBuf),
}

/// Something mounted for what Duragent's own settings say.
enum Layer<'a> {
    Writable(&'a Opened),
    /// A folder on the way to what is hidden.
    Between(&'a Path),
    Hidden(Private),
}

impl Machine {
    /// Looks at the machine; `help` is what `bwrap --help` says.
    pub(super) fn look(help: &str, has_network: bool) -> Machine {
        Machine {
            has_sizes: help.contains("--size "),
            can_disable_namespaces: help.contains("--disable-userns"),
            binds_by_fd: help.contains("--bind-fd"),
            system: SYSTEM
                .iter()
                .filter_map(|path| shown(path.as_ref()))
                .collect(),
            writable_proc: writable_proc(),
            resolver: resolver().filter(|_| has_network),
        }
    }

    pub(super) fn binds_by_fd(&self) -> bool {
        self.binds_by_fd
    }
}

fn shown(path: &Path) -> Option<SystemFolder> {
    let from = path.to_owned();
    if let Ok(to) = fs::read_link(path) {
        return Some(SystemFolder::Link { from, to });
    }
    path.is_dir().then_some(SystemFolder::Folder(from))
}

/// What in `/etc` not everybody may read.
fn private_in_etc() -> Vec<Private> {
    let mut found = Vec::new();
    let mut left = ETC_ENTRIES_MAX;
    find_private(Path::new(ETC), &mut left, &mut found);
    found
}

fn find_private(folder: &Path, left: &mut usize, found: &mut Vec<Private>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if *left == 0 {
            found.push(Private::Folder(folder.to_owned()));
            return;
        }
        *left -= 1;
        let (path, Ok(about)) = (entry.path(), entry.metadata()) else {
            continue;
        };
        if about.is_symlink() {
            continue;
        }
        match (about.is_dir(), about.mode()) {
            (true, mode) if mode & 0o005 != 0o005 => found.push(Private::Folder(path)),
            (true, _) => find_private(&path, left, found),
            (false, mode) if mode & 0o004 == 0 => found.push(Private::File(path)),
            (false, _) => {}
        }
    }
}

/// Everything in `/proc` that belongs to no process and can be written to, or may hold what can.
fn writable_proc() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let is_process = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    entries
        .flatten()
        .filter(|entry| !is_process(&entry.file_name()))
        .filter(|entry| {
            let about = entry.metadata();
            about
                .is_ok_and(|about| about.is_dir() || (about.is_file() && about.mode() & 0o222 != 0))
        })
        .map(|entry| entry.path())
        .collect()
}

fn resolver() -> Option<PathBuf> {
    let real = fs::canonicalize("/etc/resolv.conf").ok()?;
    (!real.starts_with(ETC)).then_some(real)
}

/// The arguments of `bwrap`, but for those of the keeper, and the command.
pub(super) fn arguments(
    settings: &SandboxSettings,
    machine: &Machine,
    job: &Job,
    view: &View,
    work: &Opened,
) -> Vec<OsString> {
    let mut plan = BwrapArguments {
        args: Vec::new(),
        size: machine.has_sizes.then_some(settings.memory_bytes),
        binds_by_fd: machine.binds_by_fd,
    };
    plan.isolate(settings, machine);
    plan.show_system(machine);
    plan.show_own(job, view, work);
    plan.add(["--remount-ro", "/"]);
    plan.add([OsStr::new("--chdir"), job.cwd.as_os_str()]);
    plan.args
}

struct BwrapArguments {
    args: Vec<OsString>,
    /// The most bytes of a file system in memory.
    size: Option<u64>,
    binds_by_fd: bool,
}

impl BwrapArguments {
    fn add<T: AsRef<OsStr>, const N: usize>(&mut self, words: [T; N]) {
        let words = words.iter().map(|word| word.as_ref().to_owned());
        self.args.extend(words);
    }

    fn bind(&mut self, how: &str, path: &Path) {
        self.add([OsStr::new(how), path.as_os_str(), path.as_os_str()]);
    }

    fn bind_opened(&mut self, opened: &Opened) {
        if !self.binds_by_fd {
            return self.bind("--bind", &opened.path);
        }
        let fd = OsString::from(opened.fd.as_raw_fd().to_string());
        self.add([OsStr::new("--bind-fd"), &fd, opened.path.as_os_str()]);
    }

    fn memory(&mut self, path: &Path) {
        if let Some(size) = self.size {
            self.add(["--size", &size.to_string()]);
        }
        self.add([OsStr::new("--tmpfs"), path.as_os_str()]);
    }

    fn read_only(&mut self, path: &Path) {
        self.add([OsStr::new("--remount-ro"), path.as_os_str()]);
    }

    fn isolate(&mut self, settings: &SandboxSettings, machine: &Machine) {
        self.add(["--die-with-parent", "--new-session"]);
        self.add(["--unshare-user", "--unshare-pid", "--unshare-ipc"]);
        self.add(["--unshare-uts", "--unshare-cgroup-try"]);
        if !settings.network {
            self.add(["--unshare-net"]);
        }
        if machine.can_disable_namespaces {
            self.add(["--disable-userns"]);
        }
        // A server that is root would hand its own on.
        self.add(["--cap-drop", "ALL"]);
    }

    fn show_system(&mut self, machine: &Machine) {
        for shown in &machine.system {
            match shown {
                SystemFolder::Folder(path) => self.bind("--ro-bind", path),
                SystemFolder::Link { from, to } => {
                    self.add([OsStr::new("--symlink"), to.as_os_str(), from.as_os_str()]);
                }
            }
        }
        self.bind("--ro-bind-try", Path::new(ETC));
        // A server that is root, or in a group, could read it. Looked for each time: what is new
        // there may be a secret.
        for private in &private_in_etc() {
            self.cover(private);
        }
        if let Some(resolver) = &machine.resolver {
            self.bind("--ro-bind-try", resolver);
        }
        self.add(["--proc", "/proc"]);
        for path in &machine.writable_proc {
            self.bind("--ro-bind-try", path);
        }
        self.add(["--dev", "/dev"]);
        self.memory(Path::new("/dev/shm"));
        self.read_only(Path::new("/dev"));
        self.memory(Path::new("/tmp"));
    }

    fn show_own(&mut self, job: &Job, view: &View, work: &Opened) {
        let layers = layers(view);
        for layer in &layers {
            match layer {
                Layer::Writable(folder) => self.bind_opened(folder),
                Layer::Between(path) => self.bind("--bind-try", path),
                Layer::Hidden(Private::Folder(path)) => self.memory(path),
                Layer::Hidden(file) => self.cover(file),
            }
        }
        for path in &job.readable {
            self.bind("--ro-bind", path);
        }
        self.bind_opened(work);
        for layer in &layers {
            if let Layer::Hidden(Private::Folder(path)) = layer {
                self.read_only(path);
            }
        }
    }

    fn cover(&mut self, private: &Private) {
        match private {
            Private::Folder(path) => {
                self.memory(path);
                self.read_only(path);
            }
            Private::File(path) => {
                self.add([
                    OsStr::new("--ro-bind"),
                    OsStr::new("/dev/null"),
                    path.as_os_str(),
                ]);
            }
        }
    }
}

/// From the outside in: what may be written may hold what is hidden, and the other way round. Of
/// what is both, the latter counts.
fn layers(view: &View) -> Vec<Layer<'_>> {
    let writable = view.writable.iter();
    let writable = writable.map(|it| (it.path.as_path(), Layer::Writable(it)));
    let between = view.folders_between().into_iter();
    let between = between.map(|path| (path, Layer::Between(path)));
    let hidden = view.hidden.iter();
    let hidden = hidden.filter_map(|path| Some((path.as_path(), Layer::Hidden(private(path)?))));
    let mut all: Vec<(&Path, Layer<'_>)> = writable.chain(between).chain(hidden).collect();
    order::sort_by_key(&mut all, |(path, layer)| {
        (*path, matches!(layer, Layer::Hidden(_)))
    });
    all.into_iter().map(|(_, layer)| layer).collect()
}

fn private(path: &Path) -> Option<Private> {
    let path = path.to_owned();
    if path.is_dir() {
        return Some(Private::Folder(path));
    }
    path.is_file().then_some(Private::File(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_of_etc_was_not_looked_at_is_covered() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c/d"] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
        }
        let find = |mut left: usize| {
            let mut found = Vec::new();
            find_private(folder.path(), &mut left, &mut found);
            found
        };
        assert_eq!(find(4), []);
        assert_eq!(find(3).len(), 1);
        assert_eq!(find(0), [Private::Folder(folder.path().to_owned())]);
    }
}
