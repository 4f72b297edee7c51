//! The hosts file, read again when it has changed.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// How long a look at a file's date is good for.
pub(super) const FILE_CHECK_EVERY: Duration = Duration::from_secs(1);
/// A larger hosts file is not read: it is a mistake, or somebody's block list, which has a place of its own.
const HOSTS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What tells one state of a file from another; nothing if there is no such file.
pub(super) type Stamp = Option<(SystemTime, u64)>;

pub(super) fn stamp_of(path: &Path) -> Stamp {
    let facts = fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}

/// The names in a hosts file.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    stamp: Stamp,
    checked_at: Option<Instant>,
    names: HashMap<Box<str>, Vec<IpAddr>>,
}

impl Hosts {
    /// The addresses that the file at `path` gives to `name` (in lower case), in the file's order.
    pub(super) fn find(&mut self, path: &Path, name: &str, now: Instant) -> Option<&[IpAddr]> {
        if self.checked_at.is_none_or(|at| now.saturating_duration_since(at) >= FILE_CHECK_EVERY) {
            self.checked_at = Some(now);
            let stamp = stamp_of(path);
            if stamp != self.stamp {
                self.stamp = stamp;
                self.names = read(path, stamp);
            }
        }
        self.names.get(name).map(Vec::as_slice)
    }
}

fn read(path: &Path, stamp: Stamp) -> HashMap<Box<str>, Vec<IpAddr>> {
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
fn parse(text: &str) -> HashMap<Box<str>, Vec<IpAddr>> {
    let mut names: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        for word in words {
            let name = word.trim_end_matches('.').to_ascii_lowercase().into_boxed_str();
            let addresses = names.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    names
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
            names.get(name).map(|found| found.iter().map(IpAddr::to_string).collect::<Vec<_>>())
        };
        assert_eq!(at("app"), Some(vec!["10.0.0.1".to_owned(), "::2".to_owned()]));
        assert_eq!(at("app.internal"), Some(vec!["10.0.0.1".to_owned()]));
        assert_eq!(at("localhost"), Some(vec!["127.0.0.1".to_owned()]));
        assert_eq!(at("line"), None);
    }
}
