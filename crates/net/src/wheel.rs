//! Coarse deadlines, without a timer of the runtime for each.
//!
//! One wheel per core, turned by one task. Setting an [`Alarm`] stores a number; only if the alarm is not queued,
//! or too late, it is also linked into the slot of its tick. When a slot's turn comes, the alarms in it whose
//! deadline has moved on are put into a later slot, the others wake their task.
//!
//! No clock is read when an alarm is set: its time runs from the next turn. So it never fires early, even if the core
//! is held up; and it is late by two ticks at most (and by as long as the core is held up then).
//! Invariant: a queued alarm is never in a slot later than its deadline's.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How often the wheel turns by default.
pub const TICK_DEFAULT: Duration = Duration::from_millis(100);
/// Slots of the wheel: deadlines farther away than this many ticks are looked at on the way.
const SLOTS: usize = 1024;
/// No deadline.
const NEVER: u64 = u64::MAX;
/// The end of a list of alarms.
const NOBODY: u32 = u32::MAX;

/// Where an alarm is queued: the tick of its slot, and its neighbours in that slot's list.
#[derive(Clone, Copy, Debug)]
struct Place {
    tick: u64,
    before: u32,
    behind: u32,
}

#[derive(Debug, Default)]
struct Entry {
    /// When the alarm fires, in milliseconds of the wheel.
    deadline: u64,
    /// True if the deadline is to be moved by what passes until the next turn.
    is_fresh: bool,
    /// True if it is in the list of those that may be fresh.
    is_listed: bool,
    place: Option<Place>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Table {
    entries: Vec<Entry>,
    /// The entries without an alarm.
    free: Vec<u32>,
    /// The first entry queued in each slot.
    slots: Vec<u32>,
    /// The entries set since the last turn.
    fresh: Vec<u32>,
    tick_millis: u64,
    /// The last tick that was handled.
    tick: u64,
}

#[derive(Debug)]
struct Inner {
    tick_length: Duration,
    origin: Instant,
    /// The time of the last turn, and the same in whole milliseconds since the origin.
    now: Cell<Instant>,
    millis: Cell<u64>,
    table: RefCell<Table>,
    /// Who is to be woken, kept for its memory.
    woken: RefCell<Vec<Waker>>,
}

/// A core's wheel of deadlines; cloning makes another handle of the same wheel.
#[derive(Clone, Debug)]
pub struct Wheel {
    inner: Rc<Inner>,
}

impl Wheel {
    /// A wheel that turns every [`TICK_DEFAULT`], by a task of the runtime that this is called in, until the
    /// last handle is gone.
    pub fn start() -> Self {
        Self::start_with(TICK_DEFAULT)
    }

    /// A wheel that turns every `tick`, in whole milliseconds and at least one.
    pub fn start_with(tick: Duration) -> Self {
        let wheel = Self::new(tick);
        tokio::task::spawn_local(turn(Rc::downgrade(&wheel.inner)));
        wheel
    }

    /// A wheel that the caller turns with [`tick`](Self::tick).
    pub fn new(tick: Duration) -> Self {
        let tick_millis = millis_up(tick).max(1);
        let now = Instant::now();
        let table = Table {
            entries: Vec::new(),
            free: Vec::new(),
            slots: vec![NOBODY; SLOTS],
            fresh: Vec::new(),
            tick_millis,
            tick: 0,
        };
        let inner = Inner {
            tick_length: Duration::from_millis(tick_millis),
            origin: now,
            now: Cell::new(now),
            millis: Cell::new(0),
            table: RefCell::new(table),
            woken: RefCell::default(),
        };
        Self { inner: Rc::new(inner) }
    }

    /// The time of the last turn: up to a tick old, but free.
    pub fn now(&self) -> Instant {
        self.inner.now.get()
    }

    /// The length of a tick.
    pub fn tick_length(&self) -> Duration {
        self.inner.tick_length
    }

    /// Turns the wheel to `now` and wakes the waiters of alarms that have fired.
    pub fn tick(&self, now: Instant) {
        self.inner.turn_to(now, false);
    }

    /// Wakes the waiters of all alarms, fired or not, so that they check what else has changed.
    pub fn wake_all(&self) {
        let table = self.inner.table.borrow();
        table.entries.iter().filter_map(|entry| entry.waker.as_ref()).for_each(Waker::wake_by_ref);
    }

