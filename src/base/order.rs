//! Sorting that is compiled once.
//!
//! The standard library's comes into the program anew for each type and each comparison, with 5 kB
//! each time, and so does collecting into a sorted map or set. That is for much data and hot loops;
//! a folder's names or a file's keys are neither.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Sorts; what is equal keeps its order.
pub fn sort<T: Ord>(items: &mut Vec<T>) {
    sort_by(items, T::cmp);
}

/// As [`sort`], by what `key` makes of an item.
pub fn sort_by_key<T, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    sort_by(items, |one, other| key(one).cmp(&key(other)));
}

/// As [`sort`], by `compare`.
pub fn sort_by<T>(items: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    let order = sorted_places(items.len(), &|one, other| {
        compare(&items[one], &items[other])
    });
    let mut unsorted: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(order.iter().filter_map(|place| unsorted[*place].take()));
}

/// The numbers below `count` in the order that `compare` gives them.
fn sorted_places(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by(|one, other| compare(*one, *other));
    places
}

/// A map of `pairs`. Of two with one key the last one counts.
pub fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}

/// A set of `items`.
pub fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn items_are_sorted_as_by_the_standard_library(mut items: Vec<(u8, u8)>) {
            let mut expected = items.clone();
            expected.sort_by_key(|(key, _)| *key);
            sort_by_key(&mut items, |(key, _)| *key);
            prop_assert_eq!(&items, &expected);
            expected.sort();
            sort(&mut items);
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn maps_and_sets_hold_what_was_collected(pairs: Vec<(u8, u8)>) {
            let expected: BTreeMap<u8, u8> = pairs.iter().copied().collect();
            prop_assert_eq!(map(pairs.clone()), expected);
            let expected: BTreeSet<(u8, u8)> = pairs.iter().copied().collect();
            prop_assert_eq!(set(pairs), expected);
        }
    }
}
