//! Sealing bursts of pages: sorted, on several cores, each run of neighbours in one write.

use std::sync::{Mutex, PoisonError};
use std::thread;

use super::error::SealedError;
use super::staging::{Arena, CHUNK_PAGES, Chunk};
use super::volume::Volume;
use crate::disk::Disk;
use crate::format::layout::group_of;
use crate::format::{BLOCK_BYTES, PageSeal, seal_page};

/// From here on more than one thread seals a flush: starting one costs as much as sealing 8 to 16 pages.
const PARALLEL_PAGES: usize = 32;

/// Seals `pages` (ascending) of `arena` for `epoch` and writes them to their places, without a sync.
pub(super) fn seal_and_write<D: Disk>(
    volume: &Volume<D>,
    arena: &Arena,
    pages: &[u32],
    epoch: u64,
    threads: usize,
) -> Result<Vec<(u32, PageSeal)>, SealedError> {
    if pages.len() < PARALLEL_PAGES || threads < 2 {
        return seal_share(volume, arena, pages, epoch);
    }
    let shares = pages.chunks(pages.len().div_ceil(threads));
    let seals = in_parallel(threads, shares, |share| seal_share(volume, arena, share, epoch))?;
    Ok(seals.into_iter().flatten().collect())
}

/// Does each piece of work, on this thread and up to `threads - 1` others; the results come in the order of the work.
/// Where the system starts no thread, this one does it all.
pub(super) fn in_parallel<W: Send, T: Send>(
    threads: usize,
    work: impl Iterator<Item = W> + Send,
    each: impl Fn(W) -> Result<T, SealedError> + Sync,
) -> Result<Vec<T>, SealedError> {
    let queue = Mutex::new(work.enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let drain = || {
        let mut done = Vec::new();
        while let Some((index, piece)) = next() {
            done.push((index, each(piece)));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, drain).ok())
            .collect();
        let mut done = drain();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|&(index, _)| index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn seal_share<D: Disk>(
    volume: &Volume<D>,
    arena: &Arena,
    pages: &[u32],
    epoch: u64,
) -> Result<Vec<(u32, PageSeal)>, SealedError> {
    let mut scratch = Chunk::take();
    let mut seals = Vec::with_capacity(pages.len());
    for batch in pages.chunks(CHUNK_PAGES) {
        let room = scratch.as_pages_mut();
        for (&page, ciphertext) in batch.iter().zip(room.iter_mut()) {
            let plaintext = arena.get(page).expect("the pages are those of the arena");
            seals.push((
                page,
                seal_page(volume.keys.pages(), page, epoch, plaintext, ciphertext)?,
            ));
        }
        let mut sealed = room.as_flattened();
        for run in batch.chunk_by(|&page, &next| next == page + 1 && group_of(page) == group_of(next)) {
            let (ciphertext, rest) = sealed.split_at(run.len() * BLOCK_BYTES);
            sealed = rest;
            if let &[start, ..] = run {
                volume.disk.write_at(volume.layout.data_offset(start), ciphertext)?;
            }
        }
    }
    Ok(seals)
}
