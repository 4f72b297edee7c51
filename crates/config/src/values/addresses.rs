//! Addresses, networks, ports, destinations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use super::{Wrong, hosts};
use crate::model::{AdminAddress, Destination, EndpointAddress, PortRange};

/// A port, or 0.
fn port(text: &str) -> Result<u16, Wrong> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits => Ok(port),
        _ => Err(Wrong::new(format!("`{text}` is not a port")).hinted("ports are 1 to 65535")),
    }
}

/// A port that one can connect to.
fn remote_port(text: &str) -> Result<u16, Wrong> {
    match port(text)? {
        0 => Err(Wrong::new("port 0 accepts no connections")),
        port => Ok(port),
    }
}

/// `host:port` with the host as written, brackets included.
fn split(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let whole = !host.contains(':') || host.starts_with('[') && host.ends_with(']');
    whole.then_some((host, port))
}

fn ip_of(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// An address to listen on.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not an address to listen on"));
    if let Some((scheme, rest)) = text.split_once("://") {
        let hint = format!("omit `{scheme}://`: \"{}\"", rest.trim_end_matches('/'));
        return Err(wrong().hinted(hint));
    }
    let Some((host, given)) = split(text) else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => wrong().hinted(format!("a port is missing: \"[{ip}]:80\"")),
            Ok(IpAddr::V4(ip)) => wrong().hinted(format!("a port is missing: \"{ip}:80\"")),
            Err(_) if port(text).is_ok() => wrong().hinted(format!("write \":{text}\"")),
            Err(_) => wrong().hinted("write \":8080\", \"127.0.0.1:80\" or \"[::1]:80\""),
        });
    };
    let port = port(given)?;
    match (host, ip_of(host)) {
        ("", _) => Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        (_, Some(ip)) => Ok(SocketAddr::from((ip, port))),
        ("*", _) => Err(wrong().hinted(format!("write \":{port}\" for every address"))),
        ("localhost", _) => {
            Err(wrong().hinted(format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\"")))
        }
        _ => Err(wrong().hinted("write an IP address: names are not looked up to listen on")),
    }
}

/// Where the admin interface listens.
pub(super) fn admin(text: &str) -> Result<AdminAddress, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(text, path).map(AdminAddress::Unix);
    }
    let unsafe_here = |hint: String| {
        Err(Wrong::new(format!("`{text}` can be reached from other machines"))
            .hinted(format!("everybody who can reach it controls the proxy: {hint}")))
    };
    match listen(text)? {
        address if address.ip().to_canonical().is_loopback() => Ok(AdminAddress::Tcp(address)),
        address => unsafe_here(format!("write \"127.0.0.1:{}\" or a unix socket", address.port())),
    }
}

fn unix(text: &str, path: &str) -> Result<PathBuf, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not a unix socket"));
    match path {
        "" => Err(wrong().hinted("write \"unix:/run/app.sock\"")),
        path if path.contains('\0') => Err(wrong()),
        // The kernel's sockaddr_un has 108 bytes, one of them for the end.
        path if path.len() > 107 => Err(wrong().hinted("its path can have at most 107 bytes")),
        path => Ok(path.into()),
    }
}

/// An IP address with port.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not an IP address with port"));
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Err(
            wrong().hinted(format!("a port is missing: \"{}\"", SocketAddr::from((ip, 53))))
        );
    }
    let (host, port) = split(text).ok_or_else(wrong)?;
    let ip = ip_of(host).ok_or_else(wrong)?;
    Ok(SocketAddr::from((ip, remote_port(port)?)))
}

/// One IP address.
pub(super) fn ip(text: &str) -> Result<IpAddr, Wrong> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>();
    ip.map(|ip| ip.to_canonical()).map_err(|_| Wrong::new(format!("`{text}` is not an IP address")))
}

/// The parts of a list with commas; none may be empty.
pub(super) fn parts(text: &str) -> Result<impl Iterator<Item = &str>, Wrong> {
    let list = || text.split(',').map(str::trim);
    if list().any(str::is_empty) {
        let wrong = match text.trim() {
            "" => Wrong::new("the quotes are empty"),
            _ => Wrong::new(format!("a part of `{text}` is empty")),
        };
        return Err(wrong.hinted("separate several with commas: \"a,b\""));
    }
    Ok(list())
}

/// Networks with commas.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Wrong> {
    parts(text)?.map(network).collect()
}

fn network(text: &str) -> Result<IpNet, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not a network"));
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        let hint = match text.split_once('/') {
            Some((ip, _)) if ip.parse::<Ipv4Addr>().is_ok() => "the prefix of IPv4 is 0 to 32",
            Some((ip, _)) if ip.parse::<Ipv6Addr>().is_ok() => "the prefix of IPv6 is 0 to 128",
            _ => "write \"10.0.0.0/8\", \"2001:db8::/32\" or one address",
        };
        return Err(wrong().hinted(hint));
    };
    if net.addr() != net.network() {
        let hint = format!("write \"{}\", or \"{}\" for that address", net.trunc(), net.addr());
        return Err(Wrong::new(format!("`{text}` has bits after its prefix")).hinted(hint));
    }
    Ok(canonical(net))
}

