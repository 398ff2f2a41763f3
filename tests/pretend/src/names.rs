//! Names of catalogs, schemas and tables: stored in lower case, and what they may not hold.

use crate::reply::Refusal;

/// The longest name.
const LONGEST: usize = 255;

/// As Unity Catalog stores it.
pub(crate) fn lower(name: &str) -> String {
    name.to_lowercase()
}

/// # Errors
/// No name.
pub(crate) fn checked_name(name: &str) -> Result<(), Refusal> {
    let fits = !name.is_empty()
        && name.chars().count() <= LONGEST
        && !name.contains(|c: char| c.is_control() || " ./".contains(c));
    if fits {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "\"{name}\" is not a valid name. Valid names must be at most 255 characters and must not contain periods, \
         spaces, forward slashes or control characters."
    )))
}
