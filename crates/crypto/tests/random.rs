//! Buffered randomness: nothing twice, not even across a fork.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]
#![cfg(unix)]

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::thread;

use nimbus_crypto::random::{fill, fill_buffered};

#[test]
fn a_hundred_thousand_initialization_vectors_are_all_different() {
    let mut seen = HashSet::new();
    for _ in 0..100_000 {
        assert!(seen.insert(vector()));
    }
}

#[test]
fn requests_of_every_size_are_filled_to_the_last_byte() {
    for length in (0..700).chain([4095, 4096, 4097, 10_000]) {
        // A byte that stays zero in 16 tries was not filled: chance makes that once in 2^128.
        let mut any = vec![0; length];
        for _ in 0..16 {
            let mut out = vec![0; length];
            fill_buffered(&mut out).expect("randomness");
            any.iter_mut().zip(&out).for_each(|(any, byte)| *any |= byte);
        }
        assert!(any.iter().all(|&byte| byte != 0), "{length} bytes");
        let mut out = vec![0; length];
        fill(&mut out).expect("randomness");
        assert!(length < 32 || out != vec![0; length]);
    }
}

#[test]
fn threads_do_not_share_a_buffer() {
    let threads: Vec<_> = (0..8)
        .map(|_| thread::spawn(|| (0..1000).map(|_| vector()).collect::<Vec<_>>()))
        .collect();
    let all: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("no panic"))
        .collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 8000);
}

#[test]
fn a_forked_child_does_not_repeat_its_parents_randomness() {
    vector();
    let [mut reader, mut writer] = pipe();
    // SAFETY: the child only draws bytes into this thread's existing buffer, writes them to a pipe and leaves, none of
    // which allocates or takes a lock.
    match unsafe { libc::fork() } {
        0 => {
            let sent = writer.write_all(&vector()).is_ok();
            // SAFETY: ends the child at once, without running the test harness's exit handlers.
            unsafe { libc::_exit(i32::from(!sent)) }
        }
        child => {
            let ours = vector();
            let mut theirs = [0; 16];
            reader.read_exact(&mut theirs).expect("the child wrote");
            assert_ne!(ours, theirs);
            let mut status = 0;
            // SAFETY: waits for the child of this test alone.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
}

fn vector() -> [u8; 16] {
    let mut bytes = [0; 16];
    fill_buffered(&mut bytes).expect("randomness");
    bytes
}

fn pipe() -> [File; 2] {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the descriptors are new and owned by nobody else.
    ends.map(|end| File::from(unsafe { OwnedFd::from_raw_fd(end) }))
}
