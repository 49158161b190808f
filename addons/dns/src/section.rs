//! Records as they are sent, made beforehand: what follows the question of an answer.
//!
//! A [`Section`] does not depend on the question: its answers are owned by a pointer to the question's name, so that they
//! bear the case in which it was asked, and pointers within it are counted from its own start and moved when it is copied.

use std::net::IpAddr;
use std::sync::Arc;

use crate::name::Name;

/// Record types.
pub mod kind {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const HINFO: u16 = 13;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
}

/// Where the name of the question is in every message.
pub const QUESTION_NAME: u16 = 0xC00C;
/// The most that follows a question: a message is 64 KiB, and header, question and OPT take a part of that.
const SECTION_BYTES: usize = 65_535 - 12 - 259 - 11;
/// Pointers reach 16 KiB; the longest question may stand before a section.
const POINTER_REACH: usize = 0x3FFF - 12 - 259;
/// Bytes before the pointers' places.
const HEAD: usize = 10;

/// Records with all that is known of them. One allocation; cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Section(Arc<[u8]>);

/// How many records each part of a message has: answers, authorities, additionals.
pub type Counts = [u16; 3];

/// What of a section came into a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Fit {
    /// Where the message ends now.
    pub end: usize,
    /// What it holds.
    pub counts: Counts,
    /// Whether something had to be left out.
    pub cut: bool,
}

impl Section {
    /// Records as they are, with pointers that hold where they are to be copied to.
    pub fn fixed(counts: Counts, records: &[u8]) -> Self {
        Self::assemble(counts, 0, &[], records)
    }

    fn assemble(counts: Counts, stride: u16, moved: &[u16], records: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + moved.len() * 2 + records.len());
        let head = [counts[0], counts[1], counts[2], stride, moved.len() as u16];
        head.iter().chain(moved).for_each(|number| bytes.extend(number.to_be_bytes()));
        bytes.extend_from_slice(records);
        Self(bytes.into())
    }

    fn number(&self, index: usize) -> u16 {
        u16::from_be_bytes([self.0[index * 2], self.0[index * 2 + 1]])
    }

    fn counts(&self) -> Counts {
        [self.number(0), self.number(1), self.number(2)]
    }

    /// The records' bytes.
    pub fn records(&self) -> &[u8] {
        &self.0[HEAD + usize::from(self.number(4)) * 2..]
    }

    /// Copies the records to `at`, or as many whole ones as end before `limit`. Addresses are turned by `turn`, so that
    /// each of them comes first in its turn.
    pub fn copy_to(&self, buffer: &mut [u8], at: usize, limit: usize, turn: usize) -> Fit {
        let records = self.records();
        let (stride, answers) = (usize::from(self.number(3)), usize::from(self.number(0)));
        let fits = at + records.len() <= limit;
        let (end, counts) =
            if fits { (records.len(), self.counts()) } else { self.whole_records(limit.saturating_sub(at)) };
        if stride > 0 && answers > 1 {
            let shift = turn % answers * stride;
            let first = (records.len() - shift).min(end);
            buffer[at..at + first].copy_from_slice(&records[shift..shift + first]);
            buffer[at + first..at + end].copy_from_slice(&records[..end - first]);
        } else {
            buffer[at..at + end].copy_from_slice(&records[..end]);
        }
        for index in 0..usize::from(self.number(4)) {
            let place = usize::from(self.number(HEAD / 2 + index));
            if place < end {
                let to = u16::from_be_bytes([records[place], records[place + 1]]) + at as u16;
                buffer[at + place..at + place + 2].copy_from_slice(&(0xC000 | to).to_be_bytes());
            }
        }
        Fit { end: at + end, counts, cut: !fits }
    }

    fn whole_records(&self, room: usize) -> (usize, Counts) {
        let (mut end, mut left, mut counts) = (0, self.counts(), [0; 3]);
        for record in walk(self.records()) {
            if record.end > room {
                break;
            }
            end = record.end;
            if let Some(part) = left.iter().position(|count| *count > 0) {
                left[part] -= 1;
                counts[part] += 1;
            }
        }
        (end, counts)
    }
}

