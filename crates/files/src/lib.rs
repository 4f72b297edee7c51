//! Files of a directory, as answers: whole or in part, new or not modified.
//!
//! [`answer`] finds what a path means below the directory, judges the request's conditions and
//! ranges (RFC 9110, sections 13 and 14) and gives an [`Answer`]. Its body, if it is a file, is
//! read piece by piece ([`FileBody::read`]) as it is sent. Opening and reading happen at once
//! where the kernel has everything at hand, and on a thread for blocking work where it does not,
//! so that a slow disk delays no other request.
//! Not here: sending. Invariant: nothing outside of the directory is ever opened, whatever the
//! path and whatever links there are; names that begin with a dot are not served.

mod conditions;
mod content_type;
mod find;
mod listing;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use config::FileServing;
use message::{Method, Request};
use rustix::io::{Errno, ReadWriteFlags};

use conditions::{Decision, FileValidators};
use find::{DiskWait, FilePath, Lookup, OpenFile, find};

/// A request for a file.
pub struct FileRequest<'a> {
    /// What is served, and how.
    pub serving: &'a FileServing,
    /// The request.
    pub request: &'a Request,
    /// The path below the directory: without dot segments, rewritten as the route says, without
    /// query.
    pub path: &'a [u8],
    /// What a directory is answered with.
    pub directories: Directories,
    /// The time of the answer.
    pub now: SystemTime,
}

/// What a directory is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directories {
    /// Named without its slash, by a redirect.
    Redirect,
    /// The same, if something is served there; else it is missing, so that others may answer.
    RedirectIfServed,
    /// Named without its slash, it is missing; the path is one of several, and `fallback` is none of them.
    Missing,
    /// The same; but the client has named it without the slash that `path` has, and is redirected if something is served there.
    Added,
}

/// The answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names and values, without what the length says.
    pub fields: Vec<(&'static str, String)>,
    /// The body's length, also where HEAD asks and `body` is empty; `None`: there is no body.
    pub length: Option<u64>,
    /// The body.
    pub body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// There is none.
    Empty,
    /// A page or a few words.
    Text(Vec<u8>),
    /// A file, or a part of one.
    File(FileBody),
}

/// Why there is no answer with a file.
#[derive(Debug)]
pub enum FileError {
    /// No file has such a path, or none that is served.
    NotFound,
    /// The operating system does not let us read it.
    Denied,
    /// It cannot be opened or read; the cause may be a lack of ours, such as open files.
    Failed(io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Failed(error),
        }
    }
}

/// Finds the answer to a request for a file.
pub async fn answer(asked: &FileRequest<'_>) -> Result<Answer, FileError> {
    let method = &asked.request.method;
    if !matches!(method, Method::Get | Method::Head) {
        let allow = ("Allow", "GET, HEAD".to_owned());
        return Ok(Answer::text(405, vec![allow], "only GET and HEAD are allowed here\n"));
    }
    let wanted = FilePath::parse(asked.path).ok_or(FileError::NotFound)?;
    let directories = asked.directories;
    let found = match find(asked.serving, &wanted, directories, DiskWait::Never) {
        Err(Errno::AGAIN) => find_in_background(asked.serving, wanted, directories).await,
        found => found.map_err(io::Error::from),
    };
    let answer = match found? {
        Lookup::File(_) | Lookup::Listing(_) if directories == Directories::Added => {
            redirect(asked)
        }
        Lookup::File(file) => of_file(asked, file),
        Lookup::Directory => redirect(asked),
        Lookup::Listing(entries) => {
            let page = listing::page(asked.request.target.path(), &entries);
            let content_type = ("Content-Type", "text/html; charset=utf-8".to_owned());
            Answer::text(200, vec![content_type], page)
        }
        Lookup::Missing => return Err(FileError::NotFound),
    };
    Ok(if *method == Method::Head { Answer { body: Body::Empty, ..answer } } else { answer })
}

