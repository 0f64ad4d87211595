//! Randomness of the operating system, directly for keys and through a buffer for nonces. A failure is an error, never
//! weak bytes.

use std::cell::RefCell;
use std::process;

use zeroize::Zeroize;

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct RandomError(#[from] getrandom::Error);

/// Fills `out` with randomness of the operating system: for keys, salts and file ids.
///
/// # Errors
/// [`RandomError`] if the operating system gives none; `out` must not be used then.
pub fn fill(out: &mut [u8]) -> Result<(), RandomError> {
    Ok(getrandom::fill(out)?)
}

/// Fills `out` from a buffer of this thread that the operating system refills 4 KiB at a time: for the initialization
/// vectors of pages, where one system call a page would show.
///
/// A byte is handed out once and wiped at once. A forked child does not continue its parent's buffer.
///
/// # Errors
/// [`RandomError`] if a refill fails; `out` must not be used then.
pub fn fill_buffered(out: &mut [u8]) -> Result<(), RandomError> {
    // A thread that is ending has lost its buffer already; requests that would drain it are no cheaper through it.
    if out.len() > RandomBuffer::BYTES / 8 {
        return fill(out);
    }
    BUFFER
        .try_with(|buffer| buffer.borrow_mut().fill(out))
        .unwrap_or_else(|_thread_is_ending| fill(out))
}

thread_local! {
    static BUFFER: RefCell<RandomBuffer> = RefCell::new(RandomBuffer::new());
}

struct RandomBuffer {
    bytes: Box<[u8; Self::BYTES]>,
    /// Bytes before this index were handed out.
    used: usize,
    /// The process that filled the buffer.
    owner: u32,
}

impl RandomBuffer {
    const BYTES: usize = 4096;

    fn new() -> Self {
        Self {
            bytes: Box::new([0; Self::BYTES]),
            used: Self::BYTES,
            owner: process::id(),
        }
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        let process = process::id();
        if self.owner != process || Self::BYTES - self.used < out.len() {
            self.refill()?;
            self.owner = process;
        }
        let next = self.bytes.get_mut(self.used..self.used + out.len());
        let next = next.expect("it was refilled if it ran short, and it is longer than any request");
        out.copy_from_slice(next);
        next.zeroize();
        self.used += out.len();
        Ok(())
    }

    fn refill(&mut self) -> Result<(), RandomError> {
        // Nothing counts as unused while the refill may fail half-way.
        self.used = Self::BYTES;
        fill(&mut self.bytes[..])?;
        self.used = 0;
        Ok(())
    }
}

impl Drop for RandomBuffer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_wiped_as_they_are_handed_out_and_the_buffer_is_refilled_when_it_runs_short() {
        let mut buffer = RandomBuffer::new();
        for round in 1..=RandomBuffer::BYTES / 16 {
            buffer.fill(&mut [0; 16]).expect("randomness");
            assert_eq!(buffer.used, 16 * round);
            assert!(buffer.bytes[..buffer.used].iter().all(|&byte| byte == 0));
        }
        buffer.fill(&mut [0; 16]).expect("randomness");
        assert_eq!(buffer.used, 16);
    }

    #[test]
    fn a_buffer_that_another_process_filled_is_not_used() {
        let mut buffer = RandomBuffer::new();
        buffer.fill(&mut [0; 16]).expect("randomness");
        buffer.owner ^= 1;
        let parents = *buffer.bytes;
        let mut out = [0; 16];
        buffer.fill(&mut out).expect("randomness");
        assert_ne!(out, parents[16..32]);
        assert_eq!((buffer.used, buffer.owner), (16, process::id()));
    }
}
