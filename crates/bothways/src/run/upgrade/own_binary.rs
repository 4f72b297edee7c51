//! The path of the binary that runs, by which its successor is started.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The path by which this process was started. Ask at the start: later the file may have been replaced.
///
/// It is the path as it was called, not where symbolic links lead: they may lead to another version then.
pub(in super::super) fn find() -> io::Result<PathBuf> {
    let running = std::env::current_exe()?;
    Ok(as_called(std::env::args_os().next(), std::env::var_os("PATH"), &running).unwrap_or(running))
}

fn as_called(called: Option<OsString>, path: Option<OsString>, running: &Path) -> Option<PathBuf> {
    let called = PathBuf::from(called?);
    let candidates = match called.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => vec![called],
        _ => std::env::split_paths(&path?).map(|directory| directory.join(&called)).collect(),
    };
    let absolute = candidates.iter().filter_map(|path| std::path::absolute(path).ok());
    absolute.into_iter().find(|path| is_same_file(path, running))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().map(|of| (of.dev(), of.ino())).ok();
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn links_stay() {
        let scratch = std::env::temp_dir().join(format!("bothways-own-{}", std::process::id()));
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(scratch.join("bin")).unwrap();
        let real = scratch.join("bothways-1");
        fs::write(&real, "").unwrap();
        fs::write(scratch.join("other"), "").unwrap();
        let link = scratch.join("bin/bothways");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let check = |called: &str, expected: Option<&Path>| {
            let path = std::env::join_paths([scratch.as_path(), &scratch.join("bin")]).unwrap();
            let found = as_called(Some(called.into()), Some(path), &real);
            assert_eq!(found.as_deref(), expected, "{called}");
        };
        check(link.to_str().unwrap(), Some(&link));
        check("bothways", Some(&link));
        check("bothways-1", Some(&real));
        check(scratch.join("other").to_str().unwrap(), None);
        check("other", None);
        check("missing", None);
        fs::remove_dir_all(&scratch).unwrap();
    }
}
