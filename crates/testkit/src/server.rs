//! A proxy that runs for the duration of a story.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use proxy::{Change, Inherited, Server, StartError};

use crate::peer::Peer;
use crate::wait;

/// The default `process` block of a story: one core, no access log.
const PROCESS: &str = "process {\n    cores 1\n    log access=off\n}\n";

/// A proxy that runs until it is dropped.
pub struct TestServer {
    server: Server,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    /// The control thread, whose runtime looks names up.
    control: Option<JoinHandle<()>>,
}

/// The configuration in `text`, with the default `process` block unless it has one.
#[track_caller]
fn configuration(text: &str) -> Arc<config::Config> {
    let text =
        if text.contains("process {") { text.to_owned() } else { format!("{PROCESS}{text}") };
    match config::parse("story.kdl", &text) {
        Ok(loaded) => loaded.config,
        Err(failure) => panic!("the story's configuration is wrong:\n{failure}"),
    }
}

impl TestServer {
    /// Starts a proxy. The configuration should listen on port 0; for several listeners, use several
    /// addresses (127.0.0.2, …).
    #[track_caller]
    pub fn start(text: &str) -> Self {
        Self::start_with(text, |_| {})
    }

    /// Like [`TestServer::start`], with `edit` applied to the first upstream.
    #[track_caller]
    pub fn start_with(text: &str, edit: impl FnOnce(&mut config::Upstream)) -> Self {
        let mut config = configuration(text);
        if let Some(upstream) = Arc::make_mut(&mut config).upstreams.first_mut() {
            edit(upstream);
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (started, server) = std::sync::mpsc::channel();
        let control = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let _ = started.send(Server::start(config, Inherited::default()));
                let _ = stopped.await;
            });
        });
        let server = server.recv().expect("the control thread").expect("a server");
        Self { server, stop: Some(stop), control: Some(control) }
    }

    /// A proxy whose default site sends everything to `origin`; `more` is added to the site.
    #[track_caller]
    pub fn reverse(origin: SocketAddr, more: &str) -> Self {
        Self::start(&format!(
            "site \"*\" {{\n listen \"127.0.0.1:0\"\n to \"{origin}\"\n {more}\n}}"
        ))
    }

    /// A forward proxy; `more` is added to its block.
    #[track_caller]
    pub fn forward(more: &str) -> Self {
        Self::start(&format!("forward \"127.0.0.1:0\" {{\n {more}\n}}"))
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Applies another configuration.
    #[track_caller]
    pub fn reload(&self, text: &str) -> Result<Change, StartError> {
        self.server.reload(configuration(text))
    }

    /// The address of its first listener.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.server.listening().first().expect("a listener").1
    }

    /// The address of a listener, by its text in the configuration.
    #[track_caller]
    pub fn address_of(&self, written: &str) -> SocketAddr {
        let listening = self.server.listening();
        let found = listening.iter().find(|(other, _)| other == written);
        found.unwrap_or_else(|| panic!("nothing listens on {written}: {listening:?}")).1
    }

    /// A client of the first listener.
    #[track_caller]
    pub fn connect(&self) -> Peer {
        Peer::connect(self.address())
    }

    /// The sum of a metric over all its labels that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.server.metrics();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(label)
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until such a sum is `value`: exchanges and handshakes are counted a moment after their
    /// client has seen the end.
    #[track_caller]
    pub fn wait_for_metric(&self, name: &str, label: &str, value: f64) {
        wait::until(name, || self.metric(name, label) == value);
    }

    /// Waits until no client is connected.
    #[track_caller]
    pub fn wait_until_quiet(&self) {
        wait::until("the end of all connections", || self.server.open_exchanges().connections == 0);
    }

    /// Waits until `count` clients are connected.
    #[track_caller]
    pub fn wait_for_connections(&self, count: u64) {
        wait::until("connections of clients", || self.server.open_exchanges().connections == count);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let panics = self.metric("bothways_panics_total", "");
        self.server.stop();
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.control.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(panics == 0.0, "the proxy has panicked");
        }
    }
}
