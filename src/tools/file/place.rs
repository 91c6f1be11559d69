//! Where the tool may go, and what a path stands for there: found anew for each call, by what is there
//! when it is opened.
//!
//! Invariants:
//! - what was found lies beneath one of the roots, whatever links, `..` and others who move folders make
//!   of its path, and is named by its real path, to rules too;
//! - of the server's own files none is found but those in the agent's `work/`.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, OFlags, fstat, statat};

use crate::base::beneath::{Beneath, Links};
use crate::base::text::{leads_to, place_of};
use crate::domain::plain::in_one_line;
use crate::policy::FileUse;
use crate::sandbox;
use crate::tools::ToolRefusal;
use crate::tools::programs::{still_real, work_folder};

/// The system shows a file so whose name another one has by now.
const REPLACED: &str = " (deleted)";
/// So often is looked again for one that is being replaced.
const TRIES: usize = 20;
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Where the tool may go beside the folders of sessions, and where nobody may.
#[derive(Debug, Clone, Default)]
pub struct FilePlaces {
    /// `sandbox.writable`.
    pub writable: Vec<PathBuf>,
    /// The server's own folders and files.
    pub guarded: Vec<PathBuf>,
}

/// A folder beneath which paths are found.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) beneath: Beneath,
    /// Its real path.
    pub(super) real: PathBuf,
    /// The session works in it.
    is_work: bool,
    /// It is the agent's own.
    is_own: bool,
}

/// What a path stands for.
#[derive(Debug)]
pub(super) struct LocatedFile {
    pub(super) root: Root,
    /// Where it really lies, from the root.
    pub(super) inner: PathBuf,
    pub(super) kind: LocatedKind,
    /// Other spellings of its path.
    written: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocatedKind {
    File,
    Folder,
    /// Nothing yet; maybe neither the folder that it would be in.
    Missing,
}

/// The folders of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileReach<'a> {
    /// The agent's folder.
    pub(super) home: &'a Path,
    pub(super) places: &'a FilePlaces,
    /// The session's folder, where that is not the agent's own.
    pub(super) workdir: Option<&'a Path>,
    /// No link is followed, as on an old system.
    #[cfg(test)]
    pub(super) is_stepwise: bool,
}

impl FileReach<'_> {
    /// What is at `path`.
    pub(super) fn locate(&self, path: &str) -> Result<LocatedFile, ToolRefusal> {
        if path.is_empty() || path.contains('\0') {
            return Err("`path` must name a file or folder".into());
        }
        let (root, inner) = self.root_of(Path::new(path))?;
        let refused = |error: io::Error| refusal(path, &error);
        let mut found = None;
        for _ in 0..TRIES {
            match root.beneath.open_at(&inner, OFlags::PATH, Links::Followed) {
                Ok(opened) => {
                    let real = place_of(&opened).map_err(refused)?;
                    if real.to_string_lossy().ends_with(REPLACED) && !is_at(&opened, &real) {
                        continue;
                    }
                    found = Some((real, kind_of(path, &opened)?));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let real = missing(&root.beneath, path, &inner)?;
                    found = Some((real, LocatedKind::Missing));
                }
                Err(error) => return Err(refused(error)),
            }
            break;
        }
        let (real, kind) = found.ok_or("it is being replaced all the time; try again")?;
        if self
            .guarded(&root)
            .iter()
            .any(|path| real.starts_with(path))
        {
            return Err(format!("{} is the server's own", said(path)).into());
        }
        let Ok(inner_real) = real.strip_prefix(&root.real) else {
            // The root itself was moved away.
            return Err(outside(path));
        };
        let plain = without_dots(&inner);
        let whole = root.real.join(&plain);
        let spellings = [path.into(), plain, whole].map(|path: PathBuf| path.display().to_string());
        Ok(LocatedFile {
            inner: inner_real.to_owned(),
            kind,
            written: spellings.into(),
            root,
        })
    }

    /// The root that holds a path, and the path from there on. One that is not absolute is in the
    /// session's folder.
    fn root_of(&self, path: &Path) -> Result<(Root, PathBuf), ToolRefusal> {
        let error = |error: &dyn std::error::Error| ToolRefusal::from(error.to_string());
        let folder = match self.workdir {
            Some(folder) => still_real(folder).map_err(|refused| error(&refused))?,
            None => work_folder(self.home).map_err(|refused| error(&refused))?,
        };
        let beneath = Beneath::open(&folder).map_err(|refused| error(&refused))?;
        let work = self.root(beneath, true)?;
        if path.is_relative() {
            return Ok((work, path.to_owned()));
        }
        let below = [&folder, &work.real]
            .into_iter()
            .filter_map(|root| Some((root.as_os_str().len(), path.strip_prefix(root).ok()?)))
            .next();
        let writable = self.places.writable.iter();
        let writable = writable.filter_map(|root| Some((root, path.strip_prefix(root).ok()?)));
        // Of one in another the inner one holds it.
        let writable = writable.max_by_key(|(root, _)| root.as_os_str().len());
        match (below, writable) {
            (Some((length, inner)), outer)
                if outer.is_none_or(|(root, _)| root.as_os_str().len() <= length) =>
            {
                Ok((work, inner.to_owned()))
            }
            (_, Some((root, inner))) => {
                let opened = sandbox::writable(root).map_err(|refused| error(&refused))?;
                let opened = opened.ok_or_else(|| format!("there is no {}", root.display()))?;
                Ok((self.root(Beneath::of(opened), false)?, inner.to_owned()))
            }
            (_, None) => Err(outside(&path.display().to_string())),
        }
    }

    fn root(&self, beneath: Beneath, is_work: bool) -> Result<Root, ToolRefusal> {
        #[cfg(test)]
        let beneath = if self.is_stepwise {
            beneath.stepwise()
        } else {
            beneath
        };
        let real = beneath.real_path();
        Ok(Root {
            real: real.map_err(|error| ToolRefusal::from(error.to_string()))?,
            beneath,
            is_work,
            is_own: is_work && self.workdir.is_none(),
        })
    }

    /// The real paths in or below which all is the server's own, beneath a root: its workspace with all
    /// definitions, rules, logs and what waits to be sent, its settings, its keys, what it trusts.
    pub(super) fn guarded(&self, root: &Root) -> Vec<PathBuf> {
        let guarded = self.places.guarded.iter().map(|path| leads_to(path));
        // The agent's own folder lies in the workspace.
        let holds_own = |path: &PathBuf| root.is_own && root.real.starts_with(path);
        guarded.filter(|path| !holds_own(path)).collect()
    }
}

