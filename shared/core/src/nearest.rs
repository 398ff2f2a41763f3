//! The known name that a mistyped one most likely meant.

/// The name most like the one given, if any is close: at most a third of its letters differ.
pub fn among<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    let ranked = names.map(|other| (distance(name, other), other)).filter(|(distance, _)| *distance <= allowed);
    ranked.min().map(|(_, other)| other)
}

/// Letters to insert, delete, replace, or swap with their neighbour; case does not count.
fn distance(left: &str, right: &str) -> usize {
    let letters = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (left, right) = (letters(left), letters(right));
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.iter().enumerate() {
        let mut next = vec![line + 1];
        for (column, b) in right.iter().enumerate() {
            let replace = at(&row, column) + usize::from(a != b);
            let insert_or_delete = at(&next, column).min(at(&row, column + 1)) + 1;
            let is_swap = column > 0 && line > 0 && right.get(column - 1) == Some(a) && left.get(line - 1) == Some(b);
            let swap = if is_swap { at(&before, column - 1) + 1 } else { usize::MAX };
            next.push(replace.min(insert_or_delete).min(swap));
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("uploads", "uplaods"), 1);
        assert_eq!(distance("uploads", "upload.gz"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("Lake", "lake"), 0);
    }

    #[test]
    fn a_stranger_is_not_offered() {
        assert_eq!(among("catalogue", ["catalog", "lake"].into_iter()), Some("catalog"));
        assert_eq!(among("elsewhere", ["catalog", "lake"].into_iter()), None);
    }
}
