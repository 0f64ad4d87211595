//! Whatever a power cut leaves, the file opens with the last acknowledged commit or the one in flight, passes the
//! integrity check, and goes on; and each step of the protocol is there because without it this fails.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking, and what it did by printing"
)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nimbus_redb::Tuning;
use nimbus_redb::format::Layout;
use nimbus_redb::sealed::{Protocol, Sound};
use nimbus_test_support::{Rng, Sector, cuts};
use support::effort;
use support::workload::{Plan, check, run, tuning};

#[derive(Debug, Default, Clone)]
struct Outcome {
    states: u64,
    rolled_back: u64,
    failures: Vec<String>,
}

/// Runs the plan for `seeds`, on every core, and checks `per_window` cuts between any two syncs, up to the first failure.
fn simulate<P: Protocol>(plan: &Plan, seeds: u64, per_window: usize) -> Outcome {
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let outcome = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcome = Outcome::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds || has_failed.load(Ordering::Relaxed) {
                            return outcome;
                        }
                        simulate_seed::<P>(plan, seed, per_window, &has_failed, &mut outcome);
                        has_failed.fetch_or(!outcome.failures.is_empty(), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        workers.into_iter().fold(Outcome::default(), |mut sum, worker| {
            let part = worker.join().expect("failures are caught");
            sum.states += part.states;
            sum.rolled_back += part.rolled_back;
            sum.failures.extend(part.failures);
            sum
        })
    });
    println!(
        "{}: {} states, {} with the newest record set aside, {} failures{}",
        plan.name,
        outcome.states,
        outcome.rolled_back,
        outcome.failures.len(),
        outcome
            .failures
            .first()
            .map(|first| format!(" ({first})"))
            .unwrap_or_default()
    );
    outcome
}

fn simulate_seed<P: Protocol>(
    plan: &Plan,
    seed: u64,
    per_window: usize,
    has_failed: &AtomicBool,
    outcome: &mut Outcome,
) {
    let mut rng = Rng::new(!seed);
    let recorded = catch_unwind(AssertUnwindSafe(|| run::<P>(plan, seed)));
    let recorded = match recorded {
        Ok(Ok(recorded)) => recorded,
        Ok(Err(error)) => return outcome.failures.push(format!("seed {seed}: {error}")),
        Err(_panic) => return outcome.failures.push(format!("seed {seed}: panic")),
    };
    let mut choices = Rng::new(seed ^ 0x00c0_ffee);
    cuts(
        &recorded.disk,
        recorded.base,
        plan.sector,
        per_window,
        &mut rng,
        |cut| {
            if has_failed.load(Ordering::Relaxed) || !outcome.failures.is_empty() {
                return;
            }
            let after = cut.after_events;
            outcome.states += 1;
            let checked = catch_unwind(AssertUnwindSafe(|| {
                check::<P>(plan, &recorded.states, cut, &mut choices)
            }));
            match checked {
                Ok(Ok(rolled_back)) => outcome.rolled_back += u64::from(rolled_back),
                Ok(Err(error)) => outcome.failures.push(format!("seed {seed}, event {after}: {error}")),
                Err(_panic) => outcome.failures.push(format!("seed {seed}, event {after}: panic")),
            }
        },
    );
}

fn plans_of_few_commits() -> Vec<(Plan, u64)> {
    let half = Plan::plain("512-byte sectors", Sector::Half);
    vec![
        (half, 20),
        (Plan::plain("4096-byte sectors", Sector::Block), 20),
        (Plan::plain("single bytes", Sector::Byte), 15),
        (
            Plan {
                name: "small cache, so barriers",
                cache_bytes: 64 << 10,
                tuning: tuning(64, 16),
                ..half
            },
            20,
        ),
        (
            Plan {
                name: "four staged pages, one-block records, so heavy commits and barriers",
                cache_bytes: 0,
                tuning: tuning(4, 1),
                ..half
            },
            20,
        ),
        (
            Plan {
                name: "kill -9, then a power cut",
                kills: true,
                ..half
            },
            20,
        ),
        (
            Plan {
                name: "kill -9, then a power cut, small cache",
                kills: true,
                cache_bytes: 32 << 10,
                tuning: tuning(16, 2),
                ..half
            },
            20,
        ),
        (
            Plan {
                name: "several groups, so entries away from home",
                filled: true,
                ..half
            },
            20,
        ),
        (
            Plan {
                name: "several groups, kill -9, then a power cut",
                filled: true,
                kills: true,
                ..half
            },
            20,
        ),
        (
            Plan {
                name: "cuts within recovery",
                nested: 2,
                ..half
            },
            10,
        ),
    ]
}

