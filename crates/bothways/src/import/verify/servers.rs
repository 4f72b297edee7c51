//! The two processes: nginx and this program.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use import::relocate::Plan;

use crate::cli::ImportNginx;
use crate::exit::Failure;

const START_TIME: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

/// Both servers; they end when this is dropped.
pub(super) struct Servers {
    children: Vec<Child>,
}

impl Servers {
    /// Writes both configurations and waits until every address accepts connections.
    pub(super) fn start(
        options: &ImportNginx,
        plan: &Plan,
        theirs: &str,
        ours: &str,
    ) -> Result<Self, Failure> {
        let path = |name: &str| plan.directory.join(name);
        let cannot = |error: std::io::Error| {
            Failure::other(format!("cannot write {}: {error}", plan.directory.display()))
        };
        fs::write(path("nginx.conf"), theirs).map_err(cannot)?;
        fs::write(path("bothways.kdl"), ours).map_err(cannot)?;
        let mut servers = Self { children: Vec::new() };
        let nginx = Command::new(&options.nginx)
            .arg("-c")
            .arg(path("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file(&path("nginx.err"))?)
            .spawn();
        servers.children.push(nginx.map_err(|error| {
            let failure =
                Failure::other(format!("cannot start {}: {error}", options.nginx.display()));
            failure.hint(
                "install nginx (`apt install nginx`), or name it with --nginx /usr/sbin/nginx",
            )
        })?);
        let ports: Vec<u16> = plan.listeners().map(|one| one.theirs).collect();
        servers.wait("nginx", &ports, &[path("nginx.err"), path("nginx.log")])?;
        let program = std::env::current_exe()
            .map_err(|error| Failure::other(format!("cannot find this program: {error}")))?;
        let own = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(path("bothways.kdl"))
            .env("STATE_DIRECTORY", path("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file(&path("bothways.err"))?)
            .spawn();
        servers
            .children
            .push(own.map_err(|error| Failure::other(format!("cannot start Bothways: {error}")))?);
        // An address whose names are all refused has no site, and nothing listens there.
        let is_served = |port: &u16| ours.contains(&format!(":{port}\""));
        let ports: Vec<u16> = plan.listeners().map(|one| one.ours).filter(is_served).collect();
        servers.wait("Bothways", &ports, &[path("bothways.err")])?;
        Ok(servers)
    }

    /// Waits for the server that was started last.
    fn wait(
        &mut self,
        name: &str,
        ports: &[u16],
        logs: &[std::path::PathBuf],
    ) -> Result<(), Failure> {
        let until = Instant::now() + START_TIME;
        loop {
            let accepts = |port: &u16| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok();
            if ports.iter().all(accepts) {
                return Ok(());
            }
            let ended = self.children.last_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > until {
                let said: String =
                    logs.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
                return Err(Failure::other(format!(
                    "{name} does not start with the configuration:\n{}",
                    said.trim()
                )));
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // SIGTERM, so that nginx ends its workers.
            if let Some(pid) =
                i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
                thread::sleep(PAUSE);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn log_file(path: &Path) -> Result<Stdio, Failure> {
    let file = fs::File::create(path);
    Ok(file
        .map_err(|error| Failure::other(format!("cannot write {}: {error}", path.display())))?
        .into())
}

/// A certificate for every name of the sites, signed by itself.
pub(super) fn write_certificate(plan: &Plan) -> Result<(), Failure> {
    let usable = |name: &&String| !name.contains(['~', '$', '_']) && !name.is_empty();
    let mut names: Vec<String> = plan
        .names()
        .iter()
        .filter(usable)
        .map(|name| name.trim_start_matches('.').to_owned())
        .collect();
    names.push("localhost".into());
    let cannot = |error: String| Failure::other(format!("cannot make a certificate: {error}"));
    let made =
        rcgen::generate_simple_self_signed(names).map_err(|error| cannot(error.to_string()))?;
    fs::write(&plan.certificate, made.cert.pem()).map_err(|error| cannot(error.to_string()))?;
    fs::write(&plan.key, made.signing_key.serialize_pem())
        .map_err(|error| cannot(error.to_string()))
}
