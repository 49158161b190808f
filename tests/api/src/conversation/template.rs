//! Texts with places for what is another each time: `{{uid:pod}}`, `{{version}}`, `{{time}}`.
//!
//! A place with a name is bound by what stands there first, and everywhere else stands for that; one without a name stands
//! for anything of its kind.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// What names stand for, by kind and name (`uid:pod`).
pub(super) type Bound = BTreeMap<String, String>;

/// Anything more of a list or an object.
pub(super) const OTHERS: &str = "{{others}}";

enum Piece<'a> {
    Text(&'a str),
    Place(&'a str),
}

/// What may stand at a place of a kind.
struct Kind {
    fits: fn(char) -> bool,
    /// How long it is; 0: as long as it fits.
    length: usize,
}

fn kind(name: &str) -> Result<Kind> {
    let digit = |c: char| c.is_ascii_digit();
    Ok(match name {
        "uid" => Kind { fits: |c| c.is_ascii_hexdigit() || c == '-', length: 36 },
        "version" | "number" => Kind { fits: digit, length: 0 },
        "time" => Kind { fits: |c| c.is_ascii_digit() || "-:TZ".contains(c), length: 20 },
        "microtime" => Kind { fits: |c| c.is_ascii_digit() || "-:TZ.".contains(c), length: 27 },
        // what `generateName` adds
        "suffix" => Kind { fits: |c| "bcdfghjklmnpqrstvwxz2456789".contains(c), length: 5 },
        "address" => Kind { fits: |c| c.is_ascii_digit() || c == '.', length: 0 },
        "token" => Kind { fits: |c| c.is_ascii_alphanumeric() || "-_.=+/".contains(c), length: 0 },
        "any" => Kind { fits: |_| true, length: 0 },
        other => bail!("{other:?} is no kind of place"),
    })
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (place, after) = after.split_once("}}").with_context(|| format!("no end of {{{{ in {text:?}"))?;
        pieces.extend([Piece::Text(before), Piece::Place(place)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// Whether there is a place in it.
pub(super) fn has_places(text: &str) -> bool {
    text.contains("{{")
}

/// The text with what its places stand for.
pub(super) fn fill(template: &str, bound: &Bound) -> Result<String> {
    let pieces = pieces(template)?;
    let piece = |piece: &Piece<'_>| match piece {
        Piece::Text(text) => Ok((*text).to_owned()),
        Piece::Place(place) => {
            bound.get(*place).cloned().with_context(|| format!("nothing is bound to {place:?}"))
        }
    };
    pieces.iter().map(piece).collect()
}

/// Whether `text` is what `template` says; binds its names.
pub(super) fn matches(template: &str, text: &str, bound: &mut Bound) -> Result<bool> {
    let pieces = pieces(template)?;
    let mut rest = text;
    let mut found = Bound::new();
    for (at, piece) in pieces.iter().enumerate() {
        let length = match piece {
            Piece::Text(text) if rest.starts_with(text) => text.len(),
            Piece::Text(_) => return Ok(false),
            Piece::Place(place) => {
                let known = bound.get(*place).or_else(|| found.get(*place));
                let length = match known {
                    Some(known) if rest.starts_with(known.as_str()) => known.len(),
                    Some(_) => return Ok(false),
                    None => match stretch(place, rest, pieces.get(at + 1))? {
                        Some(length) => length,
                        None => return Ok(false),
                    },
                };
                if place.contains(':') {
                    found.insert((*place).to_owned(), rest[..length].to_owned());
                }
                length
            }
        };
        rest = &rest[length..];
    }
    if rest.is_empty() {
        bound.append(&mut found);
    }
    Ok(rest.is_empty())
}

/// How many bytes of `rest` stand at a place; `None` if what is there is not of its kind.
fn stretch(place: &str, rest: &str, next: Option<&Piece<'_>>) -> Result<Option<usize>> {
    let name = place.split_once(':').map_or(place, |(name, _)| name);
    let kind = kind(name)?;
    let fitting = rest.find(|c| !(kind.fits)(c)).unwrap_or(rest.len());
    let end = match (name, next) {
        ("any", Some(Piece::Text(text))) if !text.is_empty() => rest.find(text).unwrap_or(rest.len()),
        _ if kind.length > 0 => kind.length,
        _ => fitting,
    };
    Ok((end > 0 && end <= fitting).then_some(end))
}
