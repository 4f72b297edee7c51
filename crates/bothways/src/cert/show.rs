//! `bothways cert show`: inspects certificates, keys and requests of a file or of a server.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, SystemTime};

use config::SiteName;
use tls::{
    Certificate, Contents, Finding, KeyFacts, ProbeReport, Roots, Severity, day, judge,
    judge_shown, relative,
};

use super::{failure, finding_text, json};
use crate::cli::ShowCertificate as Show;
use crate::exit::{Failure, OTHER};
use crate::terminal::{self, Paint, count};

/// Timeouts for connecting, and for each read and write.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const READ_TIME: Duration = Duration::from_secs(10);

/// The result of an inspection.
pub(super) struct Inspection {
    /// The file or server.
    pub(super) target: String,
    /// The certificates, key and request found there.
    pub(super) contents: Contents,
    /// For a server: its TLS parameters and how this machine judges its chain.
    pub(super) seen: Option<ProbeReport>,
    /// Problems.
    pub(super) findings: Vec<Finding>,
}

/// Inspects a file or a server, and prints the result.
pub(super) fn show(options: &Show) -> Result<(), Failure> {
    let path = Path::new(&options.target);
    let now = SystemTime::now();
    let inspection = if path.exists() {
        inspect_file(path, options, now)?
    } else {
        let Some(server) = Server::parse(&options.target) else {
            return Err(Failure::other(format!("no such file: {}", options.target))
                .hint("to inspect a server, write HOST:PORT"));
        };
        inspect_server(&server, options, now)?
    };
    if options.pem {
        let texts: Vec<_> =
            inspection.contents.certificates.iter().map(Certificate::to_pem).collect();
        return Ok(terminal::to_stdout(&texts.concat())?);
    }
    if options.json {
        terminal::to_stdout(&format!("{}\n", json::inspection(&inspection, now)))?;
    } else {
        let paint = Paint::new(terminal::stdout_is_coloured());
        terminal::to_stdout(&text(&inspection, now, &paint))?;
    }
    let is_bad = inspection.findings.iter().any(|finding| finding.severity == Severity::Error);
    if is_bad { Err(Failure::already_reported(OTHER)) } else { Ok(()) }
}

fn inspect_file(path: &Path, options: &Show, now: SystemTime) -> Result<Inspection, Failure> {
    let contents = Contents::read(path).map_err(failure)?;
    let mut findings = Vec::new();
    if let Some(leaf) = contents.certificates.first() {
        let names = options.name.iter().map(|name| site_name(name)).collect::<Vec<_>>();
        // A CA's own certificate is not the chain of a server.
        if leaf.is_ca && leaf.names.is_empty() {
            findings.extend(ca_findings(&contents.certificates, now));
        } else {
            findings.extend(judge(&contents.certificates, &names, now));
        }
    }
    let own_key = contents.key.as_ref().map(|_| path);
    let key = options.key.as_deref().or(own_key.filter(|_| !contents.certificates.is_empty()));
    if let Some(key) = key {
        findings.extend(tls::read_pair(path, key).err().unwrap_or_default());
    }
    if let Some(request) = contents.request.as_ref().filter(|request| !request.is_signed) {
        let message = format!("the request for `{}` is not signed by its key", request.subject);
        findings.push(Finding { severity: Severity::Error, message, hint: None });
    }
    let target = path.display().to_string();
    Ok(Inspection { target, contents, seen: None, findings })
}

/// CAs must not have expired; names do not matter.
fn ca_findings(certificates: &[Certificate], now: SystemTime) -> Vec<Finding> {
    let ended = certificates.iter().filter(|certificate| certificate.not_after < now);
    let findings = ended.map(|certificate| Finding {
        severity: Severity::Error,
        message: format!("`{}` expired on {}", certificate.title(), day(certificate.not_after)),
        hint: None,
    });
    findings.collect()
}

fn site_name(name: &str) -> SiteName {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(suffix) => SiteName::Wildcard(suffix.into()),
        None => SiteName::Exact(name.into()),
    }
}

/// A server on the network.
struct Server {
    host: String,
    port: u16,
}

