//! Client keys: what an SDK sends as its bearer token.
//!
//! `sk-air-`, 256 random bits in 43 base62 characters, and 6 characters of checksum (CRC-32 of the 43), so that a typing
//! error is refused without a look-up. Only the SHA-256 of the whole text is kept by the gateway.

use std::fmt;

use aws_lc_rs::digest;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::base62::{self, WIDTH_OF_32_BYTES, WIDTH_OF_U32};
use crate::random::{self, RandomnessUnavailable};

const PREFIX: &[u8] = b"sk-air-";
const CHECKSUM_AT: usize = PREFIX.len() + WIDTH_OF_32_BYTES;
const LENGTH: usize = CHECKSUM_AT + WIDTH_OF_U32;

/// A client key in clear text. Doesn't print, and is wiped from memory when dropped.
#[derive(Clone)]
pub struct ClientKey(SecretString);

/// Why a presented text can't be a client key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeyError {
    /// Not `sk-air-` followed by the right number of letters and digits.
    #[error("not in the form of a client key (sk-air-...)")]
    Form,
    /// In the right form, but the checksum says that it was mistyped or cut and pasted badly.
    #[error("the client key is mistyped: its checksum is wrong")]
    Checksum,
}

impl ClientKey {
    /// A new key with 256 random bits.
    pub fn generate() -> Result<Self, RandomnessUnavailable> {
        let random = base62::encode_32_bytes(&*random::bytes::<32>()?);
        let checksum = checksum(random.as_slice());
        // The capacity is exact: no copy of the key is left behind. All of it is ASCII: each byte is a character.
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        for part in [PREFIX, random.as_slice(), &checksum] {
            text.extend(part.iter().map(|&byte| char::from(byte)));
        }
        Ok(Self(SecretString::from(text.as_str())))
    }

    /// Reads a key as its owner presents it.
    pub fn parse(text: &str) -> Result<Self, ClientKeyError> {
        check_form_and_checksum(text.as_bytes())?;
        Ok(Self(SecretString::from(text)))
    }

    /// What is stored of this key, and by which it is found again.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_bytes(self.expose().as_bytes())
    }

    /// `sk-air-abc…xyz`: enough for its owner to recognize it, too little to guess it.
    pub fn preview(&self) -> String {
        let text = self.expose();
        let start = text.get(..PREFIX.len() + 3).unwrap_or_default();
        let end = text.get(LENGTH - 3..).unwrap_or_default();
        format!("{start}…{end}")
    }

    /// The clear text, to be shown once to its owner.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientKey(…)")
    }
}

/// SHA-256 of a client key's whole text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Checks form and checksum of what a client presented and hashes it, without allocation: it is on every request.
    pub fn of_presented(presented: &[u8]) -> Result<Self, ClientKeyError> {
        check_form_and_checksum(presented)?;
        Ok(Self::of_bytes(presented))
    }

    /// A hash as it was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash as it is stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, bytes);
        let mut hash = [0u8; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

/// Eight hexadecimal digits, enough to follow a key through a log.
impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(formatter, "KeyHash({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

fn check_form_and_checksum(presented: &[u8]) -> Result<(), ClientKeyError> {
    if presented.len() != LENGTH {
        return Err(ClientKeyError::Form);
    }
    let (prefix, characters) = presented.split_at(PREFIX.len());
    if prefix != PREFIX || !characters.iter().all(u8::is_ascii_alphanumeric) {
        return Err(ClientKeyError::Form);
    }
    let (random, presented_checksum) = characters.split_at(WIDTH_OF_32_BYTES);
    if checksum(random) == presented_checksum {
        Ok(())
    } else {
        Err(ClientKeyError::Checksum)
    }
}

/// CRC-32 finds every error within 32 adjacent bits for certain: one wrong character, or two swapped neighbours.
fn checksum(random: &[u8]) -> [u8; WIDTH_OF_U32] {
    let mut crc = u32::MAX;
    for &byte in random {
        crc = CRC_TABLE[((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8);
    }
    base62::encode_u32(!crc)
}

/// CRC-32 as in ISO/IEC 3309 (the one of zip and Ethernet), one byte at a time.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                0xedb8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_generated_key_is_accepted_and_hashes_alike_on_both_paths() {
        let key = ClientKey::generate().unwrap();
        assert!(key.expose().starts_with("sk-air-"));
        assert_eq!(key.expose().len(), LENGTH);
        assert_eq!(
            KeyHash::of_presented(key.expose().as_bytes()),
            Ok(key.hash())
        );
        assert_eq!(ClientKey::parse(key.expose()).unwrap().hash(), key.hash());
        assert_ne!(ClientKey::generate().unwrap().hash(), key.hash());
    }

    #[test]
    fn the_hash_is_sha_256_of_the_whole_text() {
        let hash = KeyHash::of_bytes(b"abc");
        assert_eq!(hash.as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(KeyHash::from_bytes(*hash.as_bytes()), hash);
    }

    #[test]
    fn the_checksum_is_the_well_known_crc() {
        assert_eq!(checksum(b"123456789"), base62::encode_u32(0xcbf4_3926));
    }

    #[test]
    fn nothing_prints_the_key() {
        let key = ClientKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "ClientKey(…)");
        assert_eq!(
            format!("{:?}", key.hash()).len(),
            "KeyHash(01234567…)".len()
        );
        let preview = key.preview();
        assert_eq!(preview.chars().count(), "sk-air-abc…xyz".chars().count());
        let (start, end) = preview.split_once('…').unwrap();
        assert!(key.expose().starts_with(start) && key.expose().ends_with(end));
    }

    #[test]
    fn other_forms_are_refused() {
        let key = ClientKey::generate().unwrap();
        let text = key.expose();
        let longer = format!("{text}0");
        let elsewhere = text.replace("sk-air-", "sk-or--");
        let spaced = format!(" {}", &text[..LENGTH - 1]);
        for wrong in [
            "",
            "sk-air-",
            &text[1..],
            &longer,
            &elsewhere,
            &spaced,
            &text.replace("sk", "SK"),
        ] {
            assert_eq!(
                KeyHash::of_presented(wrong.as_bytes()),
                Err(ClientKeyError::Form),
                "{wrong}"
            );
            assert_eq!(ClientKey::parse(wrong).unwrap_err(), ClientKeyError::Form);
        }
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_found(at in PREFIX.len()..LENGTH, character in "[0-9A-Za-z]") {
            let key = ClientKey::generate().unwrap();
            let mut text = key.expose().to_owned();
            prop_assume!(text[at..=at] != character);
            text.replace_range(at..=at, &character);
            prop_assert_eq!(KeyHash::of_presented(text.as_bytes()), Err(ClientKeyError::Checksum));
        }

        #[test]
        fn swapped_neighbours_are_found(at in PREFIX.len()..LENGTH - 1) {
            let key = ClientKey::generate().unwrap();
            let mut text = key.expose().as_bytes().to_vec();
            prop_assume!(text[at] != text[at + 1]);
            text.swap(at, at + 1);
            prop_assert_eq!(KeyHash::of_presented(&text), Err(ClientKeyError::Checksum));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(KeyHash::of_presented(&bytes).is_err());
        }
    }
}