/// A network as addresses are compared with it: one of IPv4 in IPv6 (`::ffff:10.0.0.0/104`) is IPv4.
fn canonical(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Some(ip) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(ip, length)
    {
        return v4.into();
    }
    net
}

/// `443`, `80,443`, `8000-9000`; empty for `any`.
pub(super) fn ports(text: &str) -> Result<Vec<PortRange>, Wrong> {
    if text == "any" {
        return Ok(Vec::new());
    }
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (remote_port(first.trim())?, remote_port(last.trim())?);
        match first <= last {
            true => Ok(PortRange { first, last }),
            false => Err(Wrong::new(format!("`{text}` ends before it begins"))
                .hinted(format!("write \"{last}-{first}\""))),
        }
    };
    parts(text)?.map(range).collect()
}

/// Destinations with commas.
pub(super) fn destinations(text: &str) -> Result<Vec<(Destination, Option<u16>)>, Wrong> {
    parts(text)?.map(destination_with_port).collect()
}

/// A destination, perhaps with its port.
fn destination_with_port(text: &str) -> Result<(Destination, Option<u16>), Wrong> {
    let bare_v6 = text.parse::<Ipv6Addr>().is_ok();
    match split(text).filter(|(host, _)| !bare_v6 && !host.contains("//") && !host.is_empty()) {
        Some((host, port)) if !port.contains('/') => {
            Ok((destination(host)?, Some(remote_port(port)?)))
        }
        _ => Ok((destination(text)?, None)),
    }
}

fn destination(text: &str) -> Result<Destination, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not a destination"));
    if text == "*" {
        return Ok(Destination::Any);
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return hosts::name(suffix).map(Destination::Suffix);
    }
    if text.starts_with('.') {
        return Err(wrong().hinted(format!("write \"*{text}\"")));
    }
    if text.contains("://") {
        return Err(wrong().hinted("write the host alone"));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return network(bare).map(Destination::Net);
    }
    if text.contains('/') {
        return network(text).map(Destination::Net);
    }
    hosts::name(text).map(Destination::Host)
}

/// An endpoint, and whether it is spoken to over TLS.
pub(super) fn endpoint(text: &str) -> Result<(EndpointAddress, bool), Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not an endpoint: {why}"));
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok((EndpointAddress::Unix(unix(text, path)?), false));
    }
    let (authority, scheme_port) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (rest, Some(80)),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (rest, Some(443)),
        Some((scheme @ ("h2c" | "scgi"), _)) => {
            return Err(wrong(&format!("`{scheme}` is not a known scheme here"))
                .hinted(format!("write protocol {scheme} in an `upstream`")));
        }
        Some((scheme, _)) => return Err(wrong(&format!("`{scheme}` is not a known scheme here"))),
        None => (text, None),
    };
    let tls = scheme_port == Some(443);
    let bare = authority.strip_suffix('/').filter(|_| scheme_port.is_some());
    let authority = bare.unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(wrong("it has a path").hinted("the path sent upstream is set by `rewrite`"));
    }
    if authority.contains('@') {
        return Err(wrong("it has a user name"));
    }
    if authority.starts_with('[') && !authority.contains(']') {
        return Err(wrong("a `]` is missing"));
    }
    let plain = ip_of(authority).is_some() || !authority.contains(':');
    let (host, port) = match (split(authority), scheme_port) {
        (Some((host, given)), _) => (host, remote_port(given)?),
        (None, Some(port)) if plain => (authority, port),
        (None, _) => {
            let host =
                if authority.contains(':') { format!("[{authority}]") } else { authority.into() };
            return Err(wrong("a port is missing").hinted(format!("write \"{host}:80\"")));
        }
    };
    match ip_of(host) {
        _ if host.is_empty() => Err(wrong("a host is missing")
            .hinted(format!("write \"127.0.0.1:{port}\" or \"localhost:{port}\""))),
        Some(ip) if ip.is_unspecified() => {
            Err(wrong("it is the unspecified address, which accepts no connections"))
        }
        Some(ip) => Ok((EndpointAddress::Ip(SocketAddr::from((ip, port))), tls)),
        None => {
            let name = hosts::name(host)?;
            Ok((EndpointAddress::Name { host: name.as_ref().into(), port }, tls))
        }
    }
}

/// Networks as they are written, with commas.
pub(crate) fn nets_text(nets: &[IpNet]) -> String {
    let text = |net: &IpNet| match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    };
    nets.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Ports as they are written, with commas.
pub(crate) fn ports_text(ports: &[PortRange]) -> String {
    let text = |range: &PortRange| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}-{}", range.first, range.last),
    };
    match ports {
        [] => "any".into(),
        ports => ports.iter().map(text).collect::<Vec<_>>().join(","),
    }
}

/// A destination as it is written.
pub(crate) fn destination_text(destination: &Destination) -> String {
    match destination {
        Destination::Any => "*".into(),
        Destination::Host(host) => host.to_string(),
        Destination::Suffix(suffix) => format!("*.{suffix}"),
        Destination::Net(net) => nets_text(std::slice::from_ref(net)),
    }
}
