//! Every operation on the disk may fail, once or from then on: what was acknowledged is kept, and an error is an error.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking, and what it did by printing"
)]

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nimbus_redb::sealed::{Protocol, Sound};
use nimbus_redb::{Disk, SealedError, SealedFile, Tuning};
use nimbus_test_support::{Event, Rng, SimDisk, fixed_dek};
use support::workload::tuning;
use support::{Base, FILE, IDENTITY, Pairs, TABLE, create, open, pairs};

/// Runs commits until one fails; returns every state begun, and the last one that was acknowledged.
fn work<P: Protocol>(disk: &SimDisk, tuning: Tuning) -> Result<(Vec<Pairs>, usize), String> {
    let base: Base<_, P> = open(disk.clone(), tuning, 64 << 10)?;
    let mut rng = Rng::new(5);
    let mut states = vec![pairs(&base.redb).map_err(|error| error.to_string())?];
    for number in 0..6_u64 {
        let mut state = states[states.len() - 1].clone();
        let attempt = |state: &mut Pairs, rng: &mut Rng| -> Result<(), redb::Error> {
            let write = base.redb.begin_write()?;
            {
                let mut table = write.open_table(TABLE)?;
                for _ in 0..8 {
                    let key = rng.below(40).to_be_bytes().to_vec();
                    let length = rng.index(2000);
                    let value = rng.bytes(length);
                    table.insert(key.as_slice(), value.as_slice())?;
                    state.insert(key, value);
                }
                table.insert(b"number".as_slice(), number.to_be_bytes().as_slice())?;
                state.insert(b"number".to_vec(), number.to_be_bytes().to_vec());
            }
            write.commit()?;
            Ok(())
        };
        let done = attempt(&mut state, &mut rng);
        states.push(state);
        if done.is_err() {
            let acknowledged = states.len() - 2;
            return Ok((states, acknowledged));
        }
    }
    let acknowledged = states.len() - 1;
    Ok((states, acknowledged))
}

#[test]
fn a_failure_of_any_operation_keeps_what_was_acknowledged() {
    for (name, tuning) in [("large arena", tuning(2048, 16)), ("tiny arena", tuning(2, 1))] {
        let created = SimDisk::holding(Vec::new());
        drop(create::<_, Sound>(created.clone(), tuning, 64 << 10));
        let image = created.image();
        let quiet = SimDisk::holding(image.clone());
        work::<Sound>(&quiet, tuning).expect("nothing fails");
        let calls = quiet.calls();
        let mut refused_opens = 0;
        for call in 0..calls {
            for count in [1, u64::MAX] {
                let disk = SimDisk::holding(image.clone());
                disk.fail(call, count);
                let outcome = work::<Sound>(&disk, tuning);
                let disk = disk.kill();
                let base: Base<_, Sound> =
                    open(disk, tuning, 64 << 10).unwrap_or_else(|error| panic!("{name}, call {call}: {error}"));
                let found = pairs(&base.redb).expect("read");
                if let Ok((states, acknowledged)) = outcome {
                    let allowed = states[acknowledged..].contains(&found);
                    assert!(allowed, "{name}, call {call}: neither acknowledged nor in flight");
                } else {
                    refused_opens += 1;
                    assert_eq!(found, Pairs::new(), "{name}, call {call}");
                }
            }
        }
        println!("{name}: {calls} operations, each failed once and for good; {refused_opens} opens refused");
    }
}

/// A process whose sync `lost` fails and loses what it was for, though it is still read; if `in_vain`, one more, at whose opening it is
/// the same; one that goes on; and a power cut, of which it is enough that all of this one's commits are there.
fn go_on_after_a_lost_sync<P: Protocol>(image: &[u8], tuning: Tuning, lost: u64, in_vain: bool) -> Result<(), String> {
    let mut disk = SimDisk::holding(image.to_vec());
    disk.record();
    disk.lose_sync(lost, Rng::new(lost));
    let outcome = work::<P>(&disk, tuning);
    disk = disk.kill();
    if in_vain {
        disk.lose_sync(0, Rng::new(lost));
        if open::<_, P>(disk.clone(), tuning, 64 << 10).is_ok() {
            return Err("opened without a sync".to_owned());
        }
        disk = disk.kill();
    }
    let (states, acknowledged) = work::<P>(&disk, tuning)?;
    if let Ok((earlier, acknowledged)) = outcome
        && !earlier[acknowledged..].contains(&states[0])
    {
        return Err("neither acknowledged nor in flight".to_owned());
    }
    let left: Base<_, P> = open(SimDisk::holding(disk.device()), tuning, 64 << 10)?;
    if pairs(&left.redb).map_err(|error| error.to_string())? != states[acknowledged] {
        return Err("what was acknowledged is lost".to_owned());
    }
    Ok(())
}

fn go_on_after_any_lost_sync<P: Protocol>() -> Result<u64, String> {
    let mut tried = 0;
    for tuning in [tuning(2048, 16), tuning(2, 1)] {
        let created = SimDisk::holding(Vec::new());
        drop(create::<_, P>(created.clone(), tuning, 64 << 10));
        let image = created.image();
        let counted = SimDisk::holding(image.clone());
        counted.record();
        work::<P>(&counted, tuning)?;
        let syncs = counted
            .events()
            .iter()
            .filter(|event| matches!(event, Event::Sync))
            .count();
        for lost in 0..syncs as u64 {
            for in_vain in [false, true] {
                go_on_after_a_lost_sync::<P>(&image, tuning, lost, in_vain)
                    .map_err(|error| format!("sync {lost}, then an opening in vain: {in_vain}: {error}"))?;
                tried += 1;
            }
        }
    }
    Ok(tried)
}

