//! Short scripts of writes and commits, every cut of which is tried.

use std::collections::BTreeMap;

use nimbus_redb::Tuning;
use nimbus_redb::format::Layout;

use super::workload::tuning;

/// Which pages belong to a state, and what each holds. Others are free: what they hold is nobody's business.
pub type Pages = BTreeMap<u32, u8>;

/// One step of a script. Between two commits only pages that neither side of them uses are overwritten, as redb does.
#[derive(Debug, Clone)]
pub enum Step {
    Write(u32, u8),
    SetLen(u32),
    /// Commits; these pages are the state.
    Commit(Pages),
    /// The process is killed; the next one opens the file.
    Kill,
    /// The file is closed, and the next process opens it.
    Close,
    /// From here on every cut is tried; without this one, from the beginning.
    Begin,
    /// The process ends because the sync of the commit before, which was its last, has failed and what it was for is lost, though
    /// the next process still reads it. So it is with the sync of the first opening; the second succeeds.
    Lose,
}

use Step::{Begin, Close, Commit, Kill, Lose, SetLen, Write};

fn pages(list: &[(u32, u8)]) -> Pages {
    list.iter().copied().collect()
}

/// Six commits: pages rewritten, freed and used again, groups begun and cut off, the file made smaller and larger.
fn six_commits() -> Vec<Step> {
    vec![
        SetLen(200),
        Write(1, 1),
        Write(2, 1),
        Commit(pages(&[(1, 1), (2, 1)])),
        Write(3, 2),
        Commit(pages(&[(2, 1), (3, 2)])),
        Write(1, 3),
        Write(150, 3),
        Commit(pages(&[(1, 3), (3, 2)])),
        SetLen(100),
        Write(2, 4),
        Commit(pages(&[(1, 3), (2, 4)])),
        SetLen(300),
        Write(3, 5),
        Write(140, 5),
        Commit(pages(&[(2, 4), (3, 5), (140, 5)])),
        Write(1, 6),
        Commit(pages(&[(1, 6), (140, 5)])),
    ]
}

/// The first life frees page 1 in a commit that it does not live to sync; the second one uses it again at once.
fn killed_before_the_sync() -> Vec<Step> {
    vec![
        SetLen(100),
        Write(1, 1),
        Commit(pages(&[(1, 1)])),
        Write(2, 2),
        Commit(pages(&[(2, 2)])),
        Kill,
        Write(1, 3),
        Commit(pages(&[(1, 3)])),
    ]
}

/// Pages listed by the newest record are free at once, and used again before the next one (a cache that is too small).
fn evicted_early() -> Vec<Step> {
    vec![
        SetLen(100),
        Write(1, 1),
        Write(2, 1),
        Commit(pages(&[(1, 1)])),
        Write(2, 2),
        Write(3, 2),
        Write(4, 2),
        Write(5, 2),
        Write(6, 2),
        Commit(pages(&[(1, 1), (2, 2), (3, 2)])),
    ]
}

/// A commit that lists pages which the next change of the length cuts off.
fn cut_off() -> Vec<Step> {
    vec![
        SetLen(300),
        Write(1, 1),
        Write(290, 1),
        Commit(pages(&[(1, 1)])),
        SetLen(100),
        Write(2, 2),
        Commit(pages(&[(1, 1), (2, 2)])),
    ]
}

/// Small commits in several groups, whose entries stay away from home: only the records say what changed, here and after a
/// kill and an opening.
fn entries_away() -> Vec<Step> {
    vec![
        SetLen(400),
        Write(130, 1),
        Write(300, 1),
        Commit(pages(&[(130, 1), (300, 1)])),
        Write(131, 2),
        Commit(pages(&[(131, 2), (300, 1)])),
        Write(130, 3),
        Commit(pages(&[(130, 3), (131, 2)])),
        Write(300, 4),
        Write(1, 4),
        Commit(pages(&[(1, 4), (130, 3), (300, 4)])),
        Write(131, 5),
        Commit(pages(&[(1, 4), (131, 5)])),
        Kill,
        Write(301, 6),
        Commit(pages(&[(1, 4), (131, 5), (301, 6)])),
        Write(130, 7),
        Commit(pages(&[(130, 7), (301, 6)])),
    ]
}

