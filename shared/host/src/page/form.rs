//! What was filled in, as the text of a settings file: what is tested is what would be saved.

use std::collections::BTreeMap;

use inlet_core::fault::Fault;
use inlet_core::secret::Secret;
use inlet_core::settings::Form;
use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

/// The keys that the page has fields for.
pub(super) const KEYS: &[&str] = &[
    "name",
    "workspace_url",
    "catalog",
    "http_path",
    "port",
    "warehouse",
    "auth.method",
    "auth.client_id",
    "auth.client_secret",
    "auth.tenant_id",
    "auth.token",
    "lake",
    "storage.method",
    "storage.client_id",
    "storage.client_secret",
    "storage.tenant_id",
    "landing",
];
/// Those that hold secrets.
const SECRETS: [&str; 3] = ["auth.client_secret", "auth.token", "storage.client_secret"];
/// How a text begins that says where a secret stands.
const PLACES: [&str; 5] = ["env:", "file:", "aws-secret:", "ssm:", "keyvault:"];

/// Values by key. None, or an empty text: there is none; an empty secret is kept as it is.
pub(super) type Values = BTreeMap<String, Option<String>>;

/// The settings as they were filled in.
pub(super) struct Filled {
    document: DocumentMut,
    /// The fields, with the secrets that were typed.
    pub(super) form: Form,
}

impl Filled {
    /// Writes what was filled in over a file's text; what the page has no field for stays.
    ///
    /// # Errors
    /// Setup when the text is no TOML.
    pub(super) fn over(text: &str, values: &Values) -> Result<Self, Fault> {
        let mut document: DocumentMut = text
            .parse()
            .map_err(|_| Fault::setup("the settings file is no TOML").hint("mend it in an editor: https://toml.io"))?;
        let mut secrets = BTreeMap::new();
        for &key in KEYS {
            let Some(given) = values.get(key) else { continue };
            let given = given.as_deref().map(str::trim);
            match given {
                Some("") if SECRETS.contains(&key) => {}
                Some(typed) if SECRETS.contains(&key) && !PLACES.iter().any(|place| typed.starts_with(place)) => {
                    secrets.insert(key, Some(Secret::new(typed)));
                }
                given => {
                    set(&mut document, key, given.filter(|text| !text.is_empty()).map(|text| value(key, text)));
                    if SECRETS.contains(&key) {
                        secrets.insert(key, None);
                    }
                }
            }
        }
        Ok(Self { document, form: Form { keys: KEYS, secrets } })
    }

    /// The text of the file.
    pub(super) fn text(&self) -> String {
        self.document.to_string()
    }

    /// Secrets that stand nowhere but here.
    pub(super) fn typed(&self) -> impl Iterator<Item = (&'static str, &Secret)> {
        self.form.secrets.iter().filter_map(|(key, secret)| Some((*key, secret.as_ref()?)))
    }

    /// Says where a secret stands from now on.
    pub(super) fn put(&mut self, key: &str, place: String) {
        set(&mut self.document, key, Some(place.into()));
    }
}

/// A text as the file has it. What is no number is left as it is: the settings say what is wrong with it.
fn value(key: &str, text: &str) -> Value {
    match key {
        "port" => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        "landing" => {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            Value::from(names.collect::<Array>())
        }
        _ => text.into(),
    }
}

/// Sets or removes the value of a key, with what stands around it left as it is.
fn set(document: &mut DocumentMut, key: &str, value: Option<Value>) {
    let (table, name) = match key.split_once('.') {
        None => (document.as_table_mut() as &mut dyn TableLike, key),
        Some((table, name)) => {
            if value.is_none() && !document.contains_key(table) {
                return;
            }
            let item = document.entry(table).or_insert_with(toml_edit::table);
            // Something else stands under the table's name: the settings say so.
            let Some(table) = item.as_table_like_mut() else { return };
            (table, name)
        }
    };
    match (table.get_mut(name), value) {
        (_, None) => {
            table.remove(name);
        }
        // `[warehouse]` means the same as `warehouse = "create"`, and says more.
        (Some(Item::Table(_)), Some(_)) => {}
        (Some(Item::Value(old)), Some(mut new)) => {
            if same(old, &new) {
                return;
            }
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        (_, Some(new)) => {
            table.insert(name, Item::Value(new));
        }
    }
}

/// Whether two values say the same, however they are written.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| same(one, other))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, values: &[(&str, Option<&str>)]) -> Filled {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect();
        Filled::over(text, &values).unwrap()
    }

    const FILE: &str = "# ours\nname = 'Production' # a label\nport = 443\n\n[auth] # who\nclient_id = \"0a1b\"\n\n[[source]]\nid = 'x'\n";

    #[test]
    fn what_people_wrote_stays_beside_new_values() {
        let values = [
            ("name", Some("Test")),
            ("port", Some("443")),
            ("catalog", Some("shop")),
            ("landing", Some("s3://a/, s3://b/")),
            ("auth.client_id", None),
            ("auth.client_secret", Some("env:SECRET")),
        ];
        let text = filled(FILE, &values).text();
        let expected = "# ours\nname = \"Test\" # a label\nport = 443\ncatalog = \"shop\"\nlanding = [\"s3://a/\", \"s3://b/\"]\n\n\
                        [auth] # who\nclient_secret = \"env:SECRET\"\n\n[[source]]\nid = 'x'\n";
        assert_eq!(text, expected);
        assert_eq!(filled(&text, &values).text(), expected, "once more changes nothing");
        let first = filled("", &[("catalog", Some("shop")), ("auth.client_id", Some("0a1b")), ("name", None)]);
        assert_eq!(first.text(), "catalog = \"shop\"\n\n[auth]\nclient_id = \"0a1b\"\n");
    }

    #[test]
    fn a_secret_is_in_no_text() {
        let mut typed = filled(FILE, &[("auth.client_secret", Some("dose-of-truth")), ("auth.token", None)]);
        assert!(!typed.text().contains("truth"));
        let (key, secret) = typed.typed().next().unwrap();
        assert_eq!((key, secret.expose()), ("auth.client_secret", "dose-of-truth"));
        typed.put("auth.client_secret", "env:NAME".to_owned());
        assert!(typed.text().contains("client_secret = \"env:NAME\""), "{}", typed.text());
        let two = [("auth.client_secret", Some("dose-of-truth")), ("storage.client_secret", Some("another"))];
        assert_eq!(filled(FILE, &two).typed().count(), 2);
        let kept = filled("[auth]\ntoken = 'env:A'\n", &[("auth.token", Some(""))]);
        assert_eq!(kept.text(), "[auth]\ntoken = 'env:A'\n");
        assert_eq!(kept.typed().count(), 0);
    }

    #[test]
    fn a_warehouse_of_its_own_may_be_a_table() {
        let table = "[warehouse]\nsize = 'Small'\n";
        assert_eq!(filled(table, &[("warehouse", Some("create"))]).text(), table);
        assert_eq!(filled(table, &[("warehouse", None)]).text(), "");
        assert_eq!(filled("", &[("warehouse", Some("create"))]).text(), "warehouse = \"create\"\n");
        assert_eq!(filled("auth = 3\n", &[("auth.token", Some("env:A"))]).text(), "auth = 3\n", "said by the settings");
        assert!(Filled::over("a = [", &Values::new()).is_err());
    }
}
