//! A file that is to be written: the old one or the new one is there at any moment, never half of one.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, fsync, linkat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::place::LocatedFile;
use crate::base::beneath::{Links, READ, regular};
use crate::domain::plain;
use crate::tools::ToolRefusal;

/// A larger file is not changed, and no larger one made.
pub(super) const FILE_BYTES_MAX: usize = 10 << 20;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// What is to be replaced, or made, belongs to nobody else until it has the rights of what it replaces.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
const USUAL: Mode = Mode::from_raw_mode(0o666);
/// The permissions that stay.
const RIGHTS: u32 = 0o777;

/// A place for a file, in a folder that is open.
#[derive(Debug)]
pub(super) struct WriteTarget {
    folder: File,
    name: OsString,
}

/// A file as it was found.
#[derive(Debug)]
pub(super) struct FileBefore {
    pub(super) bytes: Vec<u8>,
    rights: u32,
}

/// Why a file was not replaced.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
    #[error("it was changed meanwhile, and stays as it is now: read it again")]
    Changed,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl WriteTarget {
    /// The place of what was located, in a folder that there must be.
    pub(super) fn open(located: &LocatedFile) -> io::Result<WriteTarget> {
        let folder = located.inner.parent().ok_or(ErrorKind::InvalidInput)?;
        let name = located.inner.file_name().ok_or(ErrorKind::InvalidInput)?;
        let beneath = &located.root.beneath;
        Ok(WriteTarget {
            folder: beneath.open_at(folder, FOLDER, Links::Refused)?.into(),
            name: name.to_owned(),
        })
    }

    /// The same; its folder is made where there is none.
    pub(super) fn make(located: &LocatedFile) -> io::Result<WriteTarget> {
        match WriteTarget::open(located) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
        let names = located.inner.parent().into_iter().flatten();
        let beneath = &located.root.beneath;
        let mut folder = beneath.open_at("".as_ref(), FOLDER, Links::Refused)?;
        for name in names {
            match mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                Err(Errno::EXIST) => {}
                made => {
                    made?;
                    fsync(&folder)?;
                }
            }
            let how = FOLDER | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder = openat(&folder, name, how, Mode::empty())?;
        }
        WriteTarget::open(located)
    }

    /// What is there; nothing of a larger file is read than [`FILE_BYTES_MAX`].
    ///
    /// Errors: `FileTooLarge`; the system's.
    pub(super) fn read(&self) -> io::Result<Option<FileBefore>> {
        let how = READ | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match openat(&self.folder, &self.name, how, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => regular(opened?)?,
        };
        let about = opened.metadata()?;
        if about.len() > FILE_BYTES_MAX as u64 {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        opened
            .take(FILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(Some(FileBefore {
            bytes,
            rights: about.permissions().mode() & RIGHTS,
        }))
    }

    /// The permissions of what is there, however large it is.
    pub(super) fn rights(&self) -> io::Result<Option<u32>> {
        match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            about => Ok(Some(about?.st_mode & RIGHTS)),
        }
    }

    /// Makes the file one of these bytes; on return it survives a power cut. Given what was read of it, it
    /// must still be that.
    pub(super) fn replace(
        &self,
        bytes: &[u8],
        read: Option<&FileBefore>,
    ) -> Result<(), ReplaceError> {
        let rights = match read {
            Some(before) => Some(before.rights),
            None => self.rights()?,
        };
        let (file, named) = self.temporary(bytes, rights)?;
        if let Some(before) = read
            && !self.is_still(before)
        {
            return Err(ReplaceError::Changed);
        }
        let mut temporary = match named {
            Some(named) => named,
            None => self.link(&file)?,
        };
        renameat(&self.folder, &temporary.name, &self.folder, &self.name)
            .map_err(io::Error::from)?;
        temporary.is_renamed = true;
        self.folder.sync_all()?;
        Ok(())
    }

    fn is_still(&self, before: &FileBefore) -> bool {
        let now = self.read();
        now.is_ok_and(|now| now.is_some_and(|now| now.bytes == before.bytes))
    }

    /// A synced file of these bytes beside the target. Where the file system has such files it has no name
    /// yet: a kill leaves nothing of it.
    fn temporary(
        &self,
        bytes: &[u8],
        rights: Option<u32>,
    ) -> io::Result<(File, Option<Temporary<'_>>)> {
        let mode = rights.map_or(USUAL, |_| PRIVATE);
        let how = OFlags::WRONLY | OFlags::CLOEXEC;
        let nameless = openat(&self.folder, ".", how | OFlags::TMPFILE, mode);
        let (file, named) = match nameless {
            Ok(file) => (file, None),
            Err(_) => {
                let beside = passing();
                let how = how | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let file = openat(&self.folder, beside.as_str(), how, mode)?;
                (file, Some(Temporary::new(&self.folder, beside)))
            }
        };
        let mut file = File::from(file);
        file.write_all(bytes)?;
        if let Some(rights) = rights {
            file.set_permissions(Permissions::from_mode(rights))?;
        }
        file.sync_all()?;
        Ok((file, named))
    }

    /// Gives a file that has none a name, for a moment.
    fn link(&self, file: &File) -> io::Result<Temporary<'_>> {
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        let beside = passing();
        let how = AtFlags::SYMLINK_FOLLOW;
        linkat(CWD, open, &self.folder, beside.as_str(), how)?;
        Ok(Temporary::new(&self.folder, beside))
    }
}

/// A name for a file that gets another.
fn passing() -> String {
    format!(".duragent-{:016x}.tmp", fastrand::u64(..))
}

/// What a model is told of a file that is not made.
pub(super) fn would_be_larger(name: &str) -> ToolRefusal {
    let most = plain::size(FILE_BYTES_MAX as u64);
    format!("{name} would be larger than {most}").into()
}

/// The name of a temporary file, which goes unless the file gets another.
struct Temporary<'a> {
    folder: &'a File,
    name: String,
    is_renamed: bool,
}

impl<'a> Temporary<'a> {
    fn new(folder: &'a File, name: String) -> Temporary<'a> {
        Temporary {
            folder,
            name,
            is_renamed: false,
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.is_renamed {
            return;
        }
        if let Err(error) = unlinkat(self.folder, self.name.as_str(), AtFlags::empty()) {
            log::debug!("a temporary file stays: {error}");
        }
    }
}
