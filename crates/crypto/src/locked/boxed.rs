//! A value of any type in locked memory: for expanded key schedules and hash midstates, which are as good as their key.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::arena::{Fork, Slot};

/// A `T` in locked memory, dropped and then wiped, whether or not `T` wipes itself.
///
/// A forked child keeps its copy: zeros are not a valid value of every type.
pub struct LockedBox<T> {
    slot: Slot,
    value: PhantomData<T>,
}

impl<T> LockedBox<T> {
    /// Moves `value` into locked memory. The move may leave a copy on the stack, as any use of a key does, until later
    /// calls overwrite it.
    ///
    /// # Panics
    /// Aborts like any allocation if the system has no memory left.
    #[must_use]
    pub fn new(value: T) -> Self {
        const {
            assert!(size_of::<T>() <= Slot::MAX_BYTES, "a slot lies within one page");
            assert!(align_of::<T>() <= Slot::MIN_BYTES, "a slot is aligned to its size");
        };
        let slot = Slot::take(size_of::<T>(), Fork::Copies);
        // SAFETY: the slot is ours alone, valid for writes of size_of::<T>() bytes, and aligned for T (both asserted
        // above; `Slot::take` gives at least the bytes asked for, aligned to `Slot::MIN_BYTES`).
        unsafe { slot.as_ptr().cast::<T>().write(value) };
        Self {
            slot,
            value: PhantomData,
        }
    }
}

impl<T> Deref for LockedBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` wrote a valid T here, it is dropped in `drop` only, and `&self` keeps writers out.
        unsafe { self.slot.as_ptr().cast::<T>().as_ref() }
    }
}

impl<T> DerefMut for LockedBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes the reference the only one.
        unsafe { self.slot.as_ptr().cast::<T>().as_mut() }
    }
}

impl<T> Drop for LockedBox<T> {
    fn drop(&mut self) {
        // SAFETY: the slot holds a valid T that is used by nobody after this; the slot itself, dropped next, wipes the
        // bytes and gives them back.
        unsafe { self.slot.as_ptr().cast::<T>().drop_in_place() };
    }
}

// SAFETY: a LockedBox owns its T as a Box does; the slot may be given back on any thread.
unsafe impl<T: Send> Send for LockedBox<T> {}
// SAFETY: a shared LockedBox gives out `&T` only.
unsafe impl<T: Sync> Sync for LockedBox<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not a type that wipes itself, and of a size that no other test here uses, so that the slot stays as it was left.
    #[test]
    fn the_bytes_of_a_dropped_value_are_wiped() {
        let boxed = LockedBox::new([0xff_u8; 4000]);
        let address = boxed.slot.as_ptr();
        drop(boxed);
        let again = Slot::take(4000, Fork::Copies);
        assert_eq!(again.as_ptr(), address);
        assert!(again.bytes().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn values_are_aligned_for_their_type() {
        #[repr(align(64))]
        struct Wide(u8);
        for value in 0..100 {
            let boxed = LockedBox::new(Wide(value));
            assert_eq!(&raw const *boxed as usize % 64, 0);
            assert_eq!(boxed.0, value);
        }
    }
}
