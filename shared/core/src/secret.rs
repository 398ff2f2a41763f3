//! Text that must never be printed: client secrets, tokens, signatures of vended credentials.

use std::fmt;
use std::sync::Arc;

use crate::clock::Deadline;
use crate::secret_store::Stored;

/// A secret. It cannot print itself; whoever needs the text says so with [`Secret::expose`].
#[derive(Clone)]
pub struct Secret {
    text: String,
    /// Where it was read, if it can be read again there.
    stored: Option<Arc<Stored>>,
}

impl Secret {
    /// Takes a text that must not be shown from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), stored: None }
    }

    /// The same, of a store that may have another one later.
    pub(crate) fn stored(text: &str, stored: Arc<Stored>) -> Self {
        Self { text: text.to_owned(), stored: Some(stored) }
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// As its store last gave it; without a store, itself.
    pub(crate) fn latest(&self) -> Self {
        self.stored.as_ref().map_or_else(|| self.clone(), |stored| stored.latest())
    }

    /// What its store has instead of one that was refused, if it has another.
    pub(crate) async fn instead_of(&self, refused: &Self, deadline: Deadline) -> Option<Self> {
        self.stored.as_ref()?.instead_of(refused, deadline).await
    }
}

/// The text alone counts.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Secret::new("dose-of-truth");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(secret.expose(), "dose-of-truth");
    }
}
