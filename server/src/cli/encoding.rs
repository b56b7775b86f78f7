//! Bytes as text: hexadecimal and base64 (RFC 4648, the standard alphabet, padded).

use base64::{Engine as _, prelude::BASE64_STANDARD};

pub(super) fn to_hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// Reads hexadecimal digits of either case.
pub(super) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|error| match error {
        hex::FromHexError::OddLength => "must be an even number of hexadecimal digits".into(),
        _ => "must be hexadecimal digits".into(),
    })
}

pub(super) fn to_base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Reads what [`to_base64`] wrote; `None` for anything else.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(to_base64(&[0xFB, 0xFF, 0xFE]), "+//+");
        for bad in ["Zg", "Zg=", "Z===", "Zm9v!A==", "Zg==Zg=="] {
            assert_eq!(from_base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_base64(&to_base64(&all)), Some(all.clone()));
        assert_eq!(from_hex(&to_hex(&all)), Ok(all));
    }

    #[test]
    fn what_is_not_hexadecimal_is_told_apart() {
        assert!(from_hex("abc").unwrap_err().contains("even"));
        assert!(!from_hex("xy").unwrap_err().contains("even"));
        assert_eq!(from_hex("0aFF"), Ok(vec![0x0A, 0xFF]));
    }
}
