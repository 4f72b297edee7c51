//! The hosts file, read again when it has changed.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// How long a look at a file's date is good for.
pub(super) const FILE_CHECK_EVERY: Duration = Duration::from_secs(1);
/// A larger hosts file is not read: it is a mistake, or a block list, which does not belong there.
const HOSTS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Identifies a version of a file; `None` if there is no such file.
pub(super) type Stamp = Option<(SystemTime, u64)>;

pub(super) fn stamp_of(path: &Path) -> Stamp {
    let facts = fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}

/// What the hosts file says of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostsEntry {
    /// Its addresses, in the file's order.
    pub(super) addresses: Arc<[IpAddr]>,
    /// The other names on its lines: they mean the same host.
    pub(super) aliases: Arc<[Box<str>]>,
}

/// Names on a line of the hosts file that are taken for aliases of each other; a longer one is a list of something else.
const ALIASES_MAX: usize = 32;

/// The names in a hosts file.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    stamp: Stamp,
    checked_at: Option<Instant>,
    names: HashMap<Box<str>, HostsEntry>,
}

impl Hosts {
    /// What the file at `path` says of `name` (in lower case).
    pub(super) fn find(&mut self, path: &Path, name: &str, now: Instant) -> Option<HostsEntry> {
        if self.checked_at.is_none_or(|at| now.saturating_duration_since(at) >= FILE_CHECK_EVERY) {
            self.checked_at = Some(now);
            let stamp = stamp_of(path);
            if stamp != self.stamp {
                self.stamp = stamp;
                self.names = read(path, stamp);
            }
        }
        self.names.get(name).cloned()
    }
}

fn read(path: &Path, stamp: Stamp) -> HashMap<Box<str>, HostsEntry> {
    if stamp.is_none_or(|(_, bytes)| bytes > HOSTS_BYTES_MAX) {
        return HashMap::new();
    }
    match fs::read(path) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the hosts file");
            HashMap::new()
        }
    }
}

/// hosts(5): an address and its names on each line, comments from `#` on. Lines that are not so are passed over.
fn parse(text: &str) -> HashMap<Box<str>, HostsEntry> {
    type Collected = (Vec<IpAddr>, Vec<Box<str>>);
    let mut names: HashMap<Box<str>, Collected> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        let of_line = words.map(|word| word.trim_end_matches('.').to_ascii_lowercase());
        let of_line: Vec<Box<str>> = of_line.map(String::into_boxed_str).collect();
        for name in &of_line {
            let (addresses, aliases) = names.entry(name.clone()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
            for alias in of_line.iter().take(ALIASES_MAX) {
                if alias != name && !aliases.contains(alias) {
                    aliases.push(alias.clone());
                }
            }
        }
    }
    let entry = |(addresses, aliases): Collected| HostsEntry {
        addresses: addresses.into(),
        aliases: aliases.into(),
    };
    names.into_iter().map(|(name, found)| (name, entry(found))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let names = parse(
            "# comment\n127.0.0.1 localhost # more\n10.0.0.1\tApp app.internal. \n\n::2 app\nbad line\n10.0.0.1 app",
        );
        let at = |name: &str| {
            names
                .get(name)
                .map(|found| found.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>())
        };
        assert_eq!(at("app"), Some(vec!["10.0.0.1".to_owned(), "::2".to_owned()]));
        assert_eq!(at("app.internal"), Some(vec!["10.0.0.1".to_owned()]));
        assert_eq!(at("localhost"), Some(vec!["127.0.0.1".to_owned()]));
        assert_eq!(at("line"), None);
        assert_eq!(*names["app"].aliases, ["app.internal".into()]);
        assert!(names["localhost"].aliases.is_empty());
    }
}
