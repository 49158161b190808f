//! Descriptions, inflated one package at a time and dropped after use.

use std::io::Read;

use super::{Field, Type, parse};

static BYTES: &[u8] = include_bytes!("docs.bin");

/// The descriptions of one package's types and fields.
pub struct Docs {
    text: String,
    /// Where each description starts, and the number of the package's first type.
    starts: Vec<u32>,
    /// Per type of the package, which description is the type's own.
    types: Vec<(u16, u32)>,
}

impl Docs {
    /// Inflates the descriptions of a package such as `io.k8s.api.core.v1`.
    pub fn of_package(package: &str) -> Option<Self> {
        let text = inflate(package)?;
        let mut starts = vec![0];
        starts.extend(text.match_indices('\0').filter_map(|(at, _)| u32::try_from(at + 1).ok()));
        let mut types = Vec::new();
        let mut next = 0;
        for number in package_range(package) {
            let found = parse::nth(number);
            types.push((found.number, next));
            next += 1 + u32::try_from(found.fields.len()).unwrap_or(0);
        }
        Some(Self { text, starts, types })
    }

    /// The description of a type of this package; empty if it has none.
    pub fn of_type(&self, wanted: &Type) -> &str {
        self.first(wanted).map_or("", |at| self.nth(at))
    }

    /// The description of one of its fields; empty if it has none.
    pub fn of_field(&self, owner: &Type, field: &Field) -> &str {
        let place = owner.fields.binary_search_by(|other| other.json.cmp(field.json)).ok();
        self.first(owner).zip(place).map_or("", |(at, place)| self.nth(at + 1 + place))
    }

    fn first(&self, wanted: &Type) -> Option<usize> {
        let at = self.types.binary_search_by_key(&wanted.number, |(number, _)| *number).ok()?;
        Some(self.types[at].1 as usize)
    }

    fn nth(&self, at: usize) -> &str {
        let bounds = self.starts.get(at).zip(self.starts.get(at + 1));
        bounds.map_or("", |(from, to)| &self.text[*from as usize..*to as usize - 1])
    }
}

/// The numbers of the types whose package is exactly this one.
fn package_range(package: &str) -> Vec<usize> {
    (0..parse::count())
        .filter(|number| parse::name(*number).rsplit_once('.').is_some_and(|(other, _)| other == package))
        .collect()
}

fn inflate(package: &str) -> Option<String> {
    let end = BYTES.windows(2).position(|pair| pair == b"\n\n")?;
    let head = std::str::from_utf8(&BYTES[..end]).ok()?;
    let line = head.lines().find(|line| line.split('\t').next() == Some(package))?;
    let mut numbers = line.split('\t').skip(1).filter_map(|cell| cell.parse::<usize>().ok());
    let (offset, length, size) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let stream = BYTES.get(end + 2 + offset..end + 2 + offset + length)?;
    let mut text = String::with_capacity(size);
    flate2::read::DeflateDecoder::new(stream).read_to_string(&mut text).ok()?;
    Some(text)
}
