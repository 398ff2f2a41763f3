//! Settings saved when somebody asks for it: `inlet.toml`, and a secret in a file of its own that only its owner reads.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use inlet_core::fault::Fault;

use super::form::Filled;

/// Where a typed secret goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// A file beside the settings.
    File,
    /// A variable that a person sets.
    Variable,
}

/// Only its owner reads it.
const PRIVATE: u32 = 0o600;
/// As the process's mask allows.
const USUAL: u32 = 0o666;

/// Writes the settings; answers what was written, in words.
///
/// # Errors
/// Setup when a file cannot be written.
pub(super) fn save(path: &Path, mut filled: Filled, keep: Keep) -> Result<Vec<String>, Fault> {
    // A link is written through: the file that it leads to is the settings file.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut said = Vec::new();
    let typed: Vec<_> = filled.typed().map(|(key, secret)| (key, secret.clone())).collect();
    for (key, secret) in typed {
        let place = match keep {
            Keep::File => {
                let file = beside(&path, key);
                write(&file, secret.expose().as_bytes(), PRIVATE)?;
                said.push(format!(
                    "The secret stands in `{}`, for you alone; keep it out of version control.",
                    file.display()
                ));
                format!("file:{}", file.file_name().unwrap_or_default().to_string_lossy())
            }
            Keep::Variable => {
                let name = variable(key);
                said.push(format!("Set the secret where Inlet runs: `export {name}=…`"));
                format!("env:{name}")
            }
        };
        filled.put(key, place);
    }
    write(&path, filled.text().as_bytes(), USUAL)?;
    said.insert(0, format!("`{}` is written.", path.display()));
    Ok(said)
}

/// `inlet.toml` has `inlet.client-secret` beside it, and `inlet.storage-client-secret`.
fn beside(path: &Path, key: &str) -> PathBuf {
    path.with_extension(key.strip_prefix("auth.").unwrap_or(key).replace(['_', '.'], "-"))
}

fn variable(key: &str) -> &'static str {
    match key {
        "auth.token" => "DATABRICKS_TOKEN",
        "storage.client_secret" => "STORAGE_CLIENT_SECRET",
        _ => "DATABRICKS_CLIENT_SECRET",
    }
}

/// Writes a file whole or not at all. One that is there keeps its rights, unless they are to be private.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fault> {
    replaced(path, bytes, mode)
        .map_err(|error| Fault::setup(format!("cannot write `{}`", path.display())).because(error))
}

fn replaced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| match fs::metadata(path) {
        Ok(old) if mode == USUAL => file.set_permissions(old.permissions()),
        _ => Ok(()),
    });
    let placed = written.and_then(|()| fs::rename(&new, path));
    if placed.is_err() {
        // What stays is empty or half a file, and of no use to anybody.
        drop(fs::remove_file(&new));
    }
    placed
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn filled(secret: &str) -> Filled {
        let values = [("catalog", "shop"), ("auth.client_secret", secret)];
        let values = values.iter().map(|(key, text)| ((*key).to_owned(), Some((*text).to_owned()))).collect();
        Filled::over("", &values).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_has_a_file_of_its_own() {
        let here = tempfile::tempdir().unwrap();
        let (path, secret) = (here.path().join("inlet.toml"), here.path().join("inlet.client-secret"));
        fs::write(&secret, "old").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        let said = save(&path, filled("dose-of-truth"), Keep::File).unwrap().join(" ");
        assert!(said.contains("inlet.client-secret") && !said.contains("truth"), "{said}");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "catalog = \"shop\"\n\n[auth]\nclient_secret = \"file:inlet.client-secret\"\n");
        assert_eq!((fs::read_to_string(&secret).unwrap().as_str(), mode(&secret)), ("dose-of-truth", 0o600));
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn the_secret_for_storage_is_another_one() {
        let here = tempfile::tempdir().unwrap();
        let path = here.path().join("inlet.toml");
        let values = [("auth.client_secret", "dose-of-truth"), ("storage.client_secret", "another")];
        let values = values.iter().map(|(key, text)| ((*key).to_owned(), Some((*text).to_owned()))).collect();
        save(&path, Filled::over("", &values).unwrap(), Keep::File).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("[storage]\nclient_secret = \"file:inlet.storage-client-secret\""), "{text}");
        for (file, secret) in [("inlet.client-secret", "dose-of-truth"), ("inlet.storage-client-secret", "another")] {
            assert_eq!(fs::read_to_string(here.path().join(file)).unwrap(), secret);
        }
        let said = save(&path, Filled::over("", &values).unwrap(), Keep::Variable).unwrap().join(" ");
        assert!(said.contains("DATABRICKS_CLIENT_SECRET=") && said.contains(" STORAGE_CLIENT_SECRET="), "{said}");
    }

    #[test]
    fn a_secret_may_stay_in_a_variable_and_a_link_is_kept() {
        let here = tempfile::tempdir().unwrap();
        let (path, real) = (here.path().join("inlet.toml"), here.path().join("real.toml"));
        fs::write(&real, "# ours\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        let said = save(&path, filled("dose-of-truth"), Keep::Variable).unwrap().join(" ");
        assert!(said.contains("export DATABRICKS_CLIENT_SECRET=…"), "{said}");
        assert!(fs::read_to_string(&real).unwrap().contains("client_secret = \"env:DATABRICKS_CLIENT_SECRET\""));
        assert!(path.is_symlink());
        assert_eq!(mode(&real), 0o640);
        assert!(save(&here.path().join("no/such/inlet.toml"), filled(""), Keep::File).is_err());
    }
}
