//! Stories of the writer: a target that fills up, hangs, breaks, moves away.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use config::{AccessFormat, LogTarget};

use super::fixture;
use crate::sink::Sink;
use crate::{AccessLog, AccessLogs, AccessWriter, LogCounters, LogProblem, Names, Record, Scope};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bothways-observe-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One core with its log, and what it writes.
struct Core {
    log: AccessLog,
    record: Record,
    names: Names,
    logs: Arc<AccessLogs>,
}

impl Core {
    fn new(writer: &AccessWriter, logs: &Arc<AccessLogs>) -> Self {
        let (names, logs) = (fixture::names(), Arc::clone(logs));
        Self { log: writer.core_log(), record: fixture::reverse(Instant::now()), names, logs }
    }

    fn write(&mut self) {
        self.log.write(&self.record, &self.names, &self.logs);
    }

    /// Writes lines with these texts, and hands them over as one chunk.
    fn chunk(&mut self, texts: &[&str]) {
        for text in texts {
            self.record.user_agent.set(text);
            self.write();
        }
        self.log.flush();
    }
}

fn start() -> (AccessWriter, Arc<LogCounters>) {
    let counters = Arc::new(LogCounters::default());
    (AccessWriter::start(1, Arc::clone(&counters)).unwrap(), counters)
}

/// Opens one log for everything.
fn open(
    writer: &AccessWriter,
    target: &LogTarget,
    format: AccessFormat,
) -> Result<Arc<AccessLogs>, LogProblem> {
    writer.targets().open(&fixture::config_with_log(target, format))
}

/// The same, to a file in JSON.
fn open_file(writer: &AccessWriter, path: &Path) -> Arc<AccessLogs> {
    open(writer, &LogTarget::File(path.to_owned()), AccessFormat::Json).unwrap()
}

/// One log whose lines go to this.
fn opened_with(writer: &AccessWriter, sink: Sink, format: AccessFormat) -> Arc<AccessLogs> {
    let logs = open(writer, &LogTarget::File("/dev/null".into()), format).unwrap();
    *logs.target(0).unwrap().sink.lock().unwrap() = sink;
    logs
}

fn agents(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let agent = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["user_agent"].as_str().unwrap().to_owned()
    };
    text.lines().map(agent).collect()
}

/// A target that takes nothing until it is let.
struct Hanging {
    entered: Sender<()>,
    released: Receiver<()>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Write for Hanging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.send(());
        let _ = self.released.recv();
        self.taken.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_find_no_room_are_dropped_and_counted() {
    let counters = Arc::new(LogCounters::default());
    let (entered, entering) = channel();
    let (release, released) = channel();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let hanging = Hanging { entered, released, taken: Arc::clone(&taken) };
    let sink = Sink::new(Some(Box::new(hanging)), "hanging".into());
    let writer = AccessWriter::start(1, counters.clone()).unwrap();
    let logs = opened_with(&writer, sink, AccessFormat::Combined);
    let mut core = Core::new(&writer, &logs);
    core.chunk(&["first"]);
    entering.recv_timeout(PATIENCE).unwrap(); // the writer hangs in it
    (1..64).for_each(|_| core.chunk(&["queued"]));
    assert_eq!(counters.dropped_queue_full(), 0);
    core.chunk(&["lost", "lost"]);
    core.chunk(&["lost"]);
    assert_eq!(counters.dropped_queue_full(), 3);
    assert!(!writer.sync(Duration::from_millis(1)), "nothing was written yet");

    drop(release);
    assert!(writer.sync(PATIENCE));
    core.chunk(&["last"]); // there is room again
    assert!(writer.shutdown(PATIENCE));
    assert_eq!((counters.written(), counters.dropped_queue_full()), (65, 3));
    let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 65);
    assert!(text.lines().next().is_some_and(|line| line.ends_with("\"first\"")));
    assert!(text.lines().last().is_some_and(|line| line.ends_with("\"last\"")));
    assert!(!text.contains("lost"));
}