#[test]
fn nothing_is_lost_that_is_acknowledged_after_a_sync_that_lost_what_it_was_for() {
    let tried = go_on_after_any_lost_sync::<Sound>().unwrap();
    assert!(tried > 20, "only {tried}");
}

#[derive(Debug)]
struct TrustsWhatIsRead;

impl Protocol for TrustsWhatIsRead {
    const WRITES_AGAIN_AT_OPEN: bool = false;
}

#[test]
fn without_writing_again_what_was_accepted_it_is_lost() {
    let failure = go_on_after_any_lost_sync::<TrustsWhatIsRead>().unwrap_err();
    println!("{failure}");
}

#[test]
fn a_disk_that_cannot_be_read_is_not_taken_for_an_unfinished_commit() {
    let disk = SimDisk::holding(Vec::new());
    let file = SealedFile::<_, Sound>::create(disk.clone(), IDENTITY, &fixed_dek(), tuning(64, 16)).unwrap();
    file.set_len(40 * 4096).unwrap();
    file.write(4096, &vec![1; 4096 * 8]).unwrap();
    file.sync().unwrap();
    drop(file);
    let image = disk.image();
    let counted = SimDisk::holding(image.clone());
    drop(SealedFile::<_, Sound>::open(counted.clone(), FILE, &fixed_dek(), tuning(64, 16)).unwrap());
    for call in 0..counted.calls() {
        let disk = SimDisk::holding(image.clone());
        disk.fail(call, 1);
        let opened = SealedFile::<_, Sound>::open(disk, FILE, &fixed_dek(), tuning(64, 16));
        assert!(matches!(opened, Err(SealedError::Io(_))), "call {call}");
    }
}

#[test]
fn after_a_failed_sync_nothing_is_written_or_promised_any_more() {
    let disk = SimDisk::holding(Vec::new());
    let file = SealedFile::<_, Sound>::create(disk.clone(), IDENTITY, &fixed_dek(), tuning(64, 16)).unwrap();
    file.set_len(40 * 4096).unwrap();
    file.write(4096, &[1; 4096]).unwrap();
    disk.fail_syncs();
    assert!(matches!(file.sync(), Err(SealedError::Io(_))));
    disk.heal();
    assert!(matches!(file.sync(), Err(SealedError::Failed)));
    assert!(matches!(file.write(4096, &[1; 4096]), Err(SealedError::Failed)));
    assert!(matches!(file.set_len(0), Err(SealedError::Failed)));
}

/// A disk that forgets some of what a failed sync lost, right before one of its reads.
#[derive(Debug, Clone)]
struct Forgetful {
    disk: SimDisk,
    reads: Arc<AtomicU64>,
    before: u64,
}

impl Disk for Forgetful {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        if self.reads.fetch_add(1, Ordering::Relaxed) == self.before {
            self.disk.forget_lost(&mut Rng::new(self.before));
        }
        self.disk.read_at(offset, out)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.set_len(bytes)
    }
}

/// The value of the header and of the pages that the state with it has: one of its own, and one that all have.
fn written_by(file: &SealedFile<impl Disk, Sound>) -> u8 {
    let (mut header, mut page) = ([0; 1], [0; 4096]);
    file.read(0, &mut header).unwrap();
    let [value] = header;
    for number in [u64::from(value), 9] {
        file.read_written(number * 4096, &mut page).unwrap();
        assert_eq!(page, [if number == 9 { 1 } else { value }; 4096]);
    }
    value
}

#[test]
fn whatever_is_forgotten_while_a_file_is_opened_it_opens_and_what_it_opens_with_is_durable() {
    let (mut before, mut found) = (0, [0; 3]);
    loop {
        let disk = SimDisk::recording();
        let file = SealedFile::<_, Sound>::create(disk.clone(), IDENTITY, &fixed_dek(), tuning(64, 16)).unwrap();
        file.set_len(40 * 4096).unwrap();
        file.write(9 * 4096, &[1; 4096]).unwrap();
        let commit = |value: u8| {
            file.write(u64::from(value) * 4096, &[value; 4096]).unwrap();
            file.write(0, &[value; 320]).unwrap();
            file.sync()
        };
        commit(1).unwrap();
        // The seed is one that loses all.
        disk.lose_sync(0, Rng::new(2));
        commit(2).unwrap_err();
        let forgetful = Forgetful {
            disk: disk.kill(),
            reads: Arc::default(),
            before,
        };
        let opened = SealedFile::<_, Sound>::open(forgetful.clone(), FILE, &fixed_dek(), tuning(64, 16));
        if forgetful.reads.load(Ordering::Relaxed) <= before {
            break;
        }
        let value = written_by(&opened.unwrap_or_else(|error| panic!("forgotten before read {before}: {error}")));
        let left = SimDisk::holding(forgetful.disk.device());
        let left = SealedFile::<_, Sound>::open(left, FILE, &fixed_dek(), tuning(64, 16)).unwrap();
        assert_eq!(written_by(&left), value, "forgotten before read {before}");
        found[usize::from(value)] += 1;
        before += 1;
    }
    assert!(found[1] > 0 && found[2] > 0, "{found:?}");
}
