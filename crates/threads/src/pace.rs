//! Long work beside work that somebody waits for: no faster than it was told, so that the disk and a processor are left to others.

use std::time::{Duration, Instant};

/// Longest rest before whoever works looks again whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// So many bytes a second.
pub struct Pace {
    bytes_per_second: u64,
    /// When what was done until now is over, at this pace.
    due: Instant,
}

impl Pace {
    /// From now on; 0 counts as 1.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            due: Instant::now(),
        }
    }

    /// Rests after `bytes` were worked on, as long as they may take; less once `is_stopped` says so. Time lost to a slow disk is
    /// not made up for.
    pub fn rest(&mut self, bytes: u64, is_stopped: impl Fn() -> bool) {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.due += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        loop {
            let now = Instant::now();
            if now >= self.due {
                self.due = now;
                return;
            }
            if is_stopped() {
                return;
            }
            std::thread::sleep((self.due - now).min(LOOK_EVERY));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_as_long_as_its_pace_says_and_time_lost_is_not_made_up_for() {
        let began = Instant::now();
        let mut pace = Pace::new(1_000_000);
        for _ in 0..4 {
            pace.rest(20_000, || false);
        }
        assert!(began.elapsed() >= Duration::from_millis(80));
        let late = Pace {
            bytes_per_second: 1_000_000,
            due: began,
        };
        let mut pace = late;
        pace.rest(1, || false);
        let rested = Instant::now();
        pace.rest(20_000, || false);
        assert!(rested.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_rest_ends_when_the_work_is_to_stop() {
        let began = Instant::now();
        Pace::new(1).rest(3_600, || true);
        assert!(began.elapsed() < Duration::from_mins(1));
    }
}
