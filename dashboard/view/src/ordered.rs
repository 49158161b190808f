//! A list that stays filtered and sorted: whole when the question changes, in place when some rows do.
//!
//! All rows are kept in the order of their places (namespace, name, uid), and what is shown are indexes into that: rows
//! of equal keys are in order by their index alone, a filter that only grew looks at what is shown, and a sort compares
//! numbers that were made once. 50,000 rows are filtered or sorted within a frame.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use crate::{
    Cell, Filter, Row,
    order::{self, Key},
};

/// A row before and after a change: new without the one, gone without the other.
pub type Change = (Option<Arc<Row>>, Option<Arc<Row>>);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ordered {
    all: Vec<Arc<Row>>,
    shown: Vec<u32>,
    filter: Filter,
    key: Key,
    down: bool,
}

impl Ordered {
    /// Rows that the filter holds for.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// Whether the filter holds for none.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// A shown row, by its place in the order.
    pub fn get(&self, at: usize) -> Option<&Arc<Row>> {
        self.all.get(*self.shown.get(at)? as usize)
    }

    /// The shown rows in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.shown.iter().map(|at| &self.all[*at as usize])
    }

    /// Takes other rows, in any order, for all that were.
    pub fn reset(&mut self, rows: Vec<Arc<Row>>) {
        self.all = by_place(rows);
        self.select();
        self.sort();
    }

    /// Filters and sorts by something else.
    pub fn ask(&mut self, filter: &Filter, key: Key, down: bool) {
        let narrower = filter.narrows(&self.filter);
        let wider = self.filter.narrows(filter);
        let turned = self.key != key || self.down != down;
        self.filter = filter.clone();
        (self.key, self.down) = (key, down);
        match (narrower, wider) {
            (true, true) => {}
            (true, false) => {
                let (all, filter) = (&self.all, &self.filter);
                self.shown.retain(|at| filter.holds(&all[*at as usize]));
            }
            (false, _) => self.select(),
        }
        if turned || !narrower {
            self.sort();
        }
    }

    /// Takes changes. Answers whether it could: not if a row that changed was never here.
    #[must_use]
    pub fn change(&mut self, changes: Vec<Change>) -> bool {
        let place = |before: &Option<Arc<Row>>| match before {
            Some(before) => self.all.binary_search_by(|own| order::by_place(own, before)).map(Some),
            None => Ok(None),
        };
        let Ok(places) = changes.iter().map(|(before, _)| place(before)).collect::<Result<Vec<_>, _>>()
        else {
            return false;
        };
        let mut stale = vec![false; self.all.len()];
        let (mut fresh, mut added, mut gone) = (Vec::new(), Vec::new(), false);
        for ((_, after), at) in changes.into_iter().zip(places) {
            let Some(at) = at else {
                added.extend(after);
                continue;
            };
            stale[at] = true;
            match after {
                Some(after) if order::by_place(&self.all[at], &after).is_eq() => {
                    self.all[at] = after;
                    fresh.push(at as u32);
                }
                after => {
                    gone = true;
                    // marks a place that is nobody's any more
                    self.all[at] = Arc::default();
                    added.extend(after);
                }
            }
        }
        self.shown.retain(|at| !stale[*at as usize]);
        if gone || !added.is_empty() {
            self.make_room(&stale, added, &mut fresh);
        }
        fresh.retain(|at| self.filter.holds(&self.all[*at as usize]));
        let kept = std::mem::replace(&mut self.shown, fresh);
        self.sort();
        self.shown = merge(&kept, &self.shown, |a, b| self.compare(a, b).is_lt());
        true
    }

    /// Takes places that are nobody's out of `all` and puts `added` in; indexes go with their rows, and those of the
    /// added are put to `fresh`.
    fn make_room(&mut self, stale: &[bool], added: Vec<Arc<Row>>, fresh: &mut Vec<u32>) {
        let old = std::mem::take(&mut self.all);
        let mut added = by_place(added).into_iter().peekable();
        let mut moved = vec![0u32; old.len()];
        let (mut all, mut new) = (Vec::with_capacity(old.len() + added.len()), Vec::new());
        for (at, row) in old.into_iter().enumerate() {
            if stale[at] && row.uid.is_empty() {
                continue;
            }
            while let Some(one) = added.next_if(|one| order::by_place(one, &row).is_lt()) {
                new.push(all.len() as u32);
                all.push(one);
            }
            moved[at] = all.len() as u32;
            all.push(row);
        }
        for one in added {
            new.push(all.len() as u32);
            all.push(one);
        }
        self.all = all;
        self.shown.iter_mut().chain(fresh.iter_mut()).for_each(|at| *at = moved[*at as usize]);
        fresh.extend(new);
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        order::by_key(&self.key, self.down, &self.all[a as usize], &self.all[b as usize]).then(a.cmp(&b))
    }

    fn select(&mut self) {
        let (all, filter) = (&self.all, &self.filter);
        self.shown = (0..all.len() as u32).filter(|at| filter.holds(&all[*at as usize])).collect();
    }

    fn sort(&mut self) {
        let (all, key, down) = (&self.all, &self.key, self.down);
        let rank = |at: &u32| match key {
            // the indexes are this order
            Key::Name => (Rank(0), if down { u32::MAX - at } else { *at }),
            _ => (Rank::of(key, down, &all[*at as usize]), *at),
        };
        let mut keyed: Vec<(Rank, u32)> = self.shown.iter().map(rank).collect();
        sort(&mut keyed, &|a, b| order::by_key(key, down, &all[a as usize], &all[b as usize]));
        let back = |at: u32| if *key == Key::Name && down { u32::MAX - at } else { at };
        self.shown = keyed.into_iter().map(|(_, at)| back(at)).collect();
    }
}

