//! The page of a directory without index.

use std::fmt::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use super::find::{DiskWait, may_be_served, open_beneath};

/// Entries that are listed; the page says so if there are more.
const ENTRIES_MAX: usize = 5000;

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Directories are sorted before files.
    is_file: bool,
    name: Vec<u8>,
    size: u64,
}

/// What a directory has that is served, sorted.
pub(super) fn entries(directory: BorrowedFd<'_>) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !may_be_served(name) {
            continue;
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(name));
        let Ok(mut stat) = rustix::fs::statat(directory, path, AtFlags::SYMLINK_NOFOLLOW) else {
            continue; // it has gone
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            // Where it leads to something that we would serve, that is what is listed.
            let opened = open_beneath(directory, path, OFlags::PATH, DiskWait::Allowed);
            match opened.and_then(rustix::fs::fstat) {
                Ok(target) => stat = target,
                Err(_) => continue,
            }
        }
        let is_file = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => true,
            FileType::Directory => false,
            _ => continue,
        };
        if entries.len() > ENTRIES_MAX {
            break;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        entries.push(Entry { is_file, name: name.to_vec(), size });
    }
    entries.sort_unstable();
    Ok(entries)
}

/// The page. `path` is the canonical path that the client asked for.
pub(super) fn page(path: &str, entries: &[Entry]) -> String {
    let mut page = String::with_capacity(600 + entries.len() * 100);
    let title = escape_html(path);
    // Writing to a String does not fail, so that the results say nothing.
    let _ = write!(
        page,
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <style>body{{font:16px/1.6 system-ui,sans-serif;max-width:50em;margin:2em auto;padding:0 1em}}\
         td:last-child{{text-align:right;padding-left:2em}}a{{overflow-wrap:anywhere}}</style>\n\
         <h1>{title}</h1>\n<table>\n"
    );
    if path != "/" {
        page.push_str("<tr><td><a href=\"../\">../</a><td>\n");
    }
    for entry in entries.iter().take(ENTRIES_MAX) {
        let slash = if entry.is_file { "" } else { "/" };
        let name = String::from_utf8_lossy(&entry.name);
        let (link, name) = (escape_segment(&entry.name), escape_html(&name));
        // `./`: else a colon in a name would make a scheme of what stands before it.
        let _ = write!(page, "<tr><td><a href=\"./{link}{slash}\">{name}{slash}</a><td>");
        if entry.is_file {
            push_size(&mut page, entry.size);
        }
        page.push('\n');
    }
    page.push_str("</table>\n");
    if entries.len() > ENTRIES_MAX {
        let _ = writeln!(page, "<p>Only {ENTRIES_MAX} entries are listed.</p>");
    }
    page
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A name as a path segment (RFC 3986, section 3.3), safe in an attribute too.
fn escape_segment(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for &byte in name {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn push_size(out: &mut String, bytes: u64) {
    let _ = match bytes {
        0..1024 => write!(out, "{bytes} B"),
        1024..1_048_576 => write!(out, "{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => write!(out, "{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => write!(out, "{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    };
}
