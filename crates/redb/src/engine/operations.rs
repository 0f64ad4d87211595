//! What one write does, as one run of bytes: a write of a thousand rows is a handful of allocations.

use super::packed::ABSENT;

/// Operations in order; tables that are dropped are dropped before the first of them.
#[derive(Debug, Default)]
pub struct Operations {
    dropped_tables: Vec<String>,
    tables: Vec<String>,
    rows: Vec<Row>,
    bytes: Vec<u8>,
}

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    /// The table, made if need be.
    pub table: &'a str,
    /// The key.
    pub key: &'a [u8],
    /// Its new value; `None` removes it.
    pub value: Option<&'a [u8]>,
}

/// The parts given do not make up operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedOperations {
    /// A table without a name.
    #[error("a table has a name that is not empty")]
    UnnamedTable,
    /// Rows that do not add up to the bytes, or name no table.
    #[error("the lengths of the keys and values are not those of the bytes")]
    Lengths,
}

#[derive(Debug)]
struct Row {
    table: usize,
    key_bytes: usize,
    value_bytes: Option<usize>,
}

impl Operations {
    /// Takes operations apart that were packed: for each row of `layout` its table (an index), the length of its key and
    /// that of its value ([`ABSENT`]: remove), and behind each other in `bytes` the keys and values.
    pub fn unpack(
        dropped_tables: Vec<String>,
        tables: Vec<String>,
        layout: &[u32],
        bytes: Vec<u8>,
    ) -> Result<Self, MalformedOperations> {
        if dropped_tables.iter().chain(&tables).any(String::is_empty) {
            return Err(MalformedOperations::UnnamedTable);
        }
        let (layout, rest) = layout.as_chunks();
        let rows: Vec<Row> = layout
            .iter()
            .map(|&[table, key, value]| Row {
                table: table as usize,
                key_bytes: key as usize,
                value_bytes: (value != ABSENT).then_some(value as usize),
            })
            .collect();
        // 2^32 rows of twice 2^32 bytes are far from 2^128.
        let sum: u128 = rows.iter().map(|row| row.bytes() as u128).sum();
        let named = rows.iter().all(|row| row.table < tables.len());
        if !named || !rest.is_empty() || sum != bytes.len() as u128 {
            return Err(MalformedOperations::Lengths);
        }
        Ok(Self {
            dropped_tables,
            tables,
            rows,
            bytes,
        })
    }

    /// Drops a table, with everything in it, before any operation.
    #[must_use]
    pub fn drop_table(mut self, name: &str) -> Self {
        self.dropped_tables.push(name.to_owned());
        self
    }

    /// Sets the value of a key.
    #[must_use]
    pub fn put(self, table: &str, key: &[u8], value: &[u8]) -> Self {
        self.push(table, key, Some(value))
    }

    /// Removes a key.
    #[must_use]
    pub fn delete(self, table: &str, key: &[u8]) -> Self {
        self.push(table, key, None)
    }

    /// The operations in order.
    pub fn iter(&self) -> impl Iterator<Item = Operation<'_>> {
        let mut rest = &self.bytes[..];
        let mut next = move |count: usize| {
            let (bytes, behind) = rest.split_at(count);
            rest = behind;
            bytes
        };
        self.rows.iter().map(move |row| Operation {
            table: self.tables.get(row.table).map_or("", String::as_str),
            key: next(row.key_bytes),
            value: row.value_bytes.map(&mut next),
        })
    }

    /// The tables that are dropped first.
    pub fn dropped_tables(&self) -> &[String] {
        &self.dropped_tables
    }

    /// The memory they take, about.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<Row>()
    }

    fn push(mut self, table: &str, key: &[u8], value: Option<&[u8]>) -> Self {
        let index = self.tables.iter().position(|name| name == table).unwrap_or_else(|| {
            self.tables.push(table.to_owned());
            self.tables.len() - 1
        });
        self.rows.push(Row {
            table: index,
            key_bytes: key.len(),
            value_bytes: value.map(<[u8]>::len),
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self
    }
}

impl Row {
    fn bytes(&self) -> usize {
        self.key_bytes + self.value_bytes.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_what_comes_out() {
        let tables = || vec!["a".to_owned(), "b".to_owned()];
        let layout = [1, 1, 2, 0, 0, 0, 1, 2, ABSENT];
        let operations = Operations::unpack(vec![], tables(), &layout, b"kvvkk".to_vec()).expect("whole");
        let expected = Operations::default()
            .put("b", b"k", b"vv")
            .put("a", b"", b"")
            .delete("b", b"kk");
        assert!(operations.iter().eq(expected.iter()));
        assert!(Operations::unpack(vec![], vec![], &[], vec![]).is_ok());
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let unpack = |tables: &[&str], layout: &[u32], bytes: &[u8]| {
            let tables = tables.iter().map(|&name| name.to_owned()).collect();
            Operations::unpack(vec![], tables, layout, bytes.to_vec()).err()
        };
        assert_eq!(unpack(&["t"], &[0, 1, 1], b"kv"), None);
        for (layout, bytes) in [
            (&[0, 1, 1][..], &b"k"[..]),
            (&[0, 1, 1], b"kvv"),
            (&[1, 1, 1], b"kv"),
            (&[0, 1], b"k"),
            (&[0, u32::MAX, u32::MAX - 1, 0, 1, 1], b"kv"),
        ] {
            assert_eq!(unpack(&["t"], layout, bytes), Some(MalformedOperations::Lengths));
        }
        assert_eq!(unpack(&[""], &[], b""), Some(MalformedOperations::UnnamedTable));
        assert!(Operations::unpack(vec![String::new()], vec![], &[], vec![]).is_err());
    }
}
