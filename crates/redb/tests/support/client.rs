//! A store that is used from one thread, and a database for it.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use nimbus_redb::engine::{
    Completion, Durability, Encryption, EngineError, Mode, Operations, Options, Outcome, Store, Verified,
};
use nimbus_test_support::fixed_dek;
use nimbus_threads::Watch;
use tempfile::TempDir;

use super::FILE;

pub const FASTEST: u64 = u64::MAX;

pub struct Client {
    pub store: Store,
    pub path: PathBuf,
    pub completions: Receiver<Completion>,
    pub directory: TempDir,
}

pub fn client(sealed: bool) -> Client {
    open(tempfile::tempdir().unwrap(), Mode::Create, sealed)
}

pub fn open(directory: TempDir, mode: Mode, sealed: bool) -> Client {
    let path = directory.path().join("open.redb");
    let dek = fixed_dek();
    let options = Options {
        path: path.clone(),
        mode,
        encryption: sealed.then_some(Encryption {
            dek: &dek,
            file_id: FILE,
            dek_generation: 1,
        }),
        cache_bytes: 0,
    };
    let (sender, completions) = channel();
    let sender = Mutex::new(sender);
    let sink = Arc::new(move |batch: Vec<Completion>| {
        for completion in batch {
            sender.lock().unwrap().send(completion).unwrap_or_default();
        }
    });
    let store = Store::open(&options, None, sink).unwrap();
    Client {
        store,
        path,
        completions,
        directory,
    }
}

impl Client {
    pub fn put(&self, key: u32, value: &[u8]) -> Result<(), Arc<EngineError>> {
        let key = key.to_be_bytes();
        let layout = [0, 4, u32::try_from(value.len()).unwrap()];
        let operations = Operations::unpack(
            Vec::new(),
            vec!["pairs".to_owned()],
            &layout,
            [&key[..], value].concat(),
        )
        .unwrap();
        self.store.write(0, operations, Durability::Immediate);
        self.wait()
    }

    pub fn close(&self) {
        self.store.close(0);
        self.wait().unwrap();
    }

    pub fn wait(&self) -> Result<(), Arc<EngineError>> {
        match self.completions.recv().unwrap().outcome {
            Outcome::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    pub fn verify(&self) -> Result<Verified, EngineError> {
        let verification = self.store.verification().unwrap().expect("sealed");
        verification.run(FASTEST, &watch())
    }
}

/// A database of some groups, some of whose pages are free.
pub fn filled() -> Client {
    let client = client(true);
    for key in 0..300 {
        client.put(key % 150, &value(key)).unwrap();
    }
    for key in 0..60 {
        client.put(key, b"short").unwrap();
    }
    // Opened anew, the newest record lists no page whose loss would pass for a commit cut short.
    client.close();
    open(client.directory, Mode::Open, true)
}

pub fn value(key: u32) -> Vec<u8> {
    key.to_be_bytes().repeat(500 + key as usize * 7 % 900)
}

pub fn watch() -> Arc<Watch> {
    Arc::new(Watch::new(|_| {}))
}
