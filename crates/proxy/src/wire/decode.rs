//! Undoing the content encoding of an upstream body (RFC 9110, section 8.4), chunk by chunk, with a bound on what it
//! inflates to.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// A content encoding that can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// `gzip`, also written `x-gzip`.
    Gzip,
    /// `deflate`: a zlib stream, or, as some servers have it, the bare deflate stream.
    Deflate,
}

impl Encoding {
    /// Reads the value of a `Content-Encoding` header; without one the body is as it is.
    ///
    /// # Errors
    /// [`DecodeError::UnknownEncoding`], also for a list of several.
    pub fn from_header(value: Option<&str>) -> Result<Self, DecodeError> {
        match value
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            _ => Err(DecodeError::UnknownEncoding),
        }
    }
}

/// Why a body could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An encoding that nobody asked for.
    #[error("the body has an unknown content encoding")]
    UnknownEncoding,
    /// The body inflates to more than the bound.
    #[error("the body inflates to more than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// Not what the encoding says, or cut off.
    #[error("the body is not what its content encoding says, or is cut off")]
    Corrupt,
}

/// What was inflated and not yet taken; refuses to go beyond the bound.
#[derive(Debug)]
struct Inflated {
    bytes: Vec<u8>,
    allowance: u64,
}

impl Write for Inflated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        self.allowance = self
            .allowance
            .checked_sub(length)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum State {
    Identity(Inflated),
    Gzip(Box<MultiGzDecoder<Inflated>>),
    /// Deflate of which nothing was seen: its first byte tells which form it is.
    DeflateUnseen(Inflated),
    Zlib(Box<ZlibDecoder<Inflated>>),
    RawDeflate(Box<DeflateDecoder<Inflated>>),
}

/// Decodes one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    limit: u64,
}

impl Decoder {
    /// A decoder for a body that may inflate to `limit` bytes in all.
    #[must_use]
    pub fn new(encoding: Encoding, limit: u64) -> Self {
        let inflated = Inflated {
            bytes: Vec::new(),
            allowance: limit,
        };
        let state = match encoding {
            Encoding::Identity => State::Identity(inflated),
            Encoding::Gzip => State::Gzip(Box::new(MultiGzDecoder::new(inflated))),
            Encoding::Deflate => State::DeflateUnseen(inflated),
        };
        Self { state, limit }
    }

    /// Decodes the body's next bytes, as far as they can be; the result may be empty.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] or [`DecodeError::Corrupt`]; the decoder is of no use afterwards.
    pub fn push(&mut self, chunk: Bytes) -> Result<Bytes, DecodeError> {
        let limit = self.limit;
        if let State::Identity(inflated) = &mut self.state {
            let length = chunk.len() as u64;
            inflated.allowance = inflated
                .allowance
                .checked_sub(length)
                .ok_or(DecodeError::TooLarge { limit })?;
            return Ok(chunk);
        }
        self.write(&chunk)
            .map_err(|error| decode_error(&error, limit))?;
        Ok(std::mem::take(&mut self.inflated().bytes).into())
    }

