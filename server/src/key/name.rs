//! Namespaces and keys: what a caller may call an operation.

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{AttemptId, Invalid, limits};

/// How many buckets the keys are spread over. Stored with every record and leading its primary
/// key, so it can never change.
pub const BUCKETS: i16 = 64;

/// Not a text that [`Namespace::new`] lets through.
const UNCONFIGURED: &str = "*";

/// An isolated set of keys with one policy: 1 to 64 of `a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Checks a namespace.
    ///
    /// # Errors
    /// Names the limit that `text` breaks.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let invalid = |problem: String| Err(Invalid::new("namespace", problem));
        if text.is_empty() || text.len() > limits::NAMESPACE_BYTES {
            return invalid(format!(
                "must have 1 to {} bytes, has {}",
                limits::NAMESPACE_BYTES,
                text.len()
            ));
        }
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
        if let Some(c) = text.chars().find(|c| !allowed(*c)) {
            return invalid(format!("may contain only a-z 0-9 . _ - and not {c:?}"));
        }
        Ok(Self(text.into()))
    }

    /// Stands for every namespace that nobody configured. No caller can name it.
    pub fn unconfigured() -> Self {
        Self(UNCONFIGURED.into())
    }

    /// From a text that a store kept.
    ///
    /// # Errors
    /// Names the limit that `text` breaks.
    pub fn from_stored(text: &str) -> Result<Self, Invalid> {
        if text == UNCONFIGURED {
            Ok(Self::unconfigured())
        } else {
            Self::new(text)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The caller's name for one logical operation: 1 to 255 bytes of UTF-8 without control
/// characters, compared byte for byte, never normalised or trimmed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// Names the limit that `text` breaks.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > limits::KEY_BYTES {
            return Err(Invalid::new(
                "key",
                format!(
                    "must have 1 to {} bytes, has {}",
                    limits::KEY_BYTES,
                    text.len()
                ),
            ));
        }
        if let Some(at) = text.chars().position(char::is_control) {
            return Err(Invalid::new(
                "key",
                format!(
                    "must not contain control characters, has one at character {}",
                    at + 1
                ),
            ));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a store finds a key by: short, of one length, and spread evenly.
///
/// The first 4 bytes are the namespace's hash, so that an index in this order has each namespace's
/// keys together; the other 12 are the first of a SHA-256 of both names. Nobody can make a key
/// whose digest is that of another's key, and two of one's own only at the cost of 2^48 tries, to
/// find that the second of them cannot be claimed while the first is kept: a store compares the
/// names as well, and never takes one key for another.
pub type KeyDigest = [u8; 16];

/// A key in its namespace, with the hash that says which lane serves it and the digest it is
/// found by.
#[derive(Clone)]
pub struct KeyId {
    namespace: Namespace,
    key: Key,
    hash: u64,
    digest: KeyDigest,
}

impl KeyId {
    /// The key `key` of `namespace`.
    pub fn new(namespace: Namespace, key: Key) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(namespace.as_str().as_bytes());
        // Neither part can contain it, so ("a", "bc") and ("ab", "c") hash apart.
        hasher.update(&[0]);
        hasher.update(key.as_str().as_bytes());
        let digest = digest(&namespace, &key);
        Self {
            namespace,
            key,
            hash: hasher.digest(),
            digest,
        }
    }

    /// As if somebody had found two keys of one digest.
    #[cfg(test)]
    pub fn with_digest(mut self, digest: KeyDigest) -> Self {
        self.digest = digest;
        self
    }

    /// Checks and joins the two texts.
    ///
    /// # Errors
    /// Names the field and the limit it breaks.
    pub fn parse(namespace: &str, key: &str) -> Result<Self, Invalid> {
        Ok(Self::new(Namespace::new(namespace)?, Key::new(key)?))
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// XXH3-64 of namespace, a zero byte and key. The same on every machine and for ever.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The stored bucket, `0..BUCKETS`: the highest bits of the hash.
    pub fn bucket(&self) -> i16 {
        const SHIFT: u32 = 64 - BUCKETS.ilog2();
        (self.hash >> SHIFT) as i16
    }

    /// What stores find the key by. The same on every machine and for ever.
    pub fn digest(&self) -> &KeyDigest {
        &self.digest
    }

    /// For tables in memory: the digest's last 8 bytes. They are of the SHA-256, so that nobody can
    /// aim at one place of a table.
    pub fn table_hash(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.digest;
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    /// A name for the key where the key itself should not be read: 96 bits of the SHA-256 of
    /// namespace and key. Whoever guesses the key can tell that it is the one.
    pub fn shown(&self) -> String {
        format!("sha256:{}", hex::encode(&self.digest[4..]))
    }

    /// What an attempt's claim is called in traces: 128 bits of a SHA-256 of key and attempt id, in
    /// hexadecimal. The attempt id, a part of the token, cannot be told from it.
    pub fn claim_id(&self, attempt: &AttemptId) -> String {
        let mut hash = Sha256::new();
        hash.update(b"semel claim");
        hash.update(self.digest);
        hash.update(attempt.as_bytes());
        hex::encode(&hash.finalize()[..16])
    }

    /// What the primary key sorts by.
    pub fn order(&self) -> (i16, &KeyDigest) {
        (self.bucket(), &self.digest)
    }
}

fn digest(namespace: &Namespace, key: &Key) -> KeyDigest {
    let mut hasher = Sha256::new();
    hasher.update(namespace.as_str());
    // As above: neither part can contain it.
    hasher.update([0]);
    hasher.update(key.as_str());
    let of_both = hasher.finalize();
    let of_namespace = xxh3_64(namespace.as_str().as_bytes());
    let mut digest = [0; 16];
    digest[..4].copy_from_slice(&of_namespace.to_be_bytes()[..4]);
    digest[4..].copy_from_slice(&of_both[..12]);
    digest
}

impl PartialEq for KeyId {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.key == other.key && self.namespace == other.namespace
    }
}

impl Eq for KeyId {}

impl std::hash::Hash for KeyId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.table_hash());
    }
}

