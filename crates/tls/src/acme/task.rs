//! One certificate: ordered when there is none, renewed when it is time, tried again after failures.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use config::{Acme, AcmeChallenge};
use instant_acme::CertificateIdentifier;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::account::Directory;
use super::check::hopeless;
use super::failure::{AcmeError, AcmeErrorKind};
use super::order::{self, IssuedCertificate, OrderRequest};
use super::schedule::{self, Backoff, ValidityPeriod, Window};
use super::store::Store;
use super::{ManagerState, OrderSpec, Status, list};
use crate::slot::{Chain, Slot};
use crate::state::StateError;

/// The clock may be set, and machines sleep: it is looked at this often.
const LOOK: Duration = Duration::from_secs(10 * 60);
/// How long before its end a certificate that cannot be renewed is an error rather than a warning.
const ALARM: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// After a mistake of ours that ended the work on a certificate.
const PANIC_WAIT: Duration = Duration::from_secs(30 * 60);

/// Looks after one certificate.
pub(super) struct Task {
    shared: Arc<ManagerState>,
    directory: Arc<Directory>,
    acme: Acme,
    wanted: OrderSpec,
    slot: Arc<Slot>,
    status: Arc<Mutex<Status>>,
    /// The fingerprint of the certificate that was issued for exactly this.
    own: Mutex<Option<[u8; 32]>>,
}

/// What the work on a certificate remembers.
#[derive(Default)]
struct Memory {
    /// What the directory says of the certificate that is served.
    window: Option<Window>,
    /// When to ask for the window; `None`: at once.
    ask_at: Option<Instant>,
    backoff: Backoff,
    /// Not before this.
    try_at: Option<Instant>,
}

impl Task {
    /// A slot that does not have the stored certificate for exactly this gets it.
    pub(super) fn new(
        shared: Arc<ManagerState>,
        directory: Arc<Directory>,
        acme: Acme,
        wanted: OrderSpec,
        slot: Arc<Slot>,
        status: Arc<Mutex<Status>>,
    ) -> Self {
        let stored = directory.store.certificate(&wanted);
        let own = Mutex::new(stored.as_ref().map(|chain| chain.fingerprint));
        if let Some(chain) = stored {
            slot.set(vec![chain]);
        }
        Self { shared, directory, acme, wanted, slot, status, own }
    }

    /// Runs until it is stopped, whatever happens.
    pub(super) async fn run(self, stopped: watch::Receiver<bool>) {
        let task = Arc::new(self);
        loop {
            let work = tokio::spawn(Arc::clone(&task).work(stopped.clone()));
            let Err(error) = work.await else { return };
            if !error.is_panic() {
                return;
            }
            tracing::error!(names = %list(&task.wanted.names), "a bug interrupted the work on a certificate; it starts again in half an hour");
            tokio::select! {
                () = sleep(PANIC_WAIT) => {}
                () = until(stopped.clone()) => return,
            }
        }
    }

    async fn work(self: Arc<Self>, stopped: watch::Receiver<bool>) {
        let mut memory = Memory::default();
        // What would be refused anyway is not asked for.
        if let Some(why) = hopeless(&self.acme, &self.wanted.names) {
            tracing::error!(error = %why, "no certificate is ordered");
            self.note(|status| status.last_error = Some(why));
            return;
        }
        while !*stopped.borrow() {
            let pause = self.step(&mut memory, &stopped).await;
            tokio::select! {
                () = sleep(pause) => {}
                () = until(stopped.clone()) => return,
            }
        }
    }

    /// Does what is due, and says how long to wait.
    async fn step(&self, memory: &mut Memory, stopped: &watch::Receiver<bool>) -> Duration {
        let current = self.current();
        if let Some(chain) = &current {
            self.ask_for_window(memory, chain, stopped).await;
        }
        let (now, clock) = (Instant::now(), self.shared.now());
        let due = current.as_deref().map_or(clock, |chain| due(chain, memory.window));
        self.note(|status| status.due = Some(due));
        let left = due.duration_since(clock).unwrap_or_default();
        let held_up = memory.try_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let wait = left.max(held_up);
        if wait.is_zero() {
            self.order(memory, current.as_deref(), stopped).await;
            return Duration::ZERO;
        }
        let ask = memory.ask_at.filter(|_| current.is_some());
        let ask = ask.map_or(LOOK, |at| at.saturating_duration_since(now));
        wait.min(ask).min(LOOK)
    }