/// Sorts by rank, then `whole` where ranks say not all, then index. The one instance of a sort at full speed.
#[inline(never)]
fn sort(keyed: &mut [(Rank, u32)], whole: &dyn Fn(u32, u32) -> Ordering) {
    keyed.sort_unstable_by(|(one, a), (other, b)| one.compare(*other, || whole(*a, *b)).then(a.cmp(b)));
}

/// Two sorted lists as one.
fn merge(one: &[u32], other: &[u32], before: impl Fn(u32, u32) -> bool) -> Vec<u32> {
    let mut merged = Vec::with_capacity(one.len() + other.len());
    let mut from = 0;
    for at in other {
        let to = from + one[from..].partition_point(|own| before(*own, *at));
        merged.extend_from_slice(&one[from..to]);
        merged.push(*at);
        from = to;
    }
    merged.extend_from_slice(&one[from..]);
    merged
}

/// Sorts by namespace, name, uid.
fn by_place(rows: Vec<Arc<Row>>) -> Vec<Arc<Row>> {
    let mut namespaces: BTreeMap<&str, u128> = BTreeMap::new();
    for row in &rows {
        namespaces.insert(&row.namespace, 0);
    }
    namespaces.values_mut().zip(0..).for_each(|(number, at)| *number = at);
    // equal ranks are always compared whole: the uid is in none
    let rank = |row: &Row| Rank(namespaces[row.namespace.as_str()] << 112 | Rank::text(&row.name).0 | 1);
    let mut keyed: Vec<(Rank, u32)> = rows.iter().map(|row| rank(row)).zip(0..).collect();
    sort(&mut keyed, &|a, b| order::by_place(&rows[a as usize], &rows[b as usize]));
    keyed.into_iter().map(|(_, at)| rows[at as usize].clone()).collect()
}

/// A key as a number: what is less comes first. The lowest byte is 1 where it says not all, and equals have to be
/// compared whole.
#[derive(Clone, Copy)]
struct Rank(u128);

/// Bytes of a text that are in a rank.
const BYTES: usize = 13;

impl Rank {
    fn compare(self, other: Self, whole: impl FnOnce() -> Ordering) -> Ordering {
        (self.0 >> 8).cmp(&(other.0 >> 8)).then_with(|| match (self.0 | other.0) & 1 {
            0 => Ordering::Equal,
            _ => whole(),
        })
    }

    fn of(key: &Key, down: bool, row: &Row) -> Self {
        let (group, rank) = match key {
            Key::Name => (0, Self(1)),
            Key::NameOnly => (0, Self::text(&row.name)),
            Key::Health => (row.health as u8, Self::plain(&row.reason)),
            Key::Age => (0, Self::time(row.created)),
            Key::Column(at) => match row.cells.get(*at) {
                Some(Cell::Number(number, _)) => (0, Self::number(*number)),
                Some(Cell::Time(at)) => (1, Self::time(*at)),
                Some(Cell::Text(text)) => (2, Self::text(text)),
                // last, whichever way
                None | Some(Cell::Empty) => return Self(u128::MAX << 8),
            },
        };
        let rank = u128::from(group) << 112 | rank.0;
        match down {
            true => Self(rank ^ (u128::MAX >> 8 & !0xff)),
            false => Self(rank),
        }
    }

    fn number(number: f64) -> Self {
        let bits = number.to_bits();
        let bits = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
        Self(u128::from(bits) << 8)
    }

    /// The younger first.
    fn time(at: i64) -> Self {
        Self(u128::from(!(at as u64 ^ 1 << 63)) << 8)
    }

    /// In the order of its bytes.
    fn plain(text: &str) -> Self {
        Self::bytes(text.bytes(), text.len() > BYTES)
    }