/// So many that the oldest records are given up.
fn plans_of_many_commits() -> Vec<(Plan, u64)> {
    let half = Plan {
        filled: true,
        ..Plan::plain("512-byte sectors", Sector::Half)
    };
    vec![
        (
            Plan {
                name: "many commits, so records are given up, carried and brought home",
                transactions: 40,
                ..half
            },
            5,
        ),
        (
            Plan {
                name: "few entries away, many commits",
                transactions: 30,
                tuning: Tuning {
                    entries_away: 12,
                    entries_at_close: 8,
                    ..tuning(2048, 16)
                },
                ..half
            },
            6,
        ),
        (
            Plan {
                name: "a ring of which a small file uses a part, kill -9, then a power cut",
                kills: true,
                transactions: 60,
                tuning: Tuning {
                    layout: Layout::new(64).expect("allowed"),
                    entries_at_close: 20,
                    ..tuning(64, 16)
                },
                ..half
            },
            5,
        ),
        (
            Plan {
                name: "many commits, small cache, four-block records",
                transactions: 40,
                cache_bytes: 32 << 10,
                tuning: Tuning {
                    entries_away: 40,
                    ..tuning(16, 4)
                },
                ..half
            },
            3,
        ),
        (
            Plan {
                name: "many commits, single bytes",
                kills: true,
                sector: Sector::Byte,
                transactions: 40,
                ..half
            },
            4,
        ),
        (
            Plan {
                name: "cuts within recovery, several groups",
                nested: 2,
                transactions: 25,
                ..half
            },
            3,
        ),
    ]
}

fn plans() -> impl Iterator<Item = (Plan, u64)> {
    plans_of_few_commits().into_iter().chain(plans_of_many_commits())
}

#[test]
fn no_cut_loses_an_acknowledged_commit() {
    let mut total = 0;
    let mut rolled_back = 0;
    for (plan, seeds) in plans() {
        let outcome = simulate::<Sound>(&plan, seeds * effort(), 4);
        assert_eq!(outcome.failures, Vec::<String>::new(), "{}", plan.name);
        total += outcome.states;
        rolled_back += outcome.rolled_back;
    }
    assert!(total >= 20_000, "only {total} states were tried");
    assert!(rolled_back > 100, "only {rolled_back} states set a record aside");
}

/// A protocol without one of its steps. (tests/exhaustive.rs takes away the other steps too.)
macro_rules! mutation {
    ($name:ident, $step:ident) => {
        #[derive(Debug)]
        struct $name;
        impl Protocol for $name {
            const $step: bool = false;
        }
    };
}

mutation!(BelievesEveryRecord, VERIFIES_NEWEST);
mutation!(RaisesNoBarriers, RAISES_BARRIERS);
mutation!(ClaimsCheckpoints, CHECKPOINTS_FIRST);
mutation!(TakesForHomeWhatIsOnItsWay, AWAITS_HOMECOMINGS);
mutation!(CarriesNothing, CARRIES_ENTRIES);
mutation!(BringsBackWhatWasCut, DROPS_WHAT_IS_CUT);

fn plan(name: &str) -> Plan {
    let (plan, _) = plans()
        .into_iter()
        .find(|(plan, _)| plan.name.starts_with(name))
        .unwrap();
    plan
}

/// Whether the simulator finds lost data where a step is left out.
fn assert_noticed<P: Protocol>(name: &str, seeds: u64, per_window: usize) {
    let outcome = simulate::<P>(&plan(name), seeds, per_window);
    assert!(!outcome.failures.is_empty());
}

#[test]
fn without_the_verification_of_the_newest_record_databases_are_lost() {
    assert_noticed::<BelievesEveryRecord>("512-byte", 10, 4);
}

#[test]
fn without_barriers_databases_are_lost() {
    assert_noticed::<RaisesNoBarriers>("four staged pages", 20, 4);
}

#[test]
fn without_checkpoints_of_entries_away_from_home_databases_are_lost() {
    assert_noticed::<ClaimsCheckpoints>("several groups, so", 3, 4);
}

#[test]
fn without_waiting_for_what_goes_home_databases_are_lost() {
    assert_noticed::<TakesForHomeWhatIsOnItsWay>("few entries away", 6, 8);
}

#[test]
fn without_carrying_what_is_away_databases_are_lost() {
    assert_noticed::<CarriesNothing>("many commits, so", 5, 2);
}

#[test]
fn without_dropping_what_was_cut_databases_are_lost() {
    assert_noticed::<BringsBackWhatWasCut>("many commits, so", 20, 4);
}