/// Closed and opened, with entries away, with pages that the last commit lists, and after a cut.
fn closed() -> Vec<Step> {
    vec![
        SetLen(400),
        Write(130, 1),
        Write(300, 1),
        Commit(pages(&[(130, 1), (300, 1)])),
        Write(131, 2),
        Commit(pages(&[(131, 2), (300, 1)])),
        Close,
        Write(130, 3),
        Commit(pages(&[(130, 3), (131, 2)])),
        SetLen(200),
        Write(132, 4),
        Commit(pages(&[(130, 3), (132, 4)])),
        SetLen(400),
        Write(310, 5),
        Commit(pages(&[(130, 3), (310, 5)])),
        Close,
        Close,
        Write(131, 6),
        Commit(pages(&[(131, 6), (310, 5)])),
        Kill,
        Close,
        Write(130, 7),
        Commit(pages(&[(130, 7)])),
    ]
}

/// So many commits that the first records are given up, or the file is closed, with pages that were not written again since.
fn written_long_ago(commits: u8) -> Vec<Step> {
    let kept = [(140, 2), (290, 2)];
    let mut steps = vec![
        SetLen(400),
        Write(130, 1),
        Write(300, 1),
        Commit(pages(&[(130, 1), (300, 1)])),
        Write(140, 2),
        Write(290, 2),
        Commit(pages(&kept)),
    ];
    for number in 3..commits {
        let free = 131 + u32::from(number) % 2;
        steps.push(Write(free, number));
        steps.push(Commit(pages(&[kept[0], kept[1], (free, number)])));
    }
    steps.push(Close);
    steps.push(Write(133, commits));
    steps.push(Commit(pages(&[kept[0], kept[1], (133, commits)])));
    steps
}

/// A page whose entry is away is cut off, and is there again as zeros.
fn cut_off_and_back() -> Vec<Step> {
    let kept = [(130, 1), (131, 2)];
    vec![
        SetLen(400),
        Write(130, 1),
        Write(300, 1),
        Commit(pages(&[(130, 1), (300, 1)])),
        Write(131, 2),
        Write(301, 2),
        Commit(pages(&[kept[0], kept[1], (300, 1), (301, 2)])),
        SetLen(200),
        Write(132, 3),
        Commit(pages(&[kept[0], kept[1], (132, 3)])),
        SetLen(400),
        Write(310, 4),
        Commit(pages(&[kept[0], kept[1], (132, 3), (310, 4), (300, 0), (301, 0)])),
        Write(133, 5),
        Commit(pages(&[kept[0], kept[1], (133, 5), (310, 4), (300, 0), (301, 0)])),
    ]
}

/// Commits of one block each until the ring of a small file begins anew, and beyond. Every one leaves a page that stays, so that each
/// record that is given up has an entry to carry or to bring home. Begins `before` commits before the place where the ring
/// of so many groups does; there the file gets one group more.
fn around_the_ring(groups: u8, before: u8) -> Vec<Step> {
    let usable = 30 + 4 * groups;
    let first_of_last = 128 * (u32::from(groups) - 1);
    let mut held = Pages::new();
    let mut steps = vec![SetLen(first_of_last + 100)];
    let commit = |steps: &mut Vec<Step>, held: &mut Pages, number: u8| {
        for (&page, &value) in &*held {
            // One of two free pages, in turn; those that stay are written once.
            if value == number {
                steps.push(Write(page, value));
            }
        }
        steps.push(Commit(held.clone()));
    };
    for number in 1..=usable + 6 {
        let free = first_of_last + 1 + u32::from(number % 2);
        held.remove(&(first_of_last + 1 + u32::from((number + 1) % 2)));
        held.insert(free, number);
        let stays = [10, first_of_last + 10][usize::from(number % 4) / 2] + u32::from(number);
        if number % 2 == 0 {
            held.insert(stays, number);
        }
        if number + before == usable {
            steps.push(Begin);
        }
        if number == usable {
            // With this one, which begins the ring anew.
            steps.push(SetLen(first_of_last + 140));
            held.insert(first_of_last + 130, number);
        }
        commit(&mut steps, &mut held, number);
    }
    steps.extend([Close, Close]);
    for number in [usable + 7, usable + 8] {
        held.insert(first_of_last + 60 + u32::from(number), number);
        commit(&mut steps, &mut held, number);
    }
    steps
}

