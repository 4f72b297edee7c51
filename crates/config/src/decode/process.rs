//! `process`.

use std::path::PathBuf;

use super::{Checked, Decoder};
use crate::model::{AccessFormat, Process};
use crate::source::Span;
use crate::values::Datum;

/// Settings of the process, and where each that is set stands.
#[derive(Debug, Default)]
pub(super) struct RawProcess {
    pub(super) process: Process,
    /// By the name of the node; those of `log` by that of the property.
    pub(super) set: Vec<(&'static str, Span)>,
}

impl RawProcess {
    pub(super) fn set(&self, name: &str) -> Option<Span> {
        self.set.iter().find(|(set, _)| *set == name).map(|&(_, span)| span)
    }
}

impl Decoder<'_> {
    pub(super) fn process(&mut self, node: &Checked<'_, '_>) -> RawProcess {
        let mut raw = RawProcess::default();
        for child in self.children(node) {
            match child.row.name {
                "resolver" => self.resolver(&child, &mut raw),
                "log" => self.log(&child, &mut raw),
                name => {
                    let Some(given) = child.first() else { continue };
                    raw.set.push((name, child.name_span()));
                    let process = &mut raw.process;
                    match (name, &given.datum) {
                        ("cores", Datum::Number(number)) => process.cores = Some(*number as u16),
                        ("admin", Datum::Admin(address)) => {
                            process.admin = Some(self.admin_path(address, given.span));
                            process.admin_token = self.admin_token(&child);
                            let metrics = child.property("metrics");
                            process.admin_metrics_open =
                                metrics.is_some_and(|given| given.datum.text() == "open");
                        }
                        ("zone", zone) => process.zone = Some(zone.text().into()),
                        ("drain", Datum::Duration(time)) => process.drain = *time,
                        ("connections", Datum::Number(number)) => {
                            process.connections_max = Some(*number as u32);
                        }
                        ("state", Datum::Path(path)) => {
                            process.state = Some(self.path(path, given.span));
                        }
                        _ => {}
                    }
                }
            }
        }
        raw
    }

    fn admin_token(&mut self, node: &Checked<'_, '_>) -> Option<PathBuf> {
        let given = node.property("token-file")?;
        let Datum::Path(path) = &given.datum else { return None };
        let path = self.path(path, given.span);
        let hint = "requests over TCP are refused until there is: openssl rand -base64 32 > FILE";
        if self.check_there(&path, given.span, hint) {
            self.check_private(&path, given.span);
        }
        Some(path)
    }

    fn admin_path(
        &self,
        address: &crate::model::AdminAddress,
        span: Span,
    ) -> crate::model::AdminAddress {
        use crate::model::AdminAddress;
        match address {
            AdminAddress::Unix(path) => AdminAddress::Unix(self.path(path, span)),
            AdminAddress::Tcp(address) => AdminAddress::Tcp(*address),
        }
    }

    fn log(&mut self, node: &Checked<'_, '_>, raw: &mut RawProcess) {
        use crate::model::LogTarget;
        for (name, given) in &node.properties {
            raw.set.push((name, given.span));
            let target = |target: &LogTarget| match target {
                LogTarget::File(path) => LogTarget::File(self.path(path, given.span)),
                other => other.clone(),
            };
            let process = &mut raw.process;
            match (*name, &given.datum) {
                ("access", Datum::Log(log)) => process.access_log = target(log),
                ("error", Datum::Log(log)) => process.error_log = target(log),
                ("format", format) => {
                    process.access_format = match format.text() {
                        "combined" => AccessFormat::Combined,
                        _ => AccessFormat::Json,
                    };
                }
                ("level", level) => process.error_level = level.text().into(),
                _ => {}
            }
        }
    }

    fn resolver(&mut self, node: &Checked<'_, '_>, raw: &mut RawProcess) {
        let settings = &mut raw.process.resolver;
        let mut ttl = None;
        for child in self.children(node) {
            let Some(first) = child.first() else { continue };
            raw.set.push((child.row.name, child.name_span()));
            match child.row.name {
                "server" => {
                    let servers = child.arguments.iter().filter_map(|given| match given.datum {
                        Datum::Socket(address) => Some(address),
                        _ => None,
                    });
                    settings.servers.extend(servers);
                }
                "timeout" => settings.timeout = first.datum.duration(),
                "tries" => settings.tries = first.datum.number() as u32,
                "hosts" => settings.hosts = first.datum.flag(),
                "ttl-min" => {
                    settings.ttl_min = first.datum.duration();
                    ttl = Some(first.span);
                }
                "ttl-max" => {
                    settings.ttl_max = first.datum.duration();
                    ttl = Some(first.span);
                }
                _ => {}
            }
        }
        let wrong = settings.ttl_min > settings.ttl_max;
        if let Some(span) = ttl.filter(|_| wrong) {
            self.error(span, "`ttl-min` is longer than `ttl-max`");
        }
    }
}
