//! The proof of a claim that its holder sends back.

use std::fmt;

use super::{AttemptId, Fence, Invalid, PolicyId};

/// Fence, attempt id and policy of the claim it proves.
///
/// The policy is in it so that a Complete can be one blind statement: the server knows the
/// retention without loading the record, and the statement's guard proves that the token's policy
/// is the record's. Where it is not, the rules decide by the record's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The fence of the claim.
    pub fence: Fence,
    /// The attempt id that claimed.
    pub attempt_id: AttemptId,
    /// The policy that the claim was made under.
    pub policy_id: PolicyId,
}

const VERSION: u8 = 1;
const LEN: usize = 1 + 8 + 16 + 8;

impl Token {
    /// The bytes for the wire: version, fence, attempt id, policy id.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.fence.as_i64().to_be_bytes());
        bytes[9..25].copy_from_slice(self.attempt_id.as_bytes());
        bytes[25..33].copy_from_slice(&self.policy_id.as_i64().to_be_bytes());
        bytes
    }

    /// Reads a token from the wire.
    ///
    /// # Errors
    /// When the bytes are not a token of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "token",
                "must be the token of a Claim, sent back unchanged; this is none of this version",
            )
        };
        let bytes: &[u8; LEN] = bytes.try_into().map_err(|_| invalid())?;
        let (&version, rest) = bytes.split_first().ok_or_else(invalid)?;
        if version != VERSION {
            return Err(invalid());
        }
        let (fence, rest) = rest.split_first_chunk::<8>().ok_or_else(invalid)?;
        let (attempt_id, policy_id) = rest.split_first_chunk::<16>().ok_or_else(invalid)?;
        let policy_id = policy_id.first_chunk::<8>().ok_or_else(invalid)?;
        Ok(Self {
            fence: Fence::from_i64(i64::from_be_bytes(*fence)),
            attempt_id: AttemptId::from_stored(*attempt_id),
            policy_id: PolicyId::from_i64(i64::from_be_bytes(*policy_id)),
        })
    }
}

impl fmt::Debug for Token {
    /// A token is the holder's; logs get the public fence only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(fence {})", self.fence.as_i64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_wire_and_anything_else_is_refused() {
        let token = Token {
            fence: Fence::from_i64(1_790_000_000_000_000),
            attempt_id: AttemptId::from_stored([9; 16]),
            policy_id: PolicyId::from_i64(-5),
        };
        let bytes = token.encode();
        assert_eq!(Token::decode(&bytes), Ok(token));

        let mut other_version = bytes;
        other_version[0] = 2;
        for bad in [
            &[][..],
            &bytes[..32],
            &[bytes.as_slice(), &[0]].concat(),
            &other_version,
        ] {
            assert_eq!(Token::decode(bad).unwrap_err().field, "token");
        }
    }

    #[test]
    fn a_token_does_not_print_its_attempt_id() {
        let token = Token {
            fence: Fence::from_i64(1),
            attempt_id: AttemptId::from_stored([0xab; 16]),
            policy_id: PolicyId::from_i64(2),
        };
        assert_eq!(format!("{token:?}"), "Token(fence 1)");
    }
}
