//! `bothways check`: reports mistakes and warnings, and tests the expectations of a configuration.
//!
//! Diagnostics go to standard error, the summary to standard output. Nothing is sent or looked up in
//! the DNS. The text is checked the same way on every machine; certificates and keys are read from
//! the files of this one.

use std::collections::HashSet;
use std::sync::Arc;

use config::{
    Config, Diagnostic, Loaded, LogTarget, Place, Related, Severity, SourceKind, Sources,
};
use rules::Rules;

use crate::cli::Check;
use crate::exit::{CONFIGURATION, Failure};
use crate::load::{self, Source};
use crate::terminal::{self, Paint, count};

/// Checks a configuration.
pub(crate) fn check(options: &Check) -> Result<(), Failure> {
    let source = Source::find(options.file.as_deref().or(options.config.as_deref()))?;
    let loaded = source
        .read()
        .map_err(|failure| load::report(&with_mistakes_of_files(failure), &source.name()))?;
    let rules = Rules::compile(Arc::clone(&loaded.config));
    let warnings = warnings_of(&loaded, &rules);
    let failures = failed_expectations(&loaded, &rules);
    let (bad_files, doubtful_files): (Vec<_>, Vec<_>) =
        tls_diagnostics(&loaded.sources, &tls::check(&loaded.config))
            .into_iter()
            .partition(|diagnostic| diagnostic.severity == Severity::Error);
    let nothing = serves_nothing(&loaded).into_iter().collect();
    let logs = log_diagnostics(&loaded.sources, &loaded.config);
    let (of_upstreams, of_users) =
        (upstream_file_diagnostics(&loaded), user_file_diagnostics(&loaded));
    let bad_files = [bad_files, of_upstreams, of_users, logs, nothing].concat();
    let warnings = [warnings, doubtful_files].concat();
    for diagnostic in warnings.iter().chain(&bad_files).chain(&failures) {
        terminal::to_stderr(&diagnostic.render(terminal::stderr_is_coloured()));
        terminal::to_stderr("\n");
    }
    let is_good =
        failures.is_empty() && bad_files.is_empty() && (warnings.is_empty() || !options.strict);
    let paint = Paint::new(terminal::stdout_is_coloured());
    let verdict = if is_good { paint.green("good") } else { paint.red("not good") };
    let name = source.name();
    let mut found = counts(warnings.len(), failures.len(), loaded.config.expects.len());
    if !bad_files.is_empty() {
        found.push_str(&format!("  {}\n", count(bad_files.len() as u64, "error")));
    }
    terminal::to_stdout(&format!("{name}: {verdict}, {}\n{found}", contents(&loaded.config)))?;
    if is_good { Ok(()) } else { Err(Failure::already_reported(CONFIGURATION)) }
}

/// A failure with the mistakes in certificates, keys and logs that it names as well.
fn with_mistakes_of_files(mut failure: config::Failure) -> config::Failure {
    if let Some(config) = failure.partial.take() {
        let mut found = tls_diagnostics(&failure.sources, &tls::check(&config));
        found.extend(log_diagnostics(&failure.sources, &config));
        let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
        failure.errors.extend(found.into_iter().filter(is_error));
    }
    failure
}

/// The warnings of the decoder and of the rules, ordered by place.
pub(crate) fn warnings(loaded: &Loaded) -> Vec<Diagnostic> {
    warnings_of(loaded, &Rules::compile(Arc::clone(&loaded.config)))
}

/// The same, where the rules are compiled already.
fn warnings_of(loaded: &Loaded, rules: &Rules) -> Vec<Diagnostic> {
    let of_rules = rules.warnings().into_iter().map(|warning| {
        let diagnostic =
            loaded.sources.diagnostic(Severity::Warning, warning.place, warning.message);
        let diagnostic = diagnostic.hinted(warning.hint);
        match warning.other {
            Some(place) => diagnostic.with_related(Related {
                file: loaded.sources.name(place.file),
                place,
                message: format!("`{}` is here", loaded.sources.line(place).trim()),
            }),
            None => diagnostic,
        }
    });
    let mut all: Vec<_> = loaded.warnings.iter().cloned().chain(of_rules).collect();
    all.sort_by_key(|warning| warning.place);
    all
}

/// An error if a configuration serves nothing: the file was truncated, or it is the wrong one.
pub(crate) fn serves_nothing(loaded: &Loaded) -> Option<Diagnostic> {
    if !loaded.config.sites.is_empty() || !loaded.config.forwards.is_empty() {
        return None;
    }
    let text = loaded.sources.text(0).trim();
    let message = if text.is_empty() { "the file is empty" } else { "nothing is served" };
    let place = Place { file: 0, line: 1, column: 1 };
    let diagnostic = loaded.sources.diagnostic(Severity::Error, place, message);
    Some(diagnostic.hinted(
        "write a `site` or a `forward`, such as: site { to \"localhost:3000\" }; \
         `bothways demo --print-config` shows more",
    ))
}

