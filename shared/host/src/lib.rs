//! Ring 3: where we run. A face finds uploads, hands them to a function, and says in its place's own words what came of
//! them. This sitting has one face, the terminal.

mod address;
mod cloud;
mod lake;
mod landing;
mod settings;
pub mod terminal;
