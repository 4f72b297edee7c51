//! Health from traffic: ejects endpoints whose requests fail, and readmits them.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::clock::millis;
use crate::endpoint::{EJECTED, EndpointState, EndpointStatus, PROBATION, UNREACHED};
use crate::evidence::{RequestOrigin, is_beyond_chance};
use crate::group::Group;
use crate::outcome::Verdict;
use crate::outliers::{Bounds, Outlier, worst};

/// After this time a probe without a reported result is due again.
const PROBE_AGAIN: Duration = Duration::from_secs(10);

/// Every further failure is examined until there are so many times the number that ejects.
const LOOKS: u32 = 16;

/// What an endpoint is ejected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// It cannot be connected to. All endpoints but the last may be ejected for this, and for silence.
    NoConnection,
    /// It does not respond.
    Silence,
    /// Its responses: only a share of the endpoints may be ejected for this.
    Answers,
}

/// Whose try it was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TryContext {
    pub(crate) origin: RequestOrigin,
    /// Whether what the client sent chose the endpoint: a key, a cookie.
    pub(crate) steered: bool,
}

/// A try that failed.
pub(crate) struct FailedTry<'a> {
    pub(crate) verdict: Verdict,
    pub(crate) of: TryContext,
    pub(crate) words: &'a dyn Display,
}

impl Group {
    /// Ejects an endpoint if its failures in a row are enough for that.
    pub(crate) fn eject_if_due(
        &self,
        index: usize,
        streak: u32,
        failed: FailedTry<'_>,
        now_ms: u64,
    ) {
        let Some(ejection) = &self.settings.ejection else { return };
        let consecutive = ejection.consecutive;
        if consecutive == 0 || streak < consecutive {
            return;
        }
        let reason = match failed.verdict {
            Verdict::Unreached => Reason::NoConnection,
            Verdict::Silent => Reason::Silence,
            _ => Reason::Answers,
        };
        // An endpoint that cannot be ejected is not examined at each further failure.
        let often = reason != Reason::NoConnection && streak < consecutive.saturating_mul(LOOKS);
        if !often && !streak.is_multiple_of(consecutive) {
            return;
        }
        // A client cannot prevent connections to an endpoint.
        let grounds = match reason {
            Reason::NoConnection => Some(String::new()),
            Reason::Silence | Reason::Answers => self.grounds(index, streak, failed.of.steered),
        };
        let Some(grounds) = grounds else { return };
        let words = failed.words;
        let why = match streak {
            1 => format!("failed once: {words}{grounds}"),
            _ => format!("failed {streak} times in a row: {words}{grounds}"),
        };
        self.eject(index, reason, &why, now_ms);
    }

    /// Why the failures are the endpoint's fault, in words; `None`: they may be the fault of the requests.
    fn grounds(&self, index: usize, streak: u32, steered: bool) -> Option<String> {
        let state = &*self.members.get(index)?.state;
        let (diverse, (good, bad)) = {
            let evidence = state.evidence();
            let others = evidence.others(self.state.totals(), state.totals());
            (evidence.is_diverse(streak as usize), others)
        };
        if !steered && is_beyond_chance(u64::from(streak), good, bad) {
            return Some(format!(
                " ({good} of {} succeeded elsewhere in the meantime)",
                good + bad
            ));
        }
        let others_are_well = || {
            let others = self.members.iter().enumerate().filter(|(other, _)| *other != index);
            let up = others.filter(|(_, member)| member.status() == EndpointStatus::Up);
            let (up, failing) = up.fold((0, 0), |(up, failing), (_, member)| {
                (up + 1, failing + usize::from(member.state.failures_in_a_row() > 0))
            });
            failing * 2 <= up
        };
        // On probation the failure of its one request is enough.
        if state.is_on_probation() {
            return others_are_well().then(String::new);
        }
        let (clients, targets) = diverse?;
        others_are_well().then(|| format!(" ({clients} clients, {targets} paths)"))
    }

    /// Ejects an endpoint, if it may be. True if it was.
    fn eject(&self, index: usize, reason: Reason, why: &dyn Display, now_ms: u64) -> bool {
        let Some(ejection) = &self.settings.ejection else { return false };
        // If another core ejects just now, this endpoint is examined again at its next failure.
        let Ok(_alone) = self.state.ejecting.try_lock() else { return false };
        let Some(member) = self.members.get(index) else { return false };
        let count = |wanted| self.members.iter().filter(|m| m.status() == wanted).count();
        if member.status() != EndpointStatus::Up || count(EndpointStatus::Up) <= 1 {
            return false;
        }
        let most = (self.members.len() * usize::from(ejection.share) / 100).max(1);
        if reason == Reason::Answers && count(EndpointStatus::Ejected) >= most {
            return false;
        }
        member.state.begin_term(ejection.term, ejection.term_max, now_ms);
        let unreached = if reason == Reason::NoConnection { UNREACHED } else { 0 };
        let ejected = member.state.set_flags(EJECTED | unreached, PROBATION, why);
        if ejected {
            self.state.bump_version();
        }
        ejected
    }

