//! Values of flags: durations, points in time, bytes.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use semel_client::Token;

use super::encoding::from_hex;

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a length of time such as 500ms, 30s or 1h"))
}

/// For people: of a long time, the milliseconds do not matter, nor the seconds of a longer one.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis().min(u64::MAX.into()) as u64;
    let unit = match millis {
        0..60_000 => 1,
        60_000..3_600_000 => 1_000,
        _ => 60_000,
    };
    humantime::format_duration(Duration::from_millis(millis - millis % unit)).to_string()
}

pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text)
        .map_err(|error| format!("{error}; write UTC such as 2026-01-31T12:00:00Z"))
}

pub(super) fn show_time(time: SystemTime) -> String {
    // The year 10000 and later has no RFC 3339 form, and formatting it would panic.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let time = time.clamp(SystemTime::UNIX_EPOCH, last);
    humantime::format_rfc3339_millis(time).to_string()
}

pub(super) fn hex(text: &str) -> Result<Bytes, String> {
    from_hex(text).map(Bytes::from)
}

/// Reads a token. Not as clap's value parser, whose errors repeat the value: a token is a secret.
pub(super) fn token(text: &str) -> Result<Token, String> {
    match from_hex(text.trim()) {
        Ok(bytes) if !bytes.is_empty() => Ok(Token::new(bytes)),
        Ok(_) => Err("the token is empty; take it from the answer to `semel claim`".into()),
        Err(problem) => Err(format!("the token {problem}, as `semel claim` printed it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_is_not_repeated() {
        let refused = token("hunter2").unwrap_err();
        assert!(!refused.contains("hunter2"), "{refused}");
        assert!(token("").is_err());
        assert_eq!(token(" 01ff\n").unwrap().as_bytes().as_ref(), [0x01, 0xFF]);
    }

    #[test]
    fn durations_and_times_are_read_and_shown() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("30").unwrap_err().contains("30s"));
        assert_eq!(show_duration(Duration::from_micros(1_500_900)), "1s 500ms");
        assert_eq!(show_duration(Duration::from_millis(61_999)), "1m 1s");
        assert_eq!(show_duration(Duration::from_millis(7_199_999)), "1h 59m");
        let at = time("2026-01-31T12:00:00Z").unwrap();
        assert_eq!(show_time(at), "2026-01-31T12:00:00.000Z");
        assert!(time("yesterday").is_err());
        let beyond = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(show_time(beyond).starts_with("9999"));
    }
}
