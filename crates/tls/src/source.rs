//! One source of certificates: where they come from, which are live, what was wrong last.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use config::{CertificateFiles, Place, SiteName};

use crate::chain::{self, Pair};
use crate::error::{Problem, Severity};
use crate::files::FileStamp;
use crate::identity::hex;
use crate::inspect::{Certificate, EXPIRY_WARNING, Finding, day, expiry_warning, judge, relative};
use crate::internal::{InternalCa, renewal_of};
use crate::keeper::{CertificateState, lock};
use crate::slot::{Chain, Slot};

/// Where certificates come from. Two sources of equal kinds are the same; places do not count.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Files(Vec<CertificateFiles>),
    Internal { names: Vec<Box<str>> },
    Auto { acme: config::Acme, names: Vec<Box<str>> },
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        let acme = |acme: &config::Acme| config::Acme { place: Place::default(), ..acme.clone() };
        match (self, other) {
            (Self::Files(own), Self::Files(other)) => paths(own).eq(paths(other)),
            (Self::Internal { names: own }, Self::Internal { names: other }) => own == other,
            (Self::Auto { acme: own, names }, Self::Auto { acme: other, names: other_names }) => {
                names == other_names && acme(own) == acme(other)
            }
            _ => false,
        }
    }
}

/// The certificate and the key of each, in turn.
fn paths(files: &[CertificateFiles]) -> impl Iterator<Item = &Path> {
    files.iter().flat_map(|files| [files.cert.as_path(), files.key.as_path()])
}

impl Kind {
    fn word(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Internal { .. } => "internal",
            Self::Auto { .. } => "acme",
        }
    }

    /// Sessions resume only within slots of one name, so that it names the site; certificates of
    /// ACME are for all sites of their names.
    pub(crate) fn slot_name(&self, place: Place, site: &[SiteName]) -> String {
        let mut name = self.word().to_owned();
        match self {
            Self::Auto { acme, names } => {
                let _ = write!(name, " {} {}", acme.name, names.join(","));
            }
            _ if site.is_empty() => {
                let _ = write!(name, " forward {}:{}", place.file, place.line);
            }
            _ => {
                for part in site {
                    let _ = write!(name, " {part}");
                }
            }
        }
        name
    }
}

/// One source of certificates.
#[derive(Debug)]
pub(crate) struct Source {
    kind: Kind,
    slot: Arc<Slot>,
    /// What the certificates must be for.
    names: Vec<SiteName>,
    live: Mutex<LiveState>,
}

#[derive(Debug, Default)]
struct LiveState {
    /// `file:line`.
    configured: String,
    /// The stamps of the files when they were read last.
    stamps: Vec<FileStamp>,
    /// The certificates of the slot's chains, in the order of the files.
    leafs: Vec<Certificate>,
    /// Whether clients refuse the live certificate.
    is_bad: bool,
    /// Why the last reading or renewal failed.
    error: Option<String>,
    /// The stamps of the files for which a failure was reported.
    failed: Option<Vec<FileStamp>>,
    told: bool,
    warned_at: Option<SystemTime>,
}

/// Certificates that are to become live.
#[derive(Debug, Clone)]
pub(crate) struct NewCertificates {
    pairs: Vec<Pair>,
    stamps: Vec<FileStamp>,
    /// What they are blamed for.
    pub(crate) problems: Vec<Problem>,
}