impl LocatedFile {
    /// The use that is made of it, for rules.
    ///
    /// Errors: its name is no text.
    pub(super) fn used(&self, action: &'static str, writes: bool) -> Result<FileUse, ToolRefusal> {
        let text = |path: &Path| path.to_str().map(str::to_owned);
        let inner = if self.inner.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &self.inner
        };
        let named = text(&self.root.real).zip(text(inner));
        let (root, inner) = named.ok_or("its name is not UTF-8")?;
        Ok(FileUse {
            action,
            writes,
            is_folder: self.kind == LocatedKind::Folder,
            root,
            inner,
            is_in_work: self.root.is_work,
            is_own: self.root.is_own,
            written: self.written.clone(),
        })
    }

    /// Opens it; it lies there without a link.
    pub(super) fn open(&self, how: OFlags) -> io::Result<OwnedFd> {
        let beneath = &self.root.beneath;
        beneath.open_at(&self.inner, how, Links::Refused)
    }
}

/// What is open has that name.
fn is_at(opened: &OwnedFd, path: &Path) -> bool {
    let there = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
    let both = fstat(opened).ok().zip(there.ok());
    both.is_some_and(|(one, other)| (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn kind_of(path: &str, opened: &OwnedFd) -> Result<LocatedKind, ToolRefusal> {
    let about = fstat(opened).map_err(|error| refusal(path, &error.into()))?;
    match FileType::from_raw_mode(about.st_mode) {
        FileType::RegularFile => Ok(LocatedKind::File),
        FileType::Directory => Ok(LocatedKind::Folder),
        _ => Err(format!("{} is no regular file", said(path)).into()),
    }
}

/// The real path that something will have that is to be made at `inner`: the folder that there is, and
/// the names behind it.
fn missing(beneath: &Beneath, path: &str, inner: &Path) -> Result<PathBuf, ToolRefusal> {
    let mut above = inner.to_owned();
    let mut names = PathBuf::new();
    loop {
        let Some(Component::Normal(name)) = above.components().next_back() else {
            return Err(refusal(path, &ErrorKind::NotFound.into()));
        };
        let name = name.to_owned();
        names = if names.as_os_str().is_empty() {
            PathBuf::from(&name)
        } else {
            Path::new(&name).join(names)
        };
        above.pop();
        match beneath.open_at(&above, FOLDER, Links::Followed) {
            Ok(folder) => {
                if statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    return Err(
                        format!("{} is or lies behind a link to nothing", said(path)).into(),
                    );
                }
                let folder = place_of(&folder).map_err(|error| refusal(path, &error))?;
                return Ok(folder.join(names));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(refusal(path, &error)),
        }
    }
}

/// A path by its words alone, as it would be without links.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(name) => plain.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain
}

fn outside(path: &str) -> ToolRefusal {
    let path = said(path);
    format!("{path} lies neither in your work folder nor in another one that is open to you").into()
}

/// A path as a model is told of it.
pub(super) fn said(path: &str) -> String {
    in_one_line(path)
}

/// What a model is told where the system refuses.
pub(super) fn refusal(path: &str, error: &io::Error) -> ToolRefusal {
    let name = said(path);
    let links = || format!("{name} is or leads through a link that is not followed");
    match error.kind() {
        ErrorKind::NotFound => format!("there is no {name}"),
        ErrorKind::CrossesDevices => return outside(path),
        ErrorKind::NotADirectory => format!("{name} leads through a file or a link"),
        ErrorKind::InvalidInput => format!("{name} is no regular file"),
        ErrorKind::PermissionDenied => format!("{name}: the system does not permit it"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("{name}: there is no room left on the disk")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => links(),
        _ => {
            log::warn!("the tool `file` cannot use {name}: {error}");
            format!("{name}: {error}")
        }
    }
    .into()
}
