//! The splitter of event streams: where a stream is cut changes neither its bytes nor its events.
#![no_main]

use airouter_fuzz::{pieces, text_and_cuts};
use airouter_proxy::wire::sse::{EventSplitter, Frame, Kind, data_payload};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fuzz_target!(|input: &[u8]| {
    let Some((stream, lengths)) = text_and_cuts(input) else {
        return;
    };
    let whole = Split::of(&pieces(stream, &[]));
    let cut = Split::of(&pieces(stream, lengths));
    assert_eq!(whole, cut);
    assert_eq!(
        whole.bytes,
        stream.strip_prefix(BYTE_ORDER_MARK).unwrap_or(stream)
    );
});

#[derive(Debug, Default, PartialEq)]
struct Split {
    bytes: Vec<u8>,
    payloads: Vec<(Kind, Vec<u8>)>,
}

impl Split {
    fn of(chunks: &[Bytes]) -> Self {
        let mut split = Self::default();
        let mut splitter = EventSplitter::new();
        for chunk in chunks {
            splitter.feed(chunk.clone());
            while let Some(frame) = splitter.next_frame() {
                split.take(frame);
            }
        }
        while let Some(frame) = splitter.finish() {
            split.take(frame);
        }
        split
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Event { kind, bytes } => {
                self.bytes.extend_from_slice(&bytes);
                if matches!(kind, Kind::Data | Kind::Done) {
                    self.payloads
                        .push((kind, data_payload(&bytes).into_owned()));
                }
            }
            Frame::Piece { bytes, .. } => self.bytes.extend_from_slice(&bytes),
        }
    }
}
