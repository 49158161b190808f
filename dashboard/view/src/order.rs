//! The order of rows: by any column, and by name where that says nothing.

use std::cmp::Ordering;

use crate::{Cell, Row};

/// What rows are sorted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// Namespace, then name.
    #[default]
    Name,
    /// Name alone, namespaces mixed.
    NameOnly,
    /// How they are, worst first.
    Health,
    /// The youngest first.
    Age,
    /// A column, by its place in [`Row::cells`].
    Column(usize),
}

/// Compares two rows. Rows that are the same by `key` are in the order of namespace and name, whichever way `down` is,
/// so that a list does not jump when it is turned around and back.
pub fn compare(key: &Key, down: bool, a: &Row, b: &Row) -> Ordering {
    by_key(key, down, a, b).then_with(|| by_place(a, b))
}

/// Compares two rows by `key` alone.
pub fn by_key(key: &Key, down: bool, a: &Row, b: &Row) -> Ordering {
    let by_key = match key {
        Key::Name => by_place(a, b),
        Key::NameOnly => natural(&a.name, &b.name),
        Key::Health => a.health.cmp(&b.health).then_with(|| a.reason.cmp(&b.reason)),
        Key::Age => b.created.cmp(&a.created),
        Key::Column(at) => return by_cell(a.cells.get(*at), b.cells.get(*at), down),
    };
    if down { by_key.reverse() } else { by_key }
}

/// Namespace, name, uid: no two rows are the same.
pub fn by_place(a: &Row, b: &Row) -> Ordering {
    a.namespace.cmp(&b.namespace).then_with(|| natural(&a.name, &b.name)).then_with(|| a.uid.cmp(&b.uid))
}

/// What is empty is last, whichever way; a younger time comes first, as a smaller age does.
fn by_cell(a: Option<&Cell>, b: Option<&Cell>, down: bool) -> Ordering {
    let turned = |order: Ordering| if down { order.reverse() } else { order };
    let empty = |cell: Option<&Cell>| cell.is_none_or(|cell| *cell == Cell::Empty);
    match (a, b) {
        _ if empty(a) || empty(b) => empty(a).cmp(&empty(b)),
        (Some(Cell::Number(a, _)), Some(Cell::Number(b, _))) => turned(a.total_cmp(b)),
        (Some(Cell::Time(a)), Some(Cell::Time(b))) => turned(b.cmp(a)),
        (Some(Cell::Text(a)), Some(Cell::Text(b))) => turned(natural(a, b)),
        (Some(a), Some(b)) => turned(rank(a).cmp(&rank(b))),
        _ => Ordering::Equal,
    }
}

/// Cells of one column are of one sort; if not, numbers are before times before texts.
fn rank(cell: &Cell) -> u8 {
    match cell {
        Cell::Number(..) => 0,
        Cell::Time(_) => 1,
        Cell::Text(_) => 2,
        Cell::Empty => 3,
    }
}

/// Compares as people do: `web-9` before `web-10`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    loop {
        match (left.first(), right.first()) {
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, left_rest) = digits(left);
                let (y, right_rest) = digits(right);
                match x.len().cmp(&y.len()).then_with(|| x.cmp(y)) {
                    Ordering::Equal => (left, right) = (left_rest, right_rest),
                    different => return different,
                }
            }
            (Some(x), Some(y)) if x == y => (left, right) = (&left[1..], &right[1..]),
            (Some(x), Some(y)) => return x.cmp(y),
            (None, None) => return a.cmp(b),
            (x, y) => return x.is_some().cmp(&y.is_some()),
        }
    }
}

/// The number at the start, without leading zeros, and what follows.
pub(crate) fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let zeros = text[..end].iter().position(|byte| *byte != b'0').unwrap_or(end.saturating_sub(1));
    (&text[zeros..end], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Health;

    fn row(namespace: &str, name: &str, cell: Cell) -> Row {
        Row { namespace: namespace.into(), name: name.into(), cells: vec![cell], ..Row::default() }
    }

    fn names(key: &Key, down: bool, mut rows: Vec<Row>) -> String {
        rows.sort_by(|a, b| compare(key, down, a, b));
        rows.into_iter().map(|row| row.name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_are_in_peoples_order() {
        for (a, b, order) in [
            ("web-9", "web-10", Ordering::Less),
            ("web-09", "web-9", Ordering::Less),
            ("a", "a1", Ordering::Less),
            ("a1b2", "a1b10", Ordering::Less),
            ("0", "00", Ordering::Less),
            ("x", "x", Ordering::Equal),
        ] {
            assert_eq!(natural(a, b), order, "{a} {b}");
            assert_eq!(natural(b, a), order.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn empty_cells_are_last_both_ways_and_equals_keep_their_order() {
        let number = |number: f64| Cell::Number(number, None);
        let rows = vec![
            row("a", "none", Cell::Empty),
            row("b", "two", number(2.0)),
            row("a", "also-two", number(2.0)),
            row("a", "ten", number(10.0)),
        ];
        assert_eq!(names(&Key::Column(0), false, rows.clone()), "also-two two ten none");
        assert_eq!(names(&Key::Column(0), true, rows.clone()), "ten also-two two none");
        assert_eq!(names(&Key::Column(7), true, rows), "also-two none ten two");
    }

    #[test]
    fn young_is_first_by_age_and_bad_by_health() {
        let mut rows = vec![row("", "old", Cell::Time(10)), row("", "young", Cell::Time(20))];
        assert_eq!(names(&Key::Column(0), false, rows.clone()), "young old");
        rows[0].created = 10;
        rows[1].created = 20;
        assert_eq!(names(&Key::Age, false, rows.clone()), "young old");
        rows[0].health = Health::Failed;
        rows[1].health = Health::Healthy;
        assert_eq!(names(&Key::Health, false, rows), "old young");
    }
}
