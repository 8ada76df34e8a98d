//! What the fuzz targets share.

use bytes::Bytes;

/// Splits a fuzzer's input into a text and a way to cut it: the first byte says how many lengths follow, and these are
/// taken in turn, so that the fuzzer finds the places where a cut matters.
pub fn text_and_cuts(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&count, rest) = input.split_first()?;
    let (lengths, text) = rest.split_at_checked(usize::from(count % 16))?;
    Some((text, lengths))
}

/// The text in pieces; without lengths in one piece.
pub fn pieces(text: &[u8], lengths: &[u8]) -> Vec<Bytes> {
    let mut lengths = lengths.iter().cycle();
    let mut rest = text;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let length = lengths
            .next()
            .map_or(rest.len(), |&length| usize::from(length).max(1));
        let (piece, later) = rest.split_at(length.min(rest.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = later;
    }
    pieces
}
