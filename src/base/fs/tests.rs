//! What every file system of ours must hold, and what a power cut may take.

use super::*;
use std::sync::Arc;

use fastrand::Rng;
use rustix::io::Errno;

fn write(fs: &dyn Fs, path: &str, bytes: &[u8]) -> Box<dyn File> {
    let mut file = fs.open(Path::new(path), Open::AppendOrCreate).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn read(fs: &dyn Fs, path: &str) -> Option<Vec<u8>> {
    read_file(fs, Path::new(path), u64::MAX).ok()
}

/// Every disk that 200 power cuts make of `disk`.
fn cuts(disk: &SimDisk) -> impl Iterator<Item = SimDisk> {
    (0..200).map(|seed| disk.cut(&mut Rng::with_seed(seed)))
}

#[test]
fn what_was_synced_survives_every_cut() {
    let disk = SimDisk::new();
    write(&disk, "/a", &[7; 3000]).sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write(&disk, "/a", &[8; 3000]);
    for after in cuts(&disk) {
        let bytes = read(&after, "/a").unwrap();
        assert_eq!(bytes[..3000], [7; 3000]);
    }
}

#[test]
fn unsynced_bytes_may_be_kept_lost_or_kept_in_part() {
    let disk = SimDisk::new();
    write(&disk, "/a", b"").sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write(&disk, "/a", &[8; 3 * 512]);
    let found: Vec<Vec<u8>> = cuts(&disk).map(|disk| read(&disk, "/a").unwrap()).collect();
    let hole = [&[0; 512][..], &[8; 1024]].concat();
    for wanted in [vec![], vec![8; 512], vec![8; 1536], vec![0; 1536], hole] {
        assert!(found.contains(&wanted), "{} bytes", wanted.len());
    }
}

#[test]
fn a_name_needs_a_sync_of_its_folder() {
    let disk = SimDisk::new();
    write(&disk, "/a", b"x").sync_data().unwrap();
    assert!(cuts(&disk).any(|disk| read(&disk, "/a").is_none()));
    assert!(cuts(&disk).any(|disk| read(&disk, "/a").is_some()));
    disk.sync_dir(Path::new("/")).unwrap();
    disk.rename(Path::new("/a"), Path::new("/b")).unwrap();
    for after in cuts(&disk) {
        let names = after.list_dir(Path::new("/")).unwrap();
        assert!(names == ["a"] || names == ["b"], "{names:?}");
    }
    disk.remove_file(Path::new("/b")).unwrap();
    assert!(cuts(&disk).any(|disk| read(&disk, "/a").is_some()));
    disk.sync_dir(Path::new("/")).unwrap();
    assert!(cuts(&disk).all(|disk| disk.list_dir(Path::new("/")).unwrap().is_empty()));
}

#[test]
fn a_replaced_file_is_old_or_new_at_every_fault_and_every_cut() {
    let mut struck = 0;
    for at in 1.. {
        let disk = SimDisk::new();
        replace_file(&disk, Path::new("/a"), &[1; 1500]).unwrap();
        let kind = FaultKind::Dead;
        let faulty = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
        let result = replace_file(&faulty, Path::new("/a"), &[2; 1500]);
        for after in cuts(&disk) {
            let bytes = read(&after, "/a").unwrap();
            let is_new = bytes == [2; 1500];
            assert!(is_new || bytes == [1; 1500] && result.is_err());
        }
        if result.is_ok() {
            break;
        }
        struck = at;
    }
    assert_eq!(struck, 5);
}

#[test]
fn a_short_write_stores_its_beginning_and_fails() {
    let disk = SimDisk::new();
    let errno = Errno::NOSPC;
    let kind = FaultKind::ShortWrite { bytes: 2, errno };
    let faulty = FaultFs::new(Arc::new(disk.clone()), Fault { at: 2, kind });
    let mut file = faulty.open(Path::new("/a"), Open::CreateNew).unwrap();
    let error = file.write_all(b"abc").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    file.write_all(b"d").unwrap();
    assert_eq!(read(&disk, "/a").unwrap(), b"abd");
    assert_eq!(faulty.operations(), 3);
}

#[test]
fn the_real_and_the_simulated_disk_answer_alike() {
    let folder = tempfile::tempdir().unwrap();
    let real = answers(&RealFs, folder.path());
    assert_eq!(real, answers(&SimDisk::new(), Path::new("/")));
    assert!(real.iter().any(|line| line.contains("AlreadyExists")));
}

/// What a disk says to a fixed series of questions.
fn answers(fs: &dyn Fs, root: &Path) -> Vec<String> {
    let mut said = Vec::new();
    let mut note = |answer: Result<String, io::Error>| {
        said.push(answer.unwrap_or_else(|error| format!("{:?}", error.kind())));
    };
    let at = |name: &str| root.join(name);
    let opened = |name: &str, how: Open| {
        let mut file = fs.open(&at(name), how)?;
        if how != Open::Read {
            file.write_all(b"12345")?;
            file.truncate(4)?;
        }
        let mut buffer = [0; 9];
        let read = file.read_at(&mut buffer, 1)?;
        Ok(format!("{:?} of {}", &buffer[..read], file.len()?))
    };
    let unit = |result: io::Result<()>| result.map(|()| "done".to_owned());
    note(opened("a", Open::Read));
    note(opened("a", Open::Append));
    note(opened("a", Open::AppendOrCreate));
    note(opened("a", Open::CreateNew));
    note(opened("a", Open::Append));
    note(opened("a", Open::Empty));
    note(opened("a", Open::Read));
    note(unit(fs.create_dir(&at("d"))));
    note(unit(fs.create_dir(&at("d"))));
    note(unit(fs.create_dir(&at("x/y"))));
    note(opened("d/b", Open::CreateNew));
    note(unit(fs.create_dir(&at("e"))));
    note(unit(fs.rename(&at("e"), &at("d"))));
    note(unit(fs.rename(&at("d"), &at("e"))));
    note(unit(fs.rename(&at("d"), &at("f"))));
    note(unit(fs.remove_file(&at("d"))));
    note(unit(fs.remove_dir_all(&at("e"))));
    note(unit(fs.sync_dir(&at("e"))));
    note(fs.list_dir(root).map(|names| format!("{names:?}")));
    note(fs.exists(&at("e")).map(|found| found.to_string()));
    said
}

#[test]
fn folders_and_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    create_dirs(&RealFs, &path).unwrap();
    create_dirs(&RealFs, &path).unwrap();
    replace_file(&RealFs, &path.join("f"), b"x").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("f")), 0o600);
}

