//! Characters and classes of them.

use std::fmt::Write as _;

use super::{ahead, says, wrong};

const LAST: u32 = 0x10_ffff;
/// Of so many characters a range takes long to fold.
const WIDE: u32 = 0x400;
/// Go knows them as characters that no text has.
const SURROGATES: std::ops::RangeInclusive<u32> = 0xd800..=0xdfff;

/// `[…]`
pub(super) struct Class {
    negated: bool,
    items: Vec<Item>,
}

/// A part of a class.
#[derive(Clone)]
pub(super) enum Item {
    Range(u32, u32),
    /// Named ones in Rust's syntax; what is negated is so for itself.
    Named(String),
}

/// Perl's and POSIX', as inner text of a class.
#[rustfmt::skip]
const GROUPS: [(&str, &str); 17] = [
    ("d", "0-9"), ("s", r"\t\n\x0C\r\x20"), ("w", "0-9A-Z_a-z"),
    ("alnum", "0-9A-Za-z"), ("alpha", "A-Za-z"), ("ascii", r"\x00-\x7F"), ("blank", r"\t\x20"), ("cntrl", r"\x00-\x1F\x7F"),
    ("digit", "0-9"), ("graph", r"\x21-\x7E"), ("lower", "a-z"), ("print", r"\x20-\x7E"),
    ("punct", r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E"), ("space", r"\t-\r\x20"), ("upper", "A-Z"),
    ("word", "0-9A-Z_a-z"), ("xdigit", "0-9A-Fa-f"),
];

fn group(name: &str, negated: bool) -> Option<Item> {
    let (_, text) = GROUPS.iter().find(|(known, _)| *known == name)?;
    Some(Item::Named(format!("[{}{text}]", if negated { "^" } else { "" })))
}

/// Unicode's categories and, behind `:`, what else they are called.
#[rustfmt::skip]
const CATEGORIES: [(&str, &str); 39] = [
    ("C", "Other"), ("Cc", "Control Cntrl"), ("Cf", "Format"), ("Cn", "Unassigned"), ("Co", "Privateuse"), ("Cs", "Surrogate"),
    ("L", "Letter"), ("LC", "Lc Casedletter"), ("Ll", "Lowercaseletter"), ("Lm", "Modifierletter"), ("Lo", "Otherletter"),
    ("Lt", "Titlecaseletter"), ("Lu", "Uppercaseletter"), ("M", "Mark Combiningmark"), ("Mc", "Spacingmark"),
    ("Me", "Enclosingmark"), ("Mn", "Nonspacingmark"), ("N", "Number"), ("Nd", "Decimalnumber Digit"), ("Nl", "Letternumber"),
    ("No", "Othernumber"), ("P", "Punctuation Punct"), ("Pc", "Connectorpunctuation"), ("Pd", "Dashpunctuation"),
    ("Pe", "Closepunctuation"), ("Pf", "Finalpunctuation"), ("Pi", "Initialpunctuation"), ("Po", "Otherpunctuation"),
    ("Ps", "Openpunctuation"), ("S", "Symbol"), ("Sc", "Currencysymbol"), ("Sk", "Modifiersymbol"), ("Sm", "Mathsymbol"),
    ("So", "Othersymbol"), ("Z", "Separator"), ("Zl", "Lineseparator"), ("Zp", "Paragraphseparator"), ("Zs", "Spaceseparator"),
    ("Any", ""),
];

/// Unicode's scripts, but for those whose names have an underscore or an inner capital: Go 1.26 looks for all names without, and
/// has them with.
const SCRIPTS: &str = "Adlam Ahom Arabic Armenian Avestan Balinese Bamum Batak Bengali Bhaiksuki Bopomofo Brahmi \
    Braille Buginese Buhid Carian Chakma Cham Cherokee Chorasmian Common Coptic Cuneiform Cypriot Cyrillic Deseret \
    Devanagari Dogra Duployan Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gurmukhi Han \
    Hangul Hanunoo Hatran Hebrew Hiragana Inherited Javanese Kaithi Kannada Katakana Kawi Kharoshthi Khmer Khojki \
    Khudawadi Lao Latin Lepcha Limbu Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen \
    Medefaidrin Miao Modi Mongolian Mro Multani Myanmar Nabataean Nandinagari Newa Nko Nushu Ogham Oriya Osage Osmanya \
    Palmyrene Phoenician Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham Sinhala Sogdian Soyombo Sundanese \
    Syriac Tagalog Tagbanwa Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai \
    Vithkuqi Wancho Yezidi Yi";

/// A class of Unicode's by its name; `None` is unknown.
fn unicode(name: &str, negated: bool) -> Option<Item> {
    let name = canonical(name);
    let p = if negated { 'P' } else { 'p' };
    let known = |(short, long): &&(&str, &str)| *short == name || long.split(' ').any(|long| long == name);
    let text = match name.as_str() {
        "Ascii" => format!("[{}\\x00-\\x7F]", if negated { "^" } else { "" }),
        "Assigned" => return unicode("Cn", !negated),
        "" => return None,
        _ => match CATEGORIES.iter().find(known) {
            Some(("Any", _)) => return Some(whole(negated)),
            Some(("Cs", _)) => return Some(whole(!negated)),
            Some((category, _)) => format!("\\{p}{{gc={category}}}"),
            None => {
                SCRIPTS.split(' ').find(|script| *script == name)?;
                format!("\\{p}{{sc={name}}}")
            }
        },
    };
    Some(Item::Named(text))
}

/// Every character, or none.
fn whole(none: bool) -> Item {
    if none { Item::Range(*SURROGATES.start(), *SURROGATES.end()) } else { Item::Range(0, LAST) }
}

/// Without underscores, spaces and hyphens, the first letter a capital.
fn canonical(name: &str) -> String {
    let mut letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters.map(|c| c.to_ascii_lowercase())).collect()
}

