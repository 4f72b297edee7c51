//! The error log: `tracing` events as lines.
//!
//! The target and the level of the log can change at each reload, and the file is re-opened after a
//! rotation. On a terminal, lines are short and coloured; elsewhere the format depends on that of the
//! access log: JSON if that is JSON, else logfmt (`time=… level=… msg=… key=value`).
//! Not here: the access log, which the data plane writes.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::{AccessFormat, LogTarget};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

use crate::terminal::Paint;

/// A handle to the error log of the process.
#[derive(Debug, Clone)]
pub(crate) struct Logging {
    sink: Sink,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// The error log cannot be opened.
#[derive(Debug)]
pub(crate) struct LogError {
    path: String,
    error: io::Error,
}

impl fmt::Display for LogError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot open the error log {}: {}", self.path, self.error)
    }
}

impl Logging {
    /// Sets up the log of the process; call it once.
    pub(crate) fn start(process: &config::Process) -> Result<Self, LogError> {
        let sink = Sink::default();
        sink.set_target(&process.error_log, &process.access_format)?;
        let (filter, handle) = reload::Layer::new(filter(&process.error_level));
        let lines = tracing_subscriber::fmt::layer()
            .event_format(Lines::new(sink.clone()))
            .with_writer(sink.clone());
        // Fails only if a log has been set up already, as in tests; then that one stays.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        log_panics();
        Ok(Self { sink, filter: handle })
    }

    /// Applies a new configuration.
    pub(crate) fn reconfigure(&self, process: &config::Process) -> Result<(), LogError> {
        self.sink.set_target(&process.error_log, &process.access_format)?;
        // Fails only if the log is gone, and then there is no way to report it.
        let _ = self.filter.reload(filter(&process.error_level));
        Ok(())
    }

    /// Opens the file again, after a rotation.
    pub(crate) fn reopen(&self) -> Result<(), LogError> {
        self.sink.reopen()
    }
}

/// Logs panics: a panic ends one connection, not the process, so it must be visible in the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("without a message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(panic = message, place, "a thread has panicked");
    }));
}