    /// A new alarm, not set.
    pub fn alarm(&self) -> Alarm {
        let mut table = self.inner.table.borrow_mut();
        let index = table.free.pop().unwrap_or_else(|| {
            table.entries.push(Entry { deadline: NEVER, ..Entry::default() });
            (table.entries.len() - 1) as u32
        });
        Alarm { wheel: Rc::clone(&self.inner), index }
    }
}

/// Turns the wheel as long as there is a handle of it.
async fn turn(wheel: Weak<Inner>) {
    let Some(length) = wheel.upgrade().map(|wheel| wheel.tick_length) else { return };
    let mut interval = tokio::time::interval(length);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let Some(wheel) = wheel.upgrade() else { return };
        // Only in a test's simulated time the runtime's time is not between these two.
        let before = std::time::Instant::now();
        let now = Instant::now();
        let is_real = (before..=std::time::Instant::now()).contains(&now.into_std());
        wheel.turn_to(now, is_real);
    }
}

/// Whole milliseconds, rounded up.
fn millis_up(duration: Duration) -> u64 {
    let nanos = duration.subsec_nanos();
    duration.as_secs().saturating_mul(1000).saturating_add(u64::from(nanos.div_ceil(1_000_000)))
}

impl Inner {
    fn turn_to(&self, now: Instant, is_real: bool) {
        let millis = now.saturating_duration_since(self.origin).as_millis() as u64;
        let passed = millis.saturating_sub(self.millis.get());
        self.millis.set(self.millis.get().max(millis));
        self.now.set(self.now.get().max(now));
        let mut table = self.table.borrow_mut();
        // Whatever was set since the last turn may have been set just now; one more for the fraction of `now`. When a
        // test's simulated time makes a leap, though, nothing was set within it.
        let tick_millis = table.tick_millis;
        table.settle_fresh(if is_real { passed } else { passed.min(tick_millis) } + 1);
        let mut woken = self.woken.take();
        table.handle_slots(self.millis.get(), &mut woken);
        // Woken tasks may use alarms at once.
        drop(table);
        woken.drain(..).for_each(Waker::wake);
        self.woken.replace(woken);
    }
}

