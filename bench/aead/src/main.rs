//! AES-256-GCM-SIV as nimbus has it, beside AWS-LC's and beside AES-256-GCM: sealing and opening 4 KiB pages.
//! Rounds are interleaved, so that a slow moment of the machine meets all of them; prints one JSON object.

mod cipher;

use std::time::Instant;

use cipher::{Cipher, NONCE_BYTES};

const PAGE_BYTES: usize = 4096;
const PAGES_PER_ROUND: u32 = 2000;
const ROUNDS: usize = 31;

/// What is measured: nanoseconds a page, one entry a round.
#[derive(Default)]
struct Timings {
    seal: Vec<f64>,
    open: Vec<f64>,
}

fn main() {
    let mut ciphers = cipher::all([7; 32]);
    let mut timings: Vec<Timings> = ciphers.iter().map(|_| Timings::default()).collect();
    for round in 0..ROUNDS {
        // Every round starts with another cipher, so that none of them always runs behind the same neighbour.
        for turn in 0..ciphers.len() {
            let index = (round + turn) % ciphers.len();
            let (seal, open) = measure(&mut *ciphers[index].1);
            timings[index].seal.push(seal);
            timings[index].open.push(open);
        }
    }
    print(&ciphers.iter().map(|(name, _)| *name).collect::<Vec<_>>(), &mut timings);
}

/// Nanoseconds to seal and to open one page.
fn measure(cipher: &mut dyn Cipher) -> (f64, f64) {
    let mut page = vec![0x5A; PAGE_BYTES];
    let original = page.clone();
    let mut seal = 0.0;
    let mut open = 0.0;
    for number in 0..PAGES_PER_ROUND {
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&number.to_le_bytes());
        let aad = u64::from(number).to_le_bytes();
        let started = Instant::now();
        let tag = cipher.seal(&nonce, &aad, &mut page);
        seal += started.elapsed().as_secs_f64();
        let started = Instant::now();
        cipher.open(&nonce, &aad, &mut page, &tag);
        open += started.elapsed().as_secs_f64();
    }
    assert_eq!(page, original, "what was sealed is what was opened");
    let per_page = 1e9 / f64::from(PAGES_PER_ROUND);
    (seal * per_page, open * per_page)
}

fn print(names: &[&str], timings: &mut [Timings]) {
    let rows: Vec<String> = names
        .iter()
        .zip(timings)
        .map(|(name, Timings { seal, open })| {
            format!(
                r#"{{"name":"{name}","seal_ns":{:.0},"open_ns":{:.0}}}"#,
                median(seal),
                median(open)
            )
        })
        .collect();
    println!(
        r#"{{"page_bytes":{PAGE_BYTES},"rounds":{ROUNDS},"ciphers":[{}]}}"#,
        rows.join(",")
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
