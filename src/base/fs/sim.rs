//! A disk in memory that knows what a power cut may keep.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use rustix::io::Errno;

use crate::base::fs::{File, Fs, Open};

/// The unit that a disk writes whole or not at all.
const BLOCK_BYTES: usize = 512;

/// A disk in memory. Clones share it.
///
/// It keeps, beside what a program sees now, what was safe at the last sync and every change since.
/// [`SimDisk::cut`] makes of that a disk as it may look after a power cut, harsher than any real one:
/// changes that were not synced survive in any combination, whatever their order was.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    nodes: Arc<Mutex<Nodes>>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// A disk as this one may be found after losing power now. The same state of `rng` gives
    /// the same disk.
    pub fn cut(&self, rng: &mut Rng) -> SimDisk {
        /// How likely a change survives: both extremes find faults that a fair coin hardly does.
        const KEPT: [f64; 5] = [0.0, 0.15, 0.5, 0.85, 1.0];
        let kept = KEPT[rng.usize(..KEPT.len())];
        self.cut_with(&mut Coin { rng, kept })
    }

    fn cut_with(&self, coin: &mut Coin<'_>) -> SimDisk {
        let nodes = self.lock();
        let nodes = nodes.0.iter().map(|node| node.cut(coin)).collect();
        SimDisk {
            nodes: Arc::new(Mutex::new(Nodes(nodes))),
        }
    }

    /// A disk as this one is found when power is lost now and nothing survives that was not synced.
    pub fn harshest_cut(&self) -> SimDisk {
        // No coin is thrown where none can show heads.
        let rng = &mut Rng::with_seed(0);
        self.cut_with(&mut Coin { rng, kept: 0.0 })
    }

    /// A disk of its own in the same state, unsynced changes included.
    pub fn fork(&self) -> SimDisk {
        let nodes = self.lock().clone();
        SimDisk {
            nodes: Arc::new(Mutex::new(nodes)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.nodes
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Fs for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.lock();
        let (folder, name) = nodes.place(path)?;
        if nodes.dir(folder)?.now.contains_key(&name) {
            return Err(Errno::EXIST.into());
        }
        let inode = nodes.add(SimNode::Dir(Dir::default()));
        nodes.dir_mut(folder)?.change(DirChange::Link(name, inode));
        Ok(())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut nodes = self.lock();
        let (folder, name) = nodes.place(path)?;
        let found = nodes.dir(folder)?.now.get(&name).copied();
        let may_create = matches!(how, Open::AppendOrCreate | Open::CreateNew | Open::Empty);
        let inode = match found {
            Some(_) if how == Open::CreateNew => return Err(Errno::EXIST.into()),
            Some(inode) => inode,
            None if may_create => {
                let inode = nodes.add(SimNode::File(Bytes::default()));
                nodes.dir_mut(folder)?.change(DirChange::Link(name, inode));
                inode
            }
            None => return Err(Errno::NOENT.into()),
        };
        if how == Open::Empty {
            nodes.bytes_mut(inode)?.change(BytesChange::SetLen(0));
        }
        nodes.bytes_mut(inode)?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut nodes = self.lock();
        let (folder, old) = nodes.place(from)?;
        let (target, new) = nodes.place(to)?;
        if folder != target {
            return Err(Errno::XDEV.into());
        }
        let names = &nodes.dir(folder)?.now;
        let inode = *names.get(&old).ok_or(Errno::NOENT)?;
        if let Some(SimNode::Dir(dir)) = names.get(&new).map(|replaced| &nodes.0[*replaced])
            && !dir.now.is_empty()
        {
            return Err(Errno::NOTEMPTY.into());
        }
        let change = DirChange::Rename { old, new, inode };
        nodes.dir_mut(folder)?.change(change);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.lock();
        let inode = nodes.find(path)?;
        let dir = nodes.dir_mut(inode)?;
        dir.safe = dir.now.clone();
        dir.pending.clear();
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.lock();
        let inode = nodes.find(path)?;
        nodes.bytes_mut(inode)?;
        nodes.unlink(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut nodes = self.lock();
        let inode = nodes.find(path)?;
        nodes.clear_dir(inode)?;
        nodes.unlink(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let nodes = self.lock();
        let inode = nodes.find(path)?;
        Ok(nodes.dir(inode)?.now.keys().cloned().collect())
    }

    fn make_private(&self, _: &Path) -> io::Result<()> {
        // Nothing here belongs to anybody.
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.lock().find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.lock().find(path)?;
        Ok(1 << 30)
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut Bytes) -> T) -> io::Result<T> {
        Ok(work(self.disk.lock().bytes_mut(self.inode)?))
    }
}

impl File for SimFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|file| {
            let offset = file.now.len();
            file.change(BytesChange::Write(offset, bytes.to_vec()));
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|file| {
            let rest = file.now.get(offset..).unwrap_or_default();
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            read
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|file| file.now.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|file| {
            file.safe = file.now.clone();
            file.pending.clear();
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|file| file.change(BytesChange::SetLen(len)))
    }
}

/// All files and folders, by their inode; the first is the root.
#[derive(Debug, Clone)]
struct Nodes(Vec<SimNode>);

impl Default for Nodes {
    fn default() -> Nodes {
        Nodes(vec![SimNode::Dir(Dir::default())])
    }
}

impl Nodes {
    const ROOT: usize = 0;

    fn add(&mut self, node: SimNode) -> usize {
        self.0.push(node);
        self.0.len() - 1
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut inode = Self::ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                let names = &self.dir(inode)?.now;
                let name = name.to_str().ok_or(Errno::INVAL)?;
                inode = *names.get(name).ok_or(Errno::NOENT)?;
            }
        }
        Ok(inode)
    }

    /// The folder of a path and the name in it.
    fn place(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let folder = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.dir(folder)?;
        Ok((folder, name.ok_or(Errno::INVAL)?.to_owned()))
    }

    fn dir(&self, inode: usize) -> io::Result<&Dir> {
        match &self.0[inode] {
            SimNode::Dir(dir) => Ok(dir),
            SimNode::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    fn dir_mut(&mut self, inode: usize) -> io::Result<&mut Dir> {
        match &mut self.0[inode] {
            SimNode::Dir(dir) => Ok(dir),
            SimNode::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    fn bytes_mut(&mut self, inode: usize) -> io::Result<&mut Bytes> {
        match &mut self.0[inode] {
            SimNode::File(bytes) => Ok(bytes),
            SimNode::Dir(_) => Err(Errno::ISDIR.into()),
        }
    }

    fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        self.dir_mut(folder)?.change(DirChange::Unlink(name));
        Ok(())
    }

    fn clear_dir(&mut self, inode: usize) -> io::Result<()> {
        for (name, child) in self.dir(inode)?.now.clone() {
            if matches!(self.0[child], SimNode::Dir(_)) {
                self.clear_dir(child)?;
            }
            self.dir_mut(inode)?.change(DirChange::Unlink(name));
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum SimNode {
    Dir(Dir),
    File(Bytes),
}

impl SimNode {
    fn cut(&self, coin: &mut Coin) -> SimNode {
        match self {
            SimNode::Dir(dir) => SimNode::Dir(dir.cut(coin)),
            SimNode::File(bytes) => SimNode::File(bytes.cut(coin)),
        }
    }
}

/// The names in a folder.
#[derive(Debug, Clone, Default)]
struct Dir {
    safe: DirEntries,
    now: DirEntries,
    pending: Vec<DirChange>,
}

type DirEntries = BTreeMap<String, usize>;

#[derive(Debug, Clone)]
enum DirChange {
    Link(String, usize),
    Unlink(String),
    Rename {
        old: String,
        new: String,
        inode: usize,
    },
}

impl Dir {
    fn change(&mut self, change: DirChange) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    fn cut(&self, coin: &mut Coin) -> Dir {
        let mut names = self.safe.clone();
        for change in self.pending.iter().filter(|_| coin.keeps()) {
            change.apply(&mut names);
        }
        Dir {
            safe: names.clone(),
            now: names,
            pending: Vec::new(),
        }
    }
}

impl DirChange {
    fn apply(&self, names: &mut DirEntries) {
        match self {
            DirChange::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            DirChange::Unlink(name) => {
                names.remove(name);
            }
            DirChange::Rename { old, new, inode } => {
                // Its creation under the old name may be among what was lost.
                if names.get(old) == Some(inode) {
                    names.remove(old);
                }
                names.insert(new.clone(), *inode);
            }
        }
    }
}

/// The bytes of a file.
#[derive(Debug, Clone, Default)]
struct Bytes {
    safe: Vec<u8>,
    now: Vec<u8>,
    pending: Vec<BytesChange>,
}

#[derive(Debug, Clone)]
enum BytesChange {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Bytes {
    fn change(&mut self, change: BytesChange) {
        match &change {
            BytesChange::Write(offset, bytes) => write_at(&mut self.now, *offset, bytes),
            BytesChange::SetLen(len) => self.now.resize(*len, 0),
        }
        self.pending.push(change);
    }

    fn cut(&self, coin: &mut Coin) -> Bytes {
        let mut kept = self.safe.clone();
        for change in &self.pending {
            match change {
                BytesChange::Write(offset, bytes) => {
                    for (at, block) in blocks(*offset, bytes).filter(|_| coin.keeps()) {
                        write_at(&mut kept, at, block);
                    }
                }
                BytesChange::SetLen(len) if coin.keeps() => kept.resize(*len, 0),
                BytesChange::SetLen(_) => {}
            }
        }
        kept.resize(self.len_after_cut(coin), 0);
        Bytes {
            safe: kept.clone(),
            now: kept,
            pending: Vec::new(),
        }
    }

    /// The length is written apart from the bytes: any that the file had since the last sync may
    /// be found, also one in the middle of a write.
    fn len_after_cut(&self, coin: &mut Coin) -> usize {
        if coin.keeps() {
            return self.now.len();
        }
        let mut lens = vec![self.safe.len()];
        for change in &self.pending {
            match change {
                BytesChange::Write(offset, bytes) => {
                    lens.extend(blocks(*offset, bytes).map(|(at, block)| at + block.len()));
                }
                BytesChange::SetLen(len) => lens.push(*len),
            }
        }
        lens[coin.rng.usize(..lens.len())]
    }
}

/// Cuts a write where the blocks of the disk end.
fn blocks(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (BLOCK_BYTES - offset % BLOCK_BYTES).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let parts = std::iter::once(head).chain(rest.chunks(BLOCK_BYTES));
    parts.scan(offset, |at, block| {
        let start = *at;
        *at += block.len();
        Some((start, block))
    })
}

fn write_at(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(written);
}

/// Decides what survives.
struct Coin<'a> {
    rng: &'a mut Rng,
    kept: f64,
}

impl Coin<'_> {
    fn keeps(&mut self) -> bool {
        self.rng.f64() < self.kept
    }
}
