//! What the process uses, by `/proc`.

use std::fs;

/// Ticks of a second in `/proc/self/stat`: `USER_HZ`, which is 100 wherever we run.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the process uses. `None`: the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
}

impl Usage {
    /// Reads it.
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            // One of them is the directory itself.
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|fds| (fds.count() as u64).saturating_sub(1)),
            max_fds: max_fds(&limits),
            resident_bytes: status_number(&status, "VmRSS:").map(|kib| kib * 1024),
            threads: status_number(&status, "Threads:"),
            cpu_seconds: cpu_seconds(&stat),
        }
    }
}

fn status_number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok() // `unlimited` is no number
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The program's name may have spaces and brackets; what follows has none.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let (user, system) = (ticks.next()??, ticks.next()??);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let status = "Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t7\n";
        assert_eq!(status_number(status, "VmRSS:"), Some(1234));
        assert_eq!(status_number(status, "Threads:"), Some(7));
        assert_eq!(status_number(status, "VmSwap:"), None);
        let limits = "Limit   Soft Limit  Hard Limit Units\nMax open files   1024   4096   files\n";
        assert_eq!(max_fds(limits), Some(1024));
        let stat = "77 (a) b) c) S 1 77 77 0 -1 4194304 1 0 0 0 250 150 0 0 20 0 1 0 1 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::now();
        assert!(usage.open_fds.is_some_and(|fds| fds > 0));
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 64 * 1024));
        assert!(usage.threads.is_some_and(|threads| threads > 0));
    }
}
