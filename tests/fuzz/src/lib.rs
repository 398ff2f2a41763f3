//! Fuzz targets with oracles: each target is a function of bytes that panics when the events ring and an independent
//! reading of its rules differ, or when what a function is called with says other things by other roads. The executables under `targets/` hand it libFuzzer's bytes; the tests here
//! hand it the committed corpora.

#![forbid(unsafe_code)]

mod document;
mod generate;
mod json;
mod judge;
mod landing;
mod lines;
mod names;
mod number;
mod timestamp;
#[cfg(feature = "host")]
mod trigger;
mod upload;

pub use json::json;
pub use lines::lines;
pub use names::names;
pub use number::number;
pub use timestamp::timestamp;
#[cfg(feature = "host")]
pub use trigger::trigger;
pub use upload::upload;

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn replay(target: &str, oracle: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            println!("{}", file.display());
            oracle(&std::fs::read(&file).unwrap());
        }
    }

    #[test]
    fn lines() {
        replay("lines", super::lines);
    }

    #[test]
    fn json() {
        replay("json", super::json);
    }

    #[test]
    fn number() {
        replay("number", super::number);
    }

    #[test]
    fn timestamp() {
        replay("timestamp", super::timestamp);
    }

    #[test]
    fn names() {
        replay("names", super::names);
    }

    #[cfg(feature = "host")]
    #[test]
    fn trigger() {
        replay("trigger", super::trigger);
    }

    #[test]
    fn upload() {
        replay("upload", super::upload);
    }
}