async fn find_in_background(
    serving: &FileServing,
    wanted: FilePath,
    directories: Directories,
) -> io::Result<Lookup> {
    let serving = serving.clone();
    let found = tokio::task::spawn_blocking(move || {
        find(&serving, &wanted, directories, DiskWait::Allowed)
    });
    Ok(found.await.map_err(io::Error::other)??)
}

impl Answer {
    fn text(
        status: u16,
        mut fields: Vec<(&'static str, String)>,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let body = body.into();
        if !fields.iter().any(|(name, _)| *name == "Content-Type") {
            fields.push(("Content-Type", "text/plain; charset=utf-8".to_owned()));
        }
        Self { status, fields, length: Some(body.len() as u64), body: Body::Text(body) }
    }
}

/// A directory without its slash: relative links in its pages would lead to its parent.
fn redirect(asked: &FileRequest<'_>) -> Answer {
    let target = &asked.request.target;
    // One slash at the start: `//name/` would be another host (RFC 3986, section 4.2).
    let mut location = format!("/{}/", target.path().trim_matches('/'));
    if let Some(query) = target.query() {
        location.push('?');
        location.push_str(query);
    }
    Answer::text(301, vec![("Location", location)], "the directory has a slash at its end\n")
}

fn of_file(asked: &FileRequest<'_>, file: OpenFile) -> Answer {
    let validators = FileValidators::of(&file, asked.now);
    let mut fields =
        vec![("ETag", validators.etag().to_owned()), ("Last-Modified", validators.last_modified())];
    let size = file.size;
    let (status, start, length) = match conditions::judge(asked.request, &validators, size) {
        Decision::NotModified => {
            return Answer { status: 304, fields, length: None, body: Body::Empty };
        }
        Decision::Failed => return Answer::text(412, fields, "the file is not what you expect\n"),
        Decision::Unsatisfiable => {
            // RFC 9110, section 15.5.17
            fields.push(("Content-Range", format!("bytes */{size}")));
            return Answer::text(416, fields, "the file does not reach so far\n");
        }
        Decision::Whole => (200, 0, size),
        Decision::Part { first, last } => {
            fields.push(("Content-Range", format!("bytes {first}-{last}/{size}")));
            (206, first, last - first + 1)
        }
    };
    fields.push(("Accept-Ranges", "bytes".to_owned()));
    fields.push(("Content-Type", content_type::of(&file.name).to_owned()));
    let body = Body::File(FileBody { file: Arc::new(file.file), at: start, left: length });
    Answer { status, fields, length: Some(length), body }
}

/// The part of a file that is left to send.
#[derive(Debug)]
pub struct FileBody {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl FileBody {
    /// Whether all of it was read.
    pub fn is_read(&self) -> bool {
        self.left == 0
    }

    /// Reads the next piece, of so many bytes at most, to the front of `into`, which grows to the size
    /// of a piece, and tells how long it is; 0 at the end. A file that has become shorter is an error: the response must
    /// not look complete.
    pub async fn read(&mut self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(most);
        if wanted == 0 {
            return Ok(0);
        }
        if into.len() < wanted {
            into.resize(wanted, 0);
        }
        let count = match self.read_cached(into.get_mut(..wanted).unwrap_or_default()) {
            Some(read) => read?,
            None => self.read_in_background(into, wanted).await?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }

    /// Reads what is in memory; `None` if nothing is, or if the file system does not know.
    fn read_cached(&self, into: &mut [u8]) -> Option<io::Result<usize>> {
        let mut into = [IoSliceMut::new(into)];
        match rustix::io::preadv2(&*self.file, &mut into, self.at, ReadWriteFlags::NOWAIT) {
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => {
                None
            }
            read => Some(read.map_err(io::Error::from)),
        }
    }

    async fn read_in_background(&self, into: &mut Vec<u8>, wanted: usize) -> io::Result<usize> {
        let (file, at) = (self.file.clone(), self.at);
        let mut lent = std::mem::take(into);
        let read = tokio::task::spawn_blocking(move || {
            let read = file.read_at(lent.get_mut(..wanted).unwrap_or_default(), at);
            (read, lent)
        });
        let (read, lent) = read.await.map_err(io::Error::other)?;
        *into = lent;
        read
    }
}
