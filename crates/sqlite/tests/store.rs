//! Group commit under load, against a model.

#![allow(clippy::panic, reason = "tests say what they expect by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use nimbus_sqlite::{Mode, Outcome, Step, Value};
use support::{Client, PROFILES, options, reopened, step};

/// A small generator, so that a failure can be run again: splitmix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What one request does to the model, or `None` if it must fail as a whole.
fn apply(model: &BTreeMap<u64, u64>, changes: &[(u64, Option<u64>)]) -> Option<BTreeMap<u64, u64>> {
    let mut after = model.clone();
    for &(key, value) in changes {
        match value {
            Some(value) => {
                if after.insert(key, value).is_some() {
                    return None;
                }
            }
            None => {
                after.remove(&key)?;
            }
        }
    }
    Some(after)
}

fn steps(changes: &[(u64, Option<u64>)]) -> Vec<Step> {
    let integer = |number: u64| Value::Integer(i64::try_from(number).expect("small"));
    changes
        .iter()
        .map(|&(key, value)| match value {
            Some(value) => step("INSERT INTO t VALUES (?, ?)", vec![integer(key), integer(value)]),
            None => Step {
                at_least: 1,
                ..step("DELETE FROM t WHERE key = ?", vec![integer(key)])
            },
        })
        .collect()
}

#[test]
fn requests_committed_together_do_what_they_would_do_one_after_the_other() {
    for (seed, profile) in (0..).zip(PROFILES) {
        let mut random = Random(seed);
        let directory = tempfile::tempdir().expect("directory");
        let creating = options(&directory.path().join("a.sqlite3"), profile, Mode::Create);
        let mut client = Client::open(&creating).expect("create");
        client
            .write(vec![step(
                "CREATE TABLE t (key INTEGER PRIMARY KEY, value INTEGER)",
                vec![],
            )])
            .expect("table");
        let mut model = BTreeMap::new();
        for _ in 0..60 {
            let requests: Vec<Vec<(u64, Option<u64>)>> = (0..40)
                .map(|_| {
                    (0..=random.below(3))
                        .map(|_| (random.below(60), (random.below(2) == 0).then(|| random.below(1_000))))
                        .collect()
                })
                .collect();
            let mut expected = BTreeMap::new();
            for changes in &requests {
                let id = client.id();
                client.store.write(id, steps(changes));
                let after = apply(&model, changes);
                expected.insert(id, after.is_some());
                model = after.unwrap_or(model);
            }
            for _ in 0..requests.len() {
                let completion = client.wait();
                let succeeded = match completion.outcome {
                    Outcome::Wrote(_) => true,
                    Outcome::Failed(error) => {
                        assert!(error.is_of_request(), "{error}");
                        false
                    }
                    other => panic!("unexpected {other:?}"),
                };
                assert_eq!(expected.remove(&completion.id), Some(succeeded));
            }
        }
        let stats = client.store.stats();
        assert!(stats.commits < stats.requests / 2, "commits were grouped: {stats:?}");
        client.close();
        let mut again = Client::open(&reopened(&creating, creating.path.clone())).expect("open");
        let integer = |number: &u64| Value::Integer(i64::try_from(*number).expect("small"));
        let rows: Vec<_> = model
            .iter()
            .map(|(key, value)| vec![integer(key), integer(value)])
            .collect();
        assert_eq!(
            again.query("SELECT key, value FROM t ORDER BY key").expect("rows"),
            rows
        );
        again.close();
    }
}

#[test]
fn a_closed_store_has_let_go_of_the_key() {
    let directory = tempfile::tempdir().expect("directory");
    let mut creating = options(&directory.path().join("a.sqlite3"), PROFILES[1], Mode::Create);
    let mut client = Client::open(&creating).expect("create");
    client.write(vec![step("CREATE TABLE t (key)", vec![])]).expect("table");
    client.query("SELECT * FROM t").expect("rows");
    client.store.get("SELECT * FROM t", &[]).expect("no row");
    client.close();
    let encryption = creating.encryption.take().expect("encrypted");
    assert_eq!(Arc::strong_count(&encryption), 1, "only the test has it");
}
