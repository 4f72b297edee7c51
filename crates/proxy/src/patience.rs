//! How long the proxy waits for a peer.
//!
//! The time-out `stream-idle` measures the silence of the peer whose turn it is. A peer that reads is not
//! silent as long as its kernel acknowledges bytes; a peer that sends is not silent as long as bytes of the
//! same exchange move the other way. A client must also reach an average rate (`slow-rate`), over all the time
//! that was spent waiting for it, so that it does not pay for the slowness of the other side, nor for a pause
//! after many bytes. The kernel is asked only when an alarm fires.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use config::Timeouts;
use net::{Alarm, Delivery, Side, Stream, Wheel, relay};
use tokio::time::Instant;

use crate::transfer::{PumpError, ReadError, WriteError};

/// How often a peer is checked during a wait: the bounds.
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(15);

/// The phase of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No response has begun.
    Requesting,
    Responding,
    /// The response is complete, even if the client still sends.
    Responded,
}

/// What the two directions of an exchange know about each other.
#[derive(Debug)]
pub(crate) struct Flow {
    phase: Cell<Phase>,
    /// When bytes last moved, in either direction.
    moved_at: Cell<Instant>,
}

impl Flow {
    pub(crate) fn new(wheel: &Wheel) -> Self {
        Self { phase: Cell::new(Phase::Requesting), moved_at: Cell::new(wheel.now()) }
    }

    /// Starts an exchange.
    pub(crate) fn begin_exchange(&self) {
        self.phase.set(Phase::Requesting);
    }

    /// Notes that the response has begun.
    pub(crate) fn begin_response(&self) {
        self.phase.set(Phase::Responding);
    }

    /// Notes that the response is complete.
    pub(crate) fn end_response(&self) {
        self.phase.set(Phase::Responded);
    }
}

/// The limits for a client that reads a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TakerLimits {
    idle: Duration,
    rate: u64,
    grace: Duration,
}

impl TakerLimits {
    pub(crate) fn of(timeouts: &Timeouts) -> Self {
        let idle = unless_zero(timeouts.stream_idle);
        Self { idle, rate: timeouts.slow_rate, grace: timeouts.slow_grace.unwrap_or(idle) }
    }
}

/// How long the proxy waits for a peer in one direction of an exchange.
#[derive(Debug, Clone)]
pub(crate) struct Patience<'a> {
    /// Without a byte.
    idle: Duration,
    /// Bytes per second on average; 0: no limit.
    rate: u64,
    /// How long the wait may be before the rate is checked.
    grace: Duration,
    /// Whether the rate does not apply while the response is under way.
    request_only: bool,
    flow: Option<&'a Flow>,
    /// The phase in which these two count: the time that was spent waiting for the peer, and the
    /// bytes that it has sent or taken.
    phase: Cell<Phase>,
    waited: Cell<Duration>,
    credit: Cell<u64>,
}

/// The rest of a body that can go from socket to socket.
pub(crate) struct Bulk<'a> {
    pub(crate) from: &'a Stream,
    pub(crate) length: u64,
    /// The limits of its sender.
    pub(crate) patience: &'a Patience<'a>,
    /// Counts the bytes as they move, also if the transfer ends early.
    pub(crate) moved: &'a Cell<u64>,
}

/// How a peer exceeds its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    Idle,
    TooSlow,
}

impl<'a> Patience<'a> {
    fn new(idle: Duration, rate: u64, grace: Duration, flow: Option<&'a Flow>) -> Self {
        Self {
            idle: unless_zero(idle),
            rate,
            grace,
            request_only: false,
            flow,
            phase: Cell::new(Phase::Requesting),
            waited: Cell::default(),
            credit: Cell::default(),
        }
    }

    /// For what a client sends. The rate applies until the response begins: from then on the client may have
    /// little to send, such as one that listens to a stream. `rated`: whether a rate applies at all.
    pub(crate) fn for_sender(timeouts: &Timeouts, rated: bool, flow: &'a Flow) -> Self {
        let rate = if rated { timeouts.slow_rate } else { 0 };
        let grace = timeouts.slow_grace.unwrap_or(config::SLOW_GRACE);
        Self { request_only: true, ..Self::new(timeouts.stream_idle, rate, grace, Some(flow)) }
    }

    /// For what a client reads.
    pub(crate) fn for_taker(timeouts: &Timeouts, flow: &'a Flow) -> Self {
        let TakerLimits { idle, rate, grace } = TakerLimits::of(timeouts);
        Self::new(idle, rate, grace, Some(flow))
    }

