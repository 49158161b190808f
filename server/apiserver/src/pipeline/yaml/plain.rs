//! Texts that YAML 1.1 takes for something else when they have no quotes: go-yaml's `resolve.go`.

/// Words that are no text.
const WORDS: &[&str] = &[
    "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON",
    "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN",
    ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
];

/// Whether the text would be a null, a boolean, a number or a time.
pub(super) fn is_other(text: &str) -> bool {
    if WORDS.contains(&text) {
        return true;
    }
    match text.as_bytes().first() {
        Some(b'.') => text.parse::<f64>().is_ok(),
        Some(b'+' | b'-' | b'0'..=b'9') => {
            let bare = text.replace('_', "");
            is_time(text) || is_integer(&bare) || is_float(&bare) || is_sexagesimal(text)
        }
        _ => false,
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

/// As Go reads integers of any base.
fn is_integer(text: &str) -> bool {
    let digits = unsigned(text);
    let of = |prefix: [&str; 2], base: u32| {
        let rest = prefix.iter().find_map(|prefix| digits.strip_prefix(prefix));
        rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|one| one.is_digit(base)))
    };
    let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    decimal || of(["0x", "0X"], 16) || of(["0b", "0B"], 2) || of(["0o", "0O"], 8)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = unsigned(text);
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let right = match number.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !number.is_empty() && digits(number),
    };
    right && exponent.is_none_or(|text| !unsigned(text).is_empty() && digits(unsigned(text)))
}

/// Numbers of base 60, which older readers know: `1:30`.
fn is_sexagesimal(text: &str) -> bool {
    let mut parts = unsigned(text).split(':');
    let first = parts.next().unwrap_or_default();
    let whole = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    };
    let sixtieth = |text: &str| matches!(text.len(), 1 | 2) && text.parse::<u8>().is_ok_and(|n| n < 60);
    let mut rest: Vec<&str> = parts.collect();
    if let Some(last) = rest.last_mut()
        && let Some((number, fraction)) = last.split_once('.')
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    {
        *last = number;
    }
    whole(first) && !rest.is_empty() && rest.into_iter().all(sixtieth)
}

/// A date, a date and time with its zone after a T, or without one after a space.
fn is_time(text: &str) -> bool {
    let number = |text: &str, range: std::ops::RangeInclusive<u32>, lengths: [usize; 2]| {
        lengths.contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit())
            && text.parse().is_ok_and(|number| range.contains(&number))
    };
    let date = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        matches!(parts.as_slice(), [year, month, day]
            if number(year, 0..=9999, [4, 4]) && number(month, 1..=12, [1, 2]) && number(day, 1..=31, [1, 2]))
    };
    let clock = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let parts: Vec<&str> = whole.split(':').collect();
        let right = matches!(parts.as_slice(), [hour, minute, second]
            if number(hour, 0..=23, [1, 2]) && number(minute, 0..=59, [1, 2]) && number(second, 0..=59, [1, 2]));
        right && !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit())
    };
    let zoned = |text: &str| {
        if let Some(time) = text.strip_suffix('Z') {
            return clock(time);
        }
        let Some(at) = text.rfind(['+', '-']) else { return false };
        let (time, zone) = (&text[..at], &text[at + 1..]);
        let right = zone.split_once(':');
        clock(time)
            && right
                .is_some_and(|(hour, minute)| number(hour, 0..=23, [2, 2]) && number(minute, 0..=59, [2, 2]))
    };
    match text.find(['T', 't', ' ']) {
        None => date(text),
        Some(at) if text[at..].starts_with(' ') => date(&text[..at]) && clock(&text[at + 1..]),
        Some(at) => date(&text[..at]) && zoned(&text[at + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::is_other;

    #[test]
    fn what_is_no_text_needs_quotes() {
        let others = [
            "",
            "~",
            "null",
            "y",
            "No",
            "ON",
            "true",
            "1",
            "-1",
            "+1",
            "0x1F",
            "0b10",
            "0o17",
            "1_000",
            "1.5",
            "1.",
            ".5",
            "1e3",
            "-.inf",
            ".nan",
            "2026-01-02",
            "2026-1-2",
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.123456Z",
            "2026-01-02 03:04:05",
            "2026-01-02T03:04:05+01:00",
            "1:30",
            "08",
        ];
        for text in others {
            assert!(is_other(text), "{text:?}");
        }
        let texts = [
            "a",
            "v1",
            "1.2.3",
            "1Gi",
            "100m",
            "10.0.0.1",
            "yess",
            "nO",
            "2026-13-02",
            "2026-01-02T03:04:05",
            "1:75",
            "-",
            "+",
            "0x",
            "1e",
            "e3",
            "<<",
            "127.0.0.1:80",
            "1-2",
        ];
        for text in texts {
            assert!(!is_other(text), "{text:?}");
        }
    }
}
