//! `bothways cert`: creates keys and requests, and inspects certificates.

mod check;
mod json;
mod make;
mod show;

use std::path::Path;

use tls::{Finding, Severity};

use crate::cli::{Cert, CertTask};
use crate::exit::Failure;
use crate::terminal::Paint;

/// Runs a task about certificates.
pub(crate) fn cert(options: &Cert) -> Result<(), Failure> {
    match &options.task {
        CertTask::Key(options) => make::key(options),
        CertTask::Csr(options) => make::request(options),
        CertTask::Show(options) => show::show(options),
        CertTask::Check(options) => check::check(options),
    }
}

/// The failure of a command because of a finding.
fn failure(finding: Finding) -> Failure {
    let failure = Failure::other(finding.message);
    match finding.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// A finding as text: a line, and a line that says what to do.
fn finding_text(finding: &Finding, paint: &Paint) -> String {
    let word = match finding.severity {
        Severity::Error => paint.red("error:"),
        Severity::Warning => paint.yellow("warning:"),
    };
    let hint = finding.hint.as_ref().map(|hint| format!("{} {hint}\n", paint.cyan("hint:")));
    format!("{word} {}\n{}", finding.message, hint.unwrap_or_default())
}

/// A path, quoted for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if text.chars().all(is_plain) && !text.is_empty() {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