    /// For an upstream, which may be silent as long as `idle`.
    pub(crate) fn for_upstream(idle: Duration, flow: Option<&'a Flow>) -> Self {
        Self::new(idle, 0, Duration::ZERO, flow)
    }

    /// For a side of a tunnel, which has a time-out as a whole.
    pub(crate) fn endless() -> Self {
        Self::for_upstream(Duration::ZERO, None)
    }

    /// Counts bytes that the peer has sent.
    pub(crate) fn received(&self, bytes: u64) {
        self.credit.set(self.credit.get().saturating_add(bytes));
    }

    fn is_rated(&self) -> bool {
        self.rate > 0 && !(self.request_only && self.phase.get() == Phase::Responding)
    }

    /// How long the wait for the peer may be in all.
    fn budget(&self) -> Duration {
        if !self.is_rated() {
            return Duration::MAX;
        }
        let earned = Duration::from_millis(self.credit.get().saturating_mul(1000) / self.rate);
        self.grace.saturating_add(earned)
    }

    /// How often the peer is checked during a wait.
    fn look_every(&self) -> Duration {
        let often = if self.is_rated() { self.grace.min(self.idle / 8) } else { self.idle / 8 };
        often.clamp(LOOK_MIN, LOOK_MAX)
    }

    /// When a new wait is checked first: immediately if the peer has no time left.
    fn first_look(&self, latest: Duration) -> Duration {
        self.allowance(Duration::ZERO, self.waited.get())
            .map_or(Duration::ZERO, |left| left.min(latest))
    }

    /// Resets the wait if the phase has changed; true if it has.
    fn enter_phase(&self) -> bool {
        let Some(flow) = self.flow.filter(|_| self.request_only) else { return false };
        let changed = self.phase.replace(flow.phase.get()) != flow.phase.get();
        if changed {
            self.waited.set(Duration::ZERO);
            self.credit.set(0);
        }
        changed
    }

    fn add_waited(&self, more: Duration) {
        self.waited.set(self.waited.get().saturating_add(more));
    }

    /// How long the wait may continue, after the peer was `silent` for so long and `waited` for so
    /// long in all.
    fn allowance(&self, silent: Duration, waited: Duration) -> Result<Duration, Stall> {
        if silent >= self.idle {
            return Err(Stall::Idle);
        }
        let left = self.budget().saturating_sub(waited);
        if left.is_zero() {
            return Err(Stall::TooSlow);
        }
        Ok(left.min(self.idle - silent))
    }

    /// Since when nothing has moved, for a wait that started at `since`.
    fn quiet_since(&self, since: Instant) -> Instant {
        self.flow.map_or(since, |flow| flow.moved_at.get().max(since))
    }

    /// The rest of a time-out that restarts when bytes of the exchange move; `None` if it has
    /// ended.
    pub(crate) fn left_of(&self, time: Duration, wheel: &Wheel) -> Option<Duration> {
        let passed = wheel.now().saturating_duration_since(self.flow?.moved_at.get());
        time.checked_sub(passed).filter(|left| !left.is_zero())
    }

    fn moved(&self, wheel: &Wheel) {
        if let Some(flow) = self.flow {
            flow.moved_at.set(wheel.now());
        }
    }

