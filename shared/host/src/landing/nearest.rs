//! The existing path that a mistyped one most likely meant.

use std::fs;
use std::path::{Path, PathBuf};

use inlet_core::nearest::among;

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

#[cfg(test)]
mod tests {
    use super::*;

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
