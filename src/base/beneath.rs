//! Opening what lies in a folder that others write in, and nothing outside of it.

use std::fs::File;
use std::io;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// No end of a pipe is waited for, and no terminal becomes ours.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const FOLDER: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens for reading the regular file at `inner` in the folder `root`. No link is followed, `root` itself
/// included, whoever puts one there meanwhile.
///
/// Errors: [`io::ErrorKind::InvalidInput`] for a path that is not one of names alone, and for what is no
/// regular file; `FilesystemLoop` or `NotADirectory` for a link; the system's others.
///
/// Source: openat2(2).
pub fn open_beneath(root: &Path, inner: &Path) -> io::Result<File> {
    if !inner.components().all(is_plain) || inner.as_os_str().is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let folder = openat(CWD, root, FOLDER, Mode::empty())?;
    let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&folder, inner, READ, Mode::empty(), rules) {
        // A kernel before 5.6, or a container that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_step_by_step(File::from(folder), inner)?,
        opened => File::from(opened?),
    };
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// The same by a call for each name, which leads no further either: none of them is a link or `..`.
fn open_step_by_step(mut folder: File, inner: &Path) -> io::Result<File> {
    let mut names = inner.components().peekable();
    while let Some(name) = names.next() {
        let how = if names.peek().is_some() { FOLDER } else { READ };
        folder = openat(&folder, name.as_os_str(), how, Mode::empty())?.into();
    }
    Ok(folder)
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
        let folder = openat(CWD, root, FOLDER, Mode::empty())?;
        open_step_by_step(folder.into(), inner)
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
