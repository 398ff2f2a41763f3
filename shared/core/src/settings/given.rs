//! What was given for each key, by the file or by its variable, and everything that is wrong with it.
//!
//! Nothing stops at the first fault: whoever reads a value notes what is wrong and goes on, and [`Given::finish`] says
//! it all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::auth::INSTALLATION;
use super::document;
use super::faults::Faults;
use super::keys::{self, KEYS, Shape};
use super::secrets;
use crate::fault::Fault;
use crate::nearest;
use crate::secret::Secret;
use crate::secret_store::{SecretPlace, StoredSecrets};

/// A longer value is cut when it is repeated in a message.
const SHOWN_CHARACTERS: usize = 80;

/// A value as it was written.
#[derive(Clone)]
pub(super) enum Value {
    /// Without white space around it; empty counts as not given.
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<String>),
}

/// Where a value stands.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// A line of the file, from 1.
    Line(usize),
    /// A variable.
    Variable(&'static str),
}

/// A value and its place.
pub(super) struct Told {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// All values, and what is wrong with them.
pub(super) struct Given<'a> {
    file: Option<&'a str>,
    variable: &'a dyn Fn(&str) -> Option<String>,
    stored: &'a StoredSecrets,
    values: BTreeMap<String, Told>,
    items: BTreeMap<String, Vec<Place>>,
    /// Keys that have a value and no right one: they are not missing too.
    misread: BTreeSet<String>,
    /// The file could not be read to its end: what seems to be missing may stand in the rest.
    torn: bool,
    faults: Faults,
    warnings: Vec<String>,
}

impl<'a> Given<'a> {
    /// Reads a file (its name and text) and the variables of all keys, which win.
    pub(super) fn read(
        file: Option<(&'a str, &str)>,
        variable: &'a dyn Fn(&str) -> Option<String>,
        stored: &'a StoredSecrets,
    ) -> Self {
        let mut given = Self {
            file: file.map(|(name, _)| name),
            variable,
            stored,
            values: BTreeMap::new(),
            items: BTreeMap::new(),
            misread: BTreeSet::new(),
            torn: false,
            faults: Faults::default(),
            warnings: Vec::new(),
        };
        if let Some((_, text)) = file {
            document::read(text, &mut given);
        }
        for key in KEYS {
            let Some(name) = key.variable else { continue };
            if let Some(text) = given.variable(name) {
                given.tell_variable(key.path, name, key.shape, &text);
            }
        }
        given
    }

    fn tell_variable(&mut self, path: &str, name: &'static str, shape: Shape, text: &str) {
        let place = Place::Variable(name);
        let value = match shape {
            Shape::Text | Shape::Duration | Shape::Secret => Some(Value::Text(text.trim().to_owned())),
            Shape::Number => text.trim().parse().ok().filter(|number| *number > 0).map(Value::Number),
            Shape::Flag => text.trim().parse().ok().map(Value::Flag),
            Shape::List => Some(Value::List(
                text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            )),
        };
        match value {
            Some(value) => self.tell(path.to_owned(), Told { value, place }),
            None => {
                let wanted = if shape == Shape::Flag { "`true` or `false`" } else { "a whole number above 0" };
                self.wrong_at(
                    path,
                    place,
                    &format!("must be {wanted}, not {}", shown(text)),
                    "unset it, or give it one",
                );
            }
        }
    }

    /// Notes a value; a later one replaces it.
    pub(super) fn tell(&mut self, path: String, told: Told) {
        self.values.insert(path, told);
    }

    /// Notes the next table of a list.
    pub(super) fn tell_item(&mut self, list: &str, place: Place) {
        self.items.entry(list.to_owned()).or_default().push(place);
    }

    /// The tables of a list, as paths: `source[1]`, ….
    pub(super) fn items(&self, list: &str) -> Vec<String> {
        let count = self.items.get(list).map_or(0, Vec::len);
        (1..=count).map(|number| format!("{list}[{number}]")).collect()
    }

    /// A variable that is no key; empty counts as unset.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|text| !text.trim().is_empty())
    }

