//! The tier's tools: found, installed once in the target folder, and the executable under test, built once.
//!
//! An installation stands in a folder named by a hash of what asks for it (the requirement file, the interpreter's
//! version), so a change installs anew. A lock file makes other threads and processes wait for it; a mark written last tells a
//! finished one from one that was interrupted, which is thrown away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::failure::{Failure, say};

/// `<target>/tmp`: logs, and what failed scripts keep.
pub(crate) const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");
/// The oldest Python that the pinned packages run on.
const PYTHON: (u32, u32) = (3, 11);
/// The oldest Node that Azurite runs on.
const NODE: (u32, u32) = (20, 0);
/// The oldest Java that Spark runs on; the compiler comes with it.
const JAVA: (u32, u32) = (17, 0);
/// The oldest Maven that was tried.
const MAVEN: (u32, u32) = (3, 6);
/// The oldest Valgrind that was tried.
const VALGRIND: (u32, u32) = (3, 19);
/// The oldest Chromium that was tried.
const CHROMIUM: (u32, u32) = (120, 0);
/// Its names, by who packages it.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Written when an installation is whole.
const FINISHED: &str = ".finished";

type Once<T> = OnceLock<Result<T, String>>;

/// What a test may use.
pub(crate) struct Tools {
    python: PathBuf,
    node: Option<PathBuf>,
}

impl Tools {
    /// Python with the packages of `requirements.txt`; None when `what` is skipped for want of Python.
    pub(crate) fn python(what: &str) -> Result<Option<Self>, Failure> {
        match python()? {
            Some(python) => Ok(Some(Self { python, node: None })),
            None => missing(what, &at_least("python3", PYTHON)),
        }
    }

    /// The same, and Node with the packages of `package.json`.
    pub(crate) fn python_and_node(what: &str) -> Result<Option<Self>, Failure> {
        match (Self::python(what)?, node()?) {
            (Some(tools), Some(node)) => Ok(Some(Self { node: Some(node), ..tools })),
            (Some(_), None) => missing(what, &at_least("node", NODE)),
            (None, _) => Ok(None),
        }
    }

    /// A folder with PySpark, Delta for it and a log store that puts if absent; None when `what` is skipped for want of
    /// Java or Maven.
    pub(crate) fn spark(&self, what: &str) -> Result<Option<PathBuf>, Failure> {
        for (program, oldest) in [("javac", JAVA), ("mvn", MAVEN)] {
            if version_of(program, oldest).is_none() {
                return missing(what, &at_least(program, oldest));
            }
        }
        spark().map(Some)
    }

    /// The Python interpreter that knows the packages.
    pub(crate) fn interpreter(&self) -> PathBuf {
        self.python_program("python")
    }

    /// ministack, a stand-in for AWS.
    pub(crate) fn ministack(&self) -> Result<PathBuf, Failure> {
        static MINISTACK: Once<Option<PathBuf>> = OnceLock::new();
        let asked = include_str!("ministack/requirements.txt");
        let found = MINISTACK.get_or_init(|| environment("ministack", "ministack/requirements.txt", asked));
        let home = found.clone().map_err(Failure)?.ok_or_else(|| Failure("there is no Python".to_owned()))?;
        Ok(home.join("bin/ministack"))
    }

    /// A program that a Python package brings.
    pub(crate) fn python_program(&self, name: &str) -> PathBuf {
        self.python.join("bin").join(name)
    }

    /// Valgrind, which counts instructions; None when `what` is skipped for want of it, or since its figure is another
    /// machine's or another executable's.
    pub(crate) fn valgrind(&self, what: &str) -> Result<Option<PathBuf>, Failure> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) || std::env::var_os("INLET_EXE").is_some() {
            say(&format!("SKIPPED {what}: the figure is for the release build on x86-64 Linux"));
            return Ok(None);
        }
        match valgrind() {
            Ok(valgrind) => Ok(Some(valgrind)),
            Err(why) => missing(what, &format!("{} ({why})", at_least("valgrind", VALGRIND))),
        }
    }

    /// A browser that a script can drive; None when `what` is skipped for want of one.
    pub(crate) fn browser(what: &str) -> Result<Option<PathBuf>, Failure> {
        match BROWSERS.iter().find(|browser| version_of(browser, CHROMIUM).is_some()) {
            Some(browser) => Ok(Some(PathBuf::from(browser))),
            None => missing(what, &at_least(BROWSERS[0], CHROMIUM)),
        }
    }

    /// The folder of a Node package.
    pub(crate) fn node_package(&self, name: &str) -> Result<PathBuf, Failure> {
        let node = self.node.as_ref().ok_or_else(|| Failure("Node was not asked for".to_owned()))?;
        Ok(node.join("node_modules").join(name))
    }

    /// A program that a Node package brings.
    pub(crate) fn node_program(&self, name: &str) -> Result<PathBuf, Failure> {
        let node = self.node.as_ref().ok_or_else(|| Failure("Node was not asked for".to_owned()))?;
        Ok(node.join("node_modules/.bin").join(name))
    }

    /// The executable under test: `INLET_EXE`, else what `cargo build --release -p inlet` makes.
    pub(crate) fn inlet(&self) -> Result<&'static Path, Failure> {
        static INLET: Once<PathBuf> = OnceLock::new();
        let built = INLET.get_or_init(|| {
            if let Some(given) = std::env::var_os("INLET_EXE") {
                return std::path::absolute(given).map_err(|error| format!("INLET_EXE: {error}"));
            }
            let mut cargo = cargo();
            cargo.args(["build", "--release", "--package", "inlet", "--target-dir"]).arg(target());
            ran(cargo.current_dir(workspace()), "building the executable")?;
            Ok(target().join("release").join(format!("inlet{}", std::env::consts::EXE_SUFFIX)))
        });
        built.as_deref().map_err(|error| Failure(error.clone()))
    }
}

