//! The page cipher alone, on one core.

use std::time::Duration;

use nimbus_crypto::{Dek, FileId, RedbBinding};

use super::{median, timed};

/// Microseconds a page.
pub(crate) struct Page {
    pub(crate) seal_us: f64,
    pub(crate) open_us: f64,
}

pub(crate) fn measure(dek: &Dek) -> Page {
    const ROUNDS: usize = 101;
    const PAGES: u32 = 1000;
    let keys = dek.redb_keys(&FileId([1; 16]), &RedbBinding([0; 24]));
    let (plaintext, nonce, aad) = (vec![7; 4096], [1; 12], [0; 16]);
    let mut page = vec![0; 4096];
    let (mut seals, mut opens): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut tag = [0; 16];
        let (sealing, ()) = timed(|| {
            for _ in 0..PAGES {
                tag = keys.pages().seal(&nonce, &aad, &plaintext, &mut page);
            }
        });
        seals.push(sealing);
        let sealed = page.clone();
        // What is opened was copied to its place by the read before.
        let (opening, ()) = timed(|| {
            for _ in 0..PAGES {
                page.copy_from_slice(&sealed);
                keys.pages().open_in_place(&nonce, &aad, &mut page, &tag).unwrap();
            }
        });
        opens.push(opening);
    }
    Page {
        seal_us: median(&mut seals) / f64::from(PAGES),
        open_us: median(&mut opens) / f64::from(PAGES),
    }
}
