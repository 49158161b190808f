//! Kubernetes' quantities as numbers, and numbers as people read them.

/// The number that a quantity says: `250m` is 0.25, `1Gi` is 1073741824; none for what is no quantity.
pub fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    if let Some(number) = decimal(text) {
        return Some(number);
    }
    let number = decimal(&text[..end])?;
    let factor = match &text[end..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        _ => return None,
    };
    Some(number * factor)
}

/// A decimal number, to some fifteen digits: what `f64` reads with brings ten kilobytes of powers along.
fn decimal(text: &str) -> Option<f64> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => (-1.0, number),
        None => (1.0, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let mut digits = whole.bytes().chain(part.bytes()).peekable();
    digits.peek()?;
    let value = digits.try_fold(0.0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10.0 + f64::from(digit - b'0'))
    })?;
    let places = exponent.checked_sub(i32::try_from(part.len()).ok()?)?;
    // a division is exact where a product with a tenth is not
    let scaled = if places < 0 { value / 10f64.powi(-places) } else { value * 10f64.powi(places) };
    Some(sign * scaled)
}

/// So many decimal places.
pub fn fixed(value: f64, places: u32) -> String {
    let unit = 10u64.pow(places);
    let all = (value.abs() * unit as f64).round() as u64;
    let sign = if value < 0.0 && all > 0 { "-" } else { "" };
    let places = places as usize;
    match places {
        0 => format!("{sign}{all}"),
        _ => format!("{sign}{}.{:0places$}", all / unit, all % unit),
    }
}

/// `1.5 Gi`, `312 Mi`.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit > 0 && value < 10.0 { 1 } else { 0 };
    fixed(value, digits) + UNITS[unit]
}

/// Cores: `250m` below one, `1.5` above.
pub fn cores(cores: f64) -> String {
    if cores < 1.0 { fixed(cores * 1000.0, 0) + "m" } else { fixed(cores, 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_numbers() {
        for (text, number) in [
            ("250m", 0.25),
            ("1Gi", 1_073_741_824.0),
            ("2", 2.0),
            ("1e3", 1000.0),
            ("128974848", 128_974_848.0),
            ("5k", 5000.0),
            ("0.1", 0.1),
            ("1.5Gi", 1_610_612_736.0),
            ("-2.25", -2.25),
            ("+1E-3", 0.001),
            ("156340283n", 0.156_340_283),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in ["much", ".", "1.2.3", "--1", "1e", "0x10", "1 2"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(""), None);
    }

    #[test]
    fn numbers_read_well() {
        for (value, places, text) in
            [(1.25, 1, "1.3"), (-0.04, 1, "0.0"), (-1.5, 0, "-2"), (12.0, 2, "12.00"), (0.07, 2, "0.07")]
        {
            assert_eq!(fixed(value, places), text);
        }
        assert_eq!(bytes(0.0), "0");
        assert_eq!(bytes(1536.0), "1.5Ki");
        assert_eq!(bytes(1024.0 * 1024.0 * 300.0), "300Mi");
        assert_eq!(cores(0.25), "250m");
        assert_eq!(cores(1.5), "1.5");
    }
}