/// The pretend Databricks workspace, built once.
pub(crate) fn pretend() -> Result<PathBuf, Failure> {
    static PRETEND: Once<PathBuf> = OnceLock::new();
    let built = PRETEND.get_or_init(|| {
        let mut cargo = cargo();
        // Without `--package`: the features are those of a plain `cargo test`, and nothing is built twice.
        cargo.args(["build", "--example", "pretend", "--target-dir"]).arg(target());
        ran(cargo.current_dir(workspace()), "building the pretend workspace")?;
        Ok(target().join("debug/examples").join(format!("pretend{}", std::env::consts::EXE_SUFFIX)))
    });
    built.clone().map_err(Failure)
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Cargo, as a terminal starts it. What cargo tells a test about its package is an input of some build scripts (ring's):
/// it would have most of the tree built anew, here and at the next build outside.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if told.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// A child's environment: nobody's cloud, no proxy for loopback, no files left beside the sources.
pub(crate) fn plain_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["AWS_", "AZURE_", "INLET_", "PYTHON", "RUST_"].iter().any(|prefix| name_text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    let nothing = Path::new(SCRATCH).join("no-such-file");
    command
        .env("AWS_CONFIG_FILE", &nothing)
        .env("AWS_SHARED_CREDENTIALS_FILE", &nothing)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env("no_proxy", "127.0.0.1,localhost")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONUTF8", "1")
        .env("TMPDIR", SCRATCH);
}

fn python() -> Result<Option<PathBuf>, Failure> {
    static PYTHON_HOME: Once<Option<PathBuf>> = OnceLock::new();
    let asked = include_str!("requirements.txt");
    PYTHON_HOME.get_or_init(|| environment("python", "requirements.txt", asked)).clone().map_err(Failure)
}

/// A Python environment with the packages of a file of this folder; None when there is no Python.
fn environment(kind: &str, file: &str, asked: &str) -> Result<Option<PathBuf>, String> {
    let Some(version) = version_of("python3", PYTHON) else { return Ok(None) };
    let home = installed(kind, &version, asked, |home| {
        ran(Command::new("python3").args(["-m", "venv"]).arg(home), "making a Python environment")?;
        let mut pip = Command::new(home.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        ran(pip.arg(here(file)), "installing the Python packages")
    });
    home.map(Some)
}

fn node() -> Result<Option<PathBuf>, Failure> {
    static NODE_HOME: Once<Option<PathBuf>> = OnceLock::new();
    let found = NODE_HOME.get_or_init(|| {
        let Some(version) = version_of("node", NODE) else { return Ok(None) };
        installed("node", &version, include_str!("package.json"), |home| {
            let wanted = here("package.json");
            fs::copy(&wanted, home.join("package.json")).map_err(|error| format!("{}: {error}", wanted.display()))?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(home);
            ran(npm.current_dir(home), "installing the Node packages")
        })
        .map(Some)
    });
    found.clone().map_err(Failure)
}

/// Spark from PyPI, its Delta from Maven Central; what Maven fetches for itself goes with it.
fn spark() -> Result<PathBuf, Failure> {
    static SPARK_HOME: Once<PathBuf> = OnceLock::new();
    const ASKED: &str = concat!(
        include_str!("spark/requirements.txt"),
        include_str!("spark/pom.xml"),
        include_str!("spark/PutIfAbsent.java")
    );
    let found = SPARK_HOME.get_or_init(|| {
        let version = version_of("python3", PYTHON).unwrap_or_default();
        installed("spark", &version, ASKED, |home| {
            let [python, jars, classes, fetched] = ["python", "jars", "classes", "m2"].map(|name| home.join(name));
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
            pip.arg(python).arg("--requirement").arg(here("spark/requirements.txt"));
            ran(&mut pip, "installing PySpark")?;
            let option = |name: &str, folder: &Path| format!("-D{name}={}", folder.display());
            let mut mvn = Command::new("mvn");
            mvn.args(["--batch-mode", "--quiet", "dependency:copy", "--file"]).arg(here("spark/pom.xml"));
            mvn.arg(option("outputDirectory", &jars)).arg(option("maven.repo.local", &fetched));
            ran(&mut mvn, "fetching Delta for Spark")?;
            let unusable = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
            fs::remove_dir_all(&fetched).map_err(|error| unusable(&fetched, error))?;
            let mut javac = Command::new("javac");
            let of_spark = home.join("python/pyspark/jars");
            javac.arg("-d").arg(classes).arg("-cp");
            javac.arg(format!("{}/*:{}/*", jars.display(), of_spark.display())).arg(here("spark/PutIfAbsent.java"));
            ran(&mut javac, "compiling the log store")
        })
    });
    found.clone().map_err(Failure)
}

/// The system's Valgrind, else Debian's package unpacked below the tools: that needs no root.
fn valgrind() -> Result<PathBuf, String> {
    static PROGRAM: Once<PathBuf> = OnceLock::new();
    let found = PROGRAM.get_or_init(|| {
        if version_of("valgrind", VALGRIND).is_some() {
            return Ok(PathBuf::from("valgrind"));
        }
        let home = installed("valgrind", "Debian's", "", |home| {
            let fetch = "apt-get -qq download valgrind && dpkg -x valgrind_*.deb .";
            ran(Command::new("sh").args(["-c", fetch]).current_dir(home), "fetching Debian's package")
        })?;
        // Its `valgrind` is a script that names /usr.
        Ok(home.join("usr/bin/valgrind.bin"))
    });
    found.clone()
}

/// The version that a program says, when it is there and new enough.
fn version_of(program: &str, oldest: (u32, u32)) -> Option<String> {
    let said = Command::new(program).arg("--version").output().ok().filter(|said| said.status.success())?;
    let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    // The first two numbers with a point between: Maven colours its words, and the colour is a number too.
    let mut words = version.split(|c: char| !c.is_ascii_digit() && c != '.');
    let found = words.find_map(|word| {
        let mut numbers = word.split('.').map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })?;
    (found >= oldest).then_some(version)
}

/// The folder of an installation, made by `install` unless a finished one of what is `asked` stands there.
fn installed(
    kind: &str,
    version: &str,
    asked: &str,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let unusable = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let hash: String = Sha256::new().chain_update(version).chain_update([0]).chain_update(asked).finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let all = target().join("e2e-tools");
    fs::create_dir_all(&all).map_err(|error| unusable(&all, error))?;
    // Installed programs name their folder: not by a link, which may be gone later.
    let all = fs::canonicalize(&all).map_err(|error| unusable(&all, error))?;
    let home = all.join(format!("{kind}-{hash}"));
    let lock_path = all.join(format!("{kind}.lock"));
    let lock = File::create(&lock_path).map_err(|error| unusable(&lock_path, error))?;
    lock.lock().map_err(|error| unusable(&lock_path, error))?;
    if !home.join(FINISHED).exists() {
        if home.exists() {
            fs::remove_dir_all(&home).map_err(|error| unusable(&home, error))?;
        }
        fs::create_dir(&home).map_err(|error| unusable(&home, error))?;
        say(&format!("installing the tier's {kind} tools, once"));
        let began = Instant::now();
        install(&home)?;
        fs::write(home.join(FINISHED), version).map_err(|error| unusable(&home, error))?;
        say(&format!("installed the tier's {kind} tools in {} s", began.elapsed().as_secs()));
    }
    Ok(home)
}

/// A file of this folder.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn target() -> PathBuf {
    let scratch = Path::new(SCRATCH);
    scratch.parent().unwrap_or(scratch).to_owned()
}

fn ran(command: &mut Command, what: &str) -> Result<(), String> {
    let done = command.output().map_err(|error| format!("{what}: {}: {error}", command.get_program().display()))?;
    if done.status.success() {
        return Ok(());
    }
    let said = [String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)].concat();
    Err(format!("{what}: {}\n{said}", done.status))
}

/// What a missing program means: a failure in CI, else a test that names itself as skipped.
fn missing<T>(what: &str, wanted: &str) -> Result<Option<T>, Failure> {
    if std::env::var("CI").as_deref() == Ok("true") {
        return Err(Failure(format!("{what}: CI needs {wanted}")));
    }
    say(&format!("SKIPPED {what}: there is no {wanted}"));
    Ok(None)
}

fn at_least(program: &str, oldest: (u32, u32)) -> String {
    format!("{program} {}.{} or later", oldest.0, oldest.1)
}
