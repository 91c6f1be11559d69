//! Opening what lies in a folder that others write in, and nothing outside of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

use crate::base::text;

/// For reading: no end of a pipe is waited for, and no terminal becomes ours.
pub const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const FOLDER: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// So often is asked again where somebody moves folders meanwhile.
const AGAIN_MAX: usize = 200;
/// So many folders deep are paths that are gone part by part.
const DEPTH_MAX: usize = 128;

/// A folder beneath which things are opened, whatever becomes of its name.
#[derive(Debug)]
pub struct Beneath {
    folder: OwnedFd,
    /// Gone part by part, as where the system does not know the one call for it.
    is_stepwise: bool,
}

/// What becomes of links on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// They are followed as long as they lead nowhere but beneath. A system without the call for that
    /// refuses them.
    Followed,
    /// They are refused.
    Refused,
}

impl Beneath {
    /// The folder `root`, which is no link.
    pub fn open(root: &Path) -> io::Result<Beneath> {
        Ok(Beneath::of(openat(CWD, root, FOLDER, Mode::empty())?))
    }

    /// A folder that is open.
    pub fn of(folder: OwnedFd) -> Beneath {
        Beneath {
            folder,
            is_stepwise: false,
        }
    }

    /// The same where the system does not know the one call.
    #[cfg(test)]
    pub(crate) fn stepwise(self) -> Beneath {
        Beneath {
            is_stepwise: true,
            ..self
        }
    }