#[test]
fn a_target_that_hangs_does_not_hold_up_the_end() {
    let (entered, entering) = channel();
    let (_release, released) = channel();
    let hanging = Hanging { entered, released, taken: Arc::default() };
    let sink = Sink::new(Some(Box::new(hanging)), "hanging".into());
    let writer = AccessWriter::start(1, Arc::default()).unwrap();
    let logs = opened_with(&writer, sink, AccessFormat::Json);
    Core::new(&writer, &logs).chunk(&["first"]);
    entering.recv_timeout(PATIENCE).unwrap();
    assert!(!writer.shutdown(Duration::from_millis(20)));
}

#[test]
fn everything_is_written_at_the_end() {
    let directory = Directory::new();
    let path = directory.file("access.log");
    let (writer, counters) = start();
    let logs = open_file(&writer, &path);
    let mut cores: Vec<Core> = (0..3).map(|_| Core::new(&writer, &logs)).collect();
    for core in &mut cores {
        for _ in 0..1_000 {
            core.write(); // chunks go when they are full
        }
    }
    drop(cores); // the last ones go with the core
    assert!(writer.shutdown(PATIENCE));
    assert_eq!(counters.written(), 3_000);
    assert_eq!(agents(&path).len(), 3_000);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777 & !0o640, 0, "{mode:o}");
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew() {
    let directory = Directory::new();
    let (path, moved) = (directory.file("access.log"), directory.file("access.log.1"));
    let (writer, counters) = start();
    let mut core = Core::new(&writer, &open_file(&writer, &path));
    core.chunk(&["one"]);
    assert!(writer.sync(PATIENCE));
    fs::rename(&path, &moved).unwrap();
    core.chunk(&["two"]); // still to the file it has open
    writer.reopen().unwrap();
    core.chunk(&["three"]);
    assert!(writer.sync(PATIENCE));
    assert_eq!(agents(&moved), ["one", "two"]);
    assert_eq!(agents(&path), ["three"]);
    // A file that cannot be opened leaves all as it is.
    fs::rename(&directory.0, directory.0.with_extension("away")).unwrap();
    assert!(writer.reopen().is_err());
    fs::rename(directory.0.with_extension("away"), &directory.0).unwrap();
    core.chunk(&["four"]);
    assert!(writer.shutdown(PATIENCE));
    assert_eq!(agents(&path), ["three", "four"]);
    assert_eq!(counters.written(), 4);
}

#[test]
fn a_reload_may_change_the_target_and_the_format() {
    let directory = Directory::new();
    let (one, two) = (directory.file("one"), directory.file("two"));
    let (writer, counters) = start();
    let mut core = Core::new(&writer, &open_file(&writer, &one));
    assert!(core.logs.is_on());
    core.chunk(&["one"]);
    let nowhere = LogTarget::File("/nowhere/log".into());
    assert!(open(&writer, &nowhere, AccessFormat::Json).is_err());
    // What stays is not opened again: the file may have moved.
    fs::rename(&one, directory.file("moved")).unwrap();
    core.logs = open_file(&writer, &one);
    core.chunk(&["still one"]);
    core.logs = open(&writer, &LogTarget::Off, AccessFormat::Json).unwrap();
    assert!(!core.logs.is_on());
    core.chunk(&["nowhere"]);
    assert!(writer.sync(PATIENCE));
    writer.reopen().unwrap();
    core.logs = open(&writer, &LogTarget::File(two.clone()), AccessFormat::Combined).unwrap();
    core.chunk(&["two"]);
    assert!(writer.shutdown(PATIENCE));
    assert_eq!(agents(&directory.file("moved")), ["one", "still one"]);
    assert!(fs::read_to_string(&two).unwrap().ends_with("\"two\"\n"));
    assert_eq!((counters.written(), counters.dropped_write_failed()), (3, 0));
}

