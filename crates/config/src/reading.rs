//! Files that a configuration names.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// A file, or its first `bytes_max` bytes and one more, which tells that there are too many. To open a pipe
/// would wait for its other end, so pipes are refused.
pub fn read_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if kind.is_fifo() || kind.is_socket() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "12345").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let read = |name: &str, bytes_max| read_file(&path(name), bytes_max);
        assert_eq!(read("file", 5).unwrap(), b"12345");
        assert_eq!(read("file", 3).unwrap(), b"1234");
        assert_eq!(read("socket", 3).unwrap_err().to_string(), "it is not a regular file");
        assert_eq!(read("", 3).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read("none", 3).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read_file(Path::new("/dev/zero"), 9).unwrap().len(), 10);
    }
}
