//! One order, from its names to a certificate that is worth keeping.
//!
//! The responses to its challenges are withdrawn however it ends. A certificate is judged before it is
//! handed on: for our key, for all names, and valid now.

use std::time::{Duration, SystemTime};

use config::Acme;
use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeStatus, Error, Identifier, NewOrder,
    Order, OrderStatus,
};
use tokio::time::{Instant, sleep};

use super::account::DirectorySession;
use super::failure::{AcmeError, AcmeErrorKind, type_of, words};
use super::proof::{self, ChallengeResponses};
use super::store::{chain_from, has_name};
use super::{OrderSpec, list};
use crate::challenges::Challenges;
use crate::key::PrivateKey;
use crate::slot::Chain;

/// How long a directory may take to validate our responses, and then to issue.
const JUDGEMENT_WAIT: Duration = Duration::from_secs(10 * 60);
/// How often an order is looked at: first, and at the longest.
const POLL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// The longest that a directory may make us wait in between.
const POLL_TOLD_MAX: Duration = Duration::from_secs(60);

/// A certificate as it came.
pub(super) struct IssuedCertificate {
    pub(super) chain: Chain,
    pub(super) key_pem: String,
    pub(super) chain_pem: String,
}

/// Orders a certificate, unless `stopped` completes first.
pub(super) async fn obtain(
    visit: &DirectorySession,
    request: &OrderRequest<'_>,
    stopped: impl Future<Output = ()>,
) -> Result<IssuedCertificate, AcmeError> {
    let mut proofs = ChallengeResponses::new(request.challenges, &request.acme.challenge);
    let outcome = tokio::select! {
        outcome = carry_out(visit, request, &mut proofs) => outcome,
        () = stopped => Err(AcmeError::local("stopped")),
    };
    proofs.take_down().await;
    outcome
}

/// What an order is for.
pub(super) struct OrderRequest<'a> {
    pub(super) acme: &'a Acme,
    pub(super) wanted: &'a OrderSpec,
    /// The certificate that the new one takes the place of (RFC 9773, section 5).
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
    pub(super) challenges: &'a Challenges,
    pub(super) now: SystemTime,
}

async fn carry_out(
    visit: &DirectorySession,
    request: &OrderRequest<'_>,
    proofs: &mut ChallengeResponses<'_>,
) -> Result<IssuedCertificate, AcmeError> {
    check_profile(visit, request.wanted)?;
    let order = place(visit, request.wanted, request.replaces.clone()).await?;
    let mut order = Progress { visit, order };
    order.show_control(proofs).await?;
    proofs.take_down().await;
    order.issue(request.wanted, request.now).await
}

fn check_profile(visit: &DirectorySession, wanted: &OrderSpec) -> Result<(), AcmeError> {
    let Some(profile) = wanted.profile.as_deref() else { return Ok(()) };
    let mut offered: Vec<_> = visit.account.profiles().map(|offer| offer.name.to_owned()).collect();
    if offered.iter().any(|name| name == profile) {
        return Ok(());
    }
    offered.sort();
    let known = match offered.as_slice() {
        [] => "it offers none".to_owned(),
        offered => format!("it offers: {}", offered.join(", ")),
    };
    Err(AcmeError::refused(format!("the directory has no profile `{profile}`; {known}")))
}

/// Places the order.
async fn place(
    visit: &DirectorySession,
    wanted: &OrderSpec,
    replaces: Option<CertificateIdentifier<'static>>,
) -> Result<Order, AcmeError> {
    let identifiers: Vec<Identifier> = wanted.names.iter().map(|name| identifier(name)).collect();
    let new_order = || {
        let order = NewOrder::new(&identifiers);
        wanted.profile.as_deref().into_iter().fold(order, NewOrder::profile)
    };
    let doing = || format!("order a certificate for {}", list(&wanted.names));
    let failed = |error: &Error| AcmeError::from_error(&doing(), error, visit.link.retry_after());
    let Some(replaces) = replaces else {
        return visit.account.new_order(&new_order()).await.map_err(|error| failed(&error));
    };
    match visit.account.new_order(&new_order().replaces(replaces)).await {
        Ok(order) => Ok(order),
        // That it takes the place of another is a courtesy: a directory may not know that one, or
        // has replaced it before, or drops the field.
        Err(error) if is_about_replacing(&error) => {
            tracing::debug!(%error, "the order does not name the certificate that it replaces");
            visit.account.new_order(&new_order()).await.map_err(|error| failed(&error))
        }
        Err(error) => Err(failed(&error)),
    }
}

