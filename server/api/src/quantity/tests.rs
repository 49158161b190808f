use super::*;
use proptest::prelude::*;

#[test]
fn canonical_forms_are_upstreams() {
    for (text, canonical) in [
        ("0", "0"),
        ("0Gi", "0"),
        ("100m", "100m"),
        ("0.1", "100m"),
        ("1000m", "1"),
        ("1", "1"),
        ("+1", "1"),
        ("-1", "-1"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("0.5Gi", "512Mi"),
        ("1.5Gi", "1536Mi"),
        ("1.1Ki", "1126400m"),
        ("512", "512"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("12e6", "12e6"),
        ("12E6", "12e6"),
        ("1e3", "1e3"),
        ("1500e3", "1500e3"),
        ("1e2", "100"),
        ("1.5G", "1500M"),
        ("1E", "1E"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("1.0000000001", "1000000001n"),
        (".5", "500m"),
        ("5.", "5"),
        ("100Ei", "9223372036854775807"),
        ("1e1000", "9223372036854775807"),
        ("1e-1000", "1e-9"),
        ("-0.5m", "-500u"),
    ] {
        let quantity = Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(quantity.to_string(), canonical, "{text}");
    }
}

#[test]
fn wrong_texts_are_refused() {
    for (text, error) in [
        ("", ParseError::Format),
        ("Mi", ParseError::Format),
        ("1.2.3", ParseError::Format),
        (".", ParseError::Numeric),
        ("1mi", ParseError::Suffix),
        ("1 Mi", ParseError::Format),
        ("1x", ParseError::Format),
        ("1e", ParseError::Suffix),
        ("1ee3", ParseError::Suffix),
        ("1K", ParseError::Suffix),
    ] {
        assert_eq!(Quantity::parse(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn values_round_away_from_zero() {
    let q = |text| Quantity::parse(text).unwrap();
    assert_eq!(q("1.1").value(), 2);
    assert_eq!(q("-1.1").value(), -2);
    assert_eq!(q("100m").milli_value(), 100);
    assert_eq!(q("1u").milli_value(), 1);
    assert_eq!(q("9E").milli_value(), i64::MAX);
    assert_eq!(q("1Gi").value(), 1 << 30);
}

#[test]
fn arithmetic() {
    let q = |text| Quantity::parse(text).unwrap();
    assert_eq!((q("100m") + q("900m")).to_string(), "1");
    assert_eq!((q("1Gi") - q("512Mi")).to_string(), "512Mi");
    assert_eq!((Quantity::ZERO + q("1Gi")).to_string(), "1Gi");
    assert_eq!((q("9E") + q("9E")).value(), i64::MAX);
    assert!(q("1Gi") > q("1G"));
    assert!(q("1000m") == q("1"));
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "[-+0-9.eEinumkKMGTP ]{0,40}") {
        if let Ok(quantity) = Quantity::parse(&text) {
            let printed = quantity.to_string();
            let again = Quantity::parse(&printed).unwrap();
            prop_assert_eq!(quantity, again);
            prop_assert_eq!(again.to_string(), printed);
        }
    }
}
