//! Transactions on a recording disk, with kills and reopenings between them, and the check of what a cut leaves.

use nimbus_redb::format::Layout;
use nimbus_redb::sealed::Protocol;
use nimbus_redb::{SealedFile, Tuning};
use nimbus_test_support::{Cut, Event, Rng, Sector, SimDisk, fixed_dek};
use redb::{Durability, TableDefinition};

use super::{Base, FILE, Pairs, TABLE, create, open, pairs};

const FILLER: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("filler");

/// What a run does, and on what.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub name: &'static str,
    pub sector: Sector,
    pub tuning: Tuning,
    pub cache_bytes: usize,
    pub transactions: usize,
    /// Whether processes are killed, and others go on with what was not synced.
    pub kills: bool,
    /// Cuts within the recovery of a cut, this deep.
    pub nested: usize,
    /// Whether the file begins with more pages than one group has, so that what changes lies in several.
    pub filled: bool,
}

impl Plan {
    pub fn plain(name: &'static str, sector: Sector) -> Self {
        Self {
            name,
            sector,
            tuning: tuning(2048, 16),
            cache_bytes: 1 << 20,
            transactions: 12,
            kills: false,
            nested: 0,
            filled: false,
        }
    }
}

/// A small ring, one thread (so that runs repeat), and the two sizes that decide between light and heavy commits.
pub fn tuning(staged_pages: usize, record_blocks: u32) -> Tuning {
    Tuning {
        layout: Layout::new(24).expect("the shortest ring"),
        staged_pages,
        record_blocks,
        cached_meta_blocks: 16,
        entries_away: 1000,
        entries_at_close: 200,
        threads: 1,
    }
}

/// A recorded run: the image that it began with and every state that it went through.
pub struct Run {
    pub disk: SimDisk,
    pub base: Vec<u8>,
    pub states: Vec<Pairs>,
}

pub fn run<P: Protocol>(plan: &Plan, seed: u64) -> Result<Run, String> {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::holding(Vec::new());
    let new = create::<_, P>(disk.clone(), plan.tuning, plan.cache_bytes);
    if plan.filled {
        fill(&new.redb, &mut rng).map_err(|error| error.to_string())?;
    }
    drop(new);
    let mut run = Run {
        base: disk.image(),
        states: vec![Pairs::new()],
        disk,
    };
    run.disk.record();
    let mut base: Base<SimDisk, P> = open(run.disk.clone(), plan.tuning, plan.cache_bytes)?;
    let mut durable = 0;
    let mut current = Pairs::new();
    for _ in 0..plan.transactions {
        let reopens = match rng.below(16) {
            0 => Some(true),
            1 => Some(false),
            _ => None,
        };
        if let Some(reopens) = reopens {
            // Either makes durable what was not yet.
            let settled = run.begin(&current);
            if reopens {
                drop(base);
                base = open(run.disk.clone(), plan.tuning, plan.cache_bytes)?;
            } else {
                base.redb.compact().map_err(|error| error.to_string())?;
            }
            durable = run.acknowledge(settled);
        }
        if plan.kills && rng.once_in(4) {
            run.disk.fail(rng.below(60), u64::MAX);
        }
        let immediate = !rng.once_in(6);
        let mut changed = current.clone();
        change(&mut changed, &mut rng, run.states.len());
        let begun = if immediate { run.begin(&changed) } else { durable };
        match apply(&base, &current, &changed, immediate) {
            Ok(()) => {
                run.disk.heal();
                current = changed;
                if immediate {
                    durable = run.acknowledge(begun);
                }
            }
            Err(error) if !plan.kills => return Err(error),
            Err(_) => {
                run.disk = run.disk.kill();
                drop(base);
                base = open(run.disk.clone(), plan.tuning, plan.cache_bytes)?;
                current = pairs(&base.redb).map_err(|error| error.to_string())?;
                durable = run.acknowledge(state_of(&run.states, &current, &[durable, begun])?);
            }
        }
    }
    if plan.kills {
        run.disk = run.disk.kill();
        drop(base);
    } else {
        let settled = run.begin(&current);
        drop(base);
        run.acknowledge(settled);
    }
    Ok(run)
}

/// 180 pages of another table.
fn fill(redb: &redb::Database, rng: &mut Rng) -> Result<(), redb::Error> {
    let write = redb.begin_write()?;
    {
        let mut table = write.open_table(FILLER)?;
        for number in 0..540_u64 {
            table.insert(number, rng.bytes(1200).as_slice())?;
        }
    }
    Ok(write.commit()?)
}

impl Run {
    /// From now on this state may be the one that is recovered.
    fn begin(&mut self, state: &Pairs) -> usize {
        let number = self.states.len();
        self.states.push(state.clone());
        self.disk.mark(Event::Began(number));
        number
    }

    /// From now on this state, or a later one, must be recovered.
    fn acknowledge(&self, number: usize) -> usize {
        self.disk.mark(Event::Acknowledged(number));
        number
    }
}

