//! Secrets at rest: AES-256-GCM under the operator's encryption keys.
//!
//! A sealed secret is `version ‖ key id ‖ nonce ‖ ciphertext ‖ tag` (1, 4, 12, n and 16 bytes). Where it is stored is
//! authenticated with it, so that a sealed secret copied into another row or column doesn't open there.
//!
//! What comes by the million (answers kept for repeats) is sealed in the same form under a key of its own, which is
//! derived (HKDF-SHA256) from the operator's and the place: random nonces of one key never come near their bound.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::random::{self, RandomnessUnavailable};

const VERSION: u8 = 1;
/// What is sealed under a key of its own place, derived from the operator's.
const DERIVED_VERSION: u8 = 2;
/// Separates this use of the operator's keys from any other.
const DERIVATION_SALT: &[u8] = b"air router: keys of sealed records, v2";
const KEY_LENGTH: usize = 32;
const KEY_ID_LENGTH: usize = 4;
const NONCE_AT: usize = 1 + KEY_ID_LENGTH;
const CIPHERTEXT_AT: usize = NONCE_AT + NONCE_LEN;

/// More keys than any rotation needs; each one costs a trial where key ids collide.
const MOST_KEYS: usize = 16;

/// The operator's encryption keys: the first one seals, all of them open.
///
/// Nonces are random, so one key may seal up to 2^32 secrets (NIST SP 800-38D, §8.3).
pub struct EncryptionKeys {
    sealing: EncryptionKey,
    retired: Vec<EncryptionKey>,
}

/// Why a list of encryption keys was refused. Positions count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionKeysError {
    /// An entry isn't base64.
    #[error("encryption key {position} is not base64")]
    NotBase64 {
        /// Which one.
        position: usize,
    },
    /// An entry isn't 32 bytes long.
    #[error("encryption key {position} is not 32 bytes long")]
    WrongLength {
        /// Which one.
        position: usize,
    },
    /// More than 16 keys.
    #[error("more than {MOST_KEYS} encryption keys")]
    TooMany,
}

/// Where a sealed secret is stored. It opens only there.
#[derive(Debug, Clone, Copy)]
pub struct SealContext<'a> {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The row's id, as text.
    pub row: &'a str,
}

/// An encrypted secret, as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret(Vec<u8>);

/// Why a secret couldn't be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No nonce could be drawn.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
    /// The cipher refused; a secret of many gigabytes would be a reason.
    #[error("the secret can't be encrypted")]
    Cipher,
}

/// Why a sealed secret didn't open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Cut off, or written by a later version.
    #[error("the sealed secret is not in a known form")]
    Form,
    /// None of the encryption keys sealed it: one is missing from the configuration.
    #[error("the sealed secret was sealed with an encryption key that is not configured")]
    UnknownKey,
    /// Changed, or moved from the row where it was sealed.
    #[error("the sealed secret was changed or moved")]
    Tampered,
    /// What was sealed is not text.
    #[error("the sealed secret is not text")]
    NotText,
}

impl EncryptionKeys {
    /// Reads comma-separated keys, each 32 bytes in base64.
    pub fn parse(text: &SecretString) -> Result<Self, EncryptionKeysError> {
        let mut entries = text.expose_secret().split(',').enumerate();
        let mut next = || {
            entries
                .next()
                .map(|(index, entry)| EncryptionKey::parse(entry.trim(), index + 1))
        };
        let sealing = next().unwrap_or(Err(EncryptionKeysError::WrongLength { position: 1 }))?;
        let mut retired = Vec::new();
        while let Some(key) = next() {
            if retired.len() + 1 >= MOST_KEYS {
                return Err(EncryptionKeysError::TooMany);
            }
            retired.push(key?);
        }
        Ok(Self { sealing, retired })
    }

