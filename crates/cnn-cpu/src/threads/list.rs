//! Lists of references that are made anew in every run, in memory that is kept between runs.

use std::mem;

/// Calls `work` with a list of the items. It lies in the memory of `kept`, which grows where it is too small.
pub(crate) fn with_list<K, T, R>(kept: &mut Vec<K>, items: impl Iterator<Item = T>, work: impl FnOnce(&[T]) -> R) -> R {
    let mut list = emptied(mem::take(kept));
    list.extend(items);
    let result = work(&list);
    *kept = emptied(list);
    result
}

/// An empty list, in the same memory where its elements are as large: `collect` makes lists in place then.
fn emptied<A, B>(mut list: Vec<A>) -> Vec<B> {
    list.clear();
    list.into_iter().map(|_| unreachable!("the list is empty")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_lies_where_the_last_one_did() {
        let mut kept: Vec<&'static str> = Vec::with_capacity(3);
        let place = kept.as_ptr() as usize;
        for round in 0..2 {
            let owned = ["a", "b", "c"].map(|text| format!("{text}{round}"));
            let length = with_list(&mut kept, owned.iter().map(|text| &text[..]), |list: &[&str]| {
                assert_eq!((list.as_ptr() as usize, list[2]), (place, &owned[2][..]));
                list.len()
            });
            assert_eq!((length, kept.len(), kept.capacity()), (3, 0, 3));
        }
    }
}
