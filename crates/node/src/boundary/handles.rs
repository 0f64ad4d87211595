//! What JavaScript's handles stand for: an index and, against the use of one that was closed, a generation.

/// Of 31 bits, since a JavaScript number of so many is one machine word.
const INDEX_BITS: u32 = 22;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: u32 = (1 << (31 - INDEX_BITS)) - 1;

struct Slot<T> {
    generation: u32,
    /// Boxed: what SQLite and running calls point to does not move when the table grows.
    value: Option<Box<T>>,
}

pub(crate) struct Handles<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Handles<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// `None` when four million are open.
    pub(crate) fn insert(&mut self, value: Box<T>) -> Option<i32> {
        let index = if let Some(index) = self.free.pop() {
            index
        } else {
            let index = u32::try_from(self.slots.len())
                .ok()
                .filter(|index| *index <= INDEX_MASK)?;
            self.slots.push(Slot {
                generation: 0,
                value: None,
            });
            index
        };
        let slot = self.slots.get_mut(index as usize)?;
        slot.value = Some(value);
        i32::try_from(slot.generation << INDEX_BITS | index).ok()
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    pub(crate) fn get(&mut self, handle: i32) -> Option<*mut T> {
        let handle = handle as u32;
        let slot = self.slots.get_mut((handle & INDEX_MASK) as usize)?;
        if slot.generation != handle >> INDEX_BITS {
            return None;
        }
        slot.value.as_deref_mut().map(std::ptr::from_mut)
    }

    pub(crate) fn remove(&mut self, handle: i32) -> Option<Box<T>> {
        self.get(handle)?;
        let index = handle as u32 & INDEX_MASK;
        let slot = self.slots.get_mut(index as usize)?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(index);
        slot.value.take()
    }

    /// The handles of all that `is_one` says are meant.
    pub(crate) fn find(&self, mut is_one: impl FnMut(&T) -> bool) -> Vec<i32> {
        (0_u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.value.as_deref().is_some_and(&mut is_one))
            .filter_map(|(index, slot)| i32::try_from(slot.generation << INDEX_BITS | index).ok())
            .collect()
    }
}
