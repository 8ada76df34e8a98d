//! Content encodings: where a body is cut changes nothing, and no body inflates beyond its bound.
#![no_main]

use airouter_fuzz::{pieces, text_and_cuts};
use airouter_proxy::wire::decode::{DecodeError, Decoder, Encoding};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((body, lengths)) = text_and_cuts(input) else {
        return;
    };
    for encoding in ["identity", "gzip", "deflate"] {
        let encoding = Encoding::from_header(Some(encoding)).expect("a known encoding");
        let whole = decoded(encoding, &pieces(body, &[]));
        let cut = decoded(encoding, &pieces(body, lengths));
        assert_eq!(whole.ok(), cut.ok());
    }
});

fn decoded(encoding: Encoding, chunks: &[Bytes]) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(encoding, LIMIT);
    let mut text = Vec::new();
    for chunk in chunks {
        text.extend_from_slice(&decoder.push(chunk.clone())?);
        assert!(text.len() as u64 <= LIMIT);
    }
    text.extend_from_slice(&decoder.finish()?);
    assert!(text.len() as u64 <= LIMIT);
    Ok(text)
}
