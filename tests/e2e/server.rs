//! A stand-in for a cloud's store, on a loopback port of its own, for as long as a test needs it.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::tools::{SCRATCH, Tools, plain_environment};

/// Python and Node take seconds to start on a busy machine.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// A running server; it ends with the value.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// moto's server: S3.
    pub(crate) fn s3(tools: &Tools) -> Result<Self, Failure> {
        let port = free_port()?;
        let port_text = port.to_string();
        Self::start(port, tools.python_program("moto_server").as_os_str(), &["-H", "127.0.0.1", "-p", &port_text])
    }

    /// Azurite: Blob Storage, in memory.
    pub(crate) fn azure(tools: &Tools) -> Result<Self, Failure> {
        Self::azurite(tools, &[])
    }

    /// The same over TLS, as tokens of Entra need it, with the `certificate.pem` and `key.pem` of a folder.
    pub(crate) fn azure_over_tls(tools: &Tools, folder: &Path) -> Result<Self, Failure> {
        let [certificate, key] =
            ["certificate.pem", "key.pem"].map(|name| folder.join(name).to_string_lossy().into_owned());
        Self::azurite(tools, &["--oauth", "basic", "--cert", &certificate, "--key", &key])
    }

    fn azurite(tools: &Tools, more: &[&str]) -> Result<Self, Failure> {
        let port = free_port()?;
        let port_text = port.to_string();
        let usual = [
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            &port_text,
            "--inMemoryPersistence",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--silent",
        ];
        let arguments: Vec<&str> = usual.iter().chain(more).copied().collect();
        Self::start(port, tools.node_program("azurite-blob")?.as_os_str(), &arguments)
    }

    /// `http://127.0.0.1:<port>`
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    fn start(port: u16, program: &OsStr, arguments: &[&str]) -> Result<Self, Failure> {
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
        let log = Path::new(SCRATCH).join(format!("e2e-{name}.log"));
        let output = File::create(&log).map_err(Failure::at(&log))?;
        let errors = output.try_clone().map_err(Failure::at(&log))?;
        let mut command = Command::new(program);
        plain_environment(&mut command);
        command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(Failure::of(program.display()))?;
        let mut server = Self { child, port };
        let began = Instant::now();
        while TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_err() {
            let ended = server.child.try_wait().map_err(Failure::of(program.display()))?;
            if ended.is_some() || began.elapsed() > UP_WITHIN {
                return Err(Failure(format!("{} does not listen: see {}", program.display(), log.display())));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::of("no free port"))?;
    Ok(listener.local_addr().map_err(Failure::of("no free port"))?.port())
}
