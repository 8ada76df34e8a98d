//! Base 32 (RFC 4648, 6) without padding, as people type it: letters of either case, and the digits 2 to 7.

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BITS: u32 = 5;

/// Writes whole bytes; the last character stands for less than five bits where they don't come out even.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut pending, mut count) = (0_u32, 0_u32);
    for byte in bytes {
        pending = (pending << 8) | u32::from(*byte);
        count += 8;
        while count >= BITS {
            count -= BITS;
            text.push(character(pending >> count));
        }
        pending &= (1 << count) - 1;
    }
    if count > 0 {
        text.push(character(pending << (BITS - count)));
    }
    text
}

fn character(value: u32) -> char {
    char::from(ALPHABET[(value & 31) as usize])
}

/// Reads what fills `N` bytes exactly; `None` for anything else.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut places = bytes.iter_mut();
    let (mut pending, mut count) = (0_u32, 0_u32);
    for character in text.bytes() {
        let character = character.to_ascii_uppercase();
        let value = ALPHABET.iter().position(|known| *known == character)?;
        pending = (pending << BITS) | u32::try_from(value).ok()?;
        count += BITS;
        if count >= 8 {
            count -= 8;
            *places.next()? = u8::try_from((pending >> count) & 255).ok()?;
        }
        pending &= (1 << count) - 1;
    }
    (places.next().is_none() && pending == 0 && count < BITS).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 4648, 10.
    #[test]
    fn the_standards_examples_are_written_and_read() {
        assert_eq!(encode(b""), "");
        assert_eq!(encode(b"f"), "MY");
        assert_eq!(encode(b"fooba"), "MZXW6YTB");
        assert_eq!(encode(b"foobar"), "MZXW6YTBOI");
        assert_eq!(decode(&encode(b"foobar")), Some(*b"foobar"));
        assert_eq!(decode("mzxw6ytboi"), Some(*b"foobar"));
        for wrong in [
            "MZXW6YTBO",
            "MZXW6YTBOJ",
            "MZXW6YTBOIA",
            "MZXW6YTB0I",
            "MZXW6YTBÖ",
            "",
        ] {
            assert_eq!(decode::<6>(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in any::<[u8; 10]>()) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = decode::<10>(&text);
        }
    }
}
