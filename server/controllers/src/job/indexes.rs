//! Sets of completion indexes, and how a status writes them: `0-2,5` (upstream's `indexed_job_utils.go`).

use std::collections::BTreeSet;

pub(super) type Indexes = BTreeSet<i32>;

/// Reads the indexes below `completions`; what is malformed is left out.
pub(super) fn parse(text: &str, completions: i32) -> Indexes {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<i32>().ok()?..=last.parse::<i32>().ok()?.min(completions - 1))
    };
    text.split(',').filter_map(part).flatten().collect()
}

pub(super) fn format(indexes: &Indexes) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let text = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

/// How many there are, in the API's integers.
pub(super) fn total(indexes: &Indexes) -> i32 {
    i32::try_from(indexes.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_upstream_does() {
        for text in ["", "0", "0,1", "0-2,5,7,8", "3-5"] {
            assert_eq!(format(&parse(text, 100)), text);
        }
        assert_eq!(format(&parse("0-9,12", 4)), "0-3");
        assert_eq!(format(&parse("0,x,2", 4)), "0,2");
        assert_eq!(total(&parse("0-2,5", 9)), 4);
    }
}
