//! Go's `strconv.ParseInt` and `strconv.ParseUint`, of decimal numbers.

use std::num::IntErrorKind;

use super::Quote as _;

/// Why a text is no number.
#[derive(Clone, Copy)]
enum Fault {
    Syntax,
    Range,
}

impl Fault {
    fn said(self, function: &str, text: &str) -> String {
        let what = match self {
            Self::Syntax => "invalid syntax",
            Self::Range => "value out of range",
        };
        format!("strconv.{function}: parsing {}: {what}", text.quoted())
    }
}

/// `strconv.ParseInt(text, 10, 64)`, or Go's words for what is wrong.
pub fn parse_int(text: &str) -> Result<i64, String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = magnitude(rest).and_then(|number| {
        let number = if negative { 0_i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() };
        number.ok_or(Fault::Range)
    });
    number.map_err(|fault| fault.said("ParseInt", text))
}

/// `strconv.ParseUint(text, 10, 64)`, or Go's words for what is wrong.
pub fn parse_uint(text: &str) -> Result<u64, String> {
    magnitude(text).map_err(|fault| fault.said("ParseUint", text))
}

fn magnitude(text: &str) -> Result<u64, Fault> {
    if text.starts_with('+') {
        // Rust would take it
        return Err(Fault::Syntax);
    }
    text.parse::<u64>().map_err(|why| match why.kind() {
        IntErrorKind::PosOverflow => Fault::Range,
        _ => Fault::Syntax,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        let cases = [
            ("12", Ok(12)),
            ("+12", Ok(12)),
            ("-0", Ok(0)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err("value out of range")),
            ("-9223372036854775809", Err("value out of range")),
            ("99999999999999999999", Err("value out of range")),
            ("9223372036854775808x", Err("invalid syntax")),
            ("", Err("invalid syntax")),
            ("-", Err("invalid syntax")),
            ("+-1", Err("invalid syntax")),
            ("1_0", Err("invalid syntax")),
        ];
        for (text, want) in cases {
            let want = want.map_err(|why| format!("strconv.ParseInt: parsing \"{text}\": {why}"));
            assert_eq!(parse_int(text), want);
        }
        let cases = [
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err("value out of range")),
            ("+1", Err("invalid syntax")),
            ("-1", Err("invalid syntax")),
        ];
        for (text, want) in cases {
            let want = want.map_err(|why| format!("strconv.ParseUint: parsing \"{text}\": {why}"));
            assert_eq!(parse_uint(text), want);
        }
    }
}