fn is_about_replacing(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) => true,
        Error::Api(problem) => {
            matches!(
                type_of(problem),
                "alreadyReplaced" | "malformed" | "unauthorized" | "conflict"
            )
        }
        Error::Other(error) => error.to_string().contains("replaces field mismatch"),
        _ => false,
    }
}

fn identifier(name: &str) -> Identifier {
    name.parse().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)
}

/// An order under way.
struct Progress<'a> {
    visit: &'a DirectorySession,
    order: Order,
}

impl Progress<'_> {
    fn failure(&self, doing: &str, error: &Error) -> AcmeError {
        AcmeError::from_error(doing, error, self.visit.link.retry_after())
    }

    /// Proves control of every name that is not authorised already.
    async fn show_control(&mut self, proofs: &mut ChallengeResponses<'_>) -> Result<(), AcmeError> {
        match self.order.state().status {
            OrderStatus::Pending => {}
            OrderStatus::Invalid => return Err(self.verdict(proofs).await),
            // All names are authorised, by an earlier order.
            OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid => return Ok(()),
        }
        self.put_up(proofs).await?;
        sleep(proofs.wait()).await;
        self.call_for_judgement(proofs).await?;
        match self.settled(|status| status != OrderStatus::Pending).await? {
            OrderStatus::Invalid => Err(self.verdict(proofs).await),
            _ => Ok(()),
        }
    }

    async fn put_up(&mut self, proofs: &mut ChallengeResponses<'_>) -> Result<(), AcmeError> {
        let (wanted, word) = proofs.method();
        let told = self.visit.link.clone();
        let mut authorizations = self.order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|e| {
                AcmeError::from_error("read an authorization", &e, told.retry_after())
            })?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let shown = authorization.identifier().to_string();
            let name = shown.strip_prefix("*.").unwrap_or(&shown).to_owned();
            let offered: Vec<_> = authorization
                .challenges
                .iter()
                .map(|offer| proof::name_of(&offer.r#type))
                .collect();
            let offered = offered.join(", ");
            let Some(challenge) = authorization.challenge(wanted.clone()) else {
                return Err(AcmeError::refused(format!(
                    "the CA does not take {word} for {shown}, only: {offered}"
                )));
            };
            proofs.put_up(&name, &challenge.token, &challenge.key_authorization()).await?;
        }
        Ok(())
    }

    async fn call_for_judgement(
        &mut self,
        proofs: &ChallengeResponses<'_>,
    ) -> Result<(), AcmeError> {
        let (wanted, word) = proofs.method();
        let told = self.visit.link.clone();
        let mut authorizations = self.order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|e| {
                AcmeError::from_error("read an authorization", &e, told.retry_after())
            })?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(wanted.clone()) else { continue };
            challenge.set_ready().await.map_err(|error| {
                AcmeError::from_error(
                    &format!("prove control of {name} by {word}"),
                    &error,
                    told.retry_after(),
                )
            })?;
        }
        Ok(())
    }

    /// Waits until the order is in a state that `enough` takes.
    async fn settled(&mut self, enough: fn(OrderStatus) -> bool) -> Result<OrderStatus, AcmeError> {
        let deadline = Instant::now() + JUDGEMENT_WAIT;
        let mut pause = POLL.0;
        loop {
            let status = self.order.state().status;
            if enough(status) || status == OrderStatus::Invalid {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(AcmeError::new(
                    AcmeErrorKind::Unreachable,
                    format!(
                        "the CA did not finish within {} min (the order is {status:?})",
                        JUDGEMENT_WAIT.as_secs() / 60
                    ),
                ));
            }
            let told = self.visit.link.retry_after().unwrap_or_default().min(POLL_TOLD_MAX);
            sleep(pause.max(told)).await;
            pause = pause.mul_f64(1.5).min(POLL.1);
            let refreshed = self.order.refresh().await.map(|_| ());
            refreshed.map_err(|error| self.failure("look at the order", &error))?;
        }
    }

    /// Why the order is invalid: what the CA says of each name.
    async fn verdict(&mut self, proofs: &ChallengeResponses<'_>) -> AcmeError {
        let (_, word) = proofs.method();
        let mut found = Vec::new();
        let mut authorizations = self.order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            let Ok(state) = authorization.refresh().await else { continue };
            // Only the challenge that was taken up says why; others may just be invalid with it.
            let with_reason = state.challenges.iter().find(|challenge| challenge.error.is_some());
            let failed = with_reason.or_else(|| {
                state
                    .challenges
                    .iter()
                    .find(|challenge| challenge.status == ChallengeStatus::Invalid)
            });
            if let Some(failed) = failed {
                let said = failed.error.as_ref().map_or_else(|| "no reason".to_owned(), words);
                found.push(format!(
                    "{} for {name} failed; the CA says: {said}",
                    proof::name_of(&failed.r#type)
                ));
            }
        }
        if let Some(error) = self.order.state().error.as_ref().filter(|_| found.is_empty()) {
            found.push(format!("the CA says: {}", words(error)));
        }
        if found.is_empty() {
            found.push(format!(
                "the order became invalid while control was proven by {word}, without a reason"
            ));
        }
        AcmeError::refused(found.join("; "))
    }

    /// Has the certificate issued, and fetches it.
    async fn issue(
        &mut self,
        wanted: &OrderSpec,
        now: SystemTime,
    ) -> Result<IssuedCertificate, AcmeError> {
        if self.order.state().status != OrderStatus::Ready {
            // It was issued for another key, before a crash: a new order has a new state.
            return Err(AcmeError::new(
                AcmeErrorKind::Unreachable,
                "the directory handed out an order that was finished before",
            ));
        }
        let (kind, names) = (wanted.key, wanted.names.clone());
        // An RSA key takes seconds.
        let made = tokio::task::spawn_blocking(move || signing_request(kind, &names)).await;
        let (key_pem, csr) =
            made.map_err(|error| AcmeError::local(error.to_string()))?.map_err(AcmeError::local)?;
        let doing = format!("have the certificate for {} issued", list(&wanted.names));
        let finalized = self.order.finalize_csr(&csr).await;
        finalized.map_err(|error| self.failure(&doing, &error))?;
        if self.settled(|status| status == OrderStatus::Valid).await? == OrderStatus::Invalid {
            let said =
                self.order.state().error.as_ref().map_or_else(|| "no reason".to_owned(), words);
            return Err(AcmeError::refused(format!("cannot {doing}: the CA says: {said}")));
        }
        let chain_pem =
            self.order.certificate().await.map_err(|error| self.failure(&doing, &error))?;
        let chain_pem = chain_pem
            .ok_or_else(|| AcmeError::refused(format!("cannot {doing}: there is none")))?;
        let chain = judge(wanted, &key_pem, &chain_pem, now);
        let chain = chain.map_err(|why| {
            AcmeError::refused(format!("the CA issued a certificate that cannot be used: {why}"))
        })?;
        Ok(IssuedCertificate { chain, key_pem, chain_pem })
    }
}

/// A new key, and a request for a certificate of it.
fn signing_request(kind: config::KeyKind, names: &[Box<str>]) -> Result<(String, Vec<u8>), String> {
    let key = PrivateKey::generate(kind).map_err(|error| error.to_string())?;
    let pair = key.pair().map_err(|error| error.to_string())?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut parameters = rcgen::CertificateParams::new(names).map_err(|error| error.to_string())?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    let csr = parameters.serialize_request(&pair).map_err(|error| error.to_string())?;
    Ok((key.to_pem(), csr.der().to_vec()))
}

fn judge(
    wanted: &OrderSpec,
    key_pem: &str,
    chain_pem: &str,
    now: SystemTime,
) -> Result<Chain, String> {
    let chain = chain_from(format!("{key_pem}\n{chain_pem}").as_bytes())?;
    if let Some(missing) = wanted.names.iter().find(|name| !has_name(&chain, name)) {
        return Err(format!("it is not for {missing}"));
    }
    if chain.not_after <= now {
        return Err("it has expired already; is the clock of this machine right?".to_owned());
    }
    Ok(chain)
}
