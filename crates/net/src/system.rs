//! What the process asks of the machine: cores, and how many files it may open.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may run on, by their numbers. Empty if the kernel does not say.
fn allowed_cores() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
}

/// How many cores this process may run on; at least one. Ask before any thread is pinned.
pub fn usable_cores() -> usize {
    // Quotas of a control group count too, which only the standard library looks up.
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

/// Keeps the calling thread on the core with this index among those that it may run on (beyond the last, it
/// starts again at the first). To be called once per thread, with the process's mask still in force.
pub fn pin_to_core(index: usize) -> io::Result<()> {
    let allowed = allowed_cores();
    let core = index.checked_rem(allowed.len()).and_then(|place| allowed.get(place));
    let Some(core) = core else { return Err(io::ErrorKind::Unsupported.into()) };
    let mut only = CpuSet::new();
    only.set(*core);
    Ok(sched_setaffinity(None, &only)?)
}

/// How many files may be open.
static FILES_MAX: AtomicU64 = AtomicU64::new(1024);

/// How many files may be open, once [`raise_open_files_limit`] has been called.
pub fn open_files_limit() -> u64 {
    FILES_MAX.load(Ordering::Relaxed)
}

/// Whether an error says what this process or machine lacks: files, memory, ports, a family of addresses. It tells
/// nothing of the peer.
pub fn is_our_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    is_shortage(error)
        || [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether files or memory have run out, which no other address or peer would change.
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    ours.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Raises the number of files that may be open to the most that is allowed without privilege; answers it.
pub fn raise_open_files_limit() -> io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    let files = limit.current.unwrap_or(u64::MAX);
    FILES_MAX.store(files, Ordering::Relaxed);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_and_files() {
        assert!(usable_cores() >= 1);
        assert!(raise_open_files_limit().unwrap() > 0);
        std::thread::spawn(|| {
            pin_to_core(usize::MAX).unwrap();
            assert_eq!(allowed_cores().len(), 1);
            pin_to_core(5).unwrap();
        })
        .join()
        .unwrap();
    }
}
