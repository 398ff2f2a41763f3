//! Where a secret stands: `env:NAME`, `file:PATH`, or a store of the cloud. No message here repeats what it was given: it may
//! be the secret.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::secret::Secret;
use crate::secret_store::{SecretPlace, StoredSecrets};

/// A file with more bytes holds something else.
const FILE_BYTES: u64 = 64 << 10;

/// What is wrong, and what to do.
type Refusal = (String, String);

/// Reads a secret. In a variable of its own it may stand as it is; in the file only its place.
pub(super) fn resolve(
    text: &str,
    in_variable: bool,
    file: Option<&str>,
    variable: &dyn Fn(&str) -> Option<String>,
    stored: &StoredSecrets,
) -> Result<Secret, Refusal> {
    if is_unresolved(text) {
        return Err(unresolved());
    }
    if let Some(place) = SecretPlace::parse(text) {
        return match place {
            Err((what, advice)) => Err((what.to_owned(), advice.to_owned())),
            Ok(place) => of_store(&place, stored),
        };
    }
    if let Some(name) = text.strip_prefix("env:") {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(("names no variable behind `env:`".to_owned(), "write it as \"env:NAME\"".to_owned()));
        }
        return match variable(name) {
            Some(secret) if is_unresolved(&secret) => Err(unresolved()),
            Some(secret) => Ok(Secret::new(secret.trim())),
            None => {
                let what = format!("takes its value from the variable `{name}`, which is not set");
                Err((what, format!("export {name}=…")))
            }
        };
    }
    if let Some(path) = text.strip_prefix("file:") {
        return of_file(path, if in_variable { None } else { file });
    }
    if in_variable {
        return Ok(Secret::new(text));
    }
    Err(("holds a secret in the clear".to_owned(), "write where it stands: \"env:NAME\" or \"file:PATH\"".to_owned()))
}

fn of_store(place: &SecretPlace, stored: &StoredSecrets) -> Result<Secret, Refusal> {
    match stored.get(place) {
        Some(Ok(secret)) => Ok(secret.clone()),
        Some(Err(fault)) => {
            let advice = fault.hint_text().unwrap_or_default().to_owned();
            Err((format!("takes its value from `{place}`, which cannot be read: {}", fault.chain()), advice))
        }
        None => Err((format!("takes its value from `{place}`, which nobody has read"), String::new())),
    }
}

/// What Azure hands to a function as it is when it could not put the secret in its place.
fn is_unresolved(text: &str) -> bool {
    text.trim_start().starts_with("@Microsoft.KeyVault(")
}

fn unresolved() -> Refusal {
    let what = "is a reference to Key Vault that Azure could not resolve".to_owned();
    let advice = "give the function's identity the role Key Vault Secrets User, and check the secret's URI and the vault's \
                  firewall; or write where the secret stands: \"keyvault:VAULT/NAME\"";
    (what, advice.to_owned())
}

fn of_file(path: &str, file: Option<&str>) -> Result<Secret, Refusal> {
    let advice = "name a file that holds the secret and nothing else".to_owned();
    let path = match beside(path, file) {
        Some(path) if !path.as_os_str().is_empty() => path,
        _ => return Err(("names no file behind `file:`".to_owned(), advice)),
    };
    let shown = path.display();
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err((format!("takes its value from `{shown}`, which cannot be read: {error}"), advice)),
        Ok(read) if read as u64 > FILE_BYTES => {
            Err((format!("takes its value from `{shown}`, which is larger than {FILE_BYTES} bytes"), advice))
        }
        Ok(_) if text.trim().is_empty() => Err((format!("takes its value from `{shown}`, which is empty"), advice)),
        Ok(_) => Ok(Secret::new(text.trim())),
    }
}

/// A path as the settings file means it: from the file's own folder, so that it is the same wherever a command runs.
/// None when a file that is no local one names a path that is not absolute.
pub(super) fn beside(path: &str, file: Option<&str>) -> Option<PathBuf> {
    let path = Path::new(path);
    match file {
        Some(file) if path.is_relative() && file.contains("://") => None,
        Some(file) if path.is_relative() => Some(Path::new(file).parent().unwrap_or(Path::new("")).join(path)),
        _ => Some(path.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    fn variable(name: &str) -> Option<String> {
        match name {
            "SECRET" => Some("dose1\n".to_owned()),
            "REFERENCE" => Some("@Microsoft.KeyVault(VaultName=shop;SecretName=truth)".to_owned()),
            _ => None,
        }
    }

    fn found(text: &str, in_variable: bool, file: Option<&str>) -> Result<String, Refusal> {
        let place = |id: &str| SecretPlace::AwsSecret { id: id.to_owned(), member: None };
        let missing = Fault::setup("no such secret").hint("make it");
        let stored = [(place("inlet"), Ok(Secret::new("dose4"))), (place("missing"), Err(missing))];
        let secret = resolve(text, in_variable, file, &variable, &stored.into())?;
        Ok(secret.expose().to_owned())
    }

    #[test]
    fn a_secret_is_found_where_the_file_says() {
        let here = tempfile::tempdir().unwrap();
        std::fs::write(here.path().join("secret"), "dose2\n").unwrap();
        let settings = here.path().join("inlet.toml").display().to_string();
        assert_eq!(found("env:SECRET", false, None).unwrap(), "dose1");
        assert_eq!(found("file:secret", false, Some(&settings)).unwrap(), "dose2");
        assert_eq!(found(&format!("file:{}/secret", here.path().display()), true, None).unwrap(), "dose2");
        assert_eq!(found("dose3", true, None).unwrap(), "dose3", "a variable holds it as it is");
        assert_eq!(
            [false, true].map(|variable| found("aws-secret:inlet", variable, None).unwrap()),
            ["dose4", "dose4"]
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let here = tempfile::tempdir().unwrap();
        std::fs::write(here.path().join("empty"), "\n").unwrap();
        std::fs::write(here.path().join("large"), "x".repeat(70_000)).unwrap();
        let file = |name: &str| format!("file:{}", here.path().join(name).display());
        for (text, says) in [
            ("dose-of-truth", "in the clear"),
            ("env:dose-of-truth", "names no variable"),
            ("env:", "names no variable"),
            ("env:OTHER", "`OTHER`, which is not set"),
            ("env:REFERENCE", "a reference to Key Vault that Azure could not resolve"),
            ("@Microsoft.KeyVault(SecretUri=https://truth)", "a reference to Key Vault that Azure could not resolve"),
            ("aws-secret:dose of truth", "names no secret behind `aws-secret:`"),
            ("ssm:/dose of truth", "names no parameter behind `ssm:`"),
            ("aws-secret:missing", "`aws-secret:missing`, which cannot be read: no such secret"),
            ("keyvault:shop/a", "`keyvault:https://shop.vault.azure.net/secrets/a`, which nobody has read"),
            ("file:", "names no file"),
            (&file("missing"), "cannot be read"),
            (&file("empty"), "is empty"),
            (&file("large"), "is larger than"),
        ] {
            let (what, advice) = found(text, false, None).unwrap_err();
            assert!(what.contains(says), "{text}: {what}");
            assert!(!format!("{what}{advice}").contains("truth"), "{what}");
        }
        assert!(found("file:secret", false, Some("s3://bucket/inlet.toml")).is_err(), "a bucket has no folder here");
    }
}
