//! One interface for the AEADs that are compared: in place, detached tag, twelve bytes of nonce.

use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, AES_256_GCM_SIV, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use nimbus_crypto::{LockedBytes, SealCipher};
use openssl::cipher::Cipher as Algorithms;
use openssl::cipher_ctx::CipherCtx;

pub const NONCE_BYTES: usize = 12;
pub const TAG_BYTES: usize = 16;

pub trait Cipher {
    /// Encrypts `page` in place and returns the tag.
    fn seal(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8]) -> [u8; TAG_BYTES];
    /// Decrypts `page` in place; panics when the tag does not match.
    fn open(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8], tag: &[u8; TAG_BYTES]);
}

/// All of them under one key; the first is the one that seals pages, the second the one that wraps keys.
pub fn all(key: [u8; 32]) -> Vec<(&'static str, Box<dyn Cipher>)> {
    vec![
        ("AES-256-GCM-SIV, what seals pages", Box::new(nimbus(&key))),
        (
            "AES-256-GCM-SIV, aes-gcm-siv",
            Box::new(aes_gcm_siv::Aes256GcmSiv::new(&key.into())),
        ),
        (
            "AES-256-GCM-SIV, aws-lc-rs",
            Box::new(AwsLc::new(&AES_256_GCM_SIV, &key)),
        ),
        ("AES-256-GCM, aws-lc-rs", Box::new(AwsLc::new(&AES_256_GCM, &key))),
        ("AES-256-GCM, OpenSSL", Box::new(OpenSsl::new(&key))),
    ]
}

fn nimbus(key: &[u8; 32]) -> SealCipher {
    let mut locked = LockedBytes::zeroed();
    *locked.expose_secret_mut() = *key;
    SealCipher::new(&locked)
}

impl Cipher for SealCipher {
    fn seal(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8]) -> [u8; TAG_BYTES] {
        self.seal_in_place(nonce, aad, page)
    }

    fn open(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8], tag: &[u8; TAG_BYTES]) {
        self.open_in_place(nonce, aad, page, tag).expect("the tag is ours");
    }
}

impl Cipher for aes_gcm_siv::Aes256GcmSiv {
    fn seal(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8]) -> [u8; TAG_BYTES] {
        self.encrypt_inout_detached(&(*nonce).into(), aad, page.into())
            .expect("a page is short enough")
            .into()
    }

    fn open(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8], tag: &[u8; TAG_BYTES]) {
        self.decrypt_inout_detached(&(*nonce).into(), aad, page.into(), &(*tag).into())
            .expect("the tag is ours");
    }
}

struct AwsLc(LessSafeKey);

impl AwsLc {
    fn new(algorithm: &'static Algorithm, key: &[u8]) -> Self {
        Self(LessSafeKey::new(
            UnboundKey::new(algorithm, key).expect("32 bytes of key"),
        ))
    }
}

impl Cipher for AwsLc {
    fn seal(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), page)
            .expect("a page is short enough");
        tag.as_ref().try_into().expect("16 bytes of tag")
    }

    fn open(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8], tag: &[u8; TAG_BYTES]) {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, page)
            .expect("the tag is ours");
    }
}

/// Contexts that keep their key: a message costs a nonce, not a key schedule.
struct OpenSsl {
    sealing: CipherCtx,
    opening: CipherCtx,
}

impl OpenSsl {
    fn new(key: &[u8]) -> Self {
        let mut sealing = CipherCtx::new().expect("memory for a context");
        let mut opening = CipherCtx::new().expect("memory for a context");
        sealing
            .encrypt_init(Some(Algorithms::aes_256_gcm()), Some(key), None)
            .expect("32 bytes of key");
        opening
            .decrypt_init(Some(Algorithms::aes_256_gcm()), Some(key), None)
            .expect("32 bytes of key");
        Self { sealing, opening }
    }
}

impl Cipher for OpenSsl {
    fn seal(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8]) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        self.sealing
            .encrypt_init(None, None, Some(nonce))
            .expect("12 bytes of nonce");
        self.sealing.cipher_update(aad, None).expect("associated data");
        self.sealing
            .cipher_update_inplace(page, page.len())
            .expect("a page is short enough");
        self.sealing.cipher_final(&mut []).expect("nothing is left over");
        self.sealing.tag(&mut tag).expect("16 bytes of tag");
        tag
    }

    fn open(&mut self, nonce: &[u8; NONCE_BYTES], aad: &[u8], page: &mut [u8], tag: &[u8; TAG_BYTES]) {
        self.opening
            .decrypt_init(None, None, Some(nonce))
            .expect("12 bytes of nonce");
        self.opening.cipher_update(aad, None).expect("associated data");
        self.opening
            .cipher_update_inplace(page, page.len())
            .expect("a page is short enough");
        self.opening.set_tag(tag).expect("16 bytes of tag");
        self.opening.cipher_final(&mut []).expect("the tag is ours");
    }
}
