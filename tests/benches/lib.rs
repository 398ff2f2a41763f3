//! The stages of a landing, measured. All of it is in `stages.rs`.
