//! Names as they are on the wire, and the question of a packet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name, in bytes on the wire.
const NAME_BYTES: usize = 255;
/// The longest label, in bytes.
pub const LABEL_BYTES: usize = 63;

/// A name in wire form and lower case, with its final zero.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Reads `a.b.c`, with or without a final dot. `.` is the root.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(trimmed.len() + 2);
        if text != "." {
            for label in trimmed.split('.') {
                let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                if label.is_empty() || label.len() > LABEL_BYTES || !label.bytes().all(usable) {
                    return Err(format!(
                        "{text:?} is not a DNS name: its labels are 1 to 63 letters, digits, - and _"
                    ));
                }
                push_label(&mut wire, label.as_bytes());
            }
        }
        wire.push(0);
        if wire.len() > NAME_BYTES {
            return Err(format!("{text:?} is longer than a DNS name can be"));
        }
        Ok(Self(wire.into()))
    }

    /// `labels` before this name; `None` if that is no name.
    pub fn child(&self, labels: &[&str]) -> Option<Self> {
        let mut wire = Vec::with_capacity(NAME_BYTES.min(self.0.len() + 40));
        for label in labels {
            if label.is_empty() || label.len() > LABEL_BYTES {
                return None;
            }
            push_label(&mut wire, label.as_bytes());
        }
        wire.extend_from_slice(&self.0);
        (wire.len() <= NAME_BYTES).then(|| Self(wire.into()))
    }

    /// The name in `a.b.c.in-addr.arpa` form of an address.
    #[cfg(test)]
    pub fn reverse(ip: IpAddr) -> Self {
        let text = match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(ip) => {
                let nibble = |byte: &u8| format!("{:x}.{:x}.", byte & 15, byte >> 4);
                ip.octets().iter().rev().map(nibble).collect::<String>() + "ip6.arpa"
            }
        };
        Self(wire_of(&text).into())
    }

    /// The bytes.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Whether `self` is `other` or below it.
    pub fn is_within(&self, other: &Name) -> bool {
        ends_with(&self.0, &other.0)
    }

    /// How many labels it has.
    pub fn labels(&self) -> usize {
        let mut at = 0;
        let mut count = 0;
        while self.0[at] != 0 {
            at += usize::from(self.0[at]) + 1;
            count += 1;
        }
        count
    }
}

#[cfg(test)]
fn wire_of(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    text.split('.').for_each(|label| push_label(&mut wire, label.as_bytes()));
    wire.push(0);
    wire
}

fn push_label(wire: &mut Vec<u8>, label: &[u8]) {
    // callers have looked at the length
    wire.push(label.len() as u8);
    wire.extend(label.iter().map(u8::to_ascii_lowercase));
}