/// A record of two blocks that lies where the ring of a small file ends, when the file grows.
fn long_record_at_the_end_of_the_part() -> Vec<Step> {
    let mut held = pages(&[(1, 1)]);
    let mut steps = vec![SetLen(128), Write(1, 1), Commit(held.clone())];
    for number in 2..33 {
        let free = 2 + u32::from(number % 2);
        held.remove(&(2 + u32::from((number + 1) % 2)));
        held.insert(free, number);
        steps.extend([Write(free, number), Commit(held.clone())]);
    }
    // Free pages, which nobody looks at again, but the list has 110.
    steps.push(Begin);
    steps.extend((5..115).map(|page| Write(page, 33)));
    held.insert(60, 33);
    steps.push(Commit(held.clone()));
    held.insert(300, 34);
    steps.extend([SetLen(400), Write(300, 34), Commit(held.clone())]);
    held.insert(301, 35);
    steps.extend([Write(301, 35), Commit(held.clone()), Close]);
    held.insert(302, 36);
    steps.extend([Write(302, 36), Commit(held)]);
    steps
}

/// A commit whose sync fails, after which the disk still gives what it does not hold; the next processes go on from it.
fn lost_sync() -> Vec<Step> {
    vec![
        SetLen(100),
        Write(1, 1),
        Commit(pages(&[(1, 1)])),
        SetLen(300),
        Write(2, 2),
        Write(200, 2),
        Commit(pages(&[(2, 2), (200, 2)])),
        Lose,
        Write(1, 3),
        Commit(pages(&[(1, 3), (2, 2), (200, 2)])),
        Write(3, 4),
        Commit(pages(&[(1, 3), (3, 4), (200, 2)])),
        Close,
        Lose,
        Write(2, 5),
        Commit(pages(&[(2, 5), (200, 2)])),
    ]
}

/// A ring of so many blocks.
fn ring_of(blocks: u32, tuning: Tuning) -> Tuning {
    Tuning {
        layout: Layout::new(blocks).expect("allowed"),
        ..tuning
    }
}

pub fn all_scripts() -> Vec<(&'static str, Vec<Step>, Tuning)> {
    let few = Tuning {
        entries_away: 1,
        entries_at_close: 0,
        ..tuning(64, 16)
    };
    let many = Tuning {
        entries_away: 1000,
        ..few
    };
    vec![
        ("six commits", six_commits(), tuning(64, 16)),
        ("six commits with early writes", six_commits(), tuning(1, 16)),
        ("six heavy commits", six_commits(), tuning(64, 0)),
        ("killed before the sync", killed_before_the_sync(), tuning(1, 16)),
        ("evicted early", evicted_early(), tuning(1, 16)),
        ("cut off", cut_off(), tuning(64, 16)),
        ("cut off and back", cut_off_and_back(), tuning(64, 16)),
        ("cut off and back, heavy", cut_off_and_back(), tuning(64, 0)),
        ("entries away", entries_away(), tuning(64, 16)),
        ("entries away, one at most", entries_away(), few),
        ("closed", closed(), tuning(64, 16)),
        ("closed, one entry away", closed(), few),
        ("given up", written_long_ago(26), tuning(64, 16)),
        ("given up, one entry away", written_long_ago(9), few),
        ("closed long after", written_long_ago(9), many),
        ("around the ring", around_the_ring(1, 3), ring_of(40, tuning(64, 16))),
        (
            "around the ring of three groups",
            around_the_ring(3, 1),
            ring_of(48, tuning(64, 16)),
        ),
        (
            "around the ring, few entries away",
            around_the_ring(1, 2),
            ring_of(40, few),
        ),
        (
            "a long record at the end of the part",
            long_record_at_the_end_of_the_part(),
            ring_of(48, tuning(64, 16)),
        ),
        ("lost sync", lost_sync(), tuning(64, 16)),
    ]
}

pub fn script(name: &str) -> (&'static str, Vec<Step>, Tuning) {
    let mut scripts = all_scripts().into_iter();
    scripts.find(|(found, ..)| *found == name).unwrap()
}
