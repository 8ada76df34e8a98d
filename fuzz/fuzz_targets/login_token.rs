//! Whatever comes as an access token or a refresh token: only what is ours is accepted.
#![no_main]

use airouter_auth::{RefreshToken, TokenKeys};
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// When no token was ever signed.
const NOW: i64 = 0;

fuzz_target!(|text: &str| {
    let keys = TokenKeys::parse(&SecretString::from(SECRET)).unwrap();
    // Nobody can sign without the key; what the seeds have signed is of another one.
    assert!(keys.verify(text, NOW).is_err());
    if let Ok(token) = RefreshToken::parse(text) {
        assert_eq!(token.expose(), text);
        assert!(!keys.is_forgery_proof(token.session(), text));
    }
});
