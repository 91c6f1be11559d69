//! The system's own file system.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::base::fs::{Exposure, File, FileStamp, Fs, Open};
use crate::base::text::{self, TextError};

/// Folders are created for their owner alone: sessions hold people's words.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Creates a folder and those above it, as far as they are missing, for their owner alone. They need
/// not survive a power cut.
pub fn create_private_dirs(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
}

/// Files of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(DIR_MODE).create(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(FILE_MODE);
        match how {
            Open::Read => &mut options,
            Open::Append => options.append(true),
            Open::AppendOrCreate | Open::Empty => options.append(true).create(true),
            Open::CreateNew => options.append(true).create_new(true),
        };
        // A name that leads elsewhere, or to what blocks, was put there by somebody else: the folder may
        // have come from a stranger, and a link in it could name any file of ours.
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        if how == Open::Empty && file.metadata()?.nlink() > 1 {
            // What it holds may be another file's, that somebody else gave this name.
            fs::remove_file(path)?;
            return self.open(path, Open::CreateNew);
        }
        if how == Open::Empty {
            // The standard library does not open for appending and truncating at once.
            file.set_len(0)?;
        }
        Ok(Box::new(RealFile(file)))
    }

    fn open_text(&self, path: &Path, root: Option<&Path>) -> Result<Box<dyn File>, TextError> {
        let file = match root {
            Some(root) => text::open_unlinked(root, below(path, root)),
            None => text::open(path),
        };
        Ok(Box::new(RealFile(file?)))
    }

    fn check_unlinked(&self, path: &Path, root: &Path) -> Result<(), TextError> {
        text::check_unlinked(root, below(path, root))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn make_private(&self, path: &Path) -> io::Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        let mode = match metadata.file_type() {
            kind if kind.is_dir() => DIR_MODE,
            kind if kind.is_file() => FILE_MODE,
            _ => return Ok(()),
        };
        if metadata.permissions().mode() & 0o7777 == mode {
            return Ok(());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<FileStamp>> {
        Ok(Some(FileStamp::of(&fs::metadata(path)?)))
    }
}

/// Where `path` lies in `root`.
fn below<'p>(path: &'p Path, root: &Path) -> &'p Path {
    path.strip_prefix(root).unwrap_or(path)
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.0.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.0.read_at(buffer, offset)
            }
            other => other,
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn exposure(&self) -> io::Result<Exposure> {
        let about = self.0.metadata()?;
        let is_ours = about.uid() == geteuid().as_raw() || about.uid() == 0;
        Ok(match about.mode() {
            mode if !is_ours || mode & 0o022 != 0 => Exposure::Writable,
            mode if mode & 0o077 != 0 => Exposure::Readable,
            _ => Exposure::Closed,
        })
    }
}