    /// A new random key in the form that [`EncryptionKeys::parse`] reads, to be stored by the operator.
    pub fn generate() -> Result<SecretString, RandomnessUnavailable> {
        let key = random::bytes::<KEY_LENGTH>()?;
        Ok(SecretString::from(BASE64.encode(key.as_slice())))
    }

    /// Encrypts a secret for one place of storage.
    pub fn seal(
        &self,
        plaintext: &SecretString,
        context: &SealContext<'_>,
    ) -> Result<SealedSecret, SealError> {
        let nonce = random::bytes::<NONCE_LEN>()?;
        let plaintext = plaintext.expose_secret().as_bytes();
        let mut sealed =
            Vec::with_capacity(CIPHERTEXT_AT + plaintext.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.sealing.id);
        sealed.extend_from_slice(nonce.as_slice());
        sealed.extend_from_slice(plaintext);
        let tag = self
            .sealing
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                context.associated_data(),
                &mut sealed[CIPHERTEXT_AT..],
            )
            .map_err(|_| SealError::Cipher)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(SealedSecret(sealed))
    }

    /// Decrypts a secret that was sealed for this place of storage, with whichever key sealed it.
    pub fn open(
        &self,
        sealed: &SealedSecret,
        context: &SealContext<'_>,
    ) -> Result<SecretString, OpenError> {
        let (header, ciphertext) = sealed
            .0
            .split_at_checked(CIPHERTEXT_AT)
            .ok_or(OpenError::Form)?;
        let (&version, header) = header.split_first().ok_or(OpenError::Form)?;
        let (key_id, nonce) = header
            .split_at_checked(KEY_ID_LENGTH)
            .ok_or(OpenError::Form)?;
        if version != VERSION || ciphertext.len() < AES_256_GCM.tag_len() {
            return Err(OpenError::Form);
        }
        let mut failure = OpenError::UnknownKey;
        for key in std::iter::once(&self.sealing)
            .chain(&self.retired)
            .filter(|key| key.id == key_id)
        {
            let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Form)?;
            let mut buffer = Zeroizing::new(ciphertext.to_vec());
            if let Ok(plaintext) =
                key.cipher
                    .open_in_place(nonce, context.associated_data(), &mut buffer)
            {
                return std::str::from_utf8(plaintext)
                    .map(SecretString::from)
                    .map_err(|_| OpenError::NotText);
            }
            failure = OpenError::Tampered;
        }
        Err(failure)
    }
}

impl EncryptionKeys {
    /// Encrypts a record for one place of storage, under a key of that place. There may be any number of them.
    pub fn seal_record(
        &self,
        record: &[u8],
        context: &SealContext<'_>,
    ) -> Result<SealedSecret, SealError> {
        let nonce = random::bytes::<NONCE_LEN>()?;
        let mut sealed = Vec::with_capacity(CIPHERTEXT_AT + record.len() + AES_256_GCM.tag_len());
        sealed.push(DERIVED_VERSION);
        sealed.extend_from_slice(&self.sealing.id);
        sealed.extend_from_slice(nonce.as_slice());
        sealed.extend_from_slice(record);
        let data = context.data_of(DERIVED_VERSION);
        let cipher = self.sealing.derived(&data).ok_or(SealError::Cipher)?;
        let tag = cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(data),
                &mut sealed[CIPHERTEXT_AT..],
            )
            .map_err(|_| SealError::Cipher)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(SealedSecret(sealed))
    }

    /// Decrypts a record that was sealed for this place of storage, with whichever key sealed it.
    pub fn open_record(
        &self,
        sealed: &SealedSecret,
        context: &SealContext<'_>,
    ) -> Result<Vec<u8>, OpenError> {
        let (header, ciphertext) = sealed
            .0
            .split_at_checked(CIPHERTEXT_AT)
            .ok_or(OpenError::Form)?;
        let (&version, header) = header.split_first().ok_or(OpenError::Form)?;
        let (key_id, nonce) = header
            .split_at_checked(KEY_ID_LENGTH)
            .ok_or(OpenError::Form)?;
        if version != DERIVED_VERSION || ciphertext.len() < AES_256_GCM.tag_len() {
            return Err(OpenError::Form);
        }
        let data = context.data_of(DERIVED_VERSION);
        let mut failure = OpenError::UnknownKey;
        for key in std::iter::once(&self.sealing)
            .chain(&self.retired)
            .filter(|key| key.id == key_id)
        {
            let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Form)?;
            let cipher = key.derived(&data).ok_or(OpenError::Tampered)?;
            let mut buffer = ciphertext.to_vec();
            if let Ok(record) = cipher.open_in_place(nonce, Aad::from(&data), &mut buffer) {
                return Ok(record.to_vec());
            }
            failure = OpenError::Tampered;
        }
        Err(failure)
    }
}

