//! What a path means below a directory.
//!
//! The kernel resolves the path with `RESOLVE_BENEATH`: neither `..` nor a link leads out. A link with
//! an absolute target is followed if it ends below the directory: the path that it leads to, which has
//! no links, is opened in the same way. Where the kernel lacks that, each part is opened on its own and
//! links are not followed at all.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use config::FileServing;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Directories;
use super::listing::{self, Entry};

/// Tries at a resolution that a concurrent rename disturbed.
const TRIES_MAX: usize = 4;

/// A path below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePath {
    /// Without a slash at either end; empty: the directory itself.
    path: PathBuf,
    /// Whether it ended with a slash.
    directory: bool,
}

impl FilePath {
    /// Parses a path and decodes it, for the last time. `None`: no file has such a path.
    pub(super) fn parse(path: &[u8]) -> Option<Self> {
        let segments = path.strip_prefix(b"/")?;
        let mut decoded = Vec::with_capacity(segments.len());
        let (parents, last) = match segments.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (segments.get(..slash), segments.get(slash + 1..).unwrap_or_default()),
            None => (None, segments),
        };
        let names = parents.into_iter().flat_map(|parents| parents.split(|&byte| byte == b'/'));
        for segment in names.chain(Some(last).filter(|last| !last.is_empty())) {
            if !decoded.is_empty() {
                decoded.push(b'/');
            }
            let start = decoded.len();
            percent_decode(segment, &mut decoded)?;
            if !may_be_served(decoded.get(start..).unwrap_or_default()) {
                return None;
            }
        }
        let path = PathBuf::from(std::ffi::OsString::from_vec(decoded));
        Some(Self { path, directory: last.is_empty() })
    }
}

fn percent_decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let value = digits
                .iter()
                .try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))?;
            out.push(u8::try_from(value).ok()?);
            rest = after;
        } else {
            out.push(byte);
        }
    }
    Some(())
}

/// True for names that are served: no separator of any system, no control byte, nothing hidden
/// (which is where `.` and `..`, `.git` and `.htpasswd` are), but for `.well-known` (RFC 8615).
pub(super) fn may_be_served(name: &[u8]) -> bool {
    let harmless = |byte: &u8| !matches!(byte, b'/' | b'\\') && !byte.is_ascii_control();
    !name.is_empty()
        && name.iter().all(harmless)
        && (!name.starts_with(b".") || name == b".well-known")
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Lookup {
    File(OpenFile),
    /// A directory, named without its slash.
    Directory,
    /// A directory without an index.
    Listing(Vec<Entry>),
    Missing,
}

/// A regular file, opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    /// Its name, for the type.
    pub(super) name: PathBuf,
    pub(super) size: u64,
    pub(super) modified: SystemTime,
    /// The same in nanoseconds, which distinguishes versions of the file.
    pub(super) modified_nanos: i128,
}

/// Whether to wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskWait {
    /// What is not in memory fails with [`Errno::AGAIN`].
    Never,
    Allowed,
}

/// Finds what a path means.
pub(super) fn find(
    serving: &FileServing,
    wanted: &FilePath,
    directories: Directories,
    wait: DiskWait,
) -> Result<Lookup, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match wait {
        DiskWait::Never => {
            open_at(CWD, &serving.root, flags, ResolveFlags::CACHED).map_err(|error| {
                // Without the call, nothing is known to be in memory.
                if is_unknown_call(error) { Errno::AGAIN } else { error }
            })?
        }
        DiskWait::Allowed => rustix::fs::openat(CWD, &serving.root, flags, Mode::empty())?,
    };
    let found = match find_below(root.as_fd(), serving, wanted, wait) {
        Err(error) if is_missing(error) => Lookup::Missing,
        found => found?,
    };
    let found = match (found, directories) {
        (Lookup::Directory, Directories::Missing | Directories::Added) => Lookup::Missing,
        (Lookup::Directory, Directories::RedirectIfServed) => {
            let inside = FilePath { directory: true, path: wanted.path.clone() };
            match find_below(root.as_fd(), serving, &inside, wait) {
                Err(error) if is_missing(error) => Lookup::Missing,
                Ok(Lookup::Missing) => Lookup::Missing,
                Err(error) => return Err(error),
                Ok(_) => Lookup::Directory,
            }
        }
        (found, _) => found,
    };
    let is_one_of_several = matches!(directories, Directories::Missing | Directories::Added);
    match (found, serving.fallback.as_ref().filter(|_| !is_one_of_several)) {
        (Lookup::Missing, Some(fallback)) => {
            let name = Path::new(fallback.trim_start_matches('/'));
            match open_file(root.as_fd(), name, wait) {
                Ok(Some(file)) => Ok(Lookup::File(file)),
                Ok(None) => Ok(Lookup::Missing),
                Err(error) if is_missing(error) => Ok(Lookup::Missing),
                Err(error) => Err(error),
            }
        }
        (found, _) => Ok(found),
    }
}