    /// Its path without links.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        text::place_of(&self.folder)
    }

    /// Opens what is at `inner`; the empty path is the folder itself.
    ///
    /// Errors: `EXDEV` for what leads out of the folder; `FilesystemLoop` or `NotADirectory` for a
    /// link that is not followed; the system's others.
    ///
    /// Source: openat2(2).
    pub fn open_at(&self, inner: &Path, how: OFlags, links: Links) -> io::Result<OwnedFd> {
        let how = how | OFlags::CLOEXEC;
        let mut rules = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if links == Links::Refused {
            rules |= ResolveFlags::NO_SYMLINKS;
        }
        if !self.is_stepwise {
            let path = if inner.as_os_str().is_empty() {
                Path::new(".")
            } else {
                inner
            };
            match self.in_one_call(path, how, rules) {
                // A kernel before 5.6, or a container that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => {}
                opened => return Ok(opened?),
            }
        }
        Ok(self.step_by_step(inner, how)?)
    }

    fn in_one_call(
        &self,
        inner: &Path,
        how: OFlags,
        rules: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        for _ in 0..AGAIN_MAX {
            match openat2(&self.folder, inner, how, Mode::empty(), rules) {
                // A folder on the way was moved: whether `..` led out of it cannot be told.
                Err(Errno::AGAIN | Errno::INTR) => thread::yield_now(),
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The same by a call for each name, of which none is a link.
    fn step_by_step(&self, inner: &Path, how: OFlags) -> Result<OwnedFd, Errno> {
        let mut way: Vec<OwnedFd> = Vec::new();
        let mut parts = inner.components().peekable();
        while let Some(part) = parts.next() {
            let folder = way.last().unwrap_or(&self.folder);
            match part {
                Component::CurDir => {}
                Component::ParentDir => {
                    way.pop().ok_or(Errno::XDEV)?;
                }
                Component::Normal(name) if parts.peek().is_none() => {
                    let opened = openat(folder, name, how | OFlags::NOFOLLOW, Mode::empty())?;
                    return match FileType::from_raw_mode(fstat(&opened)?.st_mode) {
                        FileType::Symlink => Err(Errno::LOOP),
                        _ => Ok(opened),
                    };
                }
                Component::Normal(_) if way.len() == DEPTH_MAX => return Err(Errno::NAMETOOLONG),
                Component::Normal(name) => {
                    let next = openat(folder, name, FOLDER, Mode::empty())?;
                    way.push(next);
                }
                Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
            }
        }
        let folder = way.last().unwrap_or(&self.folder);
        openat(folder.as_fd(), ".", how, Mode::empty())
    }
}

/// Opens for reading the regular file at `inner` in the folder `root`. No link is followed, `root` itself
/// included, whoever puts one there meanwhile.
///
/// Errors: [`io::ErrorKind::InvalidInput`] for a path that is not one of names alone, and for what is no
/// regular file; `FilesystemLoop` or `NotADirectory` for a link; the system's others.
pub fn open_beneath(root: &Path, inner: &Path) -> io::Result<File> {
    if !inner.components().all(is_plain) || inner.as_os_str().is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    regular(Beneath::open(root)?.open_at(inner, READ, Links::Refused)?)
}

/// The file that is open, if it is a regular one.
///
/// Errors: [`io::ErrorKind::InvalidInput`] for another.
pub fn regular(opened: OwnedFd) -> io::Result<File> {
    let file = File::from(opened);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

fn is_plain(part: Component<'_>) -> bool {
    match part {
        Component::Normal(_) | Component::CurDir => true,
        Component::ParentDir | Component::RootDir | Component::Prefix(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;
    use std::thread;

    use rustix::fs::{FileType, mknodat};

    use super::*;

    /// By the one call, and step by step.
    const WAYS: [fn(&Path, &Path) -> io::Result<File>; 2] = [open_beneath, |root, inner| {
        let stepwise = Beneath::open(root)?.stepwise();
        regular(stepwise.open_at(inner, READ, Links::Refused)?)
    }];

    #[test]
    fn what_lies_beneath_is_opened_and_nothing_that_a_link_leads_to() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        fs::write(outer.path().join("secret"), "y").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("/etc/passwd", root.join("passwd")).unwrap();
        symlink("a", root.join("inner")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("file", root.join("a/b/link")).unwrap();
        symlink("root", outer.path().join("alias")).unwrap();
        for open in WAYS {
            for good in ["a/b/file", "./a/./b/file", "a//b/file"] {
                let mut text = String::new();
                let file = open(&root, Path::new(good));
                file.unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, "x", "{good}");
            }
            for bad in [
                "out",
                "passwd",
                "inner/b/file",
                "up/secret",
                "a/b/link",
                "none",
                "a/b/file/x",
            ] {
                assert!(open(&root, Path::new(bad)).is_err(), "{bad}");
            }
            let alias = outer.path().join("alias");
            assert!(open(&alias, Path::new("a/b/file")).is_err());
        }
        for odd in ["", "..", "../secret", "a/../../secret", "/etc/passwd", "."] {
            let refused = open_beneath(&root, Path::new(odd)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{odd}");
        }
    }

    #[test]
    fn links_and_dots_that_stay_beneath_are_followed_by_the_one_call_alone() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        fs::write(outer.path().join("secret"), "y").unwrap();
        symlink("a/b", root.join("link")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(root.join("a"), root.join("absolute")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let place = |beneath: &Beneath, inner: &str| {
            let opened = beneath.open_at(Path::new(inner), OFlags::PATH, Links::Followed);
            let place = text::place_of(&opened.ok()?).unwrap();
            let real = root.canonicalize().unwrap();
            Some(place.strip_prefix(real).unwrap().display().to_string())
        };
        let [whole, steps] = [false, true].map(|is_stepwise| Beneath {
            is_stepwise,
            ..Beneath::open(&root).unwrap()
        });
        for (inner, expected, by_steps) in [
            ("", Some(""), true),
            (".", Some(""), true),
            ("a/..", Some(""), true),
            ("a/../a/./b//file", Some("a/b/file"), true),
            ("link/../b/file", Some("a/b/file"), false),
            ("link/file", Some("a/b/file"), false),
            ("link", Some("a/b"), false),
            ("..", None, true),
            ("a/../../secret", None, true),
            ("out", None, true),
            ("absolute/b", None, true),
            ("magic/etc", None, true),
            ("/etc/passwd", None, true),
            ("a/b/file/..", None, true),
        ] {
            let expected = expected.map(str::to_owned);
            assert_eq!(place(&whole, inner), expected, "{inner}");
            let expected = expected.filter(|_| by_steps);
            assert_eq!(place(&steps, inner), expected, "{inner}, step by step");
        }
    }

    #[test]
    fn what_is_no_file_is_refused_and_no_pipe_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("folder")).unwrap();
        mknodat(CWD, root.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        let (told_tx, told_rx) = crossbeam_channel::bounded(3);
        let path = root.path().to_owned();
        thread::spawn(move || {
            for name in ["folder", "pipe", "socket"] {
                let is_refused = open_beneath(&path, Path::new(name)).is_err();
                told_tx.send((name, is_refused)).unwrap();
            }
        });
        for name in ["folder", "pipe", "socket"] {
            let told = told_rx.recv_timeout(std::time::Duration::from_secs(20));
            assert_eq!(told, Ok((name, true)));
        }
    }

    #[test]
    fn whoever_swaps_a_folder_for_a_link_meanwhile_gives_nothing_away() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        let [inside, outside] = ["root/real", "outside"].map(|name| outer.path().join(name));
        for (folder, text) in [(&inside, "inside"), (&outside, "secret")] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("file"), text).unwrap();
        }
        symlink(&outside, root.join("link")).unwrap();
        let swapping = root.clone();
        let swapper = thread::spawn(move || {
            let [real, link, name] = ["real", "link", "now"].map(|name| swapping.join(name));
            for _ in 0..2_000 {
                for one in [&real, &link] {
                    fs::rename(one, &name).unwrap();
                    fs::rename(&name, one).unwrap();
                }
            }
        });
        while !swapper.is_finished() {
            for open in WAYS {
                let Ok(mut file) = open(&root, Path::new("now/file")) else {
                    continue;
                };
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, "inside");
            }
        }
        swapper.join().unwrap();
    }
}
