//! The existing name that a mistyped one most likely meant.

use std::fs;
use std::path::{Path, PathBuf};

/// Looking at more siblings than this is slower than looking for oneself.
const SIBLINGS: usize = 10_000;

/// The nearest existing path: the first component that does not exist is replaced by the sibling most like it.
pub(crate) fn existing(path: &Path) -> Option<PathBuf> {
    let is_missing = |part: &&Path| !part.as_os_str().is_empty() && !part.exists();
    let missing = path.ancestors().take_while(is_missing).last()?;
    let name = missing.file_name()?.to_string_lossy().into_owned();
    let parent = missing.parent().unwrap_or(Path::new(""));
    let folder = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let siblings = fs::read_dir(folder).ok()?.take(SIBLINGS).filter_map(Result::ok);
    let names: Vec<String> = siblings.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let near = parent.join(among(&name, names.iter().map(String::as_str))?);
    let rest = path.strip_prefix(missing).unwrap_or(Path::new(""));
    let whole = near.join(rest);
    Some(if !rest.as_os_str().is_empty() && whole.exists() { whole } else { near })
}

/// The name most like the one given, if any is close: at most a third of its letters differ.
pub(crate) fn among<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
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
    fn the_nearest_sibling_is_offered_and_a_stranger_is_not() {
        let here = tempfile::tempdir().unwrap();
        fs::create_dir_all(here.path().join("fixtures/uploads")).unwrap();
        let near = existing(&here.path().join("fixture/uploads"));
        assert_eq!(near, Some(here.path().join("fixtures/uploads")));
        assert_eq!(existing(&here.path().join("fixtures/uploas")), Some(here.path().join("fixtures/uploads")));
        assert_eq!(existing(&here.path().join("something else")), None);
        assert_eq!(existing(Path::new("scr")), Some("src".into()), "tests run in the package's folder");
    }
}
