//! Local files: a file as it is named, a folder walked to its end.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use inlet_core::clock::{self, Micros};
use inlet_core::fault::Fault;
use inlet_core::upload::UploadId;
use sha2::{Digest, Sha256};

use super::{nearest, skip};

/// A file that may hold events.
#[derive(Debug)]
pub(crate) struct LocalFile {
    /// Its path as the user knows it.
    pub(crate) shown: PathBuf,
    /// Its absolute path without links: its key.
    pub(crate) real: PathBuf,
    /// Its bytes.
    pub(crate) size: u64,
    /// When it was last modified.
    pub(crate) modified: Micros,
    /// Whether it is no regular file (a pipe of the shell): it can be read once only.
    pub(crate) once: bool,
}

/// What a walk has found so far; a file or folder that is reached twice, by a link or a second argument, counts once.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) files: Vec<LocalFile>,
    pub(crate) skipped: u64,
    pub(crate) unreadable: Vec<(PathBuf, io::Error)>,
    seen: HashSet<PathBuf>,
}

impl Walk {
    /// Adds one argument.
    ///
    /// # Errors
    /// A Setup fault when there is no such path, or nothing in the folder.
    pub(crate) fn add(&mut self, path: &Path) -> Result<(), Fault> {
        let metadata = fs::metadata(path).map_err(|error| no_such_path(path, error))?;
        if !metadata.is_dir() {
            self.file(path, &metadata, true);
            return Ok(());
        }
        let mut empty = true;
        let mut folders = vec![path.to_path_buf()];
        while let Some(folder) = folders.pop() {
            match self.folder(&folder, &mut folders) {
                Ok(entries) => empty &= entries == 0,
                // The folder that was named must be readable; one below it must not stop the others.
                Err(error) if folder == path => {
                    return Err(Fault::setup(format!("cannot read the folder `{}`", path.display())).because(error));
                }
                Err(error) => {
                    empty = false;
                    self.unreadable.push((folder, error));
                }
            }
        }
        if empty {
            let fault = Fault::setup(format!("the folder `{}` is empty: there is nothing to land", path.display()));
            return Err(fault.hint("name a file or folder of uploads: gzip, zstd or plain lines of JSON"));
        }
        Ok(())
    }

    /// Reads one folder and puts its sub-folders aside; says how many entries other than new folders it has.
    fn folder(&mut self, folder: &Path, folders: &mut Vec<PathBuf>) -> io::Result<u64> {
        if !self.seen.insert(fs::canonicalize(folder)?) {
            return Ok(1);
        }
        let mut others = 0;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if skip::by_name(entry.file_name().as_encoded_bytes()) {
                self.skipped += 1;
                others += 1;
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(metadata) => {
                    others += 1;
                    self.file(&path, &metadata, false);
                }
                Err(error) => {
                    others += 1;
                    self.unreadable.push((path, error));
                }
            }
        }
        Ok(others)
    }

    fn file(&mut self, path: &Path, metadata: &Metadata, named: bool) {
        let once = !metadata.is_file();
        let by_name = path.file_name().is_some_and(|name| skip::by_name(name.as_encoded_bytes()));
        // Sockets and pipes that lie in a folder are no uploads; a pipe that is named (`<(zcat …)`) is one.
        if by_name || (once && !named) || (!once && metadata.len() == 0) {
            self.skipped += 1;
            return;
        }
        let modified = metadata.modified().map_or_else(|_| clock::now(), clock::micros);
        // A shell's pipe has a name that leads nowhere: it is its own real path.
        let real = if once { std::path::absolute(path) } else { fs::canonicalize(path) };
        match real {
            Ok(real) if self.seen.insert(real.clone()) => {
                self.files.push(LocalFile { shown: path.to_path_buf(), real, size: metadata.len(), modified, once });
            }
            Ok(_) => {}
            Err(error) => self.unreadable.push((path.to_path_buf(), error)),
        }
    }
}

/// The id of a file's content, read as a stream.
pub(crate) fn content_id(path: &Path) -> io::Result<UploadId> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(UploadId::of_content(&hasher.finalize().into())),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The id of bytes in memory.
pub(crate) fn bytes_id(bytes: &[u8]) -> UploadId {
    UploadId::of_content(&Sha256::digest(bytes).into())
}

/// A path as text that keeps two paths apart: bytes that are no UTF-8 as `\xNN`.
pub(crate) fn text(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

fn no_such_path(path: &Path, error: io::Error) -> Fault {
    let shown = path.display();
    if error.kind() != io::ErrorKind::NotFound {
        return Fault::setup(format!("cannot read `{shown}`")).because(error);
    }
    let fault = Fault::setup(format!("no such file or folder: `{shown}`"));
    match nearest::existing(path) {
        Some(near) => fault.hint(format!("did you mean `{}`?", near.display())),
        None => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_has_one_id_by_file_and_in_memory() {
        let here = tempfile::tempdir().unwrap();
        fs::write(here.path().join("a"), "x\n").unwrap();
        assert_eq!(content_id(&here.path().join("a")).unwrap(), bytes_id(b"x\n"));
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_ends_and_a_dangling_link_is_named() {
        use std::os::unix::fs::symlink;
        let here = tempfile::tempdir().unwrap();
        fs::create_dir(here.path().join("a")).unwrap();
        fs::write(here.path().join("a/one"), "{}").unwrap();
        symlink(here.path(), here.path().join("a/again")).unwrap();
        symlink(here.path().join("a/one"), here.path().join("two")).unwrap();
        symlink("nowhere", here.path().join("broken")).unwrap();
        let mut walk = Walk::default();
        walk.add(here.path()).unwrap();
        assert_eq!((walk.files.len(), walk.unreadable.len()), (1, 1));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_utf8_stay_apart() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(text(Path::new(std::ffi::OsStr::from_bytes(b"a\xffb"))), "a\\xffb");
    }
}