    /// Polls until the peer has sent something or exceeds its limits. The alarm is only set if there is
    /// something to wait for.
    pub(crate) async fn reading<T>(
        &self,
        wheel: &Wheel,
        alarm: &Alarm,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Stall> {
        // When the wait began, and since when it counts.
        let mut waiting: Option<(Instant, Instant)> = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = poll(cx) {
                if let Some((_, counted)) = waiting {
                    alarm.clear();
                    self.add_waited(wheel.now().saturating_duration_since(counted));
                }
                self.moved(wheel);
                return Poll::Ready(Ok(value));
            }
            let (since, mut counted) = match waiting {
                Some(wait) if alarm.is_set() => wait,
                // Both ends of a direction share the alarm. A flush of the sink in the middle of this wait
                // (`body::ready_or_flushed`) may have cleared it; that time was spent waiting for the sink.
                interrupted => {
                    self.enter_phase();
                    alarm.set(self.first_look(self.idle));
                    let now = wheel.now();
                    *waiting.insert((interrupted.map_or(now, |(since, _)| since), now))
                }
            };
            while alarm.poll_fired(cx).is_ready() {
                let now = wheel.now();
                if self.enter_phase() {
                    counted = now;
                    waiting = Some((since, now));
                }
                let silent = now.saturating_duration_since(self.quiet_since(since));
                let waited = self.waited.get() + now.saturating_duration_since(counted);
                match self.allowance(silent, waited) {
                    Ok(next) => alarm.set(next.max(LOOK_MIN)),
                    Err(stall) => return Poll::Ready(Err(stall)),
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Polls until the peer has taken something or exceeds its limits. `written`: bytes of this exchange that
    /// were written; `look` returns their delivery.
    pub(crate) async fn writing<T>(
        &self,
        wheel: &Wheel,
        alarm: &Alarm,
        written: u64,
        look: impl Fn() -> DeliverySample,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Stall> {
        let mut waiting: Option<TakerWait> = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = poll(cx) {
                if let Some(taker_wait) = &waiting {
                    alarm.clear();
                    self.add_waited(wheel.now().saturating_duration_since(taker_wait.since));
                }
                self.moved(wheel);
                return Poll::Ready(Ok(value));
            }
            let taker_wait = waiting.get_or_insert_with(|| {
                alarm.set(self.first_look(self.look_every()));
                TakerWait::since(wheel.now())
            });
            while alarm.poll_fired(cx).is_ready() {
                let now = wheel.now();
                taker_wait.look(self, &look(), written, now);
                let silent = now.saturating_duration_since(taker_wait.quiet_since);
                let waited = self.waited.get() + now.saturating_duration_since(taker_wait.since);
                match self.allowance(silent, waited) {
                    Ok(next) => alarm.set(next.clamp(LOOK_MIN, self.look_every())),
                    Err(stall) => return Poll::Ready(Err(stall)),
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Moves bytes from socket to socket, until either peer exceeds its limits; `self` is that of the reader.
    /// `written`: bytes of this exchange that were written before. `count` is called with the bytes that move.
    pub(crate) async fn relay(
        &self,
        wheel: &Wheel,
        alarm: &Alarm,
        bulk: Bulk<'_>,
        to: &Stream,
        written: u64,
        mut count: impl FnMut(u64),
    ) -> Result<u64, PumpError> {
        let Bulk { from, length, patience: sender, moved } = bulk;
        let relaying = relay(from, to, Some(length), |bytes| {
            moved.set(moved.get() + bytes);
            count(bytes);
        });
        let mut relaying = pin!(relaying);
        let every = self.look_every().min(sender.look_every());
        let mut taker_wait = TakerWait::since(wheel.now());
        let (mut seen, mut looked_at) = (moved.get(), wheel.now());
        let before = seen;
        alarm.set(every);
        let ended = poll_fn(|cx| {
            if let Poll::Ready(ended) = relaying.as_mut().poll(cx) {
                return Poll::Ready(Ok(ended));
            }
            while alarm.poll_fired(cx).is_ready() {
                let now = wheel.now();
                let more = moved.get() - std::mem::replace(&mut seen, moved.get());
                let passed = now.saturating_duration_since(std::mem::replace(&mut looked_at, now));
                if sender.enter_phase() {
                    taker_wait.quiet_since = now;
                }
                sender.received(more);
                if more > 0 {
                    sender.moved(wheel);
                    taker_wait.quiet_since = now;
                }
                // The reader is the slow one if its socket has no room; else the sender is.
                if to.poll_writable(cx).is_pending() {
                    let look = DeliverySample::of(to);
                    taker_wait.look(self, &look, written + seen - before, now);
                    self.add_waited(passed);
                    let silent = now.saturating_duration_since(taker_wait.quiet_since);
                    if let Err(stall) = self.allowance(silent, self.waited.get()) {
                        return Poll::Ready(Err(PumpError::Writing(stall.into())));
                    }
                } else {
                    taker_wait.acknowledged = None;
                    sender.add_waited(passed);
                    let quiet_since = sender.quiet_since(taker_wait.quiet_since);
                    let silent = now.saturating_duration_since(quiet_since);
                    if let Err(stall) = sender.allowance(silent, sender.waited.get()) {
                        return Poll::Ready(Err(PumpError::Reading(stall.into())));
                    }
                }
                alarm.set(every);
            }
            Poll::Pending
        });
        let ended = ended.await;
        alarm.clear();
        self.moved(wheel);
        ended?.map_err(|error| match error.side {
            Side::Reading => PumpError::Reading(ReadError::Broken(error.source)),
            Side::Writing => PumpError::Writing(WriteError::Broken(error.source)),
        })
    }
}

/// What is known about a peer that reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliverySample {
    pub(crate) delivery: Option<Delivery>,
    /// Whether other bytes on the same connection come first, so that their progress counts for
    /// this peer.
    pub(crate) shared: bool,
}

impl DeliverySample {
    /// Of a whole connection.
    pub(crate) fn of(stream: &Stream) -> Self {
        Self { delivery: stream.delivery(), shared: true }
    }

    /// Nothing is known: only what is written counts.
    pub(crate) fn none() -> Self {
        Self { delivery: None, shared: false }
    }
}

/// A wait for a peer that reads.
#[derive(Debug)]
struct TakerWait {
    since: Instant,
    quiet_since: Instant,
    /// What the peer had acknowledged at the last check.
    acknowledged: Option<u64>,
}

impl TakerWait {
    fn since(now: Instant) -> Self {
        Self { since: now, quiet_since: now, acknowledged: None }
    }

    /// Updates the wait with a sample.
    fn look(&mut self, patience: &Patience<'_>, look: &DeliverySample, written: u64, now: Instant) {
        let Some(Delivery { acknowledged, pending }) = look.delivery else {
            patience.credit.set(patience.credit.get().max(written)); // nothing better is known
            return;
        };
        let mut credit = patience.credit.get();
        let before = self.acknowledged.replace(acknowledged);
        let more = before.map(|before| acknowledged.saturating_sub(before));
        if look.shared && more != Some(0) {
            self.quiet_since = now;
            credit = credit.saturating_add(more.unwrap_or(0));
        }
        patience.credit.set(credit.max(written.saturating_sub(pending)));
    }
}

/// A wait until the peer has read what was written, while no exchange is running.
#[derive(Debug)]
pub(crate) struct DeliveryWait {
    patience: Patience<'static>,
    taker_wait: TakerWait,
}

/// Whether the peer has read what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryState {
    /// The peer has read all of it.
    Delivered,
    /// The peer is still reading; when to check again.
    Pending(Duration),
    /// The peer exceeds its limits.
    GivenUp,
}

impl DeliveryWait {
    pub(crate) fn new(TakerLimits { idle, rate, grace }: TakerLimits, now: Instant) -> Self {
        Self { patience: Patience::new(idle, rate, grace, None), taker_wait: TakerWait::since(now) }
    }

    pub(crate) fn look(&mut self, stream: &Stream, now: Instant) -> DeliveryState {
        let look = DeliverySample::of(stream);
        if look.delivery.is_none_or(|delivery| delivery.pending == 0) {
            return DeliveryState::Delivered;
        }
        let Self { patience, taker_wait } = self;
        taker_wait.look(patience, &look, 0, now);
        let silent = now.saturating_duration_since(taker_wait.quiet_since);
        match patience.allowance(silent, now.saturating_duration_since(taker_wait.since)) {
            Ok(next) => DeliveryState::Pending(next.clamp(LOOK_MIN, patience.look_every())),
            Err(_) => DeliveryState::GivenUp,
        }
    }
}

/// Detects an endpoint that does not answer in time because it is still reading the request.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// What the endpoint had acknowledged at the last check.
    acknowledged: Option<u64>,
}

impl Intake {
    /// How long to wait once more, if the endpoint is still reading. One that is gone acknowledges nothing, and
    /// a small rest has been read already.
    pub(crate) fn look(
        &mut self,
        delivery: Option<Delivery>,
        first_byte: Duration,
    ) -> Option<Duration> {
        const LITTLE: u64 = 16 * 1024;
        let Delivery { acknowledged, pending } = delivery?;
        if pending < LITTLE {
            // If it had not read all at the last check, its time-out starts now.
            return self.acknowledged.take().map(|_| first_byte);
        }
        let before = self.acknowledged.replace(acknowledged);
        (before != Some(acknowledged)).then_some(first_byte)
    }
}

/// A time-out of zero means none: a century.
pub(crate) fn unless_zero(time: Duration) -> Duration {
    if time.is_zero() { Duration::from_secs(3_155_760_000) } else { time }
}

impl From<Stall> for ReadError {
    fn from(stall: Stall) -> Self {
        match stall {
            Stall::Idle => Self::Idle,
            Stall::TooSlow => Self::TooSlow,
        }
    }
}

impl From<Stall> for WriteError {
    fn from(stall: Stall) -> Self {
        match stall {
            Stall::Idle => Self::Idle,
            Stall::TooSlow => Self::TooSlow,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    fn run<F: Future>(story: F) -> F::Output {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build_local(LocalOptions::default());
        runtime.unwrap().block_on(story)
    }

    /// What a peer does: so many bytes at once, the pause after them, and how often.
    type Habit = &'static [(usize, u64, u32)];

    const FOR_EVER: u32 = 10_000;

    /// How long it took until a peer had overdone what.
    type Outcome = Option<(Stall, std::ops::Range<u64>)>;

    #[track_caller]
    fn check(habit: Habit, found: Option<(Stall, Duration)>, expected: &Outcome) {
        let fits = match (&found, expected) {
            (None, None) => true,
            (Some((found, after)), Some((what, seconds))) => {
                found == what && seconds.contains(&after.as_secs())
            }
            _ => false,
        };
        assert!(fits, "{habit:?}: {found:?}, expected {expected:?}");
    }

    #[test]
    fn limits_of_a_reader() {
        const PIPE: usize = 64 * 1024; // what lies between
        let rows: &[(Habit, Outcome)] = &[
            (&[(2000, 1, 3000)], None),
            (&[(10_000, 1, 600)], None),
            // In lumps, as kernels open windows late.
            (&[(60_000, 100, 30)], None),
            // Pauses as long as they are not longer than `stream-idle`, however little was taken before.
            (&[(0, 240, 1), (2000, 1, 1000), (100, 240, 1), (2000, 1, 1000)], None),
            (&[(200_000, 290, 20)], None),
            // Never, and a byte a minute: the average is asked for once all was waited for.
            (&[(0, 1, FOR_EVER)], Some((Stall::TooSlow, 300..320))),
            (&[(1_000_000, 1, 1), (0, 1, FOR_EVER)], Some((Stall::Idle, 300..330))),
            (&[(1, 60, FOR_EVER)], Some((Stall::TooSlow, 300..400))),
            (&[(100, 1, FOR_EVER)], Some((Stall::TooSlow, 375..400))),
        ];
        for (habit, expected) in rows {
            let found = run(async {
                let (wheel, (ours, theirs)) = (Wheel::start(), Stream::pair());
                let (flow, alarm, begun) = (Flow::new(&wheel), wheel.alarm(), Instant::now());
                let patience = Patience::for_taker(&Timeouts::default(), &flow);
                let habit: Habit = habit;
                let taker_wait = tokio::task::spawn_local(async move {
                    for &(bytes, seconds, times) in habit {
                        for _ in 0..times {
                            let mut left = bytes;
                            while left > 0 {
                                let mut room = vec![0; left];
                                left -= theirs.read(&mut room).await.unwrap();
                            }
                            tokio::time::sleep(Duration::from_secs(seconds)).await;
                        }
                    }
                });
                let (piece, mut written) = (vec![0; PIPE], 0);
                while !taker_wait.is_finished() {
                    let look = || DeliverySample::of(&ours);
                    let wait = patience
                        .writing(&wheel, &alarm, written, look, |cx| ours.poll_write(cx, &piece));
                    match wait.await {
                        Ok(Ok(count)) => written += count as u64,
                        Ok(Err(_)) => break, // it is done, and has closed
                        Err(stall) => return Some((stall, begun.elapsed())),
                    }
                }
                None
            });
            check(habit, found, expected);
        }
    }

    #[test]
    fn limits_of_a_sender() {
        use Phase::{Requesting, Responded, Responding};
        #[derive(Clone, Copy)]
        struct Row {
            rated: bool,
            phase: Phase,
            /// Whether the other direction moves, every minute.
            moves: bool,
        }
        let requesting = Row { rated: true, phase: Requesting, moves: false };
        let call = Row { rated: false, ..requesting };
        let responding = Row { phase: Responding, ..requesting };
        let listening = Row { moves: true, ..responding };
        let responded = Row { phase: Responded, ..requesting };
        let rows: &[(Row, Habit, Outcome)] = &[
            (requesting, &[(2000, 1, 1000)], None),
            (requesting, &[(200_000, 240, 20)], None),
            (requesting, &[(1, 1, FOR_EVER)], Some((Stall::TooSlow, 20..22))),
            (requesting, &[(0, 1, FOR_EVER)], Some((Stall::TooSlow, 20..22))),
            (requesting, &[(5000, 0, 1), (0, 1, FOR_EVER)], Some((Stall::TooSlow, 30..32))),
            (call, &[(1, 240, 10)], None),
            (call, &[(0, 1, FOR_EVER)], Some((Stall::Idle, 300..302))),
            (responding, &[(5, 2, 1000)], None),
            (responding, &[(1, 240, 10)], None),
            (responding, &[(0, 1, FOR_EVER)], Some((Stall::Idle, 300..302))),
            (listening, &[(0, 1, 3000)], None),
            (responded, &[(1, 1, FOR_EVER)], Some((Stall::TooSlow, 20..22))),
        ];
        for (row, habit, expected) in rows {
            let found = run(async {
                let (wheel, (ours, theirs)) = (Wheel::start(), Stream::pair());
                let (flow, alarm) = (std::rc::Rc::new(Flow::new(&wheel)), wheel.alarm());
                flow.phase.set(row.phase);
                if row.moves {
                    let (flow, wheel) = (std::rc::Rc::clone(&flow), wheel.clone());
                    tokio::task::spawn_local(async move {
                        loop {
                            tokio::time::sleep(Duration::from_secs(60)).await;
                            flow.moved_at.set(wheel.now());
                        }
                    });
                }
                let habit: Habit = habit;
                let sending = tokio::task::spawn_local(async move {
                    for &(bytes, seconds, times) in habit {
                        for _ in 0..times {
                            theirs.write_all(&vec![0; bytes]).await.unwrap();
                            tokio::time::sleep(Duration::from_secs(seconds)).await;
                        }
                    }
                });
                let patience = Patience::for_sender(&Timeouts::default(), row.rated, &flow);
                let begun = Instant::now();
                let mut room = vec![0; 64 * 1024];
                loop {
                    let wait = patience.reading(&wheel, &alarm, |cx| ours.poll_read(cx, &mut room));
                    match wait.await {
                        Ok(Ok(0) | Err(_)) => break,
                        Ok(Ok(count)) => patience.received(count as u64),
                        Err(stall) => return Some((stall, begun.elapsed())),
                    }
                }
                assert!(sending.await.is_ok());
                None
            });
            check(habit, found, expected);
        }
    }

    #[test]
    fn a_flush_within_a_wait_leaves_the_sender_its_limits() {
        run(async {
            let (wheel, (ours, _theirs)) = (Wheel::start(), Stream::pair());
            let (flow, alarm, begun) = (Flow::new(&wheel), wheel.alarm(), Instant::now());
            let sender = Patience::for_sender(&Timeouts::default(), true, &flow);
            let sink = Patience::for_upstream(Duration::from_secs(300), Some(&flow));
            let mut room = [0; 16];
            let mut reading =
                pin!(sender.reading(&wheel, &alarm, |cx| ours.poll_read(cx, &mut room)));
            let first = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
            assert!(first.is_pending());
            let mut has_room = pin!(tokio::time::sleep(Duration::from_secs(30)));
            let writing = sink
                .writing(&wheel, &alarm, 0, DeliverySample::none, |cx| has_room.as_mut().poll(cx));
            writing.await.unwrap();
            let read = tokio::time::timeout(Duration::from_secs(600), reading).await;
            assert!(matches!(read, Ok(Err(Stall::TooSlow))), "{read:?}");
            // 20 s of its own, after the 30 s of the sink.
            assert!((50..53).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        });
    }

    #[test]
    fn a_reader_has_time_for_the_rest() {
        run(async {
            let (wheel, (ours, theirs)) = (Wheel::start(), Stream::pair());
            let taker_limits = TakerLimits::of(&Timeouts::default());
            assert_eq!(
                DeliveryWait::new(taker_limits, wheel.now()).look(&ours, wheel.now()),
                DeliveryState::Delivered
            );
            ours.write_all(&[0; 60_000]).await.unwrap();
            let mut delivery_wait = DeliveryWait::new(taker_limits, wheel.now());
            let mut given_up = async |reads: bool| {
                let begun = Instant::now();
                loop {
                    match delivery_wait.look(&ours, wheel.now()) {
                        DeliveryState::Pending(again) => tokio::time::sleep(again).await,
                        rest => return (rest, begun.elapsed().as_secs()),
                    }
                    if reads {
                        theirs.read(&mut [0; 30_000]).await.unwrap();
                    }
                }
            };
            assert!(matches!(given_up(true).await, (DeliveryState::Delivered, _)));
            ours.write_all(&[0; 60_000]).await.unwrap();
            let (rest, after) = given_up(false).await;
            assert_eq!(rest, DeliveryState::GivenUp);
            assert!((290..=330).contains(&after), "{after}");
        });
    }
}