impl PartialOrd for KeyId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order()
            .cmp(&other.order())
            .then_with(|| self.namespace.cmp(&other.namespace))
            .then_with(|| self.key.cmp(&other.key))
    }
}

impl fmt::Debug for KeyId {
    /// Keys may hold personal data, so logs get the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/#{:016x}", self.namespace, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_1_to_64_of_the_allowed_characters() {
        for good in ["a", "orders.v1_eu-west", &"x".repeat(64)] {
            assert!(Namespace::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Orders", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert_eq!(Namespace::new(bad).unwrap_err().field, "namespace", "{bad}");
        }
        assert!(Namespace::new(Namespace::unconfigured().as_str()).is_err());
    }

    #[test]
    fn a_key_is_1_to_255_bytes_without_control_characters() {
        for good in ["a", " padded ", "zürich/✓", &"k".repeat(255)] {
            assert_eq!(Key::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a\nb",
            "\u{0}",
            "\u{7f}",
            "\u{85}",
            &"k".repeat(256),
            &"é".repeat(128),
        ] {
            assert_eq!(Key::new(bad).unwrap_err().field, "key", "{bad:?}");
        }
    }

    #[test]
    fn keys_are_compared_byte_for_byte_and_never_normalised() {
        let composed = KeyId::parse("n", "\u{e9}").unwrap();
        let decomposed = KeyId::parse("n", "e\u{301}").unwrap();
        assert_ne!(composed, decomposed);
        assert_ne!(
            KeyId::parse("n", "A").unwrap(),
            KeyId::parse("n", "a").unwrap()
        );
        assert_ne!(
            KeyId::parse("n", "a ").unwrap(),
            KeyId::parse("n", "a").unwrap()
        );
    }

    #[test]
    fn the_bucket_of_a_key_never_changes() {
        // Stored in every primary key: a changed hash would lose every record.
        let buckets = ["order-1", "order-2", "evt_1PqX"]
            .map(|key| KeyId::parse("orders", key).unwrap().bucket());
        assert_eq!(buckets, EXPECTED_BUCKETS);
        assert_ne!(
            KeyId::parse("a", "bc").unwrap().hash(),
            KeyId::parse("ab", "c").unwrap().hash()
        );
    }

    const EXPECTED_DIGEST: &str = "a88ccdc93e5374437f6e619f357f9fc8";

    /// Worked out by another implementation: Python's `xxhash.xxh3_64_intdigest(...) >> 58`.
    const EXPECTED_BUCKETS: [i16; 3] = [29, 57, 38];

    #[test]
    fn the_digest_of_a_key_never_changes() {
        // As the bucket. Worked out by Python: `xxhash.xxh3_64_digest(b"orders")[:4] +
        // hashlib.sha256(b"orders\0order-1").digest()[:12]`.
        let digest = *KeyId::parse("orders", "order-1").unwrap().digest();
        assert_eq!(hex::encode(digest), EXPECTED_DIGEST);
    }

    #[test]
    fn the_keys_of_a_namespace_are_together_and_differ() {
        let digest = |namespace, key| *KeyId::parse(namespace, key).unwrap().digest();
        assert_eq!(digest("a", "1")[..4], digest("a", "2")[..4]);
        assert_ne!(digest("a", "1")[..4], digest("b", "1")[..4]);
        assert_ne!(digest("a", "1")[4..], digest("a", "2")[4..]);
        assert_ne!(digest("a", "bc")[4..], digest("ab", "c")[4..]);
    }

    #[test]
    fn buckets_cover_their_whole_range() {
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..2_000 {
            seen.insert(KeyId::parse("n", &i.to_string()).unwrap().bucket());
        }
        assert_eq!(
            seen.into_iter().collect::<Vec<_>>(),
            (0..BUCKETS).collect::<Vec<_>>()
        );
    }

    #[test]
    fn logs_show_a_hash_and_never_the_key() {
        let id = KeyId::parse("cards", "4111-1111").unwrap();
        assert!(!format!("{id:?}").contains("4111"));
    }
}