    /// A value as it was written, and its place.
    pub(super) fn told(&self, path: &str) -> Option<&Told> {
        self.values.get(path)
    }

    /// Whether there is a value: an empty text is none.
    pub(super) fn has(&self, path: &str) -> bool {
        debug_assert!(is_known(path), "{path}");
        self.values.get(path).is_some_and(|told| !matches!(&told.value, Value::Text(text) if text.is_empty()))
    }

    /// The same, or one that could not be read.
    pub(super) fn was_told(&self, path: &str) -> bool {
        self.has(path) || self.misread.contains(path)
    }

    /// Whether there is a value for any key of a table.
    pub(super) fn has_table(&self, table: &str) -> bool {
        let below = |path: &&String| path.strip_prefix(table).is_some_and(|below| below.starts_with('.'));
        self.values.keys().filter(below).any(|path| self.has(path))
    }

    /// A text that is not empty.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        debug_assert!(is_known(path), "{path}");
        match self.values.get(path).map(|told| &told.value) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    /// A whole number above 0.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        debug_assert!(is_known(path), "{path}");
        match self.values.get(path).map(|told| &told.value) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// A whole number above 0 that a `u32` holds.
    pub(super) fn small(&mut self, path: &str) -> Option<u32> {
        let number = self.number(path)?;
        let small = u32::try_from(number).ok();
        if small.is_none() {
            self.wrong(path, &format!("must be at most {}, not `{number}`", u32::MAX), "");
        }
        small
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, path: &str) -> Option<bool> {
        debug_assert!(is_known(path), "{path}");
        match self.values.get(path).map(|told| &told.value) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// The names of a list; none given is an empty one.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        debug_assert!(is_known(path), "{path}");
        match self.values.get(path).map(|told| &told.value) {
            Some(Value::List(names)) => names.clone(),
            _ => Vec::new(),
        }
    }

