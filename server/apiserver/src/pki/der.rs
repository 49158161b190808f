//! Just enough DER to write a certificate around parts that are taken over as they are.
//!
//! rcgen keeps one value of each attribute of a name; a request may name several organizations (groups), and its
//! subject, key and alternative names have to come out byte for byte.

pub(super) const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// DER's TRUE.
pub(super) const TRUE: &[u8] = &[0x01, 0x01, 0xff];

/// Tag, length, content.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let bytes = &bytes[length.leading_zeros() as usize / 8..];
        out.push(0x80 | bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of parts.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// An explicit context tag.
pub(super) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, content)
}

/// A positive INTEGER of big-endian bytes.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|first| *first >= 0x80) {
        content.insert(0, 0);
    }
    tlv(INTEGER, &content)
}

/// A BIT STRING of whole bytes.
pub(super) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], bytes].concat())
}

/// A BIT STRING of flags, the first in the highest bit, without trailing zeros.
pub(super) fn flags(set: &[u8]) -> Vec<u8> {
    let mut bytes = [0u8; 2];
    for flag in set {
        bytes[usize::from(flag / 8) % 2] |= 0x80 >> (flag % 8);
    }
    let length = if bytes[1] != 0 { 2 } else { 1 };
    let unused = bytes[length - 1].trailing_zeros().min(7) as u8;
    tlv(BIT_STRING, &[&[unused], &bytes[..length]].concat())
}

/// An OBJECT IDENTIFIER.
pub(super) fn oid(arcs: &[u32]) -> Vec<u8> {
    let (head, rest) = arcs.split_at(arcs.len().min(2));
    let first = head.first().copied().unwrap_or(0) * 40 + head.get(1).copied().unwrap_or(0);
    let mut content = base128(first);
    rest.iter().for_each(|arc| content.extend(base128(*arc)));
    tlv(OID, &content)
}

fn base128(mut value: u32) -> Vec<u8> {
    let mut bytes = vec![(value & 0x7f) as u8];
    while value > 0x7f {
        value >>= 7;
        bytes.insert(0, (value & 0x7f) as u8 | 0x80);
    }
    bytes
}

/// A time as RFC 5280 wants it: UTCTime until 2049, GeneralizedTime after.
pub(super) fn time(at: jiff::Timestamp) -> Vec<u8> {
    let year: i32 = at.strftime("%Y").to_string().parse().unwrap_or(9999);
    match year < 2050 {
        true => tlv(UTC_TIME, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()),
        false => tlv(GENERALIZED_TIME, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lengths_and_names() {
        assert_eq!(integer(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(tlv(4, &[7; 200])[..3], [4, 0x81, 200]);
        assert_eq!(tlv(4, &[7; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(oid(&[1, 2, 840, 10045, 4, 3, 2]), [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        assert_eq!(flags(&[0, 2]), [3, 2, 5, 0xa0]);
        assert_eq!(flags(&[0, 8]), [3, 3, 7, 0x80, 0x80]);
        let year = |text: &str| text.parse::<jiff::Timestamp>().map(time).unwrap_or_default()[0];
        assert_eq!(
            (year("2049-12-31T23:59:59Z"), year("2050-01-01T00:00:00Z")),
            (UTC_TIME, GENERALIZED_TIME)
        );
    }
}