    /// As [`order::natural`]: a number is a digit, its length, its digits; what is left out of it is compared whole.
    fn text(text: &str) -> Self {
        let mut encoded = [0; BYTES];
        let (mut length, mut rest) = (0, text.as_bytes());
        let mut whole = true;
        while let Some(first) = rest.first().filter(|_| length < BYTES) {
            if !first.is_ascii_digit() {
                encoded[length] = *first;
                (length, rest) = (length + 1, &rest[1..]);
                continue;
            }
            let (digits, behind) = order::digits(rest);
            whole &= digits.len() + behind.len() == rest.len() && digits.len() < 255;
            let size = digits.len().min(255) as u8;
            for byte in [b'0', size].iter().chain(digits).take(BYTES - length) {
                encoded[length] = *byte;
                length += 1;
            }
            whole &= encoded[..length].ends_with(digits);
            rest = if size == 255 { &[] } else { behind };
        }
        Self::bytes(encoded.into_iter(), !whole || !rest.is_empty())
    }

    fn bytes(bytes: impl Iterator<Item = u8>, more: bool) -> Self {
        let padded = bytes.chain(std::iter::repeat(0)).take(BYTES);
        Self(padded.fold(0, |key, byte| key << 8 | u128::from(byte)) << 8 | u128::from(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Health;

    /// The same numbers in every run.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % sides
        }
    }

    const NAMES: [&str; 6] = ["web-", "web-0", "a", "a-long-name-of-a-pod-", "网关-", ""];

    fn row(dice: &mut Dice, uid: u64) -> Row {
        let text = |dice: &mut Dice| format!("{}{}", NAMES[dice.roll(6) as usize], dice.roll(120));
        let cell = match dice.roll(5) {
            0 => Cell::Empty,
            1 => Cell::Number(dice.roll(9) as f64 - 4.0, None),
            2 => Cell::Time(dice.roll(5) as i64 - 2),
            _ => Cell::Text(text(dice)),
        };
        Row {
            uid: format!("u{uid}"),
            namespace: ["", "a", "b"][dice.roll(3) as usize].into(),
            name: text(dice),
            health: Health::ALL[dice.roll(6) as usize],
            reason: ["", "Running", "CrashLoopBackOff", "CrashLoopBackOn"][dice.roll(4) as usize].into(),
            created: dice.roll(7) as i64,
            cells: vec![cell],
            ..Row::default()
        }
    }

    /// By the definition: filter, then sort by comparing.
    fn plainly(rows: &[Arc<Row>], filter: &Filter, key: &Key, down: bool) -> Vec<String> {
        let mut rows: Vec<_> = rows.iter().filter(|row| filter.holds(row)).collect();
        rows.sort_by(|a, b| order::compare(key, down, a, b));
        rows.iter().map(|row| row.uid.clone()).collect()
    }

    fn shown(ordered: &Ordered) -> Vec<String> {
        ordered.iter().map(|row| row.uid.clone()).collect()
    }

    #[test]
    fn it_is_as_if_filtered_and_sorted_each_time() {
        let mut dice = Dice(7);
        let mut rows: Vec<Arc<Row>> = (0..400).map(|uid| Arc::new(row(&mut dice, uid))).collect();
        let mut ordered = Ordered::default();
        ordered.reset(rows.clone());
        let keys = [Key::Name, Key::NameOnly, Key::Health, Key::Age, Key::Column(0), Key::Column(3)];
        let (mut filter, mut key, mut down) = (Filter::default(), Key::Name, false);
        for round in 0..600u64 {
            match dice.roll(3) {
                0 => {
                    let lines = ["", "w", "we", "we !status:failed", "ns:a", "ns:a web-1", "/b-[1-4]/"];
                    filter = Filter::parse(lines[dice.roll(7) as usize]).expect("a filter");
                }
                1 => (key, down) = (keys[dice.roll(6) as usize].clone(), dice.roll(2) == 1),
                _ => {
                    let mut changes = Vec::new();
                    for at in (0..rows.len()).rev().step_by(1 + dice.roll(150) as usize) {
                        let before = rows[at].clone();
                        match dice.roll(4) {
                            0 => {
                                rows.swap_remove(at);
                                changes.push((Some(before), None));
                            }
                            1 => {
                                let mut new = Row::clone(&before);
                                (new.reason, new.created) = ("Changed".into(), 3);
                                rows[at] = Arc::new(new);
                                changes.push((Some(before), Some(rows[at].clone())));
                            }
                            _ => {
                                let new = Arc::new(row(&mut dice, 1000 + round * 1000 + at as u64));
                                rows.push(new.clone());
                                changes.push((None, Some(new)));
                            }
                        }
                    }
                    assert!(ordered.change(changes));
                }
            }
            ordered.ask(&filter, key.clone(), down);
            assert_eq!(
                shown(&ordered),
                plainly(&rows, &filter, &key, down),
                "{round}: {filter:?} {key:?} {down}"
            );
        }
    }

    #[test]
    fn what_was_never_here_does_not_change() {
        let mut ordered = Ordered::default();
        ordered.reset(vec![Arc::new(Row { uid: "a".into(), ..Row::default() })]);
        let strange = Arc::new(Row { uid: "b".into(), ..Row::default() });
        assert!(!ordered.change(vec![(Some(strange), None)]));
    }
}
