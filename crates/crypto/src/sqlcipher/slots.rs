//! A cache of the two most recently used keys.

/// Up to two expanded keys, the least recently used one giving way.
pub(super) struct TwoSlots<T> {
    newest: Option<T>,
    oldest: Option<T>,
}

impl<T> Default for TwoSlots<T> {
    fn default() -> Self {
        Self {
            newest: None,
            oldest: None,
        }
    }
}

impl<T> TwoSlots<T> {
    /// The value that `is_wanted`, made by `make` if neither is.
    pub(super) fn get_or_insert(&mut self, is_wanted: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &T {
        let held = |slot: &Option<T>| slot.as_ref().is_some_and(&is_wanted);
        if !held(&self.newest) {
            std::mem::swap(&mut self.newest, &mut self.oldest);
            if !held(&self.newest) {
                self.newest = None;
            }
        }
        self.newest.get_or_insert_with(make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_in_turn_are_expanded_once_each() {
        let mut slots = TwoSlots::default();
        let mut made = 0;
        for wanted in [1, 2, 1, 2, 2, 1] {
            assert_eq!(
                *slots.get_or_insert(
                    |&held| held == wanted,
                    || {
                        made += 1;
                        wanted
                    }
                ),
                wanted
            );
        }
        assert_eq!(made, 2);
    }

    #[test]
    fn the_key_that_was_used_last_stays_when_a_third_comes() {
        let mut slots = TwoSlots::default();
        for wanted in [1, 2, 1, 3] {
            slots.get_or_insert(|&held| held == wanted, || wanted);
        }
        assert_eq!(
            *slots.get_or_insert(|&held| held == 1, || panic!("1 was used after 2")),
            1
        );
        assert_eq!(*slots.get_or_insert(|&held| held == 3, || panic!("3 was used last")), 3);
    }
}
