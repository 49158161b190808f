//! Kubernetes' quantities as numbers, and numbers as people read them.

/// The number that a quantity says: `250m` is 0.25, `1Gi` is 1073741824; none for what is no quantity.
pub fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    if let Ok(number) = text.parse::<f64>() {
        return Some(number);
    }
    let number: f64 = text[..end].parse().ok()?;
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
    format!("{value:.digits$}{}", UNITS[unit])
}

/// Cores: `250m` below one, `1.5` above.
pub fn cores(cores: f64) -> String {
    if cores < 1.0 { format!("{:.0}m", cores * 1000.0) } else { format!("{:.1}", cores) }
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
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        assert_eq!(parse("much"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(0.0), "0");
        assert_eq!(bytes(1536.0), "1.5Ki");
        assert_eq!(bytes(1024.0 * 1024.0 * 300.0), "300Mi");
        assert_eq!(cores(0.25), "250m");
        assert_eq!(cores(1.5), "1.5");
    }
}