/// Diagnostics about certificates and keys; each appears once, even if several sites share it.
pub(crate) fn tls_diagnostics(sources: &Sources, problems: &[tls::Problem]) -> Vec<Diagnostic> {
    let mut known = HashSet::new();
    let mut unique = Vec::new();
    for problem in problems {
        let tls::Problem { place, message, hint, severity } = problem;
        if known.insert((place, message, hint, severity)) {
            unique.push(problem);
        }
    }
    let diagnostics = unique.into_iter().map(|problem| {
        let severity = match problem.severity {
            tls::Severity::Error => Severity::Error,
            tls::Severity::Warning => Severity::Warning,
        };
        let diagnostic = sources.diagnostic(severity, problem.place, problem.message.clone());
        match &problem.hint {
            Some(hint) => diagnostic.hinted(hint.clone()),
            None => diagnostic,
        }
    });
    diagnostics.collect()
}

/// Diagnostics about logs that cannot be opened.
pub(crate) fn log_diagnostics(sources: &Sources, config: &Config) -> Vec<Diagnostic> {
    let process = &config.process;
    let of_errors = [(&process.error_log, process.error_place)];
    let all = config.logs.iter().map(|log| (&log.target, log.place)).chain(of_errors);
    let mut problems: Vec<Diagnostic> = Vec::new();
    let mut known = HashSet::new();
    for (target, place) in all {
        if !known.insert((target, place)) {
            continue;
        }
        let Some(problem) = observe::log_problem(target) else { continue };
        let message = format!("the log `{target}` cannot be opened: {problem}");
        let diagnostic = sources.diagnostic(Severity::Error, place, message);
        problems.push(diagnostic.hinted(match target {
            LogTarget::File(_) => {
                "its directory must exist, and the user that runs bothways must have write permission there"
            }
            _ => "that daemon must run first, or write access=stdout",
        }));
    }
    problems
}

/// Diagnostics about files of users.
fn user_file_diagnostics(loaded: &Loaded) -> Vec<Diagnostic> {
    let problems = loaded.config.logins.iter().filter_map(|login| {
        let problem = proxy::user_file_problem(login)?;
        Some(loaded.sources.diagnostic(Severity::Error, login.place, problem))
    });
    problems.collect()
}

/// Diagnostics about files that upstreams name: files of endpoints, and keys of sticky cookies.
fn upstream_file_diagnostics(loaded: &Loaded) -> Vec<Diagnostic> {
    let diagnostic =
        |place, message: String| loaded.sources.diagnostic(Severity::Error, place, message);
    let mut problems = Vec::new();
    for upstream in &loaded.config.upstreams {
        for source in &upstream.sources {
            if let SourceKind::File(path) = &source.kind
                && let Some(problem) = discovery::endpoints_file_problem(path)
            {
                let message = format!("`{}` cannot be used: {problem}", path.display());
                problems.push(diagnostic(source.place, message));
            }
        }
        if let Some(sticky) = &upstream.sticky
            && let Some(path) = &sticky.key_file
            && let Some(problem) = proxy::key_file_problem(path)
        {
            problems.push(diagnostic(sticky.place, problem));
        }
    }
    problems
}

/// Diagnostics about expectations that do not hold.
fn failed_expectations(loaded: &Loaded, rules: &Rules) -> Vec<Diagnostic> {
    let of = |rules: &Rules| rules::check_expectations(rules, &proxy::rule_address);
    let mut failures = of(rules);
    if !failures.is_empty() {
        // The messages show what a request gets, secrets included; those of the same expectations without them do not.
        let for_output = Rules::compile(Arc::new(loaded.for_output().clone()));
        let mut for_output = of(&for_output).into_iter().peekable();
        for failure in &mut failures {
            let same = for_output.by_ref().find(|other| other.place == failure.place);
            failure.message = same.map_or_else(
                || "expected something else; what happens has a secret in it".to_owned(),
                |same| same.message,
            );
        }
    }
    let diagnostics = failures.into_iter().map(|failure| {
        let diagnostic = loaded.sources.diagnostic(Severity::Error, failure.place, failure.message);
        let decided_by = failure.decided_by;
        if decided_by.line == 0 {
            return diagnostic;
        }
        diagnostic.with_related(Related {
            file: loaded.sources.name(decided_by.file),
            place: decided_by,
            message: format!("`{}` decided", loaded.sources.line(decided_by).trim()),
        })
    });
    diagnostics.collect()
}

/// `2 sites with 5 routes, 1 upstream, 1 forward listener`
fn contents(config: &Config) -> String {
    // Sites that only redirect to https:// are not written in the file.
    let sites: Vec<_> = config.sites.iter().filter(|site| site.https.is_none()).collect();
    let routes = sites.iter().map(|site| site.routes.len() as u64).sum();
    let named = config.upstreams.iter().filter(|upstream| !upstream.inline).count() as u64;
    let mut parts = Vec::new();
    if !config.sites.is_empty() {
        let sites = count(sites.len() as u64, "site");
        parts.push(format!("{sites} with {}", count(routes, "route")));
    }
    if named > 0 {
        parts.push(count(named, "upstream"));
    }
    if !config.forwards.is_empty() {
        parts.push(count(config.forwards.len() as u64, "forward listener"));
    }
    if parts.is_empty() {
        parts.push("it serves nothing".to_owned());
    }
    parts.join(", ")
}

/// A line with the number of warnings and one with that of expectations, if there are any.
fn counts(warnings: usize, failures: usize, expectations: usize) -> String {
    let mut text = String::new();
    if warnings > 0 {
        text.push_str(&format!("  {}\n", count(warnings as u64, "warning")));
    }
    if expectations > 0 {
        let held = expectations.saturating_sub(failures);
        text.push_str(&format!("  {held} of {} hold\n", count(expectations as u64, "expectation")));
    }
    text
}
