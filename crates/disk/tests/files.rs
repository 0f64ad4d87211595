//! Replacement, exclusive creation and key files on a real file system.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Barrier};

use nimbus_disk::{KeyFileDefect, copy, create_directory, create_exclusive, read_key_file, remove, replace};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o7777
}

#[test]
fn a_replaced_file_is_private_whole_and_leaves_no_temporary() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("a.nimbus-enc");
    fs::write(directory.path().join("a.nimbus-enc.tmp"), b"left by a crash").expect("stale");
    replace(&path, b"one").expect("first");
    replace(&path, b"two").expect("second");
    assert_eq!(fs::read(&path).expect("read"), b"two");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 1);
}

#[test]
fn of_many_creators_exactly_one_wins_and_its_bytes_are_what_everybody_reads() {
    let directory = tempfile::tempdir().expect("directory");
    for round in 0..50 {
        let path = directory.path().join(format!("{round}.nimbus-enc"));
        let barrier = Arc::new(Barrier::new(4));
        let creators: Vec<_> = (0_u8..4)
            .map(|creator| {
                let (path, barrier) = (path.clone(), Arc::clone(&barrier));
                std::thread::spawn(move || {
                    barrier.wait();
                    let won = create_exclusive(&path, &[creator; 500]).expect("create");
                    let seen = fs::read(&path).expect("whoever lost sees a whole file");
                    assert_eq!(seen.len(), 500);
                    won.then_some(seen)
                })
            })
            .collect();
        let winners: Vec<_> = creators
            .into_iter()
            .filter_map(|creator| creator.join().expect("join"))
            .collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(mode(&path), 0o600);
    }
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 50);
}

#[test]
fn what_is_not_there_is_not_removed() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("x");
    assert!(!remove(&path).expect("absent"));
    fs::write(&path, b"x").expect("write");
    assert!(remove(&path).expect("present"));
    assert!(!path.exists());
}

#[test]
fn a_copy_replaces_what_is_there_and_a_stopped_one_changes_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name);
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    fs::write(path("from"), &content).expect("from");
    fs::write(path("to"), b"old").expect("to");
    fs::write(path("to.tmp"), b"left by a crash").expect("stale");
    let mut seen = Vec::new();
    let stopped = copy(&path("from"), &path("to"), &mut |done, total| {
        seen.push((done, total));
        ControlFlow::Break(())
    });
    assert!(!stopped.expect("stopped"));
    assert_eq!(fs::read(path("to")).expect("read"), b"old");
    assert!(copy(&path("from"), &path("to"), &mut |_, _| ControlFlow::Continue(())).expect("copy"));
    assert_eq!(fs::read(path("to")).expect("read"), content);
    assert_eq!(mode(&path("to")), 0o600);
    assert_eq!(seen, [(1 << 20, 3_000_000)]);
    assert!(copy(&path("none"), &path("to"), &mut |_, _| ControlFlow::Continue(())).is_err());
    assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 2);
}

#[test]
fn directories_are_private() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("a/b");
    create_directory(&path).expect("create");
    create_directory(&path).expect("again");
    assert_eq!(mode(&path), 0o700);
}

#[test]
fn a_key_file_is_32_raw_bytes_and_nothing_else() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("master.key");
    let mut key = [0_u8; 32];
    let defect = |content: Option<&[u8]>, key: &mut [u8; 32]| {
        if let Some(content) = content {
            fs::write(&path, content).expect("write");
        }
        read_key_file(&path, key).err().map(|error| error.defect)
    };
    assert_eq!(defect(None, &mut key), Some(KeyFileDefect::Missing));
    assert_eq!(defect(Some(b""), &mut key), Some(KeyFileDefect::Short));
    assert_eq!(defect(Some(&[200; 31]), &mut key), Some(KeyFileDefect::Short));
    assert_eq!(key, [0; 32], "a refused key leaves nothing behind");
    assert_eq!(defect(Some(&[200; 33]), &mut key), Some(KeyFileDefect::Long));
    assert_eq!(defect(Some(&[200; 4096]), &mut key), Some(KeyFileDefect::Long));
    assert_eq!(defect(Some(&[b'a'; 64]), &mut key), Some(KeyFileDefect::LooksLikeHex));
    assert_eq!(
        defect(Some(&[b"0".repeat(64), b"\n".to_vec()].concat()), &mut key),
        Some(KeyFileDefect::LooksLikeHex)
    );
    assert_eq!(defect(Some(&[b'f'; 32]), &mut key), Some(KeyFileDefect::LooksLikeHex));
    assert_eq!(
        defect(Some(&[&b"Zm9v"[..]; 11].concat()), &mut key),
        Some(KeyFileDefect::LooksLikeBase64)
    );
    let raw: Vec<u8> = (100..132).collect();
    assert_eq!(defect(Some(&raw), &mut key), None);
    assert_eq!(key.as_slice(), raw);
    let folder = read_key_file(directory.path(), &mut key)
        .err()
        .map(|error| error.defect);
    assert_eq!(folder, Some(KeyFileDefect::Directory));
    let device = read_key_file(std::path::Path::new("/dev/zero"), &mut key)
        .err()
        .map(|error| error.defect);
    assert_eq!(device, Some(KeyFileDefect::NotAFile));
}
