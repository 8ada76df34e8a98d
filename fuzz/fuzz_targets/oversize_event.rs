//! An event that passes in pieces: where it is cut changes nothing, and what must not pass has become null.
#![no_main]

use airouter_fuzz::{pieces, text_and_cuts};
use airouter_proxy::wire::json::members_of;
use airouter_proxy::wire::json_scan::Segment;
use airouter_proxy::wire::oversize::{OversizeFilter, WITHHELD};
use airouter_proxy::wire::sse::data_payload;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((event, lengths)) = text_and_cuts(input) else {
        return;
    };
    let whole = filtered(&pieces(event, &[]));
    assert_eq!(whole, filtered(&pieces(event, lengths)));
    if members_of(&data_payload(event)).is_ok() {
        let payload = data_payload(&whole.0);
        for member in members_of(&payload).expect("the rest of the object is untouched") {
            assert!(!WITHHELD.contains(&&*member.name) || member.value == "null");
        }
    }
});

/// What passes, with null for what is withheld, and the values that were withheld.
fn filtered(pieces: &[Bytes]) -> (Vec<u8>, Vec<(&'static str, Bytes)>) {
    let mut filter = OversizeFilter::new();
    let mut segments = Vec::new();
    for piece in pieces {
        filter.feed(piece, &mut segments);
    }
    let (mut text, mut withheld) = (Vec::new(), Vec::new());
    for segment in segments {
        match segment {
            Segment::Pass(bytes) => text.extend_from_slice(&bytes),
            Segment::Field { name, value } => {
                text.extend_from_slice(b"null");
                withheld.push((name, value));
            }
            Segment::TooLarge { .. } => text.extend_from_slice(b"null"),
        }
    }
    (text, withheld)
}
