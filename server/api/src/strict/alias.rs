//! How much a YAML document may become by its aliases: go-yaml's bound, without which a few kilobytes are gigabytes.
//!
//! go-yaml counts the values that it decodes, and those of them that are below an alias. The reader here does not say which
//! are: what the text can hold by itself is estimated from above, and all beyond is the aliases'. So nothing is refused
//! that go-yaml would take, and what is taken stays as bounded.

/// Up to here nearly everything may come from aliases (go-yaml's `alias_ratio_range_low`).
const SMALL: usize = 400_000;
/// From here on hardly anything may (`alias_ratio_range_high`).
const LARGE: usize = 4_000_000;
/// What texts may take beyond the document's own length. go-yaml's share their memory, and what becomes of them does not.
const MOST_TEXT_BYTES: usize = 32 << 20;

/// go-yaml's words.
pub(super) const EXCESSIVE: &str = "yaml: document contains excessive aliasing";

/// What was read so far, against what the text holds without aliases.
pub(super) struct Expansion {
    direct: usize,
    values: usize,
    bytes_left: usize,
}

impl Expansion {
    /// Nothing was read; where there are no aliases there is nothing to count.
    pub(super) fn of(text: &str) -> Option<Self> {
        let aliases = text.contains('&') && text.contains('*');
        aliases.then(|| Self {
            direct: most_values(text),
            values: 0,
            bytes_left: text.len().saturating_add(MOST_TEXT_BYTES),
        })
    }

    /// One more value or key; whether it may be.
    pub(super) fn value(&mut self) -> bool {
        self.values += 1;
        let aliased = self.values.saturating_sub(self.direct);
        aliased <= 100 || self.values <= 1000 || ratio(aliased, self.values) <= allowed(self.values)
    }

    /// A text of so many bytes; whether it may be.
    pub(super) fn text(&mut self, bytes: usize) -> bool {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => self.bytes_left = left,
            None => return false,
        }
        true
    }
}

/// How many values and keys a text can have at most: each stands behind one of these characters, but the outermost.
fn most_values(text: &str) -> usize {
    let behind = |byte| match byte {
        // a key, a value, and the mapping that they are in
        b':' => 3,
        // a key without a value
        b',' | b'{' | b'?' => 2,
        b'[' | b'-' => 1,
        _ => 0,
    };
    2 + text.bytes().map(behind).sum::<usize>()
}

/// go-yaml's `allowedAliasRatio`.
fn allowed(values: usize) -> f64 {
    let beyond = values.clamp(SMALL, LARGE) - SMALL;
    0.99 - 0.89 * ratio(beyond, LARGE - SMALL)
}

#[allow(clippy::cast_precision_loss)]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grows_to(text: &str, most: usize) -> Option<usize> {
        let mut expansion = Expansion::of(text).expect("has aliases");
        (1..=most).find(|_| !expansion.value())
    }

    #[test]
    fn the_larger_a_document_becomes_the_less_may_come_from_aliases() {
        assert_eq!(grows_to("&a *a", 10_000), Some(1001), "few values may be aliases' all");
        let text = |direct: usize| format!("&a *a{}", ",".repeat(direct / 2));
        assert_eq!(grows_to(&text(20_000), 400_000), None);
        let refused = grows_to(&text(20_000), 4_000_000).expect("is too much");
        assert!((450_000..550_000).contains(&refused), "{refused}");
        let refused = grows_to(&text(3_000_000), 9_000_000).expect("is too much");
        assert!((3_000_000..4_000_000).contains(&refused), "{refused}");
    }

    #[test]
    fn without_aliases_nothing_is_counted() {
        assert!(Expansion::of("a: b & c").is_none());
        assert!(Expansion::of("*").is_none());
    }
}