impl Server {
    /// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`, `https://HOST:PORT/…`.
    fn parse(written: &str) -> Option<Self> {
        let is_url = written.contains("://");
        let rest = written.split_once("://").map_or(written, |(_, rest)| rest);
        let authority = if is_url { rest.split(['/', '?', '#']).next()? } else { rest };
        if authority.is_empty() || authority.contains(['/', ' ', '@']) {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                (host, rest.strip_prefix(':'))
            }
            None if authority.matches(':').count() > 1 => (authority, None),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = port.map_or(Some(443), |port| port.parse().ok())?;
        // `shop.pem` is more likely a missing file than a host.
        let looks_like_file = [".pem", ".crt", ".cer", ".key", ".csr", ".der", ".p12"];
        let is_file = !authority.contains(':') && looks_like_file.iter().any(|e| host.ends_with(e));
        let is_host = is_url || authority.contains([':', '.']) || host == "localhost";
        (is_host && !is_file && !host.is_empty()).then(|| Self { host: host.to_owned(), port })
    }

    fn written(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn connect(&self) -> Result<TcpStream, Failure> {
        let written = self.written();
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let addresses = addresses.map_err(|_| {
            Failure::other(format!("{} has no address", self.host)).hint(
                "check the name. To inspect a server by its address: \
                       bothways cert show ADDRESS:PORT --name NAME",
            )
        })?;
        let mut last = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_TIME) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(READ_TIME))?;
                    stream.set_write_timeout(Some(READ_TIME))?;
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
        let why = why.split(" (os error").next().unwrap_or_default().to_lowercase();
        Err(Failure::other(format!("cannot connect to {written}: {why}")))
    }
}

fn inspect_server(server: &Server, options: &Show, now: SystemTime) -> Result<Inspection, Failure> {
    if options.key.is_some() {
        return Err(Failure::usage("--key is for a certificate in a file"));
    }
    let mut roots = Roots::of_system().unwrap_or_else(|_| Roots::none());
    if let Some(file) = &options.ca {
        roots.add(&tls::read_certificates(file).map_err(failure)?);
    }
    let name = options.name.as_deref().unwrap_or(&server.host);
    let mut stream = server.connect()?;
    let seen = tls::probe(&mut stream, name, roots);
    let seen = seen.map_err(|why| Failure::other(format!("{}: {why}", server.written())))?;
    let mut findings = judge_shown(&seen.chain, &[site_name(name)], now);
    if let Err(why) = &seen.verdict {
        // If there is an error already, it says the same in more detail.
        let has_error = findings.iter().any(|finding| finding.severity == Severity::Error);
        if !has_error {
            let hint = "to trust a private CA, pass --ca FILE; for an upstream, set `upstream { tls { ca } }`";
            let message = format!("clients refuse it: {why}");
            findings.push(Finding {
                severity: Severity::Error,
                message,
                hint: Some(hint.to_owned()),
            });
        }
    }
    if let Some(why) = &seen.ended {
        // A server that requires a client certificate ends the handshake.
        let severity = if seen.asks_for_certificate { Severity::Warning } else { Severity::Error };
        findings.push(Finding { severity, message: why.clone(), hint: None });
    }
    let contents = Contents { certificates: seen.chain.clone(), ..Contents::default() };
    Ok(Inspection { target: server.written(), contents, seen: Some(seen), findings })
}

fn text(inspection: &Inspection, now: SystemTime, paint: &Paint) -> String {
    let mut out = format!("{}\n", paint.bold(&inspection.target));
    if let Some(seen) = &inspection.seen {
        out.push_str(&server_text(seen, paint));
    }
    let many = inspection.contents.certificates.len() > 1;
    for (index, certificate) in inspection.contents.certificates.iter().enumerate() {
        if many || inspection.contents.key.is_some() {
            let role = role(index, certificate);
            let head = format!("certificate {}: {} ({role})", index + 1, certificate.title());
            out.push_str(&format!("\n{}\n", paint.bold(&head)));
        }
        out.push_str(&certificate_text(certificate, now, paint));
    }
    if let Some(request) = &inspection.contents.request {
        out.push_str(&row("request for", &request.names.join(", "), paint));
        out.push_str(&row("subject", &request.subject, paint));
        out.push_str(&key_rows(&request.key, paint));
    }
    if let Some(key) = &inspection.contents.key {
        out.push_str(&row("private key", &key.facts().words, paint));
    }
    if let Some(key) = &inspection.contents.public_key {
        out.push_str(&row("public key", &key.words, paint));
    }
    out.push('\n');
    for finding in &inspection.findings {
        out.push_str(&finding_text(finding, paint));
    }
    out.push_str(&verdict(inspection, paint));
    out
}

