//! Client keys as they are presented: both readers agree, and a key with one wrong character is none.
#![no_main]

use std::sync::LazyLock;

use airouter_auth::{ClientKey, KeyHash};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<ClientKey> =
    LazyLock::new(|| ClientKey::generate().expect("there is randomness"));

fuzz_target!(|presented: &[u8]| {
    let hash = KeyHash::of_presented(presented);
    match std::str::from_utf8(presented).map(ClientKey::parse) {
        Ok(Ok(key)) => assert_eq!(hash, Ok(key.hash())),
        Ok(Err(_)) | Err(_) => assert!(hash.is_err()),
    }
    let [position, character, ..] = *presented else {
        return;
    };
    let mut mistyped = KEY.expose().as_bytes().to_vec();
    let position = usize::from(position) % mistyped.len();
    mistyped[position] = character;
    let is_same = mistyped == KEY.expose().as_bytes();
    assert_eq!(KeyHash::of_presented(&mistyped).is_ok(), is_same);
});