/// Opens what a cut left and holds it against the states that it may be in. Tells whether a commit was set aside.
pub fn check<P: Protocol>(plan: &Plan, states: &[Pairs], cut: Cut, rng: &mut Rng) -> Result<bool, String> {
    let allowed = [cut.acknowledged.unwrap_or(0), cut.began];
    check_image::<P>(plan, states, &allowed, cut.image, plan.nested, rng)
}

fn check_image<P: Protocol>(
    plan: &Plan,
    states: &[Pairs],
    allowed: &[usize],
    image: Vec<u8>,
    nested: usize,
    rng: &mut Rng,
) -> Result<bool, String> {
    same_both_ways::<P>(&image, plan.tuning)?;
    let disk = SimDisk::holding(image.clone());
    if nested > 0 {
        disk.record();
    }
    let mut base: Base<SimDisk, P> = open(disk.clone(), plan.tuning, plan.cache_bytes)?;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let rolled_back = base.file.stats().map_err(|error| text(&error))?.rolled_back;
    let found = pairs(&base.redb).map_err(|error| text(&error))?;
    let state = state_of(states, &found, allowed)?;
    if nested > 0 {
        // Dropped without a close: the recovery was cut short.
        let _dead = disk.kill();
        drop(base);
        let mut deeper = Vec::new();
        nimbus_test_support::cuts(&disk, image, plan.sector, 1, rng, |cut| deeper.push(cut.image));
        for image in deeper {
            check_image::<P>(plan, states, &[state], image, nested - 1, rng)?;
        }
        return Ok(rolled_back);
    }
    if !base.redb.check_integrity().map_err(|error| text(&error))? {
        return Err("the integrity check repaired something".to_owned());
    }
    let mut current = found;
    for number in 0..3 {
        let mut changed = current.clone();
        change(&mut changed, rng, 1000 + number);
        apply(&base, &current, &changed, true)?;
        current = changed;
    }
    drop(base);
    let base: Base<SimDisk, P> = open(disk, plan.tuning, plan.cache_bytes)?;
    if pairs(&base.redb).map_err(|error| text(&error))? != current {
        return Err("what was written after the cut is not what was read".to_owned());
    }
    Ok(rolled_back)
}

/// Whether a file opens as of the same record whether or not the whole ring is read.
pub fn same_both_ways<P: Protocol>(image: &[u8], tuning: Tuning) -> Result<(), String> {
    fn newest<P: Protocol>(image: &[u8], tuning: Tuning) -> Result<(u64, bool, u64), String> {
        let disk = SimDisk::holding(image.to_vec());
        let file = SealedFile::<_, P>::open(disk, FILE, &fixed_dek(), tuning).map_err(|error| error.to_string())?;
        let stats = file.stats().map_err(|error| error.to_string())?;
        Ok((stats.epoch, stats.rolled_back, stats.logical_bytes))
    }
    let (short, long) = (newest::<P>(image, tuning), newest::<TheLongWay>(image, tuning));
    if short == long {
        Ok(())
    } else {
        Err(format!("{short:?} the short way, {long:?} the long way"))
    }
}

/// Every opening reads the whole ring.
#[derive(Debug)]
pub struct TheLongWay;

impl Protocol for TheLongWay {
    const TAKES_THE_SHORT_WAY: bool = false;
}

fn state_of(states: &[Pairs], found: &Pairs, allowed: &[usize]) -> Result<usize, String> {
    let matches = |&&state: &&usize| states.get(state) == Some(found);
    allowed.iter().find(matches).copied().ok_or_else(|| {
        let actual = states.iter().position(|state| state == found);
        format!("state {actual:?} was recovered, of {allowed:?}")
    })
}

/// A random change: mostly a few pairs, now and then hundreds, long values, or the loss of most of them.
fn change(pairs: &mut Pairs, rng: &mut Rng, number: usize) {
    let count = if rng.once_in(5) {
        40 + rng.below(200)
    } else {
        1 + rng.below(4)
    };
    if rng.once_in(7) {
        let keep = rng.below(256);
        pairs.retain(|key, _| u64::from(key[0]) < keep);
    }
    for _ in 0..count {
        let key = vec![rng.next().to_le_bytes()[0], rng.next().to_le_bytes()[0] & 3];
        if rng.once_in(5) {
            pairs.remove(&key);
        } else {
            let long = if rng.once_in(40) { 30_000 } else { 900 };
            let length = rng.index(long);
            pairs.insert(key, rng.bytes(length));
        }
    }
    pairs.insert(b"\0number".to_vec(), number.to_le_bytes().to_vec());
}

/// Writes the difference between two states in one transaction.
fn apply<P: Protocol>(base: &Base<SimDisk, P>, before: &Pairs, after: &Pairs, immediate: bool) -> Result<(), String> {
    let attempt = || -> Result<(), redb::Error> {
        let mut transaction = base.redb.begin_write()?;
        transaction.set_durability(if immediate {
            Durability::Immediate
        } else {
            Durability::None
        })?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                table.remove(key.as_slice())?;
            }
            for (key, value) in after.iter().filter(|(key, value)| before.get(*key) != Some(value)) {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    };
    attempt().map_err(|error| error.to_string())
}
