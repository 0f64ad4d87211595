//! The images that a power cut could leave: everything up to the last sync, and of what came after it any part.

use crate::disk::{Event, SimDisk, apply, write};
use crate::rng::Rng;

/// The piece of a write that is on the disk wholly or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sector {
    /// 4096 bytes.
    Block,
    /// 512 bytes.
    Half,
    /// Single bytes: no disk is as bad.
    Byte,
}

impl Sector {
    const fn bytes(self) -> usize {
        match self {
            Self::Block => 4096,
            Self::Half => 512,
            Self::Byte => 1,
        }
    }
}

/// One power cut.
#[derive(Debug)]
pub struct Cut {
    /// What the disk holds afterwards.
    pub image: Vec<u8>,
    /// The last state that was acknowledged before the cut, if any was.
    pub acknowledged: Option<usize>,
    /// The last state that was begun before the cut.
    pub began: usize,
    /// How many events came before.
    pub after_events: usize,
}

/// Calls `check` with `per_window` cuts of every stretch between two syncs, chosen by `rng`.
pub fn cuts(
    disk: &SimDisk,
    base: Vec<u8>,
    sector: Sector,
    per_window: usize,
    rng: &mut Rng,
    mut check: impl FnMut(Cut),
) {
    let events = disk.events();
    let mut durable = base;
    let mut start = 0;
    while start < events.len() {
        let rest = events.get(start..).unwrap_or_default();
        let until_sync = rest.iter().position(|event| matches!(event, Event::Sync));
        let window = rest.get(..until_sync.unwrap_or(rest.len())).unwrap_or_default();
        for _ in 0..per_window {
            let count = rng.index(window.len() + 1);
            let (issued, _) = window.split_at(count);
            let mut image = durable.clone();
            Survival::choose(rng).apply(&mut image, issued, sector, rng);
            let before = events.get(..start + count).unwrap_or_default();
            check(Cut {
                image,
                acknowledged: before.iter().rev().find_map(|event| match event {
                    Event::Acknowledged(state) => Some(*state),
                    _ => None,
                }),
                began: before
                    .iter()
                    .rev()
                    .find_map(|event| match event {
                        Event::Began(state) | Event::Acknowledged(state) => Some(*state),
                        _ => None,
                    })
                    .unwrap_or(0),
                after_events: start + count,
            });
        }
        for event in window {
            apply(&mut durable, event);
        }
        start += window.len() + 1;
    }
}

/// Which of the events after the last sync reach the disk.
enum Survival {
    /// Each sector with this chance in 8.
    Sectors { in_eight: u64 },
    /// Each event whole, with this chance in 8.
    Events { in_eight: u64 },
    /// All, but the last one torn: what `kill -9` leaves.
    TornLast,
    /// All but a sector of one.
    AllButOneSector,
}

impl Survival {
    fn choose(rng: &mut Rng) -> Self {
        let in_eight = 1 + rng.below(7);
        match rng.below(8) {
            0..=2 => Self::Sectors { in_eight },
            3..=5 => Self::Events { in_eight },
            6 => Self::TornLast,
            _ => Self::AllButOneSector,
        }
    }

    fn apply(&self, image: &mut Vec<u8>, events: &[Event], sector: Sector, rng: &mut Rng) {
        let changed_one = if events.is_empty() { 0 } else { rng.index(events.len()) };
        for (position, event) in events.iter().enumerate() {
            match self {
                Self::Sectors { in_eight } => apply_some(image, event, sector, |_, _| rng.below(8) < *in_eight),
                Self::Events { in_eight } => {
                    if rng.below(8) < *in_eight {
                        apply(image, event);
                    }
                }
                Self::TornLast if position + 1 == events.len() => {
                    let keep = rng.index(sectors_of(event, sector) + 1);
                    apply_some(image, event, sector, |sector, _| sector < keep);
                }
                Self::AllButOneSector if position == changed_one => {
                    let lost = rng.index(sectors_of(event, sector).max(1));
                    apply_some(image, event, sector, |sector, _| sector != lost);
                }
                Self::TornLast | Self::AllButOneSector => apply(image, event),
            }
        }
    }
}

fn sectors_of(event: &Event, sector: Sector) -> usize {
    match event {
        Event::Write { bytes, .. } => bytes.len().div_ceil(sector.bytes()),
        _ => 1,
    }
}

/// Applies those sectors of an event that `survives` names; a change of length is one sector.
fn apply_some(image: &mut Vec<u8>, event: &Event, sector: Sector, mut survives: impl FnMut(usize, &[u8]) -> bool) {
    match event {
        Event::Write { offset, bytes } => {
            for (position, piece) in bytes.chunks(sector.bytes()).enumerate() {
                if survives(position, piece) {
                    write(image, offset + (position * sector.bytes()) as u64, piece);
                }
            }
        }
        other => {
            if survives(0, &[]) {
                apply(image, other);
            }
        }
    }
}