fn find_below(
    root: BorrowedFd<'_>,
    serving: &FileServing,
    wanted: &FilePath,
    wait: DiskWait,
) -> Result<Lookup, Errno> {
    if !wanted.directory {
        let file = open_file(root, &wanted.path, wait)?;
        return Ok(file.map_or(Lookup::Directory, Lookup::File));
    }
    for index in &serving.index {
        match open_file(root, &wanted.path.join(&**index), wait) {
            Ok(Some(file)) => return Ok(Lookup::File(file)),
            Ok(None) => {}
            Err(error) if is_missing(error) => {}
            Err(error) => return Err(error),
        }
    }
    match (serving.listing, wait) {
        (false, _) => Ok(Lookup::Missing),
        (true, DiskWait::Never) => Err(Errno::AGAIN),
        (true, DiskWait::Allowed) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let directory = open_beneath(root, &wanted.path, flags, wait)?;
            Ok(Lookup::Listing(listing::entries(directory.as_fd())?))
        }
    }
}

/// Opens a regular file; `None` for a directory. Other things (sockets, devices) are missing.
fn open_file(root: BorrowedFd<'_>, path: &Path, wait: DiskWait) -> Result<Option<OpenFile>, Errno> {
    // Without blocking, so that a FIFO cannot hold us.
    let file = open_beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, wait)?;
    let stat = rustix::fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Ok(None),
        _ => return Err(Errno::NOENT),
    }
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let since_epoch = Duration::new(u64::try_from(stat.st_mtime).unwrap_or(0), nanos);
    Ok(Some(OpenFile {
        file: File::from(file),
        name: path.to_owned(),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified: SystemTime::UNIX_EPOCH + since_epoch,
        modified_nanos: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(nanos),
    }))
}

/// Whether an error means that no file has this path.
fn is_missing(error: Errno) -> bool {
    matches!(
        error,
        // XDEV: it would have left the directory. NXIO: a socket or a FIFO.
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::NXIO
    )
}

/// Opens a path below a directory, without ever leaving it.
pub(super) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    wait: DiskWait,
) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let resolve = match wait {
        DiskWait::Never => resolve | ResolveFlags::CACHED,
        DiskWait::Allowed => resolve,
    };
    let tries = if wait == DiskWait::Allowed { TRIES_MAX } else { 1 };
    for _ in 0..tries {
        match open_at(root, path, flags, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) if is_unknown_call(error) => {
                return open_by_parts(root, path, flags, wait);
            }
            Err(Errno::XDEV) => return open_link_target(root, path, flags, wait),
            opened => return opened,
        }
    }
    Err(if wait == DiskWait::Never { Errno::AGAIN } else { Errno::NOENT })
}

/// Opens the target of a path with an absolute link in it, if that is below the directory.
fn open_link_target(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    wait: DiskWait,
) -> Result<OwnedFd, Errno> {
    let resolve = match wait {
        DiskWait::Never => ResolveFlags::NO_MAGICLINKS | ResolveFlags::CACHED,
        DiskWait::Allowed => ResolveFlags::NO_MAGICLINKS,
    };
    let root_path = real_path(root)?;
    let mut below = PathBuf::new();
    let mut prefix = PathBuf::new();
    // Each part must lead inside, so that nothing is learned of what is outside.
    for part in path.components() {
        prefix.push(part);
        // Nothing can be read by this descriptor, wherever it leads.
        let end = open_at(root, &prefix, OFlags::PATH | OFlags::CLOEXEC, resolve)?;
        let end = real_path(end.as_fd())?;
        below = end.strip_prefix(&root_path).map_err(|_| Errno::XDEV)?.to_owned();
    }
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { &*below };
    // The path may have changed meanwhile, but what it leads to is below the directory.
    let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    open_at(root, below, flags, resolve)
}

/// The path of a descriptor, without links.
fn real_path(of: BorrowedFd<'_>) -> Result<PathBuf, Errno> {
    let link = format!("/proc/self/fd/{}", of.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new()).map_err(|_| Errno::XDEV)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes())))
}

/// Whether there is no `openat2`: kernels before 5.6, sandboxes (`RestrictSUIDSGID=` of systemd).
fn is_unknown_call(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::PERM)
}

fn open_at(
    at: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(at, path, flags, Mode::empty(), resolve)
}

