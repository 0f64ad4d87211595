//! A secret byte string of fixed length.

use super::arena::{Fork, Slot};

/// `N` secret bytes in locked memory. A forked child finds zeros in their place, where the system can do that (Linux).
pub struct LockedBytes<const N: usize>(Slot);

impl<const N: usize> LockedBytes<N> {
    /// Zero bytes, to be filled in place through [`Self::expose_secret_mut`], so that no copy is left elsewhere.
    ///
    /// # Panics
    /// Aborts like any allocation if the system has no memory left.
    #[must_use]
    pub fn zeroed() -> Self {
        const { assert!(N <= Slot::MAX_BYTES, "a slot lies within one page") };
        Self(Slot::take(N, Fork::Wipes))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; N] {
        self.0.bytes().first_chunk().expect("the slot was taken for N bytes")
    }

    /// The secret's place: read a key file or randomness straight into it.
    #[must_use]
    pub fn expose_secret_mut(&mut self) -> &mut [u8; N] {
        self.0
            .bytes_mut()
            .first_chunk_mut()
            .expect("the slot was taken for N bytes")
    }
}
