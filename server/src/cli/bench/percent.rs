//! Parts of a hundred, to a thousandth of one: rare kinds of operations matter too.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

/// The decimals that count.
const DECIMALS: usize = 3;
/// One percent.
const THOUSAND: u32 = 1_000;

/// A share, exact: in thousandths of a percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Percent(u32);

impl Percent {
    /// A hundred.
    pub const ALL: Self = Self(100 * THOUSAND);

    pub fn of_thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    pub fn thousandths(self) -> u32 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let percent = (is_number(whole) && is_number(decimals) && decimals.len() <= DECIMALS)
            .then(|| {
                let whole: u32 = whole.parse().ok()?;
                let decimals: u32 = format!("{decimals:0<DECIMALS$}").parse().ok()?;
                Some(Self(whole.checked_mul(THOUSAND)?.checked_add(decimals)?))
            })
            .flatten();
        percent
            .filter(|percent| *percent <= Self::ALL)
            .ok_or_else(|| format!("must be 0 to 100, with {DECIMALS} decimals at most"))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0 / THOUSAND, self.0 % THOUSAND);
        if decimals == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{decimals:0>DECIMALS$}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

impl Sum for Percent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        Self(all.map(|percent| percent.0).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_is_read_and_shown_as_it_is_written() {
        for (text, thousandths) in [
            ("0", 0),
            ("0.001", 1),
            ("0.1", 100),
            ("7.25", 7_250),
            ("99.999", 99_999),
            ("100", 100_000),
        ] {
            let percent: Percent = text.parse().unwrap();
            assert_eq!(percent.thousandths(), thousandths);
            assert_eq!(percent.to_string(), text);
        }
        assert_eq!("100.000".parse(), Ok(Percent::ALL));
    }

    #[test]
    fn what_is_no_percent_is_refused() {
        for text in [
            "", ".", ".5", "5.", "1.2345", "100.001", "101", "-1", "+1", "1e1", "4294968", "1.-5",
        ] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