impl Item {
    /// `\d`, `\pL` and their like at the start of `text`, and what follows.
    pub(super) fn group(text: &str) -> Result<Option<(Self, &str)>, String> {
        let Some(rest) = text.strip_prefix('\\') else { return Ok(None) };
        let Some(kind) = rest.chars().next() else { return Ok(None) };
        let after = rest.get(kind.len_utf8()..).unwrap_or_default();
        match kind {
            'd' | 's' | 'w' | 'D' | 'S' | 'W' => {
                let name = kind.to_ascii_lowercase().to_string();
                Ok(group(&name, kind.is_ascii_uppercase()).map(|item| (item, after)))
            }
            'p' | 'P' => {
                let (name, rest) = match after.strip_prefix('{') {
                    Some(name) => name.split_once('}').ok_or_else(|| wrong(says::CLASS_RANGE, text))?,
                    None => after.split_at(after.chars().next().map_or(0, char::len_utf8)),
                };
                let (negated, name) = match name.strip_prefix('^') {
                    Some(name) => (kind == 'p', name),
                    None => (kind == 'P', name),
                };
                let item = unicode(name, negated);
                item.map(|item| Some((item, rest))).ok_or_else(|| wrong(says::CLASS_RANGE, ahead(text, rest)))
            }
            _ => Ok(None),
        }
    }

    /// `[:alpha:]` at the start of `text`, and what follows.
    fn posix(text: &str) -> Result<Option<(Self, &str)>, String> {
        let Some((name, rest)) = text.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(None);
        };
        let (negated, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
        let item = Some(name).filter(|name| name.len() > 1).and_then(|name| group(name, negated));
        item.map(|item| Some((item, rest))).ok_or_else(|| wrong(says::CLASS_RANGE, ahead(text, rest)))
    }

    fn write_to(&self, out: &mut String) {
        let (mut from, mut to) = match self {
            Self::Named(text) => return out.push_str(text),
            Self::Range(from, to) => (*from, *to),
        };
        if SURROGATES.contains(&from) {
            from = SURROGATES.end() + 1;
        }
        if SURROGATES.contains(&to) {
            to = SURROGATES.start() - 1;
        }
        if from <= to {
            // a String takes whatever is written
            let _ = write!(out, "\\x{{{from:X}}}-\\x{{{to:X}}}");
        }
    }
}

impl Class {
    pub(super) fn of(item: Item) -> Self {
        Self { negated: false, items: vec![item] }
    }

    /// The class at the start of `text`, and what follows.
    pub(super) fn parse(text: &str) -> Result<(Self, &str), String> {
        let mut rest = text.strip_prefix('[').unwrap_or(text);
        let negated = rest.starts_with('^');
        rest = rest.strip_prefix('^').unwrap_or(rest);
        let mut items = Vec::new();
        while items.is_empty() || !rest.starts_with(']') {
            let named = match Item::posix(rest)? {
                Some(named) => Some(named),
                None => Item::group(rest)?,
            };
            let (item, after) = match named {
                Some(named) => named,
                None => range(rest, text)?,
            };
            items.push(item);
            rest = after;
        }
        Ok((Self { negated, items }, rest.strip_prefix(']').unwrap_or(rest)))
    }

    /// How many parts of it are of Unicode's, or as wide and to be folded.
    pub(super) fn expensive(&self, fold: bool) -> usize {
        let expensive = |item: &&Item| match item {
            Item::Named(text) => text.starts_with("\\p") || text.starts_with("\\P"),
            Item::Range(from, to) => fold && to.saturating_sub(*from) > WIDE,
        };
        self.items.iter().filter(expensive).count()
    }

