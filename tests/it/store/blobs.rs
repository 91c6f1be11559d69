//! What every storage of blobs promises, tried on each that there is.

use std::fs;
use std::sync::Arc;
use std::thread;

use duragent::base::fs::{Fault, FaultFs, FaultKind, Fs, RealFs, SimDisk};
use duragent::store::blobs::{BLOB_BYTES_MAX, BlobError, BlobId, Blobs};
use duragent::store::file::blobs::FileBlobs;
use duragent::store::sim_documents::{SimDocuments, SimFault};

fn on_disk(fs: impl Fs + 'static) -> FileBlobs {
    FileBlobs::new(Arc::new(fs), "/blobs".into())
}

#[test]
fn every_storage_of_blobs_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let in_files = FileBlobs::new(Arc::new(RealFs), folder.path().join("blobs"));
    let all: [&dyn Blobs; 3] = [&in_files, &on_disk(SimDisk::new()), &SimDocuments::new()];
    for blobs in all {
        what_was_put_is_there_under_its_digest(blobs);
        a_list_goes_on_behind_any_id(blobs);
        what_was_removed_is_gone(blobs);
        the_same_bytes_may_come_from_all_sides(blobs);
        what_is_too_long_is_refused(blobs);
    }
}

fn what_was_put_is_there_under_its_digest(blobs: &dyn Blobs) {
    for bytes in [&b""[..], b"a", b"\xff\0"] {
        assert_eq!(blobs.read(&BlobId::of(bytes)).unwrap(), None);
        assert_eq!(blobs.size(&BlobId::of(bytes)).unwrap(), None);
        for _ in 0..2 {
            assert_eq!(blobs.put(bytes).unwrap(), BlobId::of(bytes));
        }
        assert_eq!(
            blobs.read(&BlobId::of(bytes)).unwrap().as_deref(),
            Some(bytes)
        );
        let size = blobs.size(&BlobId::of(bytes)).unwrap();
        assert_eq!(size, Some(bytes.len() as u64));
    }
}

fn a_list_goes_on_behind_any_id(blobs: &dyn Blobs) {
    for number in 0..40_u32 {
        blobs.put(&number.to_le_bytes()).unwrap();
    }
    let all = blobs.list(None, usize::MAX).unwrap();
    assert!(all.len() >= 40 && all.is_sorted());
    let mut paged = Vec::new();
    loop {
        let page = blobs.list(paged.last(), 7).unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(blobs.list(None, 0).unwrap(), []);
}

fn what_was_removed_is_gone(blobs: &dyn Blobs) {
    let id = blobs.put(b"gone").unwrap();
    for _ in 0..2 {
        blobs.delete(&id).unwrap();
        assert_eq!(blobs.read(&id).unwrap(), None);
    }
    assert!(!blobs.list(None, usize::MAX).unwrap().contains(&id));
}

fn the_same_bytes_may_come_from_all_sides(blobs: &dyn Blobs) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| blobs.put(b"the same").unwrap());
        }
    });
    let kept = blobs.read(&BlobId::of(b"the same")).unwrap();
    assert_eq!(kept.as_deref(), Some(&b"the same"[..]));
}

fn what_is_too_long_is_refused(blobs: &dyn Blobs) {
    let refused = blobs.put(&vec![0; BLOB_BYTES_MAX + 1]);
    assert!(matches!(refused, Err(BlobError::TooLong(_))));
}

#[test]
fn whatever_fails_a_blob_is_whole_or_not_there() {
    let bytes = [b'x'; 700];
    let id = BlobId::of(&bytes);
    for fault in [SimFault::Refused, SimFault::AnswerLost] {
        let blobs = SimDocuments::new();
        blobs.fail_at(1, fault);
        blobs.put(&bytes).unwrap_err();
        let is_there = Blobs::read(&blobs, &id).unwrap().is_some();
        assert_eq!(is_there, fault == SimFault::AnswerLost);
    }
    let clean = FaultFs::counting(Arc::new(SimDisk::new()));
    on_disk(clean.clone()).put(&bytes).unwrap();
    for at in 1..=clean.operations() + 1 {
        let disk = SimDisk::new();
        let kind = FaultKind::Dead;
        let dying = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
        let told = on_disk(dying).put(&bytes);
        for seed in 0..8 {
            let cut = on_disk(disk.cut(&mut fastrand::Rng::with_seed(seed)));
            match cut.read(&id) {
                Ok(found) => assert!(found.is_some() || told.is_err(), "{at} {seed}"),
                Err(error) => panic!("{at} {seed}: {error}"),
            }
            cut.put(&bytes).unwrap();
            assert_eq!(cut.read(&id).unwrap().as_deref(), Some(&bytes[..]));
        }
    }
}

#[test]
fn other_bytes_under_an_id_are_damage_and_are_mended_by_the_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FileBlobs::new(Arc::new(RealFs), folder.path().to_owned());
    let id = blobs.put(b"right").unwrap();
    let path = folder.path().join(id.as_str());
    fs::write(&path, "wrong").unwrap();
    assert!(matches!(blobs.read(&id), Err(BlobError::Damaged(_))));
    blobs.put(b"right").unwrap();
    assert_eq!(blobs.read(&id).unwrap().as_deref(), Some(&b"right"[..]));
}

#[test]
fn a_file_that_is_none_of_ours_hides_no_blob() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FileBlobs::new(Arc::new(RealFs), folder.path().to_owned());
    let id = blobs.put(b"a").unwrap();
    fs::write(folder.path().join(".DS_Store"), "").unwrap();
    fs::write(folder.path().join("notes"), "").unwrap();
    assert_eq!(blobs.list(None, usize::MAX).unwrap(), [id]);
}
