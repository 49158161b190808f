//! Sorting of short lists with one sort for all types: the standard library's is 3 kB of the download for each type.

use std::cmp::Ordering;

/// Sorts as [`slice::sort_by`].
pub fn by<T>(all: &mut Vec<T>, order: impl Fn(&T, &T) -> Ordering) {
    let mut places: Vec<usize> = (0..all.len()).collect();
    sort(&mut places, &|a, b| order(&all[a], &all[b]));
    let mut rows: Vec<Option<T>> = all.drain(..).map(Some).collect();
    all.extend(places.into_iter().filter_map(|at| rows[at].take()));
}

/// Sorts as [`slice::sort_by_key`].
pub fn by_key<T, K: Ord>(all: &mut Vec<T>, key: impl Fn(&T) -> K) {
    by(all, |a, b| key(a).cmp(&key(b)));
}

#[inline(never)]
fn sort(places: &mut [usize], order: &dyn Fn(usize, usize) -> Ordering) {
    places.sort_by(|a, b| order(*a, *b));
}

#[cfg(test)]
mod tests {
    #[test]
    fn equals_keep_their_order() {
        let mut all = vec![(2, "a"), (1, "b"), (2, "c"), (1, "d")];
        super::by_key(&mut all, |one| one.0);
        assert_eq!(all, [(1, "b"), (1, "d"), (2, "a"), (2, "c")]);
    }
}
