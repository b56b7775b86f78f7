//! What tells one attempt from another: the client's id and the store's fence.

use super::{Invalid, Timestamp};

/// A random 128-bit id that the client makes for one attempt to claim, and sends again unchanged
/// when it retries the same call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId([u8; 16]);

impl AttemptId {
    /// Checks an id from the wire.
    ///
    /// # Errors
    /// When it does not have exactly 16 bytes, or is all zero: what a forgotten field looks like.
    pub fn new(bytes: &[u8]) -> Result<Self, Invalid> {
        let id: [u8; 16] = bytes.try_into().map_err(|_| {
            Invalid::new(
                "attempt_id",
                format!("must have exactly 16 bytes, has {}", bytes.len()),
            )
        })?;
        if id == [0; 16] {
            return Err(Invalid::new("attempt_id", "must be random, is all zero"));
        }
        Ok(Self(id))
    }

    /// From bytes that a store kept.
    pub const fn from_stored(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A number that never repeats and never decreases for a key.
///
/// It is the store's clock in microseconds, or one more than the key's last fence when the clock
/// has not passed that: so it starts again neither after a purge nor after a fail-over, and needs
/// no sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(i64);

impl Fence {
    /// From a stored or sent number.
    pub const fn from_i64(fence: i64) -> Self {
        Self(fence)
    }

    /// The number.
    pub const fn as_i64(self) -> i64 {
        self.0
    }

    /// The fence of a claim made at `now` after one with this fence.
    pub fn next(self, now: Timestamp) -> Self {
        Self(now.as_micros().max(self.0.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_id_has_16_bytes_and_is_not_all_zero() {
        assert!(AttemptId::new(&[7; 16]).is_ok());
        for bad in [&[][..], &[7; 15], &[7; 17], &[0; 16]] {
            assert_eq!(AttemptId::new(bad).unwrap_err().field, "attempt_id");
        }
    }

    #[test]
    fn a_fence_increases_also_when_the_clock_goes_back() {
        let fence = Fence::from_i64(1_000);
        assert_eq!(
            fence.next(Timestamp::from_micros(5_000)),
            Fence::from_i64(5_000)
        );
        assert_eq!(
            fence.next(Timestamp::from_micros(1_000)),
            Fence::from_i64(1_001)
        );
        assert_eq!(
            fence.next(Timestamp::from_micros(10)),
            Fence::from_i64(1_001)
        );
    }
}