    /// To be called once a second: ends terms and slow starts, forgets old terms, and ejects endpoints that do clearly
    /// worse than the others. Returns the endpoints whose term is over but that could not be connected to: the
    /// caller tries that and reports the result with [`Group::report_probe`].
    #[must_use = "these do not return by themselves"]
    pub fn sweep(&self, now: Instant) -> Vec<usize> {
        let now_ms = millis(now);
        let mut changed = false;
        let mut probes = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            if self.settings.ejection.is_some() && member.state.take_probe(PROBE_AGAIN, now_ms) {
                probes.push(index);
            }
            changed |= self.end_term(&member.state, now_ms);
            changed |= member.state.is_ramping()
                && member.state.ramp(self.settings.slow_start, now_ms) >= 1.0
                && member.state.end_ramp();
        }
        if changed {
            self.state.bump_version();
        }
        self.eject_outliers(now_ms);
        probes
    }

    /// Reports whether an endpoint that was unreachable can be connected to; if not, why. If it can, it returns;
    /// otherwise its next term begins, without a request that fails on it.
    pub fn report_probe(&self, index: usize, reached: Result<(), String>, now: Instant) {
        let Some(member) = self.members.get(index) else { return };
        let (state, now_ms) = (&*member.state, millis(now));
        if state.flags() & UNREACHED == 0 {
            return;
        }
        match (reached, &self.settings.ejection) {
            (Err(words), Some(ejection)) => {
                state.note(&words);
                state.begin_term(ejection.term, ejection.term_max, now_ms);
            }
            _ => {
                state.set_flags(0, UNREACHED, &"");
                state.allow_return(now_ms);
                if self.end_term(state, now_ms) {
                    self.state.bump_version();
                }
            }
        }
    }

    /// Ejects endpoints that do clearly worse than the others, the worst first.
    fn eject_outliers(&self, now_ms: u64) {
        let Some(ejection) = &self.settings.ejection else { return };
        if !ejection.failures && ejection.latency <= 0.0 {
            return;
        }
        let bounds = Bounds {
            failures: ejection.failures,
            latency: ejection.latency,
            requests_min: ejection.requests_min,
        };
        let counted = self.members.iter().enumerate().map(|(index, member)| {
            (index, member.state.recent(ejection.window, now_ms), member.status())
        });
        let up = counted.filter(|(.., status)| *status == EndpointStatus::Up);
        let mut up: Vec<_> = up.map(|(index, totals, _)| (index, totals)).collect();
        // Where what clients send chooses the endpoint, one of them could make one fail.
        let steered = self.by_key || self.settings.sticky.is_some();
        while let Some((index, outlier)) = worst(&up, bounds) {
            let failures = matches!(outlier, Outlier::Failures(..));
            let diverse = || {
                let member = self.members.get(index);
                member.is_some_and(|m| m.state.evidence().is_diverse(usize::MAX).is_some())
            };
            if steered && failures && !diverse() {
                up.retain(|(of, _)| *of != index);
                continue;
            }
            if !self.eject(index, Reason::Answers, &outlier, now_ms) {
                return;
            }
            up.retain(|(of, _)| *of != index);
        }
    }

    fn end_term(&self, state: &EndpointState, now_ms: u64) -> bool {
        let (term_over, consecutive, window) = match &self.settings.ejection {
            Some(ejection) => (state.term_is_over(now_ms), ejection.consecutive, ejection.window),
            // It was ejected by a configuration that is gone.
            None => (true, 0, Duration::ZERO),
        };
        if state.flags() & EJECTED == 0 {
            state.forget_term(window, now_ms);
            return false;
        }
        if !term_over {
            return false;
        }
        state.end_term(now_ms);
        let probation = if self.settings.ejection.is_some() { PROBATION } else { 0 };
        // The first answer decides: one more failure makes the streak full again.
        let streak = if probation == 0 { 0 } else { consecutive.saturating_sub(1).max(1) };
        self.readmit(state, streak, now_ms);
        state.set_flags(
            probation,
            EJECTED | UNREACHED | (PROBATION & !probation),
            &"its term is over",
        )
    }
}
