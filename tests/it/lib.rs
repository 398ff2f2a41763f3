//! Whole-path tests: uploads in, tables out, read back by another implementation of Delta. All of it is in `main.rs`.