#[test]
fn what_is_emptied_is_no_other_file_under_a_second_name() {
    let root = tempfile::tempdir().unwrap();
    let (file, other) = (root.path().join("file"), root.path().join("other"));
    std::fs::write(&other, b"theirs").unwrap();
    std::fs::hard_link(&other, &file).unwrap();
    let mut opened = RealFs.open(&file, Open::Empty).unwrap();
    opened.write_all(b"ours").unwrap();
    assert_eq!(std::fs::read(&other).unwrap(), b"theirs");
    assert_eq!(std::fs::read(&file).unwrap(), b"ours");
}

#[test]
fn one_sync_serves_all_who_wait_and_a_failed_one_serves_nobody() {
    let disk = SimDisk::new();
    let sync = DirSync::new(PathBuf::from("/"));
    let counting = FaultFs::counting(Arc::new(disk.clone()));
    std::thread::scope(|scope| {
        for n in 0..16 {
            let (sync, counting, disk) = (&sync, &counting, &disk);
            scope.spawn(move || {
                disk.create_dir(Path::new(&format!("/{n}"))).unwrap();
                sync.sync_change(counting).unwrap();
            });
        }
    });
    assert!(counting.operations() <= 16);
    assert!(cuts(&disk).all(|disk| disk.list_dir(Path::new("/")).unwrap().len() == 16));
    let before = counting.operations();
    sync.settle(&counting).unwrap();
    assert_eq!(counting.operations(), before, "nothing was left to sync");

    let kind = FaultKind::Error(Errno::IO);
    let failing = FaultFs::new(Arc::new(disk), Fault { at: 1, kind });
    assert!(sync.sync_change(&failing).is_err());
    sync.settle(&failing).unwrap();
    assert_eq!(failing.operations(), 2);
}
