//! The target of an access log: a stream, or one datagram a line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::thread;
use std::time::{Duration, Instant};

use config::LogTarget;

use super::datagrams::Datagrams;
pub(crate) use super::datagrams::JOURNAL_END;

/// The mode of the file: its owner may read and write, its group may read.
const FILE_MODE: u32 = 0o640;
/// How long to wait for a target that takes nothing for now (a full pipe that does not block).
const PATIENCE: Duration = Duration::from_secs(1);
const NAP: Duration = Duration::from_millis(2);
/// The time between two warnings about a failure that lasts.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The target of the access log.
pub(crate) struct Sink {
    out: Output,
    /// For messages.
    name: String,
    /// Whether the last thing written was a part of a line.
    torn: bool,
    failure: Option<WriteFailure>,
}

/// A target that cannot be written to.
struct WriteFailure {
    warned_at: Option<Instant>,
    lines_lost: u64,
}

/// Where lines go.
enum Output {
    Nowhere,
    /// One behind the other.
    Stream(Box<dyn Write + Send>),
    /// One datagram each.
    Datagrams(Datagrams),
}

impl Sink {
    /// Opens a target.
    pub(crate) fn open(target: &LogTarget) -> io::Result<Self> {
        // Standard streams by descriptors of our own: without the buffer of `std`, whose locks
        // others hold.
        let (out, name) = match target {
            LogTarget::Off => (Output::Nowhere, "off".to_owned()),
            LogTarget::Stdout => {
                let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                (Output::Stream(Box::new(out)), "stdout".to_owned())
            }
            LogTarget::Stderr => {
                let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
                (Output::Stream(Box::new(out)), "stderr".to_owned())
            }
            LogTarget::File(path) => {
                let mut options = OpenOptions::new();
                // To open a pipe that nothing reads would wait for its reader.
                if fs::metadata(path).is_ok_and(|of| of.file_type().is_fifo()) {
                    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
                    let asked = OpenOptions::new().write(true).custom_flags(flags).open(path);
                    asked.map_err(|error| match error.raw_os_error() {
                        Some(number) if number == rustix::io::Errno::NXIO.raw_os_error() => {
                            io::Error::other("nothing reads this pipe")
                        }
                        _ => error,
                    })?;
                }
                let out = options.append(true).create(true).mode(FILE_MODE).open(path)?;
                (Output::Stream(Box::new(out)), path.display().to_string())
            }
            LogTarget::Journald => {
                (Output::Datagrams(Datagrams::journald()?), "journald".to_owned())
            }
            LogTarget::Syslog(None) => {
                (Output::Datagrams(Datagrams::local_syslog()?), "syslog".to_owned())
            }
            LogTarget::Syslog(Some(address)) => {
                let out = Datagrams::remote_syslog(address)?;
                (Output::Datagrams(out), format!("syslog:udp:{address}"))
            }
        };
        Ok(Self { out, name, torn: false, failure: None })
    }

    /// Why a target could not be opened, without creating or changing anything.
    pub(crate) fn problem(target: &LogTarget) -> Option<String> {
        let path = match target {
            LogTarget::Off | LogTarget::Stdout | LogTarget::Stderr => return None,
            LogTarget::File(path) => path,
            LogTarget::Journald | LogTarget::Syslog(_) => {
                return Self::open(target).err().map(|error| error.to_string());
            }
        };
        // Opening a pipe would wait for its reader.
        let is_plain = |path: &std::path::Path| fs::metadata(path).is_ok_and(|of| of.is_file());
        if path.is_dir() {
            return Some("it is a directory".to_owned());
        }
        if is_plain(path) {
            return OpenOptions::new().append(true).open(path).err().map(|e| e.to_string());
        }
        if path.exists() {
            return None;
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(std::path::Path::new("."));
        match fs::metadata(directory) {
            Ok(of) if of.is_dir() => None,
            Ok(_) => Some(format!("`{}` is not a directory", directory.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Some(format!("there is no directory `{}`", directory.display()))
            }
            Err(error) => Some(error.to_string()),
        }
    }

    #[cfg(test)]
    pub(super) fn new(out: Option<Box<dyn Write + Send>>, name: String) -> Self {
        let out = out.map_or(Output::Nowhere, Output::Stream);
        Self { out, name, torn: false, failure: None }
    }

    /// Writes whole lines; returns how many of them were written.
    pub(crate) fn write_lines(&mut self, bytes: &[u8], lines: u64) -> u64 {
        let out = match &mut self.out {
            Output::Nowhere => return 0,
            Output::Stream(out) => out,
            Output::Datagrams(out) => {
                let (sent, outcome) = out.send_all(bytes);
                match outcome {
                    Ok(()) => self.recovered(),
                    Err(error) => self.failed(&error, lines - sent.min(lines)),
                }
                return sent.min(lines);
            }
        };
        if self.torn {
            // Ends the torn line, so that it does not swallow the next one as well.
            if let Err((_, error)) = write_all(out, b"\n") {
                self.failed(&error, lines);
                return 0;
            }
            self.torn = false;
        }
        match write_all(out, bytes) {
            Ok(()) => {
                self.recovered();
                lines
            }
            Err((length, error)) => {
                let written = bytes.get(..length).unwrap_or_default();
                let lines_written = memchr::memchr_iter(b'\n', written).count() as u64;
                self.torn = written.last().is_some_and(|last| *last != b'\n');
                self.failed(&error, lines - lines_written.min(lines));
                lines_written.min(lines)
            }
        }
    }

    fn failed(&mut self, error: &io::Error, lines: u64) {
        let now = Instant::now();
        let failure = self.failure.get_or_insert(WriteFailure { warned_at: None, lines_lost: 0 });
        failure.lines_lost += lines;
        let is_due = failure.warned_at.is_none_or(|at| now.duration_since(at) >= WARNING_INTERVAL);
        if is_due {
            failure.warned_at = Some(now);
            let (log, lines_lost) = (&self.name, failure.lines_lost);
            tracing::warn!(log, %error, lines_lost, "cannot write the access log; lines are lost");
        }
    }

    fn recovered(&mut self) {
        if let Some(WriteFailure { lines_lost, .. }) = self.failure.take() {
            tracing::warn!(log = self.name, lines_lost, "the access log is written again");
        }
    }
}

/// Writes all; an error comes with the number of bytes written before.
fn write_all(out: &mut Box<dyn Write + Send>, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    let mut waiting_since = None;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(length) => {
                written += length;
                waiting_since = None;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let since = *waiting_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= PATIENCE {
                    return Err((written, error));
                }
                thread::sleep(NAP);
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}