/// Opens a path part by part, following no links.
fn open_by_parts(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    wait: DiskWait,
) -> Result<OwnedFd, Errno> {
    if wait == DiskWait::Never {
        return Err(Errno::AGAIN);
    }
    let mut at: Option<OwnedFd> = None;
    let mut parts = path.as_os_str().as_bytes().split(|&byte| byte == b'/').peekable();
    while let Some(part) = parts.next() {
        if part == b".." {
            return Err(Errno::XDEV);
        }
        let flags = match parts.peek() {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            None => flags,
        };
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        let name = OsStr::from_bytes(part);
        at = Some(rustix::fs::openat(from, name, flags | OFlags::NOFOLLOW, Mode::empty())?);
    }
    at.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        #[track_caller]
        fn check(path: &str, expected: Option<(&str, bool)>) {
            let expected =
                expected.map(|(path, directory)| FilePath { path: path.into(), directory });
            assert_eq!(FilePath::parse(path.as_bytes()), expected, "{path}");
        }
        check("/", Some(("", true)));
        check("/a", Some(("a", false)));
        check("/a/", Some(("a", true)));
        check("/a/b%20c", Some(("a/b c", false)));
        check("/%C3%A4", Some(("\u{e4}", false)));
        check("/%2525", Some(("%25", false))); // decoded once
        check("/.well-known/acme", Some((".well-known/acme", false)));
        check("/a..b/c.", Some(("a..b/c.", false)));
        for refused in [
            "",
            "*",
            "a",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/..",
            "/../a",
            "/a/..",
            "/.",
            "/./a",
            "/%2e%2e/a",
            "/.%2e/a",
            "/a%2fb",
            "/a%2F..%2Fb",
            "/a%5Cb",
            "/a\\b",
            "/a%00b",
            "/a%0A",
            "/.git/config",
            "/a/.htpasswd",
            "/.well-known2",
            "/%",
            "/%4",
            "/%zz",
            "/%+4",
        ] {
            check(refused, None);
        }
    }

    #[test]
    fn the_way_without_the_kernels_help_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/c"), "inside").unwrap();
        std::fs::write(directory.path().join("secret"), "outside").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        std::os::unix::fs::symlink("b", root.join("a/l")).unwrap();
        let opened = File::open(&root).unwrap();
        let by_parts = |path: &str| {
            open_by_parts(opened.as_fd(), Path::new(path), OFlags::RDONLY, DiskWait::Allowed)
                .is_ok()
        };
        let by_kernel = |path: &str| {
            let wait = DiskWait::Allowed;
            open_beneath(opened.as_fd(), Path::new(path), OFlags::RDONLY, wait).is_ok()
        };
        assert!(by_parts("a/b/c") && by_kernel("a/b/c"));
        for outside in ["link", "up/secret", "../secret", "a/../../secret"] {
            assert!(!by_parts(outside) && !by_kernel(outside), "{outside}");
        }
        // A link that stays inside is followed by the kernel only.
        assert!(!by_parts("a/l/c") && by_kernel("a/l/c"));
    }

    #[test]
    fn links_are_followed_that_end_inside() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, directory.path().join(name)).unwrap();
        };
        std::fs::create_dir_all(root.join("releases/2")).unwrap();
        std::fs::create_dir_all(directory.path().join("root2")).unwrap();
        std::fs::write(root.join("releases/2/c"), "inside").unwrap();
        std::fs::write(directory.path().join("root2/c"), "outside").unwrap();
        // The directory itself may be a link, and links may name it so.
        link(&root, "www");
        link(&root.join("releases/2"), "root/current");
        link(&directory.path().join("www/releases/2"), "root/by-alias");
        link(&root.join("current"), "root/chain");
        link(Path::new("current"), "root/relative");
        link(&root.join("releases/2/c"), "root/file");
        link(&root, "root/self");
        link(&directory.path().join("root2"), "root/out");
        link(&root.join("out/c"), "root/out-chain");
        link(Path::new("../root2"), "root/out-relative");
        link(&root.join("../root2/c"), "root/out-dots");
        link(Path::new("/proc/self/root/etc"), "root/magic");
        link(Path::new("/etc/passwd"), "root/passwd");
        link(&root.join("loop"), "root/loop");
        link(&root.join("gone"), "root/dangling");
        for named in [&root, &directory.path().join("www")] {
            let opened = File::open(named).unwrap();
            let read = |path: &str| {
                let flags = OFlags::RDONLY;
                let patiently = DiskWait::Allowed;
                let file = open_beneath(opened.as_fd(), Path::new(path), flags, patiently).ok()?;
                std::io::read_to_string(File::from(file)).ok()
            };
            for inside in [
                "current/c",
                "by-alias/c",
                "chain/c",
                "relative/c",
                "file",
                "self/current/c",
                "self/self/file",
            ] {
                assert_eq!(read(inside).as_deref(), Some("inside"), "{inside}");
            }
            for outside in [
                "out/c",
                "out-chain",
                "out-relative/c",
                "out-dots",
                "magic/passwd",
                "passwd",
                "loop",
                "dangling",
            ] {
                assert_eq!(read(outside), None, "{outside}");
            }
        }
    }
}
