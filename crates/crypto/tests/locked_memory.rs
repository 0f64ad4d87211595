//! Where secrets lie: wiped when given back, locked, out of core dumps and of forked children.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by panicking"
)]
#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::{env, fs, io, thread};

use nimbus_crypto::{Dek, LockedBox, LockedBytes, Salt, lock_status};

#[test]
fn a_slot_that_was_used_before_is_zero() {
    let mut first = LockedBytes::<32>::zeroed();
    first.expose_secret_mut().fill(0xff);
    let address = first.expose_secret().as_ptr();
    drop(first);
    let mut held = Vec::new();
    loop {
        let next = LockedBytes::<32>::zeroed();
        assert_eq!(next.expose_secret(), &[0; 32]);
        if next.expose_secret().as_ptr() == address {
            break;
        }
        held.push(next);
        assert!(held.len() < 100_000, "the slot never came back");
    }
}

#[test]
fn ten_thousand_keys_share_pages_and_no_bytes() {
    let keys: Vec<LockedBytes<32>> = (0..10_000_u32)
        .map(|index| {
            let mut key = LockedBytes::zeroed();
            key.expose_secret_mut()[..4].copy_from_slice(&index.to_le_bytes());
            key
        })
        .collect();
    for (index, key) in (0..10_000_u32).zip(&keys) {
        assert_eq!(key.expose_secret()[..4], index.to_le_bytes());
    }
    let pages: HashSet<usize> = keys
        .iter()
        .map(|key| key.expose_secret().as_ptr() as usize / 4096)
        .collect();
    assert!(pages.len() <= 10_000 / 64 + 64, "{} pages", pages.len());
}

#[test]
fn slots_that_threads_hand_to_each_other_are_never_shared() {
    let (sender, receiver) = mpsc::channel::<(u8, LockedBytes<32>)>();
    let makers: Vec<_> = (1..=4)
        .map(|mark| {
            let sender = sender.clone();
            thread::spawn(move || {
                for _ in 0..5000 {
                    let mut bytes = LockedBytes::zeroed();
                    assert_eq!(bytes.expose_secret(), &[0; 32]);
                    bytes.expose_secret_mut().fill(mark);
                    sender.send((mark, bytes)).expect("the receiver waits");
                }
            })
        })
        .collect();
    drop(sender);
    for (mark, bytes) in receiver {
        assert_eq!(bytes.expose_secret(), &[mark; 32]);
    }
    for maker in makers {
        maker.join().expect("no panic");
    }
}

#[test]
fn a_boxed_value_is_dropped_once_and_can_be_changed() {
    let dropped = std::sync::Arc::new(());
    let mut boxed = LockedBox::new((1_u64, dropped.clone()));
    boxed.0 += 1;
    assert_eq!(boxed.0, 2);
    assert_eq!(std::sync::Arc::strong_count(&dropped), 2);
    drop(boxed);
    assert_eq!(std::sync::Arc::strong_count(&dropped), 1);
}

#[test]
fn secrets_are_locked_left_out_of_core_dumps_and_of_forked_children() {
    let secret = LockedBytes::<32>::zeroed();
    let flags = mapping_flags(secret.expose_secret().as_ptr());
    assert!(flags.contains("dd"), "excluded from core dumps: {flags:?}");
    assert!(flags.contains("wf"), "wiped on fork: {flags:?}");
    assert_eq!(flags.contains("lo"), lock_status().locked, "locked: {flags:?}");
}

#[test]
fn boxed_values_are_locked_and_left_out_of_core_dumps() {
    let secret = LockedBox::new([0_u8; 200]);
    let flags = mapping_flags(secret.as_ptr());
    assert!(flags.contains("dd"), "excluded from core dumps: {flags:?}");
    assert_eq!(flags.contains("lo"), lock_status().locked, "locked: {flags:?}");
}

#[test]
fn a_forked_child_finds_zeros_where_the_secret_was() {
    let mut secret = LockedBytes::<32>::zeroed();
    secret.expose_secret_mut().fill(0x5e);
    // SAFETY: the child reads memory and leaves: it allocates nothing and takes no lock.
    match unsafe { libc::fork() } {
        0 => {
            let found: u8 = secret.expose_secret().iter().fold(0, |any, byte| any | byte);
            // SAFETY: ends the child at once, without running the test harness's exit handlers.
            unsafe { libc::_exit(i32::from(found)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child of this test alone.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child read a byte of the secret");
            assert_eq!(secret.expose_secret(), &[0x5e; 32], "the parent keeps it");
        }
    }
}

#[test]
fn the_status_counts_the_locked_pages() {
    let _secret = LockedBytes::<32>::zeroed();
    let status = lock_status();
    assert!(status.locked_bytes >= 4096 || !status.locked, "{status:?}");
}

/// Runs itself again in a process that may lock nothing.
#[test]
fn without_permission_to_lock_keys_work_and_the_status_says_so() {
    const CHILD: &str = "NIMBUS_TEST_WITHOUT_LOCKED_MEMORY";
    if env::var_os(CHILD).is_some() {
        let dek = Dek::generate().expect("randomness");
        assert_eq!(dek.commitment(&Salt([1; 32])), dek.commitment(&Salt([1; 32])));
        let status = lock_status();
        assert_eq!(
            (status.locked, status.locked_bytes, status.limit_bytes),
            (false, 0, Some(0))
        );
        return;
    }
    let mut child = Command::new(env::current_exe().expect("the test binary"));
    child
        .args(["--exact", "without_permission_to_lock_keys_work_and_the_status_says_so"])
        .env(CHILD, "1");
    // SAFETY: between fork and exec only two system calls are made.
    unsafe { child.pre_exec(forbid_locking) };
    let output = child.output().expect("the test binary runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

/// No lock limit, and no capability to exceed it (root has that one, and loses it at the next exec).
fn forbid_locking() -> io::Result<()> {
    const CAP_IPC_LOCK: libc::c_ulong = 14;
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: two system calls on this process; dropping a capability fails for those who have none, and need not.
    unsafe {
        libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
        if libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none) == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// The `VmFlags` (proc(5), `/proc/pid/smaps`) of the mapping that `address` lies in.
fn mapping_flags(address: *const u8) -> HashSet<String> {
    let address = address as usize;
    let maps = fs::read_to_string("/proc/self/smaps").expect("Linux has /proc");
    let mut within = false;
    for line in maps.lines() {
        if let Some((start, end)) = line.split(' ').next().and_then(|range| range.split_once('-')) {
            let bound = |digits| usize::from_str_radix(digits, 16);
            if let (Ok(start), Ok(end)) = (bound(start), bound(end)) {
                within = (start..end).contains(&address);
            }
        }
        if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| within) {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("the secret lies in no mapping")
}
