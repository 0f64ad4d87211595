//! Ordered ranges, in batches: a reader never holds more of a table in memory than it asked for.

use std::ops::Bound;

use redb::ReadableTable;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Which end of a range comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The smallest key first (by bytes).
    Ascending,
    /// The largest key first.
    Descending,
}

/// Where a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// After so many pairs.
    pub pairs: usize,
    /// After the pair with which keys and values reach so many bytes.
    pub bytes: usize,
}

/// A part of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The pairs in order.
    pub pairs: Vec<Pair>,
    /// Whether the range has more: go on beyond the last key.
    pub has_more: bool,
}

/// Calls `each` with the first pairs of `table` between the bounds, from the end that `direction` names; whether there are
/// more. Bounds that enclose nothing have no pairs.
pub(super) fn for_each(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    direction: Direction,
    limit: Limit,
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<bool, redb::Error> {
    if is_empty(bounds) {
        return Ok(false);
    }
    let mut range = table.range::<&[u8]>(bounds)?;
    let (mut pairs, mut bytes) = (0, 0);
    loop {
        let next = match direction {
            Direction::Ascending => range.next(),
            Direction::Descending => range.next_back(),
        };
        let Some(pair) = next else { return Ok(false) };
        if pairs >= limit.pairs || bytes >= limit.bytes {
            return Ok(true);
        }
        let (key, value) = pair?;
        let (key, value) = (key.value(), value.value());
        pairs += 1;
        bytes += key.len() + value.len();
        each(key, value);
    }
}

/// The same pairs, each as vectors of its own.
pub(super) fn read(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
    direction: Direction,
    limit: Limit,
) -> Result<Batch, redb::Error> {
    let mut pairs = Vec::new();
    let has_more = for_each(table, bounds, direction, limit, |key, value| {
        pairs.push((key.to_vec(), value.to_vec()));
    })?;
    Ok(Batch { pairs, has_more })
}

/// redb panics where a range begins behind its end.
fn is_empty(bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match bounds {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => start >= end,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