/// Whether `name` is `other` or below it, both in wire form and lower case.
fn ends_with(name: &[u8], other: &[u8]) -> bool {
    let mut rest = name;
    while rest.len() > other.len() {
        rest = &rest[usize::from(rest[0]) + 1..];
    }
    rest == other
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.0[..];
        if rest.len() == 1 {
            return f.write_str(".");
        }
        while rest[0] != 0 {
            let (label, after) = rest[1..].split_at(usize::from(rest[0]));
            write!(f, "{}", label.escape_ascii())?;
            rest = after;
            if rest[0] != 0 {
                f.write_str(".")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is asked: a name in lower case with the places of its labels, and a type.
#[derive(Clone)]
pub struct Question {
    wire: [u8; NAME_BYTES],
    length: u8,
    starts: [u8; NAME_BYTES / 2 + 1],
    labels: u8,
    /// The type asked for.
    pub kind: u16,
    /// The class asked for.
    pub class: u16,
}

impl Question {
    /// Reads the question that starts at `at`; with it comes where it ends. `None` if there is none: names with
    /// pointers are not taken, there is nothing before a question that they could lead to.
    pub fn read(packet: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut question = Self {
            wire: [0; NAME_BYTES],
            length: 0,
            starts: [0; NAME_BYTES / 2 + 1],
            labels: 0,
            kind: 0,
            class: 0,
        };
        let mut from = at;
        loop {
            let label = usize::from(*packet.get(from)?);
            if label == 0 {
                break;
            }
            let start = from - at;
            // room for this label and the final zero
            if label > LABEL_BYTES || start + label + 2 > NAME_BYTES {
                return None;
            }
            question.starts[usize::from(question.labels)] = start as u8;
            question.labels += 1;
            from += label + 1;
        }
        let length = from + 1 - at;
        question.length = length as u8;
        question.wire[..length].copy_from_slice(packet.get(at..at + length)?);
        question.wire[..length].make_ascii_lowercase();
        let tail = packet.get(from + 1..from + 5)?;
        question.kind = u16::from_be_bytes([tail[0], tail[1]]);
        question.class = u16::from_be_bytes([tail[2], tail[3]]);
        Some((question, from + 5))
    }

    /// The question for `name` of class IN.
    pub fn of(name: &Name, kind: u16) -> Option<Self> {
        let mut packet = name.wire().to_vec();
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1]);
        Some(Self::read(&packet, 0)?.0)
    }

    /// How many labels the name has.
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// The name from label `index` on; `labels()` gives the root.
    pub fn tail(&self, index: usize) -> &[u8] {
        &self.wire[self.offset(index)..usize::from(self.length)]
    }

    /// Where label `index` starts in the name.
    pub fn offset(&self, index: usize) -> usize {
        if index < self.labels() { usize::from(self.starts[index]) } else { usize::from(self.length) - 1 }
    }

    /// Label `index`, which has to be less than `labels()`.
    pub fn label(&self, index: usize) -> &[u8] {
        let start = self.offset(index);
        &self.wire[start + 1..start + 1 + usize::from(self.wire[start])]
    }

    /// The labels from `from` up to `to`, in wire form without a final zero.
    pub fn span(&self, from: usize, to: usize) -> &[u8] {
        &self.wire[self.offset(from)..self.offset(to)]
    }

    /// How many labels stand before `zone`; `None` if the name is not in it.
    pub fn within(&self, zone: &Name, labels: usize) -> Option<usize> {
        let before = self.labels().checked_sub(labels)?;
        (self.tail(before) == zone.wire()).then_some(before)
    }

    /// The name by itself.
    pub fn name(&self) -> Name {
        Name(self.tail(0).into())
    }

    /// The address whose reverse name this is.
    pub fn reversed(&self) -> Option<IpAddr> {
        let zone = self.labels().checked_sub(2)?;
        match (self.tail(zone), zone) {
            (b"\x07in-addr\x04arpa\0", 4) => {
                let octet = |index| std::str::from_utf8(self.label(index)).ok()?.parse::<u8>().ok();
                Some(Ipv4Addr::new(octet(3)?, octet(2)?, octet(1)?, octet(0)?).into())
            }
            (b"\x03ip6\x04arpa\0", 32) => {
                let mut bits = 0_u128;
                for index in (0..32).rev() {
                    let [digit] = self.label(index) else { return None };
                    bits = bits << 4 | u128::from(char::from(*digit).to_digit(16)?);
                }
                Some(Ipv6Addr::from_bits(bits).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn question(text: &str) -> Question {
        Question::of(&Name(wire_of(text).into()), 1).unwrap()
    }

    #[test]
    fn names_are_read_and_refused() {
        for (text, wire) in [
            ("a.Bc", Some(&b"\x01a\x02bc\0"[..])),
            ("a.bc.", Some(b"\x01a\x02bc\0")),
            (".", Some(b"\0")),
            ("", None),
            ("a..b", None),
            ("a b", None),
            ("é.fr", None),
            (&"x".repeat(64), None),
            (&["x"; 128].join("."), None),
        ] {
            assert_eq!(Name::parse(text).ok().as_ref().map(Name::wire), wire, "{text}");
        }
        let zone = Name::parse("cluster.local").unwrap();
        let child = zone.child(&["A", "b"]).unwrap();
        assert_eq!((child.to_string(), child.labels()), ("a.b.cluster.local".to_owned(), 4));
        assert!(child.is_within(&zone) && zone.is_within(&zone) && !zone.is_within(&child));
        assert!(!Name::parse("xcluster.local").unwrap().is_within(&zone));
        assert_eq!((zone.child(&[""]), zone.child(&[&"x".repeat(64)])), (None, None));
        assert_eq!(zone.child(&[&*"x".repeat(63); 4]), None);
    }

    #[test]
    fn questions_know_their_labels() {
        let asked = question("WWW.example.com");
        assert_eq!(asked.labels(), 3);
        assert_eq!(
            (asked.label(0), asked.tail(2), asked.tail(3)),
            (&b"www"[..], &b"\x03com\0"[..], &b"\0"[..])
        );
        assert_eq!(asked.span(0, 1), b"\x03www");
        assert_eq!(asked.within(&Name::parse("com").unwrap(), 1), Some(2));
        assert_eq!(asked.within(&Name::parse("local").unwrap(), 1), None);
        let root = Question::read(b"\0\0\x01\0\x01", 0).unwrap();
        assert_eq!((root.0.labels(), root.0.tail(0), root.1), (0, &b"\0"[..], 5));
        for packet in
            [&b""[..], b"\x03ab", b"\x01a\0\0\x01\0", b"\xc0\x00\0\x01\0\x01", b"\x40a\0\0\x01\0\x01"]
        {
            assert!(Question::read(packet, 0).is_none(), "{packet:?}");
        }
        // 127 labels of one byte are the longest name there is
        let longest = [b"\x01a".repeat(127), b"\0\0\x01\0\x01".to_vec()].concat();
        assert_eq!(Question::read(&longest, 0).unwrap().0.labels(), 127);
        let longer = [b"\x01a".repeat(126), b"\x02ab\0\0\x01\0\x01".to_vec()].concat();
        assert!(Question::read(&longer, 0).is_none());
    }

    #[test]
    fn reverse_names_lead_back() {
        for ip in ["10.96.0.10", "255.0.1.20", "fd00::1:2:abcd"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(Question::of(&Name::reverse(ip), 12).unwrap().reversed(), Some(ip));
        }
        for text in
            ["1.2.3.in-addr.arpa", "x.2.3.4.in-addr.arpa", "1.2.3.256.in-addr.arpa", "4.3.2.1.example.com"]
        {
            assert_eq!(question(text).reversed(), None, "{text}");
        }
    }
}
