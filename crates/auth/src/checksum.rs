//! SHA-256 of what comes in parts.

use std::fmt;

use aws_lc_rs::digest;

/// The SHA-256 of what it was given so far.
#[derive(Clone)]
pub struct Checksum(digest::Context);

impl Default for Checksum {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Checksum")
    }
}

impl Checksum {
    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of all bytes together.
    pub fn finish(self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.finish().as_ref());
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::sha256;

    #[test]
    fn parts_come_to_the_same_as_the_whole() {
        let mut checksum = Checksum::default();
        checksum.update(b"air");
        checksum.update(b"router");
        assert_eq!(checksum.finish(), sha256(b"airrouter"));
    }
}
