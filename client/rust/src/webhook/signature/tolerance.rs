//! Signatures that are too old, or from the future.

use std::time::{Duration, SystemTime};

use super::SignatureError;

pub(super) fn check(
    signed_at: SystemTime,
    now: SystemTime,
    tolerance: Duration,
) -> Result<(), SignatureError> {
    match now.duration_since(signed_at) {
        Ok(age) if age > tolerance => Err(SignatureError::TooOld { age, tolerance }),
        Ok(_) => Ok(()),
        Err(error) if error.duration() > tolerance => Err(SignatureError::FromTheFuture {
            ahead: error.duration(),
            tolerance,
        }),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tolerance_holds_in_both_directions_to_the_second() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let tolerance = Duration::from_secs(300);
        let second = Duration::from_secs(1);
        for signed_at in [now, now - tolerance, now + tolerance] {
            assert_eq!(check(signed_at, now, tolerance), Ok(()));
        }
        assert_eq!(
            check(now - tolerance - second, now, tolerance),
            Err(SignatureError::TooOld {
                age: tolerance + second,
                tolerance
            })
        );
        assert_eq!(
            check(now + tolerance + second, now, tolerance),
            Err(SignatureError::FromTheFuture {
                ahead: tolerance + second,
                tolerance
            })
        );
    }
}