    /// A length of time.
    pub(super) fn duration(&mut self, path: &str) -> Option<Duration> {
        let text = self.text(path)?;
        let duration = duration(&text);
        if duration.is_none() {
            let what = format!("must be a whole number above 0 and its unit, not {}", shown(&text));
            self.wrong(path, &what, "write it as 90s, 15m, 1h or 2d; at most 366d");
        }
        duration
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, path: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(path)?;
        if let Some((_, chosen)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*chosen);
        }
        let all: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let advice = nearest::among(&text, words.iter().map(|(word, _)| *word));
        let advice = advice.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
        self.wrong(path, &format!("must be {}, not {}", all.join(" or "), shown(&text)), &advice);
        None
    }

    /// Where secrets stand that a store has to be asked for.
    pub(super) fn secret_places(&self) -> Vec<SecretPlace> {
        let secrets = KEYS.iter().filter(|key| key.shape == Shape::Secret);
        let told = secrets.filter_map(|key| self.text(key.path)).chain(self.variable(INSTALLATION[1]));
        told.filter_map(|text| SecretPlace::parse(&text)?.ok()).collect()
    }

    /// The secret of a variable that is no key: itself, or where it stands.
    pub(super) fn secret_of_variable(&mut self, name: &'static str) -> Option<Secret> {
        let text = self.variable(name)?;
        match secrets::resolve(text.trim(), true, None, &|name| self.variable(name), self.stored) {
            Ok(secret) => Some(secret),
            Err((what, advice)) => {
                self.wrong_at(name, Place::Variable(name), &what, &advice);
                None
            }
        }
    }

    /// A secret, from where the settings say it stands.
    pub(super) fn secret(&mut self, path: &str) -> Option<Secret> {
        let text = self.text(path)?;
        let in_variable = matches!(self.values.get(path).map(|told| told.place), Some(Place::Variable(_)));
        match secrets::resolve(&text, in_variable, self.file, &|name| self.variable(name), self.stored) {
            Ok(secret) => Some(secret),
            Err((what, advice)) => {
                self.wrong(path, &what, &advice);
                None
            }
        }
    }

    /// The file's name, when the value stands in the file.
    pub(super) fn file_of(&self, path: &str) -> Option<&'a str> {
        match self.values.get(path)?.place {
            Place::Line(_) => self.file,
            Place::Variable(_) => None,
        }
    }

    /// Notes what is wrong with a key, as what follows its name, and what to do.
    pub(super) fn wrong(&mut self, path: &str, what: &str, advice: &str) {
        match self.values.get(path).map(|told| told.place) {
            Some(place) => self.wrong_at(path, place, what, advice),
            None => self.faults.note(None, format!("`{path}` {what}"), advice),
        }
    }

    /// Notes what is wrong with one table of a list.
    pub(super) fn wrong_item(&mut self, list: &str, number: usize, what: &str, advice: &str) {
        let full = format!("{list}[{number}]");
        match self.items.get(list).and_then(|places| places.get(number - 1)) {
            Some(place) => self.wrong_at(&full, *place, what, advice),
            None => self.faults.note(None, format!("`{full}` {what}"), advice),
        }
    }

    /// Notes what is wrong at a place.
    pub(super) fn wrong_at(&mut self, path: &str, place: Place, what: &str, advice: &str) {
        self.misread.insert(path.to_owned());
        match place {
            Place::Variable(name) => self.faults.note(None, format!("`{name}` {what}"), advice),
            Place::Line(line) => {
                let file = self.file.unwrap_or_default();
                self.faults.note(Some(line), format!("`{path}` ({file}, line {line}) {what}"), advice);
            }
        }
    }

    /// Notes that a key has no value and needs one.
    pub(super) fn missing(&mut self, path: &str, why: &str, advice: &str) {
        debug_assert!(is_known(path), "{path}");
        if !self.torn && !self.misread.contains(path) {
            self.faults.note(None, format!("`{path}` is missing: {why}"), advice);
        }
    }

    /// Notes that a line of the file is no TOML.
    pub(super) fn broken(&mut self, line: usize, what: &str) {
        self.torn = true;
        let file = self.file.unwrap_or_default();
        self.faults.note(Some(line), format!("{file}, line {line}: {what}"), "the file is TOML: https://toml.io");
    }

    /// Notes something that works and may surprise.
    pub(super) fn warn(&mut self, path: &str, what: &str) {
        let name = match self.values.get(path).map(|told| told.place) {
            Some(Place::Variable(name)) => name,
            _ => path,
        };
        self.warnings.push(format!("`{name}` {what}"));
    }

    /// The warnings; or all that is wrong.
    pub(super) fn finish(self) -> Result<Vec<String>, Fault> {
        match self.faults.into_fault() {
            Some(fault) => Err(fault),
            None => Ok(self.warnings),
        }
    }
}

fn is_known(path: &str) -> bool {
    let plain: String =
        path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join(".");
    keys::find(&plain).is_some()
}

/// A value as messages repeat it: cut, and on one line.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARACTERS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARACTERS).is_some() { format!("`{cut}…`") } else { format!("`{cut}`") }
}

/// A length of time as settings write it: `90s`, `15m`, `1h`, `2d`; at most 366 days.
pub fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?.trim_end();
    let count =
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse::<u64>().ok()? } else { return None };
    let total = count.checked_mul(seconds).filter(|total| (1..=366 * 86_400).contains(total))?;
    Some(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(["90s", "15m", "1h", "2 d"].map(seconds), [Some(90), Some(900), Some(3_600), Some(172_800)]);
        for text in ["", "15", "m", "0s", "-1m", "+1m", "1.5h", "1w", "99999999999999999999d", "18446744073709551615d"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_value_is_cut_and_stays_on_its_line() {
        assert_eq!(shown("a\nb"), "`a\\nb`");
        assert_eq!(shown(&"x".repeat(81)), format!("`{}…`", "x".repeat(80)));
    }
}