    /// The certificate that is served, if it is the wanted one: of these names, and from where and
    /// as the settings say.
    fn current(&self) -> Option<Arc<Chain>> {
        let own = *self.own.lock().unwrap_or_else(PoisonError::into_inner);
        self.slot.load().iter().find(|chain| Some(chain.fingerprint) == own).cloned()
    }

    /// Asks the directory when it wants the certificate to be renewed, if it is time to.
    async fn ask_for_window(
        &self,
        memory: &mut Memory,
        chain: &Chain,
        stopped: &watch::Receiver<bool>,
    ) {
        if memory.ask_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let asked = tokio::select! {
            asked = self.window(chain) => asked,
            () = until(stopped.clone()) => return,
        };
        let again = match asked {
            Ok(Some((window, again))) => {
                if memory.window != Some(window) {
                    tracing::debug!(names = %list(&self.wanted.names), ?window, "the directory says when to renew");
                }
                memory.window = Some(window);
                again
            }
            // A directory without such windows may learn it.
            Ok(None) => {
                memory.window = None;
                schedule::window_age(Duration::MAX)
            }
            // The last window remains valid.
            Err(failure) => {
                tracing::debug!(names = %list(&self.wanted.names), error = %failure, "cannot ask when to renew");
                schedule::WINDOW_RETRY
            }
        };
        // A little later, so that all that began together do not come together for ever.
        memory.ask_at = Some(Instant::now() + again + (again / 10).mul_f64(random::fraction()));
    }

    async fn window(&self, chain: &Chain) -> Result<Option<(Window, Duration)>, AcmeError> {
        let Some(id) = certificate_id(chain) else { return Ok(None) };
        let _room = self.directory.orders.acquire().await;
        let Some(visit) = self.directory.visit_known(&self.acme).await? else { return Ok(None) };
        match visit.account.renewal_info(&id).await {
            Ok((info, again)) => {
                let window = info.suggested_window;
                let window = Window { start: window.start.into(), end: window.end.into() };
                Ok(Some((window, schedule::window_age(again))))
            }
            Err(instant_acme::Error::Unsupported(_)) => Ok(None),
            Err(error) => {
                Err(AcmeError::from_error("ask when to renew", &error, visit.link.retry_after()))
            }
        }
    }

    /// Orders, and settles what comes of it.
    async fn order(
        &self,
        memory: &mut Memory,
        current: Option<&Chain>,
        stopped: &watch::Receiver<bool>,
    ) {
        let began = Instant::now();
        let outcome = self.obtain(current, stopped).await;
        if *stopped.borrow() && outcome.is_err() {
            return;
        }
        match outcome.and_then(|issued| self.take(issued)) {
            Ok(chain) => {
                tracing::info!(
                    names = %list(&self.wanted.names),
                    directory = %self.acme.directory,
                    valid_until = %date(chain.not_after),
                    took = ?began.elapsed(),
                    "certificate issued"
                );
                *memory = Memory::default();
                self.note(|status| status.last_error = None);
            }
            Err(failure) => self.settle(memory, current, &failure),
        }
    }

