//! When a certificate ends: the one field of it that TLS does not tell.

use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// Tags of DER (X.690 §8.1.2).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Years that are written with two digits are before this one (RFC 5280 §4.1.2.5.1).
const TWO_DIGITS_END: u8 = 50;

/// The `notAfter` of a certificate in DER (RFC 5280 §4.1). `None`: it is none.
pub(super) fn expiry(certificate: &[u8]) -> Option<OffsetDateTime> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    let (tag, _, after_version) = element(fields)?;
    if tag == VERSION {
        fields = after_version;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        (_, _, fields) = element(fields)?;
    }
    let (SEQUENCE, validity, _) = element(fields)? else {
        return None;
    };
    let (_, _, after_start) = element(validity)?;
    let (tag, end, _) = element(after_start)?;
    let text = std::str::from_utf8(end).ok()?;
    match tag {
        UTC_TIME => {
            let year: u8 = text.get(..2)?.parse().ok()?;
            let century = if year < TWO_DIGITS_END { "20" } else { "19" };
            moment(&format!("{century}{text}"))
        }
        GENERALIZED_TIME => moment(text),
        _ => None,
    }
}

fn moment(text: &str) -> Option<OffsetDateTime> {
    let format = format_description!("[year][month][day][hour][minute][second]Z");
    PrimitiveDateTime::parse(text, format)
        .ok()
        .map(PrimitiveDateTime::assume_utc)
}

/// Tag and content of the first element, and what comes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > size_of::<u32>() {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |length, digit| (length << 8) | usize::from(*digit));
        (length, rest)
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_have_short_and_long_lengths() {
        assert_eq!(
            element(b"\x02\x01\x07x"),
            Some((2, &b"\x07"[..], &b"x"[..]))
        );
        assert_eq!(
            element(b"\x02\x81\x01\x07"),
            Some((2, &b"\x07"[..], &b""[..]))
        );
        assert_eq!(element(b"\x02\x02\x07"), None);
        assert_eq!(element(b"\x02\x85\x01\x01\x01\x01\x01"), None);
        assert_eq!(element(b"\x02"), None);
    }

    proptest! {
        #[test]
        fn anything_may_be_in_a_file(bytes: Vec<u8>) {
            expiry(&bytes);
        }
    }
}
