//! A stand-in for a cloud's store, on a loopback port of its own, for as long as a test needs it.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
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
    /// What it leaves behind, removed with it.
    folder: Option<PathBuf>,
}

impl Server {
    /// moto's server: S3.
    pub(crate) fn s3(tools: &Tools) -> Result<Self, Failure> {
        let port = free_port()?;
        let port_text = port.to_string();
        Self::start(port, tools.python_program("moto_server").as_os_str(), &["-H", "127.0.0.1", "-p", &port_text])
    }

    /// ministack: AWS, where each function has the rights of its role alone. What it calls functions with names this
    /// server as AWS.
    pub(crate) fn aws(tools: &Tools) -> Result<Self, Failure> {
        let port = free_port()?;
        let endpoint = format!("http://127.0.0.1:{port}");
        // It unpacks functions there, and leaves them.
        let folder = Path::new(SCRATCH).join(format!("e2e-aws-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(Failure::at(&folder))?;
        let mut command = Command::new(tools.ministack()?);
        plain_environment(&mut command);
        command
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            .env("IOT_MTLS_ENABLED", "0")
            .env("AUTH", "true")
            .env("MINISTACK_REGION", "eu-west-1")
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("TMPDIR", &folder);
        let mut server = Self::started(&[port], command)?;
        server.folder = Some(folder);
        Ok(server)
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

    /// Azurite: Blob and Queue Storage, in memory. The second is the endpoint of queues.
    pub(crate) fn azure_with_queues(tools: &Tools) -> Result<(Self, String), Failure> {
        let (blobs, queues, tables) = (free_port()?, free_port()?, free_port()?);
        let mut command = Command::new(tools.node_program("azurite")?);
        plain_environment(&mut command);
        for (service, port) in [("blob", blobs), ("queue", queues), ("table", tables)] {
            let (host, port) = (format!("--{service}Host"), [format!("--{service}Port"), port.to_string()]);
            command.arg(host).arg("127.0.0.1").args(port);
        }
        command.args(["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]);
        Ok((Self::started(&[blobs, queues], command)?, format!("http://127.0.0.1:{queues}")))
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
        let mut command = Command::new(program);
        plain_environment(&mut command);
        command.args(arguments);
        Self::started(&[port], command)
    }

    /// Runs it until all its ports answer; the first is the server's.
    fn started(ports: &[u16], mut command: Command) -> Result<Self, Failure> {
        let program = command.get_program().to_owned();
        let name = Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned();
        let log = Path::new(SCRATCH).join(format!("e2e-{name}.log"));
        let output = File::create(&log).map_err(Failure::at(&log))?;
        let errors = output.try_clone().map_err(Failure::at(&log))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(Failure::of(program.display()))?;
        let mut server = Self { child, port: ports.first().copied().unwrap_or_default(), folder: None };
        let began = Instant::now();
        for &port in ports {
            while TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_err() {
                let ended = server.child.try_wait().map_err(Failure::of(program.display()))?;
                if ended.is_some() || began.elapsed() > UP_WITHIN {
                    return Err(Failure(format!("{} does not listen: see {}", program.display(), log.display())));
                }
                sleep(Duration::from_millis(50));
            }
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(folder) = &self.folder {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::of("no free port"))?;
    Ok(listener.local_addr().map_err(Failure::of("no free port"))?.port())
}
