//! Go's `time.ParseDuration`.

use std::fmt::Write as _;

/// 2⁶³: a negative duration may be as long.
const LONGEST: u64 = 1 << 63;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// `1h30m`, `1.5s`, `100ms`, in nanoseconds; or Go's words for what is wrong with it.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quoted(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let whole = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanos = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, nanos)) => *nanos,
            // a number too large is invalid before its unit is looked at
            None if whole > LONGEST => return Err(invalid()),
            None if unit.is_empty() => {
                return Err(format!("time: missing unit in duration {}", quoted(text)));
            }
            None => {
                return Err(format!("time: unknown unit {} in duration {}", quoted(unit), quoted(text)));
            }
        };
        let part = whole.checked_mul(nanos).and_then(|part| part.checked_add(share(fraction, nanos)));
        let sum = part.filter(|part| *part <= LONGEST).and_then(|part| total.checked_add(part));
        total = sum.filter(|sum| *sum <= LONGEST).ok_or_else(invalid)?;
        rest = after;
    }
    match i64::try_from(total) {
        Ok(total) if negative => Ok(-total),
        Ok(total) => Ok(total),
        Err(_) if negative => Ok(i64::MIN),
        Err(_) => Err(invalid()),
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// So much of a unit as the digits behind the point say; those beyond what a number holds do not count.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn share(fraction: &str, nanos: u64) -> u64 {
    let (mut number, mut scale) = (0_u64, 1.0);
    for digit in fraction.bytes().map(|byte| u64::from(byte - b'0')) {
        let next = number.checked_mul(10).and_then(|number| number.checked_add(digit));
        let Some(next) = next.filter(|next| *next <= LONGEST) else { break };
        (number, scale) = (next, scale * 10.0);
    }
    (number as f64 * (nanos as f64 / scale)) as u64
}

/// Package `time` has its own way of quoting: what is not ASCII is shown by its bytes, and so are control characters.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='\u{7f}' => out.push(c),
            c => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // a String takes whatever is written
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, nanos) in [
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("100ms", 100_000_000),
            ("1µs", 1_000),
            ("-2m", -120_000_000_000),
            ("+3ns", 3),
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_gos_words() {
        for (text, why) in [
            ("5", r#"missing unit in duration "5""#),
            ("1h5", r#"missing unit in duration "1h5""#),
            ("5x", r#"unknown unit "x" in duration "5x""#),
            ("5é", r#"unknown unit "\xc3\xa9" in duration "5\xc3\xa9""#),
            ("", r#"invalid duration """#),
            ("-", r#"invalid duration "-""#),
            ("h", r#"invalid duration "h""#),
            (".s", r#"invalid duration ".s""#),
            ("1..5s", r#"missing unit in duration "1..5s""#),
            ("a\"\\\n\u{7f}", "invalid duration \"a\\\"\\\\\\x0a\u{7f}\""),
            ("9223372036854775808ns", r#"invalid duration "9223372036854775808ns""#),
            ("9999999999999999999x", r#"invalid duration "9999999999999999999x""#),
            ("99999999999999999999h", r#"invalid duration "99999999999999999999h""#),
            ("3000000h", r#"invalid duration "3000000h""#),
        ] {
            assert_eq!(parse_duration(text), Err(format!("time: {why}")), "{text}");
        }
    }
}
