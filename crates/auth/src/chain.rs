//! Hash chains: each hash covers an entry and all entries before it.

use aws_lc_rs::digest;

/// A hash in a chain; the one before the first entry is all zeros.
pub type ChainHash = [u8; 32];

/// SHA-256 of the hash before and of an entry's fields. Each field is preceded by whether it is there and by its length, so
/// that no two entries read the same.
pub fn chain_hash(before: &ChainHash, fields: &[Option<&[u8]>]) -> ChainHash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"air router: audit log, v1\0");
    context.update(before);
    for field in fields {
        match field {
            None => context.update(&[0]),
            Some(bytes) => {
                context.update(&[1]);
                context.update(&(bytes.len() as u64).to_be_bytes());
                context.update(bytes);
            }
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_entries_read_the_same() {
        let zero = [0; 32];
        let entries: [&[Option<&[u8]>]; 6] = [
            &[],
            &[None],
            &[Some(b"")],
            &[Some(b"ab"), Some(b"c")],
            &[Some(b"a"), Some(b"bc")],
            &[Some(b"a"), Some(b"b"), Some(b"c")],
        ];
        let mut hashes: Vec<_> = entries
            .iter()
            .map(|fields| chain_hash(&zero, fields))
            .collect();
        hashes.push(chain_hash(&[1; 32], &[]));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), entries.len() + 1);
    }
}
