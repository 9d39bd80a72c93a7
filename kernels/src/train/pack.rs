//! Puts texts into rows of a fixed length so that little room is left: best fit, longest first.
//!
//! Texts of a row do not see each other, and each begins at position 0: packing changes which texts
//! make up a batch, never what a text is to the model.

use std::collections::BTreeMap;

/// Which texts lie in which row, by their lengths; none is longer than `room`, which the caller has
/// checked. Texts of a row are in their own order, rows in the order of their first text.
pub fn pack(lengths: &[usize], room: usize) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..lengths.len() as u32).collect();
    order.sort_by_key(|it| (std::cmp::Reverse(lengths[*it as usize]), *it));
    let mut rows: Vec<Vec<u32>> = Vec::new();
    // Rows that have this much room left, oldest last.
    let mut open = BTreeMap::<usize, Vec<usize>>::new();
    for text in order {
        let length = lengths[text as usize];
        let (left, row) = match open.range_mut(length..).next() {
            Some((left, list)) => {
                let (left, row) = (*left, list.pop());
                if list.is_empty() {
                    open.remove(&left);
                }
                (left, row)
            }
            None => (room, None),
        };
        let row = row.unwrap_or_else(|| {
            rows.push(Vec::new());
            rows.len() - 1
        });
        rows[row].push(text);
        open.entry(left.saturating_sub(length)).or_default().push(row);
    }
    rows.iter_mut().for_each(|it| it.sort_unstable());
    rows.sort_unstable_by_key(|it| it.first().copied());
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_go_where_least_room_is_left() {
        assert_eq!(pack(&[3, 7, 5, 2, 5], 10), [vec![0, 1], vec![2, 4], vec![3]]);
        assert_eq!(pack(&[], 10), Vec::<Vec<u32>>::new());
        assert_eq!(pack(&[10, 10], 10), [vec![0], vec![1]]);
    }

    proptest! {
        #[test]
        fn every_text_is_in_one_row_and_rows_hold_what_they_can(
            lengths in proptest::collection::vec(1usize..=64, 0..200),
        ) {
            let rows = pack(&lengths, 64);
            let mut seen: Vec<u32> = rows.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len() as u32).collect::<Vec<_>>());
            let filled: Vec<usize> =
                rows.iter().map(|it| it.iter().map(|it| lengths[*it as usize]).sum()).collect();
            prop_assert!(filled.iter().all(|it| *it <= 64));
            // Two rows that are half empty would have been one.
            prop_assert!(filled.iter().filter(|it| **it <= 32).count() <= 1);
        }
    }
}