/// The last line: the summary of the findings.
fn verdict(inspection: &Inspection, paint: &Paint) -> String {
    let counted = |severity| {
        inspection.findings.iter().filter(|finding| finding.severity == severity).count() as u64
    };
    let (errors, warnings) = (counted(Severity::Error), counted(Severity::Warning));
    match (errors, warnings) {
        (0, 0) => format!("{}\n", paint.green("nothing is wrong with it")),
        (0, _) => format!("{}, {}\n", paint.green("usable"), count(warnings, "warning")),
        (_, 0) => format!("{}\n", paint.red(&count(errors, "error"))),
        _ => format!("{}, {}\n", paint.red(&count(errors, "error")), count(warnings, "warning")),
    }
}

fn role(index: usize, certificate: &Certificate) -> &'static str {
    match (index, certificate.is_ca, certificate.is_self_signed) {
        (_, true, true) => "root CA",
        (_, true, false) => "intermediate CA",
        (0, false, true) => "server, signed by itself",
        _ => "server",
    }
}

fn server_text(seen: &ProbeReport, paint: &Paint) -> String {
    let mut out = row("TLS", &format!("{}, {}", seen.version, seen.cipher), paint);
    if let Some(group) = &seen.key_exchange {
        out.push_str(&row("key exchange", group, paint));
    }
    out.push_str(&row("protocol", seen.alpn.as_deref().unwrap_or("none picked (HTTP/1.1)"), paint));
    if seen.asks_for_certificate {
        out.push_str(&row("clients", "are asked for a certificate", paint));
    }
    let trusted = match &seen.verdict {
        Ok(()) => paint.green("yes"),
        Err(why) => format!("{}: {why}", paint.red("no")),
    };
    out.push_str(&row("trusted here", &trusted, paint));
    out
}

fn certificate_text(certificate: &Certificate, now: SystemTime, paint: &Paint) -> String {
    let mut out = String::new();
    if !certificate.names.is_empty() {
        out.push_str(&row("names", &certificate.names.join(", "), paint));
    }
    out.push_str(&row("subject", &certificate.subject, paint));
    let issuer = if certificate.is_self_signed { "itself" } else { &certificate.issuer };
    out.push_str(&row("issued by", issuer, paint));
    let dates = format!(
        "{} to {} ({})",
        day(certificate.not_before),
        day(certificate.not_after),
        ends(certificate, now)
    );
    out.push_str(&row("valid", &dates, paint));
    out.push_str(&key_rows(&certificate.key, paint));
    out.push_str(&row("signature", &certificate.signature, paint));
    out.push_str(&row("serial", &certificate.serial, paint));
    out.push_str(&row("SHA-256", &certificate.fingerprint, paint));
    out
}

fn ends(certificate: &Certificate, now: SystemTime) -> String {
    if certificate.not_before > now {
        format!("begins {}", relative(certificate.not_before, now))
    } else if certificate.not_after < now {
        format!("ended {}", relative(certificate.not_after, now))
    } else {
        format!("ends {}", relative(certificate.not_after, now))
    }
}

fn key_rows(key: &KeyFacts, paint: &Paint) -> String {
    row("key", &key.words, paint)
}

fn row(name: &str, value: &str, paint: &Paint) -> String {
    format!("  {} {value}\n", paint.dim(&format!("{name:<13}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        #[track_caller]
        fn check(written: &str, expected: Option<(&str, u16)>) {
            let parsed = Server::parse(written).map(|server| (server.host, server.port));
            assert_eq!(parsed, expected.map(|(host, port)| (host.to_owned(), port)), "{written}");
        }
        check("shop.example.com", Some(("shop.example.com", 443)));
        check("localhost", Some(("localhost", 443)));
        check("api:8443", Some(("api", 8443)));
        check("[::1]:8443", Some(("::1", 8443)));
        check("::1", Some(("::1", 443)));
        check("https://shop.example.com/a?b", Some(("shop.example.com", 443)));
        check("https://shop:8443", Some(("shop", 8443)));
        check("shop.pem", None);
        check("./nothing.txt", None);
        check("api:https", None);
        check("shop", None);
        check("", None);
    }
}
