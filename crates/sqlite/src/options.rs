//! How a file is opened.

use std::path::PathBuf;
use std::sync::Arc;

use nimbus_crypto::SqlcipherKey;
use nimbus_crypto::sqlcipher::{FilePages, HashAlgorithm};

/// Which file is opened and how.
#[derive(Clone)]
pub struct OpenOptions {
    /// The data file.
    pub path: PathBuf,
    /// Whether it must exist already.
    pub mode: Mode,
    /// Keep the file for this process alone (the VFS `unix-excl`): its connections share memory instead of taking
    /// file locks for each read.
    pub exclusive: bool,
    /// Absent for a plain file.
    pub encryption: Option<Arc<Encryption>>,
}

/// What must be there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The file must exist and hold a database: an empty file is corrupt, never a new database.
    Open,
    /// Nothing may exist at the path; the file is created with mode 0600.
    Create,
}

/// The key of a file and the parameters under which its pages are written.
pub struct Encryption {
    /// The raw page key with its salt, the file id: the first 16 bytes of the file.
    pub key: SqlcipherKey,
    /// The page format.
    pub profile: Profile,
}

impl Encryption {
    /// What authenticates the file's pages where SQLite does not.
    pub(crate) fn file_pages(&self) -> FilePages {
        self.key.file_pages(self.profile.mac_hash())
    }
}

/// A set of SQLCipher 4 parameters; the key is raw, so that no password derivation takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// AES-256-CBC with HMAC-SHA512: SQLCipher 4's defaults.
    Sqlcipher4,
    /// The same with HMAC-SHA256, which is three times as fast where the processor has SHA instructions. SQLite keeps the
    /// reserve of 80 bytes a page that SQLCipher's defaults asked for first, as it does under every SQLCipher 4 that is
    /// told the algorithm after the key.
    Sqlcipher4Sha256,
}

impl Profile {
    /// The name that manifests carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlcipher4 => "sqlcipher-4",
            Self::Sqlcipher4Sha256 => "sqlcipher-4-sha256",
        }
    }

    /// The profile of that name, if there is one.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Sqlcipher4, Self::Sqlcipher4Sha256]
            .into_iter()
            .find(|profile| profile.name() == name)
    }

    const fn mac_hash(self) -> HashAlgorithm {
        match self {
            Self::Sqlcipher4 => HashAlgorithm::Sha512,
            Self::Sqlcipher4Sha256 => HashAlgorithm::Sha256,
        }
    }

    /// The argument of `PRAGMA cipher_hmac_algorithm`.
    pub(crate) const fn hmac_algorithm(self) -> &'static str {
        match self {
            Self::Sqlcipher4 => "HMAC_SHA512",
            Self::Sqlcipher4Sha256 => "HMAC_SHA256",
        }
    }
}
