//! Base62 (`0-9A-Za-z`) of fixed width: letters and digits only, so that a double click selects a whole key.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters that hold any 32 bytes: 62^43 > 2^256.
pub(crate) const WIDTH_OF_32_BYTES: usize = 43;

/// Characters that hold any 32-bit number: 62^6 > 2^32.
pub(crate) const WIDTH_OF_U32: usize = 6;

/// The 32 bytes as one big-endian number in base 62, with leading zeros.
pub(crate) fn encode_32_bytes(bytes: &[u8; 32]) -> Zeroizing<[u8; WIDTH_OF_32_BYTES]> {
    let mut number = Zeroizing::new(*bytes);
    let mut text = Zeroizing::new([b'0'; WIDTH_OF_32_BYTES]);
    for character in text.iter_mut().rev() {
        let mut remainder = 0u32;
        for byte in number.iter_mut() {
            let value = (remainder << 8) | u32::from(*byte);
            // remainder < 62, so the quotient is below 256.
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *character = ALPHABET[remainder as usize];
    }
    text
}

/// The number in base 62, with leading zeros.
pub(crate) fn encode_u32(mut number: u32) -> [u8; WIDTH_OF_U32] {
    let mut text = [b'0'; WIDTH_OF_U32];
    for character in text.iter_mut().rev() {
        *character = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digit(character: u8) -> u32 {
        ALPHABET.iter().position(|&c| c == character).unwrap() as u32
    }

    fn decode(text: &[u8]) -> [u8; 32] {
        let mut number = [0u8; 32];
        for &character in text {
            let mut carry = digit(character);
            for byte in number.iter_mut().rev() {
                let value = u32::from(*byte) * 62 + carry;
                *byte = value as u8;
                carry = value >> 8;
            }
            assert_eq!(carry, 0, "the text is a larger number than 32 bytes hold");
        }
        number
    }

    proptest! {
        #[test]
        fn every_32_bytes_come_back(bytes in any::<[u8; 32]>()) {
            prop_assert_eq!(decode(&*encode_32_bytes(&bytes)), bytes);
        }

        #[test]
        fn every_u32_comes_back(number in any::<u32>()) {
            let (decoded, expected) = (decode(&encode_u32(number)), number.to_be_bytes());
            prop_assert_eq!(&decoded[28..], expected.as_slice());
        }
    }

    #[test]
    fn the_extremes_fit() {
        assert_eq!(decode(&*encode_32_bytes(&[0xff; 32])), [0xff; 32]);
        assert_eq!(*encode_32_bytes(&[0; 32]), [b'0'; WIDTH_OF_32_BYTES]);
    }
}