/// Prints how many keys there are.
impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EncryptionKeys({})", 1 + self.retired.len())
    }
}

struct EncryptionKey {
    /// The first bytes of the key's SHA-256; says which key sealed a secret.
    id: [u8; KEY_ID_LENGTH],
    cipher: LessSafeKey,
    /// What keys of places are derived from.
    root: Prk,
}

impl EncryptionKey {
    fn parse(entry: &str, position: usize) -> Result<Self, EncryptionKeysError> {
        let bytes = BASE64
            .decode(entry)
            .map_err(|_| EncryptionKeysError::NotBase64 { position })?;
        let bytes = Zeroizing::new(bytes);
        // The cipher takes no key of another length than its own 32 bytes.
        let cipher = UnboundKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| EncryptionKeysError::WrongLength { position })?;
        let digest = digest::digest(&digest::SHA256, &bytes);
        let mut id = [0u8; KEY_ID_LENGTH];
        id.copy_from_slice(&digest.as_ref()[..KEY_ID_LENGTH]);
        Ok(Self {
            id,
            cipher: LessSafeKey::new(cipher),
            root: Salt::new(HKDF_SHA256, DERIVATION_SALT).extract(&bytes),
        })
    }

    /// The key of one place.
    fn derived(&self, place: &[u8]) -> Option<LessSafeKey> {
        let info = [place];
        let key = self.root.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl SealContext<'_> {
    /// Each part with its length before it, so that no two contexts read alike.
    fn associated_data(&self) -> Aad<Vec<u8>> {
        Aad::from(self.data_of(VERSION))
    }

    fn data_of(&self, version: u8) -> Vec<u8> {
        let mut data = vec![version];
        for part in [self.table, self.column, self.row] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data
    }
}