    /// Ends the body and returns what is left of it.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] if the body is cut off; [`DecodeError::TooLarge`].
    pub fn finish(mut self) -> Result<Bytes, DecodeError> {
        let limit = self.limit;
        let ended = match &mut self.state {
            State::Identity(_) | State::DeflateUnseen(_) => Ok(()),
            State::Gzip(decoder) => decoder.try_finish(),
            State::Zlib(decoder) => decoder.try_finish(),
            State::RawDeflate(decoder) => decoder.try_finish(),
        };
        ended.map_err(|error| decode_error(&error, limit))?;
        Ok(std::mem::take(&mut self.inflated().bytes).into())
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let Some(first) = chunk.first() else {
            return Ok(());
        };
        if let State::DeflateUnseen(inflated) = &mut self.state {
            let inflated = Inflated {
                bytes: Vec::new(),
                allowance: inflated.allowance,
            };
            self.state = if is_zlib_header(*first) {
                State::Zlib(Box::new(ZlibDecoder::new(inflated)))
            } else {
                State::RawDeflate(Box::new(DeflateDecoder::new(inflated)))
            };
        }
        match &mut self.state {
            State::Identity(inflated) | State::DeflateUnseen(inflated) => inflated.write_all(chunk),
            State::Gzip(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
            State::Zlib(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
            State::RawDeflate(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
        }
    }

    fn inflated(&mut self) -> &mut Inflated {
        match &mut self.state {
            State::Identity(inflated) | State::DeflateUnseen(inflated) => inflated,
            State::Gzip(decoder) => decoder.get_mut(),
            State::Zlib(decoder) => decoder.get_mut(),
            State::RawDeflate(decoder) => decoder.get_mut(),
        }
    }
}

/// A zlib stream names method 8 and a window of at most 2^15 in its first byte (RFC 1950, section 2.2). A bare deflate
/// stream that began with such a byte would begin with a stored block whose padding is not zero, which nobody writes.
fn is_zlib_header(first: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7
}

fn decode_error(error: &io::Error, limit: u64) -> DecodeError {
    if error.kind() == io::ErrorKind::FileTooLarge {
        DecodeError::TooLarge { limit }
    } else {
        DecodeError::Corrupt
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(
        encoding: Encoding,
        coded: &[u8],
        step: usize,
        limit: u64,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut decoder = Decoder::new(encoding, limit);
        let mut decoded = Vec::new();
        for chunk in coded.chunks(step) {
            decoded.extend(decoder.push(Bytes::copy_from_slice(chunk))?);
        }
        decoded.extend(decoder.finish()?);
        Ok(decoded)
    }

    #[test]
    fn a_bomb_is_refused_within_one_chunk() {
        let zeros = vec![0; 8 << 20];
        let bomb = gzip(&zeros);
        let just_enough = zeros.len() as u64;
        assert_eq!(
            decode(Encoding::Gzip, &bomb, bomb.len(), just_enough),
            Ok(zeros)
        );
        let limit = 1 << 20;
        assert_eq!(
            decode(Encoding::Gzip, &bomb, bomb.len(), limit),
            Err(DecodeError::TooLarge { limit })
        );
        assert_eq!(
            decode(Encoding::Identity, &[0; 11], 4, 10),
            Err(DecodeError::TooLarge { limit: 10 })
        );
    }

    #[test]
    fn a_cut_or_broken_body_is_corrupt() {
        let coded = gzip(b"hello hello hello");
        assert_eq!(
            decode(Encoding::Gzip, &coded[..coded.len() - 1], 5, 100),
            Err(DecodeError::Corrupt)
        );
        assert_eq!(
            decode(Encoding::Gzip, b"{\"not\":\"gzip\"}", 5, 100),
            Err(DecodeError::Corrupt)
        );
    }

    #[test]
    fn what_was_flushed_comes_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let mut decoder = Decoder::new(Encoding::Gzip, 100);
        assert_eq!(
            decoder.push(encoder.get_ref().clone().into()).unwrap(),
            "data: 1\n\n"
        );
    }

    #[test]
    fn encodings_by_name() {
        assert_eq!(Encoding::from_header(None), Ok(Encoding::Identity));
        assert_eq!(Encoding::from_header(Some(" GZIP ")), Ok(Encoding::Gzip));
        assert_eq!(
            Encoding::from_header(Some("deflate")),
            Ok(Encoding::Deflate)
        );
        for unknown in ["br", "zstd", "gzip, gzip"] {
            assert_eq!(
                Encoding::from_header(Some(unknown)),
                Err(DecodeError::UnknownEncoding)
            );
        }
    }

    proptest! {
        #[test]
        fn any_cut_decodes_to_the_same(
            body in proptest::collection::vec(any::<u8>(), 0..5000),
            step in 1_usize..600,
        ) {
            let limit = 5000;
            prop_assert_eq!(decode(Encoding::Identity, &body, step, limit).unwrap(), body.clone());
            prop_assert_eq!(decode(Encoding::Gzip, &gzip(&body), step, limit).unwrap(), body.clone());
            prop_assert_eq!(decode(Encoding::Deflate, &zlib(&body), step, limit).unwrap(), body.clone());
            prop_assert_eq!(decode(Encoding::Deflate, &deflate(&body), step, limit).unwrap(), body);
        }

        #[test]
        fn random_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..50) {
            for encoding in [Encoding::Gzip, Encoding::Deflate] {
                let _ = decode(encoding, &bytes, step, 1000);
            }
        }
    }
}
