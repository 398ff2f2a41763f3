//! Settings as a form has them: what its fields show, and what a run is told when somebody has filled them in.

use std::collections::BTreeMap;

use super::given::{Given, Place, Value};
use super::keys::{self, Shape};
use super::{Settings, variable};
use crate::fault::Fault;
use crate::secret::Secret;
use crate::secret_store::{SecretPlace, StoredSecrets};

/// What a field shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The value as text; of a secret only where it stands, of a list its names with commas between.
    pub text: String,
    /// The variable that gives it, and wins over the file.
    pub variable: Option<&'static str>,
}

/// The fields of a form, and the secrets that were typed into it. The form's keys are told by the file's text alone: their
/// variables count for nothing, but for a secret that nobody typed.
#[derive(Clone, Debug)]
pub struct Form {
    /// The keys that the form has fields for.
    pub keys: &'static [&'static str],
    /// Secrets by key; none: the field says that there is none.
    pub secrets: BTreeMap<&'static str, Option<Secret>>,
}

impl Form {
    fn variable(&self, name: &str) -> Option<String> {
        let key = self.keys.iter().filter_map(|key| keys::find(key)).find(|key| key.variable == Some(name));
        match key {
            None => variable(name),
            Some(key) if key.shape != Shape::Secret => None,
            Some(key) => match self.secrets.get(key.path) {
                Some(typed) => typed.as_ref().map(|secret| secret.expose().to_owned()),
                None => variable(name),
            },
        }
    }
}

impl Settings {
    /// What the fields of these keys show, by a file (its name and text) and the process's variables; keys without a value
    /// are left out. A secret that stands in the clear is not shown.
    pub fn shown(file: Option<(&str, &str)>, keys: &[&'static str]) -> BTreeMap<&'static str, Shown> {
        let stored = StoredSecrets::new();
        let given = Given::read(file, &variable, &stored);
        let shown = |path: &'static str| {
            let told = given.told(path)?;
            let is_secret = keys::find(path).is_some_and(|key| key.shape == Shape::Secret);
            let variable = match told.place {
                Place::Variable(name) => Some(name),
                Place::Line(_) => None,
            };
            let text = match &told.value {
                Value::Text(text) if text.is_empty() => return None,
                Value::Text(text) if is_secret && !is_place(text) => String::new(),
                Value::Text(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Flag(flag) => flag.to_string(),
                Value::List(names) => names.join(", "),
            };
            Some((path, Shown { text, variable }))
        };
        keys.iter().copied().filter_map(shown).collect()
    }

    /// Where the secrets stand that filled in settings name and a store has to be asked for.
    pub fn secret_places_filled(file: (&str, &str), form: &Form) -> Vec<SecretPlace> {
        Given::read(Some(file), &|name| form.variable(name), &StoredSecrets::new()).secret_places()
    }

    /// Reads a file's text (with its name), and the process's variables of keys that the form has no fields for.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn filled(file: (&str, &str), form: &Form, stored: &StoredSecrets) -> Result<Self, Fault> {
        Self::load_with(Some(file), |name| form.variable(name), stored)
    }
}

/// Whether a text says where a secret stands, rather than being one.
fn is_place(text: &str) -> bool {
    ["env:", "file:"].iter().chain(&SecretPlace::PREFIXES).any(|place| text.starts_with(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databricks::Auth;

    const FILE: &str = "workspace_url = 'https://adb-1.2.azuredatabricks.net'\ncatalog = 'shop'\nport = 443\nlake = '/lake'\n\
                        landing = ['s3://a/', 's3://b/']\n[auth]\nclient_id = '0a1b'\nclient_secret = 'file:/secret'\n";
    const KEYS: &[&str] = &[
        "workspace_url",
        "catalog",
        "http_path",
        "port",
        "lake",
        "landing",
        "auth.client_id",
        "auth.client_secret",
        "auth.token",
    ];

    #[test]
    fn fields_show_what_is_given_and_no_secret() {
        let shown = Settings::shown(Some(("inlet.toml", FILE)), KEYS);
        let text = |key: &str| shown.get(key).map(|shown| shown.text.as_str());
        assert_eq!(text("catalog"), Some("shop"));
        assert_eq!(text("port"), Some("443"));
        assert_eq!(text("landing"), Some("s3://a/, s3://b/"));
        assert_eq!(text("auth.client_secret"), Some("file:/secret"));
        assert_eq!((text("http_path"), text("auth.token")), (None, None));
        let clear = Settings::shown(Some(("inlet.toml", "[auth]\ntoken = 'dapi-of-truth'")), KEYS);
        assert_eq!(clear.get("auth.token"), Some(&Shown::default()));
    }

    #[test]
    fn what_was_typed_is_what_a_run_is_told() {
        let form = |typed: &str| Form {
            keys: KEYS,
            secrets: [("auth.client_secret", Some(Secret::new(typed))), ("auth.token", None)].into(),
        };
        let settings = Settings::filled(("inlet.toml", FILE), &form("dose-of-truth"), &StoredSecrets::new()).unwrap();
        let destination = settings.destination.unwrap();
        let Auth::Databricks { client_secret, .. } = destination.connection.auth else { panic!("{destination:?}") };
        assert_eq!(client_secret.expose(), "dose-of-truth");
        let place = Settings::secret_places_filled(("inlet.toml", FILE), &form("keyvault:shop/a"));
        assert_eq!(place.len(), 1);
        let fault = Settings::filled(("inlet.toml", FILE), &form("env:"), &StoredSecrets::new()).unwrap_err();
        assert!(fault.to_string().contains("INLET_AUTH_CLIENT_SECRET"), "{fault}");
    }
}