    async fn obtain(
        &self,
        current: Option<&Chain>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<IssuedCertificate, AcmeError> {
        self.shared.lock().map_err(|error| match error {
            StateError::Locked { .. } => AcmeError::new(AcmeErrorKind::Busy, error.to_string()),
            error => AcmeError::local(error.to_string()),
        })?;
        let visit = tokio::select! {
            visit = async {
                let room = self.directory.orders.acquire().await;
                self.directory.visit(&self.acme).await.map(|visit| (room, visit))
            } => visit,
            () = until(stopped.clone()) => Err(AcmeError::local("stopped")),
        };
        let (_room, visit) = visit?;
        tracing::info!(names = %list(&self.wanted.names), directory = %self.acme.directory, renewal = current.is_some(), "ordering a certificate");
        let request = OrderRequest {
            acme: &self.acme,
            wanted: &self.wanted,
            replaces: current.and_then(certificate_id),
            challenges: &self.shared.challenges,
            now: self.shared.now(),
        };
        let _up = RecordsUp::of(&self.shared, &self.acme);
        order::obtain(&visit, &request, until(stopped.clone())).await
    }

    /// Keeps what was issued, and serves it. What cannot be stored is served all the same.
    fn take(&self, issued: IssuedCertificate) -> Result<Arc<Chain>, AcmeError> {
        let IssuedCertificate { chain, key_pem, chain_pem } = issued;
        let chain = Arc::new(chain);
        if let Err(error) =
            self.directory.store.save_certificate(&self.wanted, &key_pem, &chain_pem)
        {
            tracing::error!(%error, "a new certificate cannot be stored; it is served, and lost at the next start");
        }
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(chain.fingerprint);
        self.slot.set(vec![Arc::clone(&chain)]);
        Ok(chain)
    }

    /// A failure: says so, and when there is another try.
    fn settle(&self, memory: &mut Memory, current: Option<&Chain>, failure: &AcmeError) {
        if failure.kind == AcmeErrorKind::NoAccount {
            self.directory.store.forget_account(&failure.message);
        }
        let wait = memory.backoff.next(failure.kind, failure.retry_after, random::fraction());
        memory.try_at = Some(Instant::now() + wait);
        let names = list(&self.wanted.names);
        let failures = memory.backoff.failures();
        let next_try_in = format!("{} s", wait.as_secs());
        let left = current
            .map(|chain| chain.not_after.duration_since(self.shared.now()).unwrap_or_default());
        match left {
            Some(left) if left > ALARM => {
                tracing::warn!(%names, error = %failure, failures, next_try_in, "cannot renew a certificate; the old one stays");
            }
            Some(left) => {
                let ends_in = format!("{} h", left.as_secs() / 3600);
                tracing::error!(%names, error = %failure, failures, next_try_in, ends_in, "cannot renew a certificate that ends soon");
            }
            None if failure.kind == AcmeErrorKind::Busy && failures > 1 => {}
            None => {
                tracing::error!(%names, error = %failure, failures, next_try_in, "cannot get a certificate");
            }
        }
        self.note(|status| status.last_error = Some(failure.message.clone()));
    }

    fn note(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Fills an empty slot from what is stored.
pub(super) fn serve_stored(store: &Store, wanted: &OrderSpec, slot: &Slot, now: SystemTime) {
    if !slot.is_empty() {
        return;
    }
    let names = list(&wanted.names);
    if let Some(chain) = store.certificate(wanted) {
        if chain.not_after <= now {
            tracing::warn!(%names, "the stored certificate has expired; it is served until there is a new one");
        }
        slot.set(vec![chain]);
    } else if let Some(chain) = store.substitute(wanted, now) {
        tracing::info!(%names, instead = %list(&chain.names), "there is no certificate for exactly these names yet; another is served until then");
        slot.set(vec![chain]);
    }
}

/// When a certificate is renewed.
fn due(chain: &Chain, window: Option<Window>) -> SystemTime {
    let life = ValidityPeriod {
        not_before: chain.not_before,
        not_after: chain.not_after,
        fingerprint: &chain.fingerprint,
    };
    window.map_or_else(|| schedule::renew_at(&life), |window| schedule::renew_within(&life, window))
}

/// How a directory calls a certificate (RFC 9773, section 4.1).
pub(super) fn certificate_id(chain: &Chain) -> Option<CertificateIdentifier<'static>> {
    let leaf = chain.key.cert.first()?;
    CertificateIdentifier::try_from(leaf).ok().map(CertificateIdentifier::into_owned)
}

/// The day of a time, for messages.
fn date(time: SystemTime) -> String {
    time::OffsetDateTime::from(time).date().to_string()
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which also means stop.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Counts an order that puts up records in the DNS while it lasts.
struct RecordsUp<'a>(Option<&'a AtomicUsize>);

impl<'a> RecordsUp<'a> {
    fn of(shared: &'a ManagerState, acme: &Acme) -> Self {
        let by_dns = matches!(acme.challenge, AcmeChallenge::Dns { .. });
        let counted = by_dns.then_some(&shared.records_up);
        if let Some(count) = counted {
            count.fetch_add(1, Ordering::AcqRel);
        }
        Self(counted)
    }
}

impl Drop for RecordsUp<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