/// The filter of `RUST_LOG` (for debugging), else the configured level.
fn filter(level: &str) -> EnvFilter {
    let environment = std::env::var("RUST_LOG").ok().filter(|value| !value.is_empty());
    let directives = environment.as_deref().unwrap_or(level);
    EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// The target of log lines, shared by all threads. Only lines that are really written take the lock,
/// and what clients can cause is rate limited.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Output>>);

#[derive(Debug, Default)]
struct Output {
    target: Target,
    style: Style,
}

#[derive(Debug, Default)]
enum Target {
    Off,
    Stdout,
    #[default]
    Stderr,
    File {
        path: PathBuf,
        file: File,
    },
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_target(&self, target: &LogTarget, beside: &AccessFormat) -> Result<(), LogError> {
        let (target, terminal) = match target {
            LogTarget::Off => (Target::Off, false),
            LogTarget::Stdout => (Target::Stdout, io::stdout().is_terminal()),
            LogTarget::Stderr => (Target::Stderr, io::stderr().is_terminal()),
            LogTarget::File(path) => {
                (Target::File { path: path.clone(), file: open(path)? }, false)
            }
            // Only access logs go there.
            LogTarget::Journald | LogTarget::Syslog(_) => (Target::Stderr, false),
        };
        let style = match beside {
            _ if terminal => Style::Pretty,
            AccessFormat::Json => Style::Json,
            AccessFormat::Combined | AccessFormat::VhostCombined | AccessFormat::Text(_) => {
                Style::Logfmt
            }
        };
        *self.lock() = Output { target, style };
        Ok(())
    }

    fn reopen(&self) -> Result<(), LogError> {
        if let Target::File { path, file } = &mut self.lock().target {
            *file = open(path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, LogError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| LogError { path: path.display().to_string(), error })
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Sink;

    fn make_writer(&'a self) -> Sink {
        self.clone()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.lock().target {
            Target::Off => Ok(bytes.len()),
            Target::Stdout => io::stdout().write(bytes),
            Target::Stderr => io::stderr().write(bytes),
            Target::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Style {
    #[default]
    Pretty,
    Logfmt,
    Json,
}

/// How an event becomes a line.
#[derive(Debug)]
struct Lines {
    sink: Sink,
}

impl Lines {
    fn new(sink: Sink) -> Self {
        Self { sink }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = *event.metadata().level();
        let style = self.sink.lock().style;
        let line = match style {
            Style::Pretty => {
                pretty(Paint::new(crate::terminal::stderr_is_coloured()), &time, level, &fields)
            }
            Style::Logfmt => logfmt(&time, level, event.metadata().target(), &fields),
            Style::Json => json(&time, level, event.metadata().target(), &fields),
        };
        writer.write_str(&line)
    }
}

/// The message and fields of an event.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.push((field.name(), value.into()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// A value without JSON quotes.
fn bare(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// `13:40:00 info  listening  address=127.0.0.1:8080`
fn pretty(paint: Paint, time: &str, level: Level, fields: &Fields) -> String {
    let clock = time.get(11..19).unwrap_or(time);
    let word = format!("{:<5}", level_name(level));
    let level = match level {
        Level::ERROR => paint.red(&word),
        Level::WARN => paint.yellow(&word),
        Level::INFO => paint.green(&word),
        _ => paint.dim(&word),
    };
    let mut line = format!("{} {level} {}", paint.dim(clock), printable(&fields.message));
    for (name, value) in &fields.others {
        // Keep the lines of reload diagnostics, for readability.
        let value = bare(value);
        if value.contains('\n') {
            let _ = write!(line, "\n{}", printable(value.trim_end()));
        } else {
            let _ = write!(line, "  {}{}", paint.dim(&format!("{name}=")), printable(&value));
        }
    }
    line.push('\n');
    line
}

fn logfmt(time: &str, level: Level, module: &str, fields: &Fields) -> String {
    let mut line = format!("time={time} level={} msg=", level_name(level));
    push_quoted(&mut line, &fields.message);
    for (name, value) in &fields.others {
        let _ = write!(line, " {name}=");
        push_quoted(&mut line, &bare(value));
    }
    let _ = writeln!(line, " module={module} pid={}", std::process::id());
    line
}

fn json(time: &str, level: Level, module: &str, fields: &Fields) -> String {
    let ours = [("time", time), ("level", level_name(level)), ("msg", &fields.message)];
    let last = [("module", module.into()), ("pid", Value::from(std::process::id()))];
    let ours = ours.map(|(name, text)| (name, Value::from(text)));
    // An event's own fields cannot stand for these.
    let is_ours = |name: &str| ours.iter().chain(&last).any(|(ours, _)| *ours == name);
    let others = fields.others.iter().filter(|(name, _)| !is_ours(name));
    let mut line = String::new();
    for (name, value) in ours.iter().chain(others).chain(&last) {
        line.push(if line.is_empty() { '{' } else { ',' });
        let _ = write!(line, "\"{name}\":{value}");
    }
    line.push_str("}\n");
    line
}

/// Appends a logfmt value: bare if that is unambiguous, else quoted; always on one line.
fn push_quoted(line: &mut String, value: &str) {
    let bare = |char: char| char.is_ascii_graphic() && !matches!(char, '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(bare) {
        line.push_str(value);
    } else {
        let _ = write!(line, "\"{}\"", value.escape_debug());
    }
}

/// Replaces control characters that a terminal would interpret.
fn printable(text: &str) -> String {
    let obeyed = |char: char| char.is_control() && char != '\n' && char != '\t';
    text.chars().map(|char| if obeyed(char) { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &str, others: &[(&'static str, &str)]) -> Fields {
        let others = others.iter().map(|(name, value)| (*name, (*value).into())).collect();
        Fields { message: message.to_owned(), others }
    }

    #[test]
    fn logfmt_is_one_line_whatever_is_in_it() {
        let line =
            logfmt("T", Level::WARN, "proxy", &fields("a b", &[("x", "1"), ("y", "q\"\n=")]));
        let pid = std::process::id();
        assert_eq!(
            line,
            format!("time=T level=warn msg=\"a b\" x=1 y=\"q\\\"\\n=\" module=proxy pid={pid}\n")
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let line = json("T", Level::ERROR, "proxy", &fields("a\nb", &[("x", "\"")]));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["msg"], "a\nb");
        assert_eq!(value["x"], "\"");
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn file_is_opened_again_after_rotation() {
        let name = format!("bothways-log-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let rotated = path.with_extension("1");
        let mut sink = Sink::default();
        sink.set_target(&LogTarget::File(path.clone()), &AccessFormat::Json).unwrap();
        sink.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        sink.write_all(b"two\n").unwrap();
        sink.reopen().unwrap();
        sink.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read(&rotated).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        let elsewhere = LogTarget::File("/nowhere/at/all".into());
        assert!(sink.set_target(&elsewhere, &AccessFormat::Json).is_err());
        sink.write_all(b"four\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three\nfour\n");
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(rotated).unwrap();
    }

    #[test]
    fn pretty_keeps_terminals_safe() {
        let time = "2026-11-23T13:40:00.000000Z";
        let line = pretty(Paint::new(false), time, Level::INFO, &fields("a\x1b[2J", &[("k", "v")]));
        assert_eq!(line, "13:40:00 info  a\u{fffd}[2J  k=v\n");
    }
}
