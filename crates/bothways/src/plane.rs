//! Stand-in until the data plane is there.
#![allow(missing_docs, dead_code, clippy::unused_self)]
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(crate) struct Server(Arc<config::Config>);
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) listeners: Vec<std::net::TcpListener>,
}
#[derive(Debug)]
pub(crate) struct StartError;
impl std::fmt::Display for StartError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("start")
    }
}
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) listeners_opened: Vec<String>,
    pub(crate) listeners_closed: Vec<String>,
    pub(crate) generation: u64,
}
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) connections: u64,
    pub(crate) exchanges: u64,
    pub(crate) tunnels: u64,
}
impl Server {
    pub(crate) fn start(config: Arc<config::Config>, _: Inherited) -> Result<Self, StartError> {
        Ok(Self(config))
    }
    pub(crate) fn reload(&self, _: Arc<config::Config>) -> Result<Change, StartError> {
        Ok(Change { listeners_opened: vec![], listeners_closed: vec![], generation: 2 })
    }
    pub(crate) fn config(&self) -> Arc<config::Config> {
        self.0.clone()
    }
    pub(crate) fn metrics(&self) -> String {
        String::new()
    }
    pub(crate) fn open_exchanges(&self) -> Open {
        Open { connections: 0, exchanges: 0, tunnels: 0 }
    }
    pub(crate) fn begin_drain(&self) {}
    pub(crate) fn stop(self) {}
    pub(crate) fn reopen_logs(&self) {}
    pub(crate) fn listening(&self) -> Vec<(String, SocketAddr)> {
        vec![]
    }
    pub(crate) fn is_ready(&self) -> bool {
        true
    }
}