    /// In Rust's syntax.
    pub(super) fn write(&self, fold: bool) -> String {
        let mut inner = String::new();
        self.items.iter().for_each(|item| item.write_to(&mut inner));
        let (all, none) = ("[\\x{0}-\\x{10FFFF}]", "[^\\x{0}-\\x{10FFFF}]");
        match (inner.is_empty(), self.negated) {
            (true, true) => all.to_owned(),
            (true, false) => none.to_owned(),
            (false, negated) => {
                let class = format!("[{}{inner}]", if negated { "^" } else { "" });
                if fold { format!("(?i:{class})") } else { class }
            }
        }
    }
}

/// A character or a range of them, in the class that `whole` begins with.
fn range<'a>(text: &'a str, whole: &str) -> Result<(Item, &'a str), String> {
    let (from, rest) = one(text, whole)?;
    let more = rest.strip_prefix('-').filter(|more| !more.is_empty() && !more.starts_with(']'));
    let Some(more) = more else { return Ok((Item::Range(from, from), rest)) };
    let (to, rest) = one(more, whole)?;
    if to < from {
        return Err(wrong(says::CLASS_RANGE, ahead(text, rest)));
    }
    Ok((Item::Range(from, to), rest))
}

fn one<'a>(text: &'a str, whole: &str) -> Result<(u32, &'a str), String> {
    match text.chars().next() {
        None => Err(wrong(says::BRACKET, whole)),
        Some('\\') => escape(text),
        Some(c) => Ok((u32::from(c), text.get(c.len_utf8()..).unwrap_or_default())),
    }
}

/// A character alone.
pub(super) fn literal(code: u32, fold: bool) -> String {
    match char::from_u32(code) {
        None => Class::of(whole(true)).write(false),
        Some(c) => {
            let text = regex::escape(c.encode_utf8(&mut [0; 4]));
            if fold { format!("(?i:{text})") } else { text }
        }
    }
}

/// The character that the escape at the start of `text` stands for, and what follows.
pub(super) fn escape(text: &str) -> Result<(u32, &str), String> {
    let mut chars = text.get(1..).unwrap_or_default().chars();
    let Some(c) = chars.next() else { return Err(wrong(says::BACKSLASH, "")) };
    let after = chars.as_str();
    let plain = match c {
        '0' => Some(octal(c, after)),
        // a digit alone would refer to a group
        '1'..='7' if after.starts_with(|c| matches!(c, '0'..='7')) => Some(octal(c, after)),
        'a' => Some((0x07, after)),
        'f' => Some((0x0c, after)),
        'n' => Some((0x0a, after)),
        'r' => Some((0x0d, after)),
        't' => Some((0x09, after)),
        'v' => Some((0x0b, after)),
        'x' => return hexadecimal(text, after),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some((u32::from(c), after)),
        _ => None,
    };
    plain.ok_or_else(|| wrong(says::ESCAPE, ahead(text, after)))
}

/// At most three digits, of which the first was read.
fn octal(first: char, rest: &str) -> (u32, &str) {
    let more = rest.bytes().take(2).take_while(|b| matches!(b, b'0'..=b'7')).count();
    let (digits, rest) = rest.split_at(more);
    let code = std::iter::once(first).chain(digits.chars()).filter_map(|c| c.to_digit(8));
    (code.fold(0, |code, digit| code * 8 + digit), rest)
}

/// `\x7F` or `\x{10FFFF}`, of which `rest` follows the `x`. What is wrong is shown as far as it was read.
fn hexadecimal<'a>(text: &'a str, rest: &'a str) -> Result<(u32, &'a str), String> {
    let bad = |rest: &str| Err(wrong(says::ESCAPE, ahead(text, rest)));
    let skip = |rest: &'a str, c: char| rest.get(c.len_utf8()..).unwrap_or_default();
    let Some(inner) = rest.strip_prefix('{') else {
        let mut chars = rest.chars();
        let (Some(high), Some(low)) = (chars.next(), chars.next()) else { return bad("") };
        let after = chars.as_str();
        let code = high.to_digit(16).zip(low.to_digit(16)).map(|(high, low)| high * 16 + low);
        return code.map_or_else(|| bad(after), |code| Ok((code, after)));
    };
    let (mut code, mut rest) = (0, inner);
    while let Some(c) = rest.chars().next() {
        let empty = rest.len() == inner.len();
        rest = skip(rest, c);
        match c.to_digit(16) {
            Some(digit) if code * 16 + digit <= LAST => code = code * 16 + digit,
            None if c == '}' && !empty => return Ok((code, rest)),
            _ => break,
        }
    }
    bad(rest)
}