fn slot_of(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

impl Table {
    fn entry(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)
    }

    /// Moves the deadlines that were set since the last turn by the time that has passed. Their slots stay: those
    /// come no later.
    fn settle_fresh(&mut self, passed: u64) {
        for index in self.fresh.drain(..) {
            let Some(entry) = self.entries.get_mut(index as usize) else { continue };
            entry.is_listed = false;
            if std::mem::take(&mut entry.is_fresh) && entry.deadline != NEVER {
                entry.deadline = entry.deadline.saturating_add(passed).min(NEVER - 1);
            }
        }
    }

    /// Checks every alarm in the slots that are due by `now`.
    fn handle_slots(&mut self, now: u64, woken: &mut Vec<Waker>) {
        let (last, target) = (self.tick, now / self.tick_millis);
        self.tick = target;
        let due = target.saturating_sub(last).min(SLOTS as u64);
        for tick in (target - due + 1)..=target {
            let Some(slot) = self.slots.get_mut(slot_of(tick)) else { continue };
            let mut next = std::mem::replace(slot, NOBODY);
            while let Some(entry) = self.entry(next) {
                let (index, deadline) = (next, entry.deadline);
                next = entry.place.take().map_or(NOBODY, |place| place.behind);
                if deadline <= now {
                    woken.extend(entry.waker.take());
                } else if deadline != NEVER {
                    self.link(index, deadline);
                }
            }
        }
    }

    /// Queues an entry that is not queued, for its deadline or as far ahead as the wheel reaches.
    fn link(&mut self, index: u32, deadline: u64) {
        let tick =
            deadline.div_ceil(self.tick_millis).clamp(self.tick + 1, self.tick + SLOTS as u64 - 1);
        let Some(slot) = self.slots.get_mut(slot_of(tick)) else { return };
        let behind = std::mem::replace(slot, index);
        if let Some(entry) = self.entry(index) {
            entry.place = Some(Place { tick, before: NOBODY, behind });
        }
        if let Some(place) = self.entry(behind).and_then(|entry| entry.place.as_mut()) {
            place.before = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(place) = self.entry(index).and_then(|entry| entry.place.take()) else { return };
        if let Some(behind) = self.entry(place.behind).and_then(|entry| entry.place.as_mut()) {
            behind.before = place.before;
        }
        match self.entry(place.before).and_then(|entry| entry.place.as_mut()) {
            Some(before) => before.behind = place.behind,
            None => {
                if let Some(slot) = self.slots.get_mut(slot_of(place.tick)) {
                    *slot = place.behind;
                }
            }
        }
    }
}

/// One deadline, which may be set again and again. Dropping it takes it off the wheel.
#[derive(Debug)]
pub struct Alarm {
    wheel: Rc<Inner>,
    index: u32,
}

impl Alarm {
    /// Lets it fire when `after` has passed from now, whatever was set before.
    pub fn set(&self, after: Duration) {
        let deadline = self.wheel.millis.get().saturating_add(millis_up(after)).min(NEVER - 1);
        self.set_deadline(deadline, !after.is_zero());
    }

    /// Lets it fire at `at`, whatever was set before.
    pub fn set_at(&self, at: Instant) {
        self.set_deadline(millis_up(at.saturating_duration_since(self.wheel.origin)), false);
    }

    fn set_deadline(&self, deadline: u64, is_fresh: bool) {
        let mut table = self.wheel.table.borrow_mut();
        let tick_millis = table.tick_millis;
        let Some(entry) = table.entry(self.index) else { return };
        entry.deadline = deadline;
        entry.is_fresh = is_fresh;
        let to_be_listed = is_fresh && !entry.is_listed;
        entry.is_listed |= is_fresh;
        // It may stay where it is unless the tick of its deadline comes before its slot's.
        let place = entry.place;
        if to_be_listed {
            table.fresh.push(self.index);
        }
        match place {
            Some(place) if (place.tick - 1).saturating_mul(tick_millis) < deadline => {}
            Some(_) => {
                table.unlink(self.index);
                table.link(self.index, deadline);
            }
            None => table.link(self.index, deadline),
        }
    }

    /// Takes the deadline away: it does not fire until it is set again.
    pub fn clear(&self) {
        if let Some(entry) = self.wheel.table.borrow_mut().entry(self.index) {
            entry.deadline = NEVER;
        }
    }

    /// True if the deadline has passed.
    pub fn has_fired(&self) -> bool {
        self.deadline() <= self.wheel.millis.get()
    }

    /// True if there is a deadline, passed or not.
    pub fn is_set(&self) -> bool {
        self.deadline() != NEVER
    }

    /// How long until it fires; nothing if it is not set.
    pub fn remaining(&self) -> Option<Duration> {
        match self.deadline() {
            NEVER => None,
            deadline => {
                Some(Duration::from_millis(deadline.saturating_sub(self.wheel.millis.get())))
            }
        }
    }

    /// Ready once the deadline has passed (and as long as it stays so); else the task is woken when it has.
    pub fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut table = self.wheel.table.borrow_mut();
        let Some(entry) = table.entry(self.index) else { return Poll::Pending };
        if entry.deadline <= self.wheel.millis.get() {
            return Poll::Ready(());
        }
        if entry.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            let before = entry.waker.replace(cx.waker().clone());
            drop(table);
            // Dropping a waker may drop its task, and with it other alarms: so only once the table is free.
            drop(before);
        }
        Poll::Pending
    }

    /// Waits until it has fired.
    pub async fn fired(&self) {
        std::future::poll_fn(|cx| self.poll_fired(cx)).await;
    }

    fn deadline(&self) -> u64 {
        self.wheel.table.borrow_mut().entry(self.index).map_or(NEVER, |entry| entry.deadline)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut table = self.wheel.table.borrow_mut();
        table.unlink(self.index);
        let waker = table.entry(self.index).and_then(|entry| {
            entry.deadline = NEVER;
            entry.waker.take()
        });
        table.free.push(self.index);
        drop(table);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    const TICK: Duration = Duration::from_millis(100);

    fn run<F: Future>(story: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(Default::default());
        runtime.unwrap().block_on(story)
    }

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[track_caller]
    fn check_fired(after: Duration, waited: Duration) {
        assert!(waited >= after, "set to {after:?}, fired early after {waited:?}");
        assert!(waited <= after + 2 * TICK, "set to {after:?}, fired late after {waited:?}");
    }

    #[test]
    fn fires_after_any_time_from_any_moment() {
        run(async {
            let wheel = Wheel::start();
            let alarm = wheel.alarm();
            for millis in [
                0, 1, 50, 99, 100, 101, 250, 1000, 4999, 102_399, 102_400, 102_500, 300_000,
                3_600_000,
            ] {
                for into_the_tick in [0, 1, 37, 99] {
                    tokio::time::sleep(Duration::from_millis(into_the_tick)).await;
                    let (begun_at, after) = (Instant::now(), Duration::from_millis(millis));
                    alarm.set(after);
                    alarm.fired().await;
                    check_fired(after, begun_at.elapsed());
                    alarm.set_at(begun_at + begun_at.elapsed() + after);
                    let begun_at = Instant::now();
                    alarm.fired().await;
                    check_fired(after, begun_at.elapsed());
                }
            }
        });
    }

    #[test]
    fn thousands_at_once() {
        run(async {
            let wheel = Wheel::start();
            let mut tasks = Vec::new();
            for number in 0..5000_u64 {
                let alarm = wheel.alarm();
                tasks.push(tokio::task::spawn_local(async move {
                    // Anything, spread evenly; each sets its alarm anew a few times before it waits to the end.
                    let after = Duration::from_millis(number * 7919 % 200_000);
                    for step in [3, 2, 5] {
                        alarm.set(after / step);
                        tokio::time::sleep(after / (2 * step)).await;
                    }
                    let begun_at = Instant::now();
                    alarm.set(after);
                    alarm.fired().await;
                    check_fired(after, begun_at.elapsed());
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert!(
                wheel.inner.table.borrow().slots.iter().all(|slot| *slot == NOBODY),
                "all is unlinked"
            );
        });
    }

    #[test]
    fn set_again_while_queued() {
        run(async {
            let wheel = Wheel::new(TICK);
            let begun_at = wheel.now();
            let at = |ticks: u32| begun_at + TICK * ticks;
            let alarm = wheel.alarm();
            alarm.set_at(at(5));
            alarm.set_at(at(8)); // later: stays where it is queued
            wheel.tick(at(7));
            assert!(!alarm.has_fired());
            alarm.set_at(at(1000));
            alarm.set_at(at(9)); // earlier: has to move
            wheel.tick(at(8));
            assert!(!alarm.has_fired());
            assert_eq!(alarm.remaining(), Some(TICK));
            wheel.tick(at(9));
            assert!(alarm.has_fired());
            assert_eq!(alarm.remaining(), Some(Duration::ZERO));
            alarm.clear();
            assert!(!alarm.has_fired() && !alarm.is_set());
            alarm.set_at(at(9 + 3 * SLOTS as u32)); // beyond the wheel's reach
            wheel.tick(at(8 + 3 * SLOTS as u32));
            assert!(!alarm.has_fired());
            wheel.tick(at(9 + 3 * SLOTS as u32));
            assert!(alarm.has_fired());
        });
    }

    #[test]
    fn wakes_once_and_only_who_waits() {
        run(async {
            let wheel = Wheel::new(TICK);
            let count = std::sync::Arc::new(Count::default());
            let woken = || count.0.load(std::sync::atomic::Ordering::Relaxed);
            let waker = Waker::from(std::sync::Arc::clone(&count));
            let mut cx = Context::from_waker(&waker);
            let begun_at = wheel.now();
            let alarms: Vec<_> = (0..10).map(|_| wheel.alarm()).collect();
            for alarm in &alarms {
                alarm.set_at(begun_at + TICK * 3);
                assert!(alarm.poll_fired(&mut cx).is_pending());
                assert!(alarm.poll_fired(&mut cx).is_pending());
            }
            let mut alarms = alarms;
            for place in [9, 5, 0] {
                drop(alarms.remove(place)); // the first of its slot's list, one from the middle, the last
            }
            wheel.tick(begun_at + TICK * 2);
            assert_eq!(woken(), 0);
            wheel.tick(begun_at + TICK * 3);
            assert_eq!(woken(), 7);
            wheel.tick(begun_at + TICK * 4);
            assert_eq!(woken(), 7);
            let entries = wheel.inner.table.borrow().entries.len();
            drop(alarms);
            let again: Vec<_> = (0..10).map(|_| wheel.alarm()).collect();
            assert_eq!(wheel.inner.table.borrow().entries.len(), entries, "entries are used again");
            assert!(
                again.iter().all(|alarm| !alarm.is_set() && alarm.poll_fired(&mut cx).is_pending())
            );
        });
    }

    /// With the real clock: a core that was held up sets an alarm before the wheel could turn.
    #[test]
    fn held_up_core_does_not_fire_early() {
        let tick = Duration::from_millis(5);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(async {
            let wheel = Wheel::start_with(tick);
            tokio::time::sleep(3 * tick).await;
            std::thread::sleep(10 * tick);
            let (begun_at, alarm) = (std::time::Instant::now(), wheel.alarm());
            alarm.set(2 * tick);
            alarm.fired().await;
            assert!(begun_at.elapsed() >= 2 * tick, "fired after {:?}", begun_at.elapsed());
        });
    }

    #[test]
    fn turning_ends_with_the_last_handle() {
        run(async {
            let wheel = Wheel::start();
            let alarm = wheel.alarm();
            let inner = Rc::downgrade(&wheel.inner);
            drop(wheel);
            alarm.set(TICK);
            alarm.fired().await;
            drop(alarm);
            tokio::time::sleep(3 * TICK).await;
            assert!(inner.upgrade().is_none());
        });
    }
}