#[test]
fn lines_of_several_logs_go_each_to_its_own() {
    let directory = Directory::new();
    let (all, shop) = (directory.file("all"), directory.file("shop"));
    let (writer, counters) = start();
    let of = |path: &PathBuf, format| config::AccessLog {
        place: config::Place::default(),
        target: LogTarget::File(path.clone()),
        format,
        fields: None,
    };
    let mut config = fixture::config();
    let off = config::AccessLog { target: LogTarget::Off, ..of(&all, AccessFormat::Json) };
    config.logs = vec![of(&all, AccessFormat::Json), of(&shop, AccessFormat::Json), off];
    config.sites[0].base.log = config::LogId(1);
    config.sites[0].routes[0].settings.log = config::LogId(2);
    let logs = writer.targets().open(&config).unwrap();
    let mut core = Core::new(&writer, &logs);
    let site = config::SiteId(0);
    let scopes = [
        (Scope::None, "nobody"),
        (Scope::Site(site, None), "shop"),
        (Scope::Site(site, Some(config::RouteId(0))), "silent"),
        (Scope::Site(config::SiteId(1), None), "other"),
        (Scope::Forward(config::ForwardId(0)), "forward"),
        (Scope::Site(site, None), "shop again"),
    ];
    for (scope, agent) in scopes {
        core.record.scope = scope;
        core.record.user_agent.set(agent);
        core.write();
    }
    core.log.flush();
    drop(core);
    assert!(writer.shutdown(PATIENCE));
    assert_eq!(agents(&all), ["nobody", "other", "forward"]);
    assert_eq!(agents(&shop), ["shop", "shop again"]);
    assert_eq!((counters.written(), counters.dropped_write_failed()), (5, 0));
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let directory = Directory::new();
    let path = directory.file("access.log");
    let (writer, counters) = start();
    let mut core = Core::new(&writer, &open_file(&writer, Path::new("/dev/full")));
    core.chunk(&["lost", "lost"]);
    core.chunk(&["lost"]);
    assert!(writer.sync(PATIENCE));
    assert_eq!((counters.written(), counters.dropped_write_failed()), (0, 3));
    core.logs = open_file(&writer, &path);
    core.chunk(&["kept"]);
    assert!(writer.shutdown(PATIENCE));
    assert_eq!(agents(&path), ["kept"]);
    assert_eq!((counters.written(), counters.dropped_write_failed()), (1, 3));
}

/// A target that does as it is told.
struct Scripted {
    script: VecDeque<Result<usize, ErrorKind>>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.script.pop_front().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
        self.taken.lock().unwrap().extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn partial_writes() {
    /// Writes `ab`, `cd`, `ef` as one chunk and `gh` as the next.
    #[track_caller]
    fn check(script: &[Result<usize, ErrorKind>], written: [u64; 2], expected: &str) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let out = Scripted { script: script.iter().copied().collect(), taken: Arc::clone(&taken) };
        let mut sink = Sink::new(Some(Box::new(out)), "scripted".into());
        let counts = [sink.write_lines(b"ab\ncd\nef\n", 3), sink.write_lines(b"gh\n", 1)];
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        assert_eq!((counts, text.as_str()), (written, expected), "{script:?}");
    }
    let full = Err(ErrorKind::StorageFull);
    check(&[], [3, 1], "ab\ncd\nef\ngh\n");
    check(&[Ok(4), Err(ErrorKind::Interrupted), Ok(1)], [3, 1], "ab\ncd\nef\ngh\n");
    check(&[Ok(4), Err(ErrorKind::WouldBlock), Ok(1)], [3, 1], "ab\ncd\nef\ngh\n");
    check(&[full], [0, 1], "gh\n");
    check(&[Ok(3), full], [1, 1], "ab\ngh\n");
    // A torn line is ended before the next, so that it takes no other with it.
    check(&[Ok(4), full], [1, 1], "ab\nc\ngh\n");
    check(&[Ok(4), full, full], [1, 0], "ab\nc");
    check(&[Ok(4), full, Ok(1), full], [1, 0], "ab\nc\n");
    check(&[Ok(0)], [0, 1], "gh\n");
    // A pipe whose reader has gone
    check(&[Err(ErrorKind::BrokenPipe), Err(ErrorKind::BrokenPipe)], [0, 0], "");
}
