//! Keys and results, made from numbers so that nothing has to be remembered.

use bytes::{BufMut, Bytes};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt as _, SeedableRng as _};

/// The characters of keys: six bits each.
const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// The characters that a number takes.
pub(super) const NUMBER_BYTES: usize = 8;
const NUMBER_BITS: u32 = 6 * NUMBER_BYTES as u32;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;

/// Results begin at one of this many places in the same bytes.
const RESULT_STARTS: usize = 61;

/// The keys of a run: every number below 2^48 has one, and they come in no order, as UUIDs do, so
/// that an index is asked everywhere and not at its end alone.
#[derive(Debug)]
pub(super) struct Keys {
    head: Vec<u8>,
    tail: Vec<u8>,
    scatter: u64,
}

impl Keys {
    /// Keys of `len` bytes. With a `prefix` they begin with it and follow from the seed; without
    /// one they end with a name of this run's own.
    ///
    /// The caller has checked that prefix and number fit.
    pub fn new(prefix: Option<&str>, len: usize, seed: u64) -> Self {
        let head = prefix.unwrap_or_default().as_bytes().to_vec();
        let tail_len = len.saturating_sub(head.len() + NUMBER_BYTES);
        let mut seeded = SmallRng::seed_from_u64(seed);
        let scatter = seeded.random();
        let tail = match prefix {
            Some(_) => text(&mut seeded, tail_len),
            None => text(&mut rand::rng(), tail_len),
        };
        Self {
            head,
            tail,
            scatter,
        }
    }

    /// The length of every key.
    pub fn len(&self) -> usize {
        self.head.len() + NUMBER_BYTES + self.tail.len()
    }

    /// Writes the key of `number`.
    pub fn put(&self, number: u64, to: &mut impl BufMut) {
        to.put_slice(&self.head);
        let scattered = scattered(number ^ self.scatter);
        let digit = |place| ALPHABET[(scattered >> (6 * place)) as usize & 63];
        to.put_slice(&std::array::from_fn::<u8, NUMBER_BYTES, _>(digit));
        to.put_slice(&self.tail);
    }

    /// The key of `number`.
    pub fn of(&self, number: u64) -> String {
        let mut key = Vec::with_capacity(self.len());
        self.put(number, &mut key);
        // A prefix came as text, and the rest is ASCII: nothing is lost.
        String::from_utf8_lossy(&key).into_owned()
    }
}

fn text(random: &mut impl Rng, len: usize) -> Vec<u8> {
    let one = || ALPHABET[random.random_range(0..ALPHABET.len())];
    std::iter::repeat_with(one).take(len).collect()
}

/// Another number for each number, far from those of its neighbours.
fn scattered(number: u64) -> u64 {
    // Each step can be undone within the bits, so no two numbers come out alike.
    let mut bits = number & NUMBER_MASK;
    for (shift, odd) in [(23, 0x9E37_79B9_7F4B), (25, 0xBF58_476D_1CE5)] {
        bits ^= bits >> shift;
        bits = bits.wrapping_mul(odd) & NUMBER_MASK;
    }
    bits ^ (bits >> 24)
}

/// The results that keys are completed with.
#[derive(Debug)]
pub(super) struct Results {
    bytes: Bytes,
    len: usize,
}

impl Results {
    /// Results of `len` bytes.
    pub fn new(len: usize, seed: u64) -> Self {
        let mut bytes = vec![0; len + RESULT_STARTS];
        SmallRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        Self {
            bytes: bytes.into(),
            len,
        }
    }

    /// The result of the key of `number`.
    pub fn of(&self, number: u64) -> &[u8] {
        &self.bytes[self.place(number)]
    }

    /// The same, to be handed on.
    pub fn shared(&self, number: u64) -> Bytes {
        self.bytes.slice(self.place(number))
    }

    fn place(&self, number: u64) -> std::ops::Range<usize> {
        let start = (number % RESULT_STARTS as u64) as usize;
        start..start + self.len
    }
}

/// An attempt id: never of the seed's, because a Claim with the attempt id of an earlier run would
/// be taken for its repetition.
pub(super) fn attempt_id(random: &mut SmallRng) -> [u8; 16] {
    let mut id = [0; 16];
    random.fill_bytes(&mut id);
    // All zero is not allowed.
    id[0] |= 1;
    id
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_number_has_a_key_of_its_own_and_of_the_right_length() {
        for (prefix, len) in [
            (None, 16),
            (None, 36),
            (Some("order-"), 14),
            (Some("é"), 255),
        ] {
            let keys = Keys::new(prefix, len, 1);
            assert_eq!(keys.len(), len);
            let all: HashSet<_> = (0..10_000).map(|number| keys.of(number)).collect();
            assert_eq!(all.len(), 10_000);
            for key in all {
                assert_eq!(key.len(), len);
                assert!(key.starts_with(prefix.unwrap_or_default()));
                assert!(!key.contains(char::is_control));
            }
        }
    }

    #[test]
    fn runs_never_share_keys_unless_they_are_told_to() {
        let of = |prefix, seed| Keys::new(prefix, 36, seed).of(1);
        assert_ne!(of(None, 1), of(None, 1));
        assert_eq!(of(Some("p"), 1), of(Some("p"), 1));
        assert_ne!(of(Some("p"), 1), of(Some("p"), 2));
    }

    #[test]
    fn keys_come_in_no_order() {
        let keys = Keys::new(None, 36, 1);
        let rising = (0..1_000).filter(|n| keys.of(*n) < keys.of(n + 1)).count();
        assert!((400..600).contains(&rising), "{rising}");
    }

    #[test]
    fn results_follow_from_the_number_and_the_seed() {
        let results = Results::new(256, 1);
        assert_eq!(results.of(5).len(), 256);
        assert_eq!(results.of(5), results.shared(5));
        assert_ne!(results.of(5), results.of(6));
        assert_eq!(results.of(5), Results::new(256, 1).of(5));
        assert!(Results::new(0, 1).of(7).is_empty());
    }
}
