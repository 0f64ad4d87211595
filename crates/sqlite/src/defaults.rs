//! SQLCipher's process-wide defaults, and whose turn it is with them.
//!
//! A connection of ours sets every parameter of its own file after the key. VACUUM INTO and ATTACH leave no room for that:
//! the file that they open is read or written at once, with the defaults. So they are changed for that time, while nobody
//! keys another connection: between its key and its parameters it would have the reserved bytes of the wrong hash.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::options::Profile;

static TURN: RwLock<()> = RwLock::new(());

/// Held while a connection is keyed.
pub(crate) fn settled() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Has files that are attached meanwhile be of this profile. The defaults are SQLCipher's own again when it is dropped.
pub(crate) struct Changed<'connection> {
    connection: &'connection rusqlite::Connection,
    _turn: RwLockWriteGuard<'static, ()>,
}

impl<'connection> Changed<'connection> {
    /// The pragma needs some connection; it acts on none in particular.
    pub(crate) fn to(profile: Profile, connection: &'connection rusqlite::Connection) -> rusqlite::Result<Self> {
        let turn = TURN.write().unwrap_or_else(PoisonError::into_inner);
        let changed = Self {
            connection,
            _turn: turn,
        };
        changed.set(profile)?;
        Ok(changed)
    }

    fn set(&self, profile: Profile) -> rusqlite::Result<()> {
        let hmac = profile.hmac_algorithm();
        self.connection
            .execute_batch(&format!("PRAGMA cipher_default_hmac_algorithm = {hmac}"))
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        // It parses one word and stores a number; if even that fails, every connection still sets its own parameters.
        let _ = self.set(Profile::Sqlcipher4);
    }
}