impl NewCertificates {
    fn is_bad(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

impl Source {
    pub(crate) fn new(kind: Kind, slot: Slot, names: Vec<SiteName>, configured: String) -> Self {
        let live = Mutex::new(LiveState { configured, ..LiveState::default() });
        Self { kind, slot: Arc::new(slot), names, live }
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The same setting is on another line now.
    pub(crate) fn set_place(&self, configured: String) {
        lock(&self.live).configured = configured;
    }

    /// Why there is no newer certificate; `None`: all is well.
    pub(crate) fn set_error(&self, error: Option<String>) {
        lock(&self.live).error = error;
    }

    /// Certificates that differ from the live ones, if there are any. Nothing changes by asking.
    pub(crate) fn fresh(
        &self,
        ca: Option<&InternalCa>,
        now: SystemTime,
    ) -> Result<Option<NewCertificates>, Vec<Problem>> {
        match &self.kind {
            Kind::Files(files) => {
                let stamps = FileStamp::of_all(paths(files));
                if stamps == lock(&self.live).stamps {
                    return Ok(None);
                }
                read(files, stamps, &self.names, now).map(Some)
            }
            Kind::Internal { names } => {
                let is_due = self.slot.load().iter().all(|chain| renewal_of(chain) <= now);
                let Some(ca) = ca.filter(|_| is_due) else { return Ok(None) };
                let chain = ca
                    .issue(names, now)
                    .map_err(|error| vec![Problem::error(Place::default(), error.to_string())])?;
                let certificates = certificates_of(&chain);
                let pair = Pair { chain: Arc::new(chain), certificates };
                Ok(Some(NewCertificates {
                    pairs: vec![pair],
                    stamps: Vec::new(),
                    problems: Vec::new(),
                }))
            }
            Kind::Auto { .. } => Ok(None),
        }
    }

    /// Makes them live.
    pub(crate) fn take(&self, fresh: &NewCertificates) {
        let mut live = lock(&self.live);
        live.stamps.clone_from(&fresh.stamps);
        live.leafs =
            fresh.pairs.iter().filter_map(|pair| pair.certificates.first().cloned()).collect();
        live.is_bad = fresh.is_bad();
        live.error = None;
        live.failed = None;
        live.told = false;
        live.warned_at = None;
        self.slot.set(fresh.pairs.iter().map(|pair| pair.chain.clone()).collect());
    }

    /// What a watch over files does every few seconds: takes what is new and no worse.
    ///
    /// A pair that is just being written looks broken; it is complained of when it still is at the
    /// next look.
    pub(crate) fn look(&self, ca: Option<&InternalCa>, now: SystemTime) {
        let (message, stamps) = match self.fresh(ca, now) {
            Ok(None) => {
                // Perhaps broken before, and put back since.
                let mut live = lock(&self.live);
                if live.failed.take().is_some() {
                    live.error = None;
                    live.told = false;
                }
                return;
            }
            Ok(Some(fresh)) => {
                let is_worse = fresh.is_bad() && !lock(&self.live).is_bad && !self.slot.is_empty();
                if !is_worse {
                    self.take(&fresh);
                    let until = fresh.pairs.iter().map(|pair| pair.chain.not_after).min();
                    tracing::info!(
                        certificate = self.title(),
                        source = self.kind.word(),
                        until = until.map(day),
                        "certificate renewed"
                    );
                    return;
                }
                (texts(&fresh.problems), fresh.stamps)
            }
            Err(problems) => (texts(&problems), self.stamps()),
        };
        let mut live = lock(&self.live);
        let is_same = live.failed.as_ref() == Some(&stamps);
        if is_same && !live.told {
            live.told = true;
            tracing::error!(
                configured = live.configured,
                error = message,
                "new certificate not taken; the old one stays in use"
            );
        } else if !is_same {
            live.told = false;
            live.failed = Some(stamps);
        }
        live.error = Some(message);
    }

    fn stamps(&self) -> Vec<FileStamp> {
        match &self.kind {
            Kind::Files(files) => FileStamp::of_all(paths(files)),
            _ => Vec::new(),
        }
    }

    /// Warns of a certificate that ends soon, once a day.
    pub(crate) fn warn(&self, now: SystemTime) {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let Some(chain) = self.slot.load().iter().min_by_key(|chain| chain.not_after).cloned()
        else {
            return;
        };
        let left = chain.not_after.duration_since(now).unwrap_or_default();
        if left >= self.warning_ahead(&chain) {
            return;
        }
        let mut live = lock(&self.live);
        let is_recent = |at: SystemTime| now.duration_since(at).is_ok_and(|since| since < DAY);
        if live.warned_at.is_some_and(is_recent) {
            return;
        }
        live.warned_at = Some(now);
        let (until, error) = (day(chain.not_after), live.error.as_deref());
        let (title, configured) = (self.title(), &live.configured);
        if chain.not_after < now {
            tracing::error!(
                certificate = title,
                configured,
                until,
                error,
                "certificate has expired"
            );
        } else {
            let when = relative(chain.not_after, now);
            tracing::warn!(
                certificate = title,
                configured,
                until,
                when,
                error,
                "certificate expires soon"
            );
        }
    }

    /// Certificates that renew themselves are worth a word only when that has not worked, so that
    /// short-lived ones are not always warned of.
    fn warning_ahead(&self, chain: &Chain) -> Duration {
        match self.kind {
            Kind::Files(_) => EXPIRY_WARNING,
            _ => {
                let life = chain.not_after.duration_since(chain.not_before).unwrap_or_default();
                expiry_warning(chain.not_before, chain.not_after).min(life / 4)
            }
        }
    }

    fn title(&self) -> String {
        match &self.kind {
            Kind::Files(files) => {
                let files: Vec<_> =
                    files.iter().map(|files| files.cert.display().to_string()).collect();
                files.join(", ")
            }
            Kind::Internal { names } | Kind::Auto { names, .. } => names.join(", "),
        }
    }

    /// For metrics and people: one for each live certificate, or one that says that there is none.
    pub(crate) fn states(&self) -> Vec<CertificateState> {
        let live = lock(&self.live);
        let chains = self.slot.load();
        let origin = |chain: Option<&Chain>| match &self.kind {
            Kind::Files(files) => {
                let own = live.leafs.iter().position(|leaf| {
                    chain.is_some_and(|chain| hex(&chain.fingerprint) == leaf.fingerprint)
                });
                let file = files.get(own.unwrap_or_default());
                file.map_or_else(String::new, |files| files.cert.display().to_string())
            }
            Kind::Internal { .. } => String::new(),
            Kind::Auto { acme, .. } => {
                if acme.name.is_empty() {
                    acme.directory.to_string()
                } else {
                    acme.name.to_string()
                }
            }
        };
        let state = |chain: Option<&Chain>| CertificateState {
            names: chain.map_or_else(|| self.wanted(), |chain| chain.names.clone()),
            source: self.kind.word(),
            origin: origin(chain),
            configured: live.configured.clone(),
            not_before: chain.map(|chain| chain.not_before),
            not_after: chain.map(|chain| chain.not_after),
            key: chain
                .and_then(|chain| certificates_of(chain).into_iter().next())
                .map_or_else(String::new, |leaf| leaf.key.words),
            fingerprint: chain.map_or_else(String::new, |chain| hex(&chain.fingerprint)),
            error: live.error.clone(),
        };
        if chains.is_empty() {
            return vec![state(None)];
        }
        chains.iter().map(|chain| state(Some(chain))).collect()
    }

    fn wanted(&self) -> Vec<Box<str>> {
        match &self.kind {
            Kind::Files(_) => Vec::new(),
            Kind::Internal { names } | Kind::Auto { names, .. } => names.clone(),
        }
    }
}

fn certificates_of(chain: &Chain) -> Vec<Certificate> {
    let ders = chain.key.cert.iter().cloned();
    ders.filter_map(|der| Certificate::from_der(der.into_owned()).ok()).collect()
}

fn texts(problems: &[Problem]) -> String {
    problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
}

/// Reads all pairs of a site, with what they are blamed for.
pub(crate) fn read(
    files: &[CertificateFiles],
    stamps: Vec<FileStamp>,
    names: &[SiteName],
    now: SystemTime,
) -> Result<NewCertificates, Vec<Problem>> {
    let mut fresh = NewCertificates { pairs: Vec::new(), stamps, problems: Vec::new() };
    let mut errors = Vec::new();
    for files in files {
        let place = files.place;
        match chain::load(files) {
            Ok(pair) => {
                let findings = judge(&pair.certificates, names, now).into_iter();
                let file = files.cert.display();
                fresh.problems.extend(findings.map(|finding| {
                    let message = format!("{file}: {}", finding.message);
                    Finding { message, ..finding }.at(place)
                }));
                fresh.pairs.push(pair);
            }
            Err(findings) => errors.extend(findings.into_iter().map(|finding| finding.at(place))),
        }
    }
    if errors.is_empty() { Ok(fresh) } else { Err(errors) }
}
