//! The settings file: TOML text to one value per key, each with its line.

use toml::de::{DeArray, DeTable, DeValue};

use super::given::{Given, Place, Told, Value};
use super::keys::{self, LISTS, Shape};

/// What a value of another shape is called.
fn word(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Reads the text of a file into `given`, with all that is wrong in it. Values are never repeated in what is said of
/// syntax and of unknown keys: a secret may stand there.
pub(super) fn read(text: &str, given: &mut Given<'_>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, given };
    for error in errors {
        let line = error.span().map_or(1, |span| reader.line(span.start));
        reader.given.broken(line, error.message());
    }
    reader.table(document.get_ref(), "", "");
}

struct Reader<'a, 'g, 'v> {
    text: &'a str,
    given: &'g mut Given<'v>,
}

impl Reader<'_, '_, '_> {
    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }

    /// Reads a table. `prefix` stands before its keys in messages, with the place in a list: `source[2].`; `registered`
    /// is the same as keys are registered: `source.`.
    fn table(&mut self, table: &DeTable<'_>, prefix: &str, registered: &str) {
        for (key, value) in table {
            let (name, place) = (key.get_ref().as_ref(), Place::Line(self.line(key.span().start)));
            let (full, path) = (format!("{prefix}{name}"), format!("{registered}{name}"));
            match (value.get_ref(), keys::find(&path)) {
                (DeValue::Array(items), None) if LISTS.contains(&path.as_str()) => self.list(&path, items, place),
                (DeValue::Table(_), None) if LISTS.contains(&path.as_str()) => {
                    self.given.wrong_at(&full, place, "is a list of tables", &format!("write [[{path}]]"));
                }
                (DeValue::Table(below), _) if keys::is_table(&path) => {
                    self.table(below, &format!("{full}."), &format!("{path}."));
                }
                (value, Some(key)) => self.value(full, place, key.shape, value),
                (value, None) if keys::is_table(&path) => self.no_table(&full, place, value, &format!("[{path}]")),
                (_, None) => self.unknown(&full, &path, place),
            }
        }
    }

    fn list(&mut self, list: &str, items: &DeArray<'_>, place: Place) {
        for (number, item) in items.iter().enumerate() {
            let full = format!("{list}[{}]", number + 1);
            match item.get_ref() {
                DeValue::Table(table) => {
                    self.given.tell_item(list, Place::Line(self.line(item.span().start)));
                    self.table(table, &format!("{full}."), &format!("{list}."));
                }
                // Nothing behind it is read: the places in the list would no longer be those of the file.
                other => return self.no_table(&full, place, other, &format!("[[{list}]]")),
            }
        }
    }

    fn no_table(&mut self, full: &str, place: Place, value: &DeValue<'_>, header: &str) {
        let what = format!("must be a table, not {}", word(value));
        self.given.wrong_at(full, place, &what, &format!("write {header} and its keys below"));
    }

    fn value(&mut self, full: String, place: Place, shape: Shape, value: &DeValue<'_>) {
        let read = match (shape, value) {
            (Shape::Text | Shape::Duration | Shape::Secret, DeValue::String(text)) => {
                Some(Value::Text(text.trim().to_owned()))
            }
            (Shape::Number, DeValue::Integer(number)) => u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| *number > 0)
                .map(Value::Number),
            (Shape::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
            (Shape::List, DeValue::Array(items)) => texts(items).map(Value::List),
            _ => None,
        };
        match read {
            Some(value) => self.given.tell(full, Told { value, place }),
            None => {
                let (wanted, example) = match shape {
                    Shape::Text => ("a text", "write it between quotation marks"),
                    Shape::Duration => ("a length of time", "write it as \"90s\", \"15m\" or \"1h\""),
                    Shape::Secret => ("a text", "write \"env:NAME\" or \"file:PATH\""),
                    Shape::Number => ("a whole number above 0", "write it without quotation marks"),
                    Shape::Flag => ("`true` or `false`", "write it without quotation marks"),
                    Shape::List => ("a list of texts", "write it as [\"one\", \"two\"]"),
                };
                let found = match value {
                    DeValue::Integer(number) if shape == Shape::Number => format!("`{number}`"),
                    other => word(other).to_owned(),
                };
                self.given.wrong_at(&full, place, &format!("must be {wanted}, not {found}"), example);
            }
        }
    }

    fn unknown(&mut self, full: &str, path: &str, place: Place) {
        let advice = match keys::meant(path) {
            Some(near) if !near.contains('.') && path.contains('.') => {
                format!("did you mean `{near}`? it stands above the first [table] of the file")
            }
            Some(near) => format!("did you mean `{near}`?"),
            None => "remove it, or look it up in docs/settings.md".to_owned(),
        };
        self.given.wrong_at(full, place, "is no key of the settings", &advice);
    }
}

fn texts(items: &DeArray<'_>) -> Option<Vec<String>> {
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        _ => None,
    };
    items.iter().map(|item| text(item.get_ref())).collect()
}