/// One record among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its type.
    pub kind: u16,
    /// Where its TTL is.
    pub ttl: usize,
    /// Where it ends.
    pub end: usize,
}

/// The records in `bytes`, up to the first that is not whole.
pub fn walk(bytes: &[u8]) -> impl Iterator<Item = Place> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let name = skip_name(bytes, at)?;
        let head = bytes.get(name..name + 10)?;
        let end = name + 10 + usize::from(u16::from_be_bytes([head[8], head[9]]));
        let place = Place { kind: u16::from_be_bytes([head[0], head[1]]), ttl: name + 4, end };
        at = end;
        (end <= bytes.len()).then_some(place)
    })
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xC0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

/// Writes a section: answers first, then what is additional.
#[derive(Default)]
pub struct Builder {
    counts: Counts,
    moved: Vec<u16>,
    records: Vec<u8>,
    strides: Option<u16>,
}

/// Where a name was written, for records that it owns.
#[derive(Clone, Copy, Debug)]
pub struct Written(usize);

impl Builder {
    /// The section; `None` if nothing was written.
    pub fn finish(self) -> Option<Section> {
        let stride = self.strides.filter(|_| self.counts[2] == 0).unwrap_or(0);
        (!self.records.is_empty()).then(|| Section::assemble(self.counts, stride, &self.moved, &self.records))
    }

    /// An answer of the question's name. What does not fit into a message is left out.
    fn answer(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        if self.records.len() + 12 + data.len() > SECTION_BYTES {
            return;
        }
        self.records.extend(QUESTION_NAME.to_be_bytes());
        self.head(kind, ttl, data.len());
        self.records.extend_from_slice(data);
        self.counts[0] += 1;
        // answers of one length can be turned
        let length = (12 + data.len()) as u16;
        let same = self.counts[0] == 1 || self.strides == Some(length);
        self.strides = (same && matches!(kind, kind::A | kind::AAAA)).then_some(length);
    }

    fn head(&mut self, kind: u16, ttl: u32, length: usize) {
        self.records.extend(kind.to_be_bytes());
        self.records.extend(1_u16.to_be_bytes());
        self.records.extend(ttl.to_be_bytes());
        self.records.extend((length as u16).to_be_bytes());
    }

