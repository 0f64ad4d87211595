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
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Runs the plan for `seeds`, on every core, and checks `per_window` cuts between any two syncs.
fn simulate<P: Protocol>(plan: &Plan, seeds: u64, per_window: usize) -> Outcome {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let outcome = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcome = Outcome::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds {
                            return outcome;
                        }
                        simulate_seed::<P>(plan, seed, per_window, &mut outcome);
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

fn simulate_seed<P: Protocol>(plan: &Plan, seed: u64, per_window: usize, outcome: &mut Outcome) {
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

fn plans() -> Vec<(Plan, u64)> {
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

#[test]
fn without_the_verification_of_the_newest_record_databases_are_lost() {
    let outcome = simulate::<BelievesEveryRecord>(&plans()[0].0, 10, 4);
    assert!(outcome.failures.len() > 10);
}

#[test]
fn without_barriers_databases_are_lost() {
    let outcome = simulate::<RaisesNoBarriers>(&plans()[4].0, 20, 4);
    assert!(outcome.failures.len() > 10);
}

#[test]
fn without_checkpoints_of_entries_away_from_home_databases_are_lost() {
    let (several_groups, _) = plans()[7];
    assert!(several_groups.filled);
    let outcome = simulate::<ClaimsCheckpoints>(&several_groups, 3, 4);
    assert!(outcome.failures.len() > 10);
}

#[test]
fn without_checkpoints_before_records_are_given_up_databases_are_lost() {
    let outcome = simulate::<ClaimsCheckpoints>(&plans()[1].0, 15, 8);
    assert!(!outcome.failures.is_empty());
}