impl SealedSecret {
    /// A sealed secret as it was stored; whether it opens is found out by opening it.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealedSecret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: SealContext<'static> = SealContext {
        table: "master_accounts",
        column: "key",
        row: "1",
    };

    fn keys(text: &str) -> EncryptionKeys {
        EncryptionKeys::parse(&SecretString::from(text)).unwrap()
    }

    fn new_key() -> String {
        EncryptionKeys::generate()
            .unwrap()
            .expose_secret()
            .to_owned()
    }

    fn opened(keys: &EncryptionKeys, sealed: &SealedSecret) -> Result<String, OpenError> {
        keys.open(sealed, &HERE)
            .map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn what_is_sealed_opens_and_looks_different_each_time() {
        let keys = keys(&new_key());
        let secret = SecretString::from("sk-or-v1-ключ");
        let sealed = keys.seal(&secret, &HERE).unwrap();
        assert_ne!(sealed, keys.seal(&secret, &HERE).unwrap());
        assert_eq!(
            opened(&keys, &SealedSecret::from_bytes(sealed.as_bytes().to_vec())).unwrap(),
            "sk-or-v1-ключ"
        );
        assert!(!format!("{sealed:?}{keys:?}").contains("sk-or"));
    }

    #[test]
    fn after_a_rotation_the_new_key_seals_and_the_old_one_still_opens() {
        let (old, new) = (new_key(), new_key());
        let before = keys(&old)
            .seal(&SecretString::from("secret"), &HERE)
            .unwrap();
        let rotated = keys(&format!("{new}, {old}"));
        assert_eq!(opened(&rotated, &before).unwrap(), "secret");
        let after = rotated.seal(&SecretString::from("secret"), &HERE).unwrap();
        assert_eq!(opened(&keys(&new), &after).unwrap(), "secret");
        assert_eq!(opened(&keys(&old), &after), Err(OpenError::UnknownKey));
    }

    #[test]
    fn a_secret_opens_only_where_it_was_sealed() {
        let keys = keys(&new_key());
        let sealed = keys.seal(&SecretString::from("secret"), &HERE).unwrap();
        for elsewhere in [
            SealContext { row: "2", ..HERE },
            SealContext {
                column: "ke",
                row: "y1",
                ..HERE
            },
            SealContext {
                table: "ai_provider_keys",
                ..HERE
            },
        ] {
            assert_eq!(
                keys.open(&sealed, &elsewhere).unwrap_err(),
                OpenError::Tampered
            );
        }
    }

    #[test]
    fn wrong_key_lists_say_which_entry_is_wrong() {
        let good = new_key();
        let short = BASE64.encode([0u8; 31]);
        let refused = |text: &str| EncryptionKeys::parse(&SecretString::from(text)).unwrap_err();
        assert_eq!(
            refused(""),
            EncryptionKeysError::WrongLength { position: 1 }
        );
        assert_eq!(
            refused(&short),
            EncryptionKeysError::WrongLength { position: 1 }
        );
        assert_eq!(
            refused(&format!("{good},")),
            EncryptionKeysError::WrongLength { position: 2 }
        );
        assert_eq!(
            refused(&format!("{good},***")),
            EncryptionKeysError::NotBase64 { position: 2 }
        );
        assert_eq!(
            refused(&vec![good.as_str(); MOST_KEYS + 1].join(",")),
            EncryptionKeysError::TooMany
        );
        assert!(
            EncryptionKeys::parse(&SecretString::from(
                vec![good.as_str(); MOST_KEYS].join(",")
            ))
            .is_ok()
        );
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(at in 0usize..100, change in 1u8..) {
            let keys = keys(&new_key());
            let mut bytes = keys.seal(&SecretString::from("a secret of some length"), &HERE).unwrap().0;
            let at = at % bytes.len();
            bytes[at] ^= change;
            prop_assert!(opened(&keys, &SealedSecret(bytes)).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(opened(&keys(&new_key()), &SealedSecret(bytes)).is_err());
        }
    }

    #[test]
    fn a_record_opens_only_where_it_was_sealed_and_only_whole() {
        let (old, new) = (new_key(), new_key());
        let sealed = keys(&old).seal_record(b"an \xff answer", &HERE).unwrap();
        let keys = keys(&format!("{new},{old}"));
        assert_eq!(keys.open_record(&sealed, &HERE).unwrap(), b"an \xff answer");
        let elsewhere = SealContext { row: "2", ..HERE };
        assert_eq!(
            keys.open_record(&sealed, &elsewhere),
            Err(OpenError::Tampered)
        );
        assert!(keys.open(&sealed, &HERE).is_err());
        for at in 0..sealed.0.len() {
            let mut changed = sealed.clone();
            changed.0[at] ^= 1;
            assert!(keys.open_record(&changed, &HERE).is_err(), "{at}");
            let cut = SealedSecret(sealed.0[..at].to_vec());
            assert!(keys.open_record(&cut, &HERE).is_err(), "{at}");
        }
    }

    #[test]
    fn every_prefix_is_refused() {
        let keys = keys(&new_key());
        let whole = keys.seal(&SecretString::from("secret"), &HERE).unwrap().0;
        for length in 0..whole.len() {
            assert!(
                opened(&keys, &SealedSecret(whole[..length].to_vec())).is_err(),
                "{length}"
            );
        }
    }
}