    /// An A or AAAA record.
    pub fn address(&mut self, ttl: u32, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.answer(kind::A, ttl, &ip.octets()),
            IpAddr::V6(ip) => self.answer(kind::AAAA, ttl, &ip.octets()),
        }
    }

    /// A record whose data is a name: CNAME, NS or PTR.
    pub fn name(&mut self, kind: u16, ttl: u32, target: &Name) -> Written {
        self.answer(kind, ttl, target.wire());
        Written(self.records.len().saturating_sub(target.wire().len()))
    }

    /// A TXT record of one string of less than 256 bytes.
    pub fn text(&mut self, ttl: u32, text: &str) {
        let data: Vec<u8> = std::iter::once(text.len() as u8).chain(text.bytes()).collect();
        self.answer(kind::TXT, ttl, &data);
    }

    /// An SRV record of priority 0. Its target is never compressed (RFC 2782).
    pub fn srv(&mut self, ttl: u32, weight: u16, port: u16, target: &Name) -> Written {
        let mut data = vec![0, 0];
        data.extend(weight.to_be_bytes());
        data.extend(port.to_be_bytes());
        data.extend_from_slice(target.wire());
        self.answer(kind::SRV, ttl, &data);
        Written(self.records.len().saturating_sub(target.wire().len()))
    }

    /// An additional address of a name that was written before.
    pub fn extra(&mut self, ttl: u32, owner: &Name, written: Written, ip: IpAddr) {
        if self.records.len() + owner.wire().len() + 26 > SECTION_BYTES {
            return;
        }
        if written.0 <= POINTER_REACH {
            self.moved.push(self.records.len() as u16);
            self.records.extend((written.0 as u16).to_be_bytes());
        } else {
            self.records.extend_from_slice(owner.wire());
        }
        match ip {
            IpAddr::V4(ip) => {
                self.head(kind::A, ttl, 4);
                self.records.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                self.head(kind::AAAA, ttl, 16);
                self.records.extend(ip.octets());
            }
        }
        self.counts[2] += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addresses(count: u8) -> Section {
        let mut builder = Builder::default();
        (0..count).for_each(|n| builder.address(30, IpAddr::from([10, 0, 0, n])));
        builder.finish().unwrap()
    }

    fn last_octets(section: &Section, limit: usize, turn: usize) -> (Vec<u8>, bool) {
        let mut buffer = [0; 512];
        let fit = section.copy_to(&mut buffer, 0, limit, turn);
        assert_eq!(usize::from(fit.counts[0]) * 16, fit.end);
        (buffer[..fit.end].chunks(16).map(|record| record[15]).collect(), fit.cut)
    }

    #[test]
    fn addresses_take_turns_and_are_cut_between_records() {
        let section = addresses(3);
        assert_eq!(last_octets(&section, 512, 0), (vec![0, 1, 2], false));
        assert_eq!(last_octets(&section, 512, 4), (vec![1, 2, 0], false));
        assert_eq!(last_octets(&section, 47, 2), (vec![2, 0], true));
        assert_eq!(last_octets(&section, 15, 2), (vec![], true));
        assert_eq!(last_octets(&addresses(1), 512, 9), (vec![0], false));
        assert!(Builder::default().finish().is_none());
    }

    #[test]
    fn extras_point_to_their_targets_wherever_the_section_is() {
        let target = Name::parse("a.b").unwrap();
        let mut builder = Builder::default();
        let written = builder.srv(30, 100, 80, &target);
        builder.extra(30, &target, written, "10.0.0.1".parse().unwrap());
        let section = builder.finish().unwrap();
        for at in [20_usize, 33] {
            let mut buffer = [0; 128];
            let fit = section.copy_to(&mut buffer, at, 128, 0);
            assert_eq!((fit.counts, fit.cut), ([1, 0, 1], false));
            let owner = fit.end - 16;
            let pointer = usize::from(u16::from_be_bytes([buffer[owner], buffer[owner + 1]]) & 0x3FFF);
            assert_eq!(&buffer[pointer..pointer + 5], target.wire());
            let fit = section.copy_to(&mut buffer, at, fit.end - 1, 0);
            assert_eq!((fit.counts, fit.cut), ([1, 0, 0], true));
        }
    }

    #[test]
    fn a_section_never_outgrows_a_message() {
        let target = Name::parse(&["x".repeat(60).as_str(); 4].join(".")).unwrap();
        let mut builder = Builder::default();
        let written: Vec<Written> = (0..1000).map(|n| builder.srv(30, 1, n, &target)).collect();
        written.iter().for_each(|w| builder.extra(30, &target, *w, "10.0.0.1".parse().unwrap()));
        let section = builder.finish().unwrap();
        assert!(section.records().len() <= SECTION_BYTES);
        assert_eq!(walk(section.records()).last().unwrap().end, section.records().len());
        let mut buffer = vec![0; 65_535];
        let fit = section.copy_to(&mut buffer, 271, 65_535, 0);
        assert_eq!(
            walk(&buffer[271..fit.end]).count(),
            fit.counts.iter().map(|n| usize::from(*n)).sum::<usize>()
        );
    }

    #[test]
    fn walking_stops_at_what_is_not_whole() {
        let section = addresses(2);
        let whole: Vec<Place> = walk(section.records()).collect();
        assert_eq!(whole[1], Place { kind: kind::A, ttl: 22, end: 32 });
        assert_eq!(walk(&section.records()[..31]).count(), 1);
        assert_eq!(walk(b"\x3fab").count() + walk(b"\xc0").count() + walk(b"").count(), 0);
    }
}
