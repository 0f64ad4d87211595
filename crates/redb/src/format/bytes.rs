//! A cursor that writes and one that reads fixed little-endian layouts.

/// Writes one field after the other.
pub(super) struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    pub(super) const fn new(bytes: &'a mut [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn put(&mut self, field: &[u8]) {
        self.next(field.len()).copy_from_slice(field);
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.next(count).fill(0);
    }

    /// The place of a field that is filled in later.
    pub(super) fn next(&mut self, count: usize) -> &'a mut [u8] {
        let (field, rest) = std::mem::take(&mut self.rest)
            .split_at_mut_checked(count)
            .expect("layouts have a fixed length that the caller allocated");
        self.rest = rest;
        field
    }
}

/// Reads one field after the other.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self
            .rest
            .split_first_chunk()
            .expect("layouts have a fixed length that the caller checked");
        self.rest = rest;
        *field
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Whether the next bytes are all zero, as reserved ones must be: a later format that gives them a meaning is not
    /// read as this one.
    #[must_use]
    pub(super) fn zeros<const N: usize>(&mut self) -> bool {
        self.array::<N>() == [0; N]
    }

    /// What was not read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
