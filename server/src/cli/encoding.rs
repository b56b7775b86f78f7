//! Bytes as text: hexadecimal and base64 (RFC 4648, the standard alphabet, padded).

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Reads hexadecimal digits of either case.
pub(super) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    match digits {
        Some(digits) if digits.len().is_multiple_of(2) => Ok(digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()),
        Some(_) => Err("must be an even number of hexadecimal digits".into()),
        None => Err("must be hexadecimal digits".into()),
    }
}

pub(super) fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for place in 0..4 {
            let sextet = bits >> (18 - 6 * place) & 0x3F;
            let is_padding = place > chunk.len();
            let symbol = if is_padding {
                b'='
            } else {
                BASE64[sextet as usize]
            };
            text.push(symbol.into());
        }
    }
    text
}

/// Reads what [`to_base64`] wrote; `None` for anything else.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let symbols = text.trim_end_matches('=').as_bytes();
    if !text.len().is_multiple_of(4) || text.len() - symbols.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in symbols.chunks(4) {
        let mut bits = 0;
        for place in 0..4 {
            let sextet = match chunk.get(place) {
                Some(symbol) => BASE64.iter().position(|known| known == symbol)? as u32,
                None => 0,
            };
            bits = bits << 6 | sextet;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
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
