//! The demo's ports, configuration and examples.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::exit::Failure;
use crate::shortcut::quoted;
use crate::terminal::Paint;

use super::Origins;
use super::examples::Example;

/// Addresses and the directory for the access log.
#[derive(Debug)]
pub(super) struct Setup {
    reverse: SocketAddr,
    forward: SocketAddr,
    origins: [SocketAddr; 2],
    scratch: Scratch,
}

/// A private directory with a named pipe; removed when dropped.
#[derive(Debug)]
struct Scratch {
    directory: PathBuf,
    pipe: PathBuf,
}

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("bothways-demo-{}", std::process::id()));
        let cannot = |error: std::io::Error| {
            Failure::other(format!("cannot make {}: {error}", directory.display()))
        };
        // Only for this user; fails if the directory exists already.
        fs::DirBuilder::new().mode(0o700).create(&directory).map_err(cannot)?;
        let pipe = directory.join("access.log");
        let scratch = Self { directory: directory.clone(), pipe };
        mknodat(CWD, &scratch.pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .map_err(|error| cannot(error.into()))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.pipe);
        let _ = fs::remove_dir(&self.directory);
    }
}

impl Setup {
    /// Finds free ports, preferably 8080 and 3128.
    pub(super) fn new(origins: &Origins) -> Result<Self, Failure> {
        let [first, second] = origins;
        Ok(Self {
            reverse: free(8080)?,
            forward: free(3128)?,
            origins: [first.address, second.address],
            scratch: Scratch::new()?,
        })
    }

    /// The named pipe for lines of the access log.
    pub(super) fn access_log(&self) -> &Path {
        &self.scratch.pipe
    }

    /// The configuration of the data plane.
    pub(super) fn configuration(&self, access_log: &str) -> String {
        let Self { reverse, forward, origins: [first, second], .. } = self;
        let [first_port, second_port] = [first.port(), second.port()];
        let access_log = quoted(access_log);
        format!(
            "process {{\n    log access={access_log} format=json error=stderr level=warn\n    drain \"2s\"\n    \
             cores 1  // so that the servers really alternate\n}}\n\n\
             // reverse proxy: two servers behind one address\n\
             site \"*\" {{\n    listen \"{reverse}\"\n    \
             route \"/old/*\" {{ redirect \"/new/{{rest}}\" status=308 }}\n    \
             route \"/about\" {{ respond \"answered by bothways itself\\n\" }}\n    \
             to fruit\n}}\n\n\
             upstream fruit {{\n    to \"{first}\" \"{second}\"\n    balance round-robin\n}}\n\n\
             // forward proxy: rules, and no field that identifies the client\n\
             forward \"{forward}\" {{\n    deny to=\"*.blocked.example\"\n    \
             allow to=\"localhost,127.0.0.1\" port=\"{first_port},{second_port}\"\n    \
             allow from=\"127.0.0.0/8\"\n    anonymous {{ remove \"Referer\" \"User-Agent\" }}\n}}\n"
        )
    }

    /// The examples: commands for people, each with the request that the demo itself sends.
    pub(super) fn examples(&self) -> Vec<Example> {
        let Self { reverse, forward, origins: [first, _], .. } = self;
        let port = first.port();
        let get =
            |what, proxy: SocketAddr, command: String, target: String, host: String| Example {
                what,
                command,
                to: proxy,
                head: format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: demo\r\n"),
            };
        let in_reverse = |what, path: &str| {
            let command = format!("curl -i http://{reverse}{path}");
            get(what, *reverse, command, path.to_owned(), reverse.to_string())
        };
        vec![
            in_reverse("a server behind the proxy", "/hello"),
            in_reverse("again: the other one", "/hello"),
            in_reverse("a redirect, decided by a route", "/old/page"),
            in_reverse("a response of the proxy itself", "/about"),
            get(
                "through the forward proxy: the server does not learn who the client is",
                *forward,
                format!("curl -x http://{forward} http://localhost:{port}/out"),
                format!("http://localhost:{port}/out"),
                format!("localhost:{port}"),
            ),
            Example {
                what: "a destination that a rule denies",
                command: format!("curl -x http://{forward} https://www.blocked.example/"),
                to: *forward,
                head:
                    "CONNECT www.blocked.example:443 HTTP/1.1\r\nHost: www.blocked.example:443\r\n"
                        .to_owned(),
            },
        ]
    }

    /// The text that is printed first.
    pub(super) fn introduction(&self, origins: &Origins, paint: Paint) -> String {
        let [first, second] = origins;
        let mut text = format!(
            "{}\n\n  reverse  http://{}   in front of {} ({}) and {} ({})\n  \
             forward  http://{}   for clients, anonymous\n\nTry in another terminal:\n",
            paint.bold("bothways demo"),
            self.reverse,
            first.name,
            first.address,
            second.name,
            second.address,
            self.forward
        );
        for Example { what, command, .. } in self.examples() {
            text.push_str(&format!(
                "\n  {}\n  {}\n",
                paint.dim(&format!("# {what}")),
                paint.green(&command)
            ));
        }
        text.push_str(
            "\nThe configuration: bothways demo --print-config. This terminal shows what each side sees; \
             Ctrl-C quits.\n\n",
        );
        text
    }
}

/// The preferred port, or any other free one.
fn free(preferred: u16) -> Result<SocketAddr, Failure> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = bind(preferred).or_else(|_| bind(0));
    listener
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Failure::other(format!("cannot find a free port: {error}")))
}
