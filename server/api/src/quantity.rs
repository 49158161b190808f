//! `resource.Quantity`: `100m`, `1.5Gi`, `12e6`.
//!
//! Upstream keeps nothing finer than nano (rounded up, away from zero) and nothing beyond ±(2⁶³−1); that
//! whole range fits an `i128` of nanos, so there is one representation and plain integer arithmetic.
//! Ported from `k8s.io/apimachinery/pkg/api/resource/quantity.go` and `suffix.go`.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

const NANO: i128 = 1_000_000_000;
const LIMIT: i128 = i64::MAX as i128 * NANO;

/// How a quantity likes to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySI,
    /// `12M`
    DecimalSI,
}

/// Why a text is no quantity: upstream's three errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not of the form at all.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is none.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A number with the suffix style that it came in.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Zero.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSI };

    /// `value` units, written as `format`.
    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANO, format }
    }
    /// `value` thousandths.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * (NANO / 1000), format }
    }

    /// Reads `text` as upstream's `ParseQuantity`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
            None => return Err(ParseError::Format),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(if number.is_empty() { ParseError::Format } else { ParseError::Numeric });
        }
        if fraction.contains('.') {
            return Err(ParseError::Format);
        }
        let scale = Scale::parse(suffix).map_err(|_| wrong(suffix))?;
        let nanos = scale.apply(whole, fraction).min(LIMIT);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format: scale.format() })
    }

    /// Reads a JSON value: a string, or a bare number.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, ParseError> {
        match value {
            serde_json::Value::String(text) => Self::parse(text.trim()),
            serde_json::Value::Number(number) => Self::parse(&number.to_string()),
            _ => Err(ParseError::Format),
        }
    }

    /// Whole units, rounded away from zero.
    pub fn value(&self) -> i64 {
        self.scaled(NANO)
    }
    /// Thousandths, rounded away from zero.
    pub fn milli_value(&self) -> i64 {
        self.scaled(NANO / 1000)
    }
    /// Billionths, within i128.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }
    /// As a float, for averages and display.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }
    /// The style it is written in.
    pub fn format(&self) -> Format {
        self.format
    }
    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }
    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.nanos.signum() as i32
    }
    /// Whether it is a whole number.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    fn scaled(&self, unit: i128) -> i64 {
        let rounded = divide_away_from_zero(self.nanos, unit);
        rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

/// The sum; zero takes over the other's format, as upstream.
impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-LIMIT, LIMIT), format }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + Self { nanos: -other.nanos, format: other.format }
    }
}

fn divide_away_from_zero(value: i128, unit: i128) -> i128 {
    let (quotient, rest) = (value / unit, value % unit);
    if rest == 0 { quotient } else { quotient + value.signum() }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl std::str::FromStr for Quantity {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

#[derive(Clone, Copy)]
enum Scale {
    Binary(u32),
    Decimal(i32),
    Exponent(i32),
}

/// A suffix that is like one is unknown; anything else is no quantity.
fn wrong(suffix: &str) -> ParseError {
    let rest = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    match digits.bytes().all(|digit| digit.is_ascii_digit()) {
        true => ParseError::Suffix,
        false => ParseError::Format,
    }
}

impl Scale {
    fn parse(suffix: &str) -> Result<Self, ParseError> {
        Ok(match suffix {
            "" => Scale::Decimal(0),
            "n" => Scale::Decimal(-9),
            "u" => Scale::Decimal(-6),
            "m" => Scale::Decimal(-3),
            "k" => Scale::Decimal(3),
            "M" => Scale::Decimal(6),
            "G" => Scale::Decimal(9),
            "T" => Scale::Decimal(12),
            "P" => Scale::Decimal(15),
            "E" => Scale::Decimal(18),
            "Ki" => Scale::Binary(10),
            "Mi" => Scale::Binary(20),
            "Gi" => Scale::Binary(30),
            "Ti" => Scale::Binary(40),
            "Pi" => Scale::Binary(50),
            "Ei" => Scale::Binary(60),
            _ => match suffix.strip_prefix(['e', 'E']) {
                Some(exponent) if !exponent.is_empty() => {
                    let exponent: i64 = exponent.parse().map_err(|_| ParseError::Suffix)?;
                    Scale::Exponent(exponent.clamp(-1000, 1000) as i32)
                }
                _ => return Err(ParseError::Suffix),
            },
        })
    }

    fn format(self) -> Format {
        match self {
            Scale::Binary(_) => Format::BinarySI,
            Scale::Decimal(_) => Format::DecimalSI,
            Scale::Exponent(_) => Format::DecimalExponent,
        }
    }

    /// Nanos of `whole.fraction` at this scale, rounded up.
    fn apply(self, whole: &str, fraction: &str) -> i128 {
        // more digits than these cannot change a result that is kept to a nano
        let keep = if matches!(self, Scale::Binary(_)) { 19 } else { 28 };
        let digits = whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0');
        let (mut mantissa, mut kept, mut dropped, mut sticky) = (0i128, 0, 0i32, false);
        for digit in digits {
            if kept < keep {
                mantissa = mantissa * 10 + i128::from(digit - b'0');
                kept += 1;
            } else {
                dropped += 1;
                sticky |= digit != b'0';
            }
        }
        if mantissa == 0 {
            return 0;
        }
        let mut power = 9 + dropped - i32::try_from(fraction.len()).unwrap_or(i32::MAX / 2);
        match self {
            Scale::Binary(bits) => mantissa <<= bits,
            Scale::Decimal(exponent) | Scale::Exponent(exponent) => power += exponent,
        }
        shift(mantissa, power, sticky)
    }
}

/// `mantissa · 10^power`, rounded up; `sticky` says that digits beyond the mantissa were not all zero.
fn shift(mantissa: i128, power: i32, sticky: bool) -> i128 {
    match 10i128.checked_pow(power.unsigned_abs()) {
        Some(factor) if power >= 0 => {
            mantissa.checked_mul(factor).and_then(|v| v.checked_add(i128::from(sticky))).unwrap_or(LIMIT)
        }
        Some(factor) => mantissa / factor + i128::from(mantissa % factor != 0 || sticky),
        None if power >= 0 => LIMIT,
        None => 1,
    }
}

impl std::fmt::Display for Quantity {
    /// The canonical form: the largest suffix that leaves no fraction.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let units = self.nanos / NANO;
        if self.format == Format::BinarySI && self.is_whole() && units.abs() >= 1024 {
            return binary(units, f);
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        while number % 1000 == 0 {
            number /= 1000;
            exponent += 3;
        }
        match (self.format, exponent) {
            (_, 0) => write!(f, "{number}"),
            (Format::DecimalExponent, _) => write!(f, "{number}e{exponent}"),
            _ => write!(f, "{number}{}", decimal_suffix(exponent)),
        }
    }
}

fn binary(mut number: i128, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().peekable();
    while number % 1024 == 0 && suffixes.len() > 1 {
        number /= 1024;
        suffixes.next();
    }
    write!(f, "{number}{}", suffixes.next().unwrap_or(&""))
}

fn decimal_suffix(exponent: i32) -> &'static str {
    match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => "",
    }
}
