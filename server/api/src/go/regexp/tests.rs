use super::*;

/// What Go 1.26 says.
#[test]
fn what_go_refuses_is_refused_in_its_words() {
    #[rustfmt::skip]
    let cases = [
        ("[a", "missing closing ]: `[a`"),
        ("b[]", "missing closing ]: `[]`"),
        ("(a", "missing closing ): `(a`"),
        ("(a|b(c)", "missing closing ): `(a|b(c)`"),
        ("a)b", "unexpected ): `a)b`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*+?b", "invalid nested repetition operator: `*+?`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}?", "invalid repeat count: `{3,2}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
        ("(a{100}){11}", "invalid repeat count: `{11}`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a|+?", "missing argument to repetition operator: `+?`"),
        ("((?i)?a)", "missing argument to repetition operator: `?`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{Foo}x", r"invalid character class range: `\p{Foo}`"),
        (r"\pX", r"invalid character class range: `\pX`"),
        (r"a\p{Greek", r"invalid character class range: `\p{Greek`"),
        (r"\p{Old_Italic}", r"invalid character class range: `\p{Old_Italic}`"),
        (r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\u0041", r"invalid escape sequence: `\u`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<n-m>a)", "invalid named capture: `(?P<n-m>`"),
        ("(?<=a)b", "invalid named capture: `(?<=a)b`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
    ];
    for (pattern, want) in cases {
        let got = compile(pattern, 1 << 20).map(|regex| regex.to_string());
        assert_eq!(got, Err(format!("error parsing regexp: {want}")), "{pattern}");
    }
    let deep = format!("{}a{}", "(".repeat(1001), ")".repeat(1001));
    let why = compile(&deep, 1 << 20).map(drop);
    assert_eq!(why, Err(format!("error parsing regexp: expression nests too deeply: `{deep}`")));
}

#[test]
fn what_go_accepts_means_what_it_means_there() {
    #[rustfmt::skip]
    let cases: [(&str, &[&str], &[&str]); 26] = [
        (r"^\d+$", &["12"], &["٣", "a"]),
        (r"^\w$", &["a", "_"], &["é"]),
        (r"^\s$", &[" ", "\t"], &["\u{b}", "\u{a0}"]),
        (r"a\b", &["a", "aé"], &["ab"]),
        (r"^(?i)k$", &["k", "K", "\u{212a}"], &["l"]),
        ("^(?i:[^k])$", &["l"], &["\u{212a}", "K"]),
        ("^[[:^alpha:]]$", &["1", "é"], &["a"]),
        (r"^\pN$", &["1", "٣"], &["a"]),
        (r"^[\P{^Lu}]$", &["A"], &["a"]),
        (r"^\p{greek}\p{Lowercase Letter}$", &["Ωa"], &["ΩA"]),
        ("^a{,2}$", &["a{,2}"], &["a", "aa"]),
        ("^a{01}{$", &["a{01}{"], &["a"]),
        (r"^\Qa.b\E$", &["a.b"], &["axb"]),
        (r"^\101\x42\x{43}$", &["ABC"], &[]),
        (r"a\z", &["a"], &["a\n"]),
        ("^a$", &["a"], &["a\n"]),
        ("(?m)^a$", &["b\na\nc"], &["ba"]),
        ("^a.b$", &["axb"], &["a\nb"]),
        ("^a(?s:.)b$", &["a\nb"], &[]),
        ("^[a&&b]$", &["a", "&", "b"], &["c"]),
        ("^[a~~b+--]$", &["~", "a", "-", ","], &["d"]),
        ("^[]a-]$", &["]", "-"], &["b"]),
        (r"^\x{D800}?a$", &["a"], &["b"]),
        ("^(?P<n>a)(?P<n>b)(?<m>c)$", &["abc"], &[]),
        ("^(?ii)a(?)B*$", &["Abb"], &["Ac"]),
        ("^a(?i)*(?i)*$", &["", "aaa"], &["b"]),
    ];
    for (pattern, yes, no) in cases {
        let regex = compile(pattern, 1 << 20).expect(pattern);
        yes.iter().for_each(|text| assert!(regex.is_match(text), "{pattern} {text:?}"));
        no.iter().for_each(|text| assert!(!regex.is_match(text), "{pattern} {text:?}"));
    }
    let first = |pattern: &str, text: &str| {
        compile(pattern, 1 << 20)
            .ok()
            .and_then(|regex| regex.find(text).map(|found| found.as_str().to_owned()))
    };
    assert_eq!(first("(?U)a+", "aaa"), Some("a".to_owned()));
    assert_eq!(first("(?U)a+?", "aaa"), Some("aaa".to_owned()));
    assert_eq!(first("a|ab", "ab"), Some("a".to_owned()));
}

#[test]
fn what_would_take_too_much_is_too_large() {
    assert!(compile(r"\w{1000}", 10 << 20).is_ok());
    let why = compile(r"\pL{1000}", 1 << 20).map(drop);
    assert_eq!(why, Err(r"error parsing regexp: expression too large: `\pL{1000}`".to_owned()));
    let nested = format!("{}a{}", "(?:".repeat(10_000), ")".repeat(10_000));
    assert!(compile(&nested, 1 << 20).is_ok(), "groups that mean nothing are no depth");
}

#[test]
fn many_classes_are_too_large_before_they_are_spelled_out() {
    for pattern in [
        format!("(?i:{})", r"\pL".repeat(10_000)),
        format!("[{}]", r"\PL".repeat(10_000)),
        r"(?i)[\x00-\x{10ffff}]".repeat(2000),
    ] {
        let why = translate(&pattern);
        assert_eq!(why, Err(format!("error parsing regexp: expression too large: `{pattern}`")));
    }
    assert!(translate(&r"\d[a-z]\w".repeat(10_000)).is_ok());
}
