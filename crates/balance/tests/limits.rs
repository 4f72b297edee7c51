//! Limits and the queue: what is full, who waits, and in which order they go on.

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use balance::{Balancer, Lease, PickError, PickRequest, States, Wait};
use common::{World, upstream};

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One who waits, polled only when woken.
struct Waiting<'a> {
    wait: Pin<Box<Wait<'a>>>,
    woken: Arc<Woken>,
    seen: usize,
}

impl<'a> Waiting<'a> {
    fn new(world: &World, ask: &PickRequest<'a>) -> Self {
        let (wait, woken) = (Box::pin(world.core.wait(ask)), Arc::default());
        Self { wait, woken, seen: 0 }
    }

    fn poll(&mut self) -> Poll<Result<Lease, PickError>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.wait.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// What came of it, if it was woken.
    fn go_on(&mut self) -> Option<Result<Lease, PickError>> {
        let woken = self.woken.0.load(Ordering::SeqCst);
        if std::mem::replace(&mut self.seen, woken) == woken {
            return None;
        }
        match self.poll() {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        }
    }
}

/// Lets all go on who were woken, until nothing happens any more; who got a lease, in order.
fn settle(waiting: &mut [Option<Waiting<'_>>]) -> Vec<(usize, Lease)> {
    let mut went = Vec::new();
    loop {
        let before = went.len();
        for (index, slot) in waiting.iter_mut().enumerate() {
            if let Some(ended) = slot.as_mut().and_then(Waiting::go_on) {
                *slot = None;
                went.push((index, ended.expect("there is an endpoint")));
            }
        }
        let woken = |waiting: &Waiting<'_>| waiting.woken.0.load(Ordering::SeqCst) > waiting.seen;
        if went.len() == before && !waiting.iter().flatten().any(woken) {
            return went;
        }
    }
}

fn limited(max: u32, queue: u32) -> World {
    let mut settings = upstream(&["a"]);
    settings.endpoints[0].max = Some(max);
    settings.queue.max = queue;
    World::new(&settings)
}

fn waiting<'a>(world: &World, count: usize) -> Vec<Option<Waiting<'a>>> {
    let one = |_| {
        let mut waiting = Waiting::new(world, &world.ask(&[]));
        assert!(waiting.poll().is_pending());
        Some(waiting)
    };
    (0..count).map(one).collect()
}

#[test]
fn first_come_first_served_and_nobody_overtakes() {
    let world = limited(2, 10);
    let mut held = vec![world.pick().unwrap(), world.pick().unwrap()];
    assert_eq!(world.pick().err(), Some(PickError::Full));
    let mut line = waiting(&world, 4);
    assert_eq!(world.group.usage(world.now).waiting, 4);
    drop(held.pop());
    // There is room, but not for one who comes now.
    assert_eq!(world.pick().err(), Some(PickError::Full));
    let went = settle(&mut line);
    assert_eq!(went.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0]);
    held.clear();
    drop(went);
    let went = settle(&mut line);
    assert_eq!(went.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
    drop(went);
    assert_eq!(settle(&mut line).len(), 1);
    let usage = world.group.usage(world.now);
    assert_eq!((usage.waiting, usage.waited, usage.in_flight), (0, 4, 0));
    assert!(world.pick().is_ok());
}

#[test]
fn the_queue_is_bounded() {
    let world = limited(1, 2);
    let _held = world.pick().unwrap();
    let line = waiting(&world, 2);
    let turned_away = Waiting::new(&world, &world.ask(&[])).poll();
    assert!(matches!(turned_away, Poll::Ready(Err(PickError::QueueFull))));
    assert_eq!(world.group.usage(world.now).turned_away, 1);
    drop(line);
    assert_eq!(world.group.usage(world.now).waiting, 0);
    let none = limited(1, 0);
    let _held = none.pick().unwrap();
    assert!(Waiting::new(&none, &none.ask(&[])).poll().is_ready());
}

#[test]
fn a_call_that_is_not_used_is_handed_on() {
    // One who was called leaves without looking.
    let world = limited(1, 10);
    let held = world.pick().unwrap();
    let mut line = waiting(&world, 3);
    drop(held);
    line[0] = None;
    assert_eq!(settle(&mut line).first().map(|(index, _)| *index), Some(1));
    // One who was called cannot use the endpoint that has room.
    let mut settings = upstream(&["a", "b"]);
    settings.endpoints.iter_mut().for_each(|endpoint| endpoint.max = Some(1));
    let world = World::new(&settings);
    let (first, second) = (world.pick().unwrap(), world.pick().unwrap());
    let tried = [first.index()];
    let mut fussy = Waiting::new(&world, &world.ask(&tried));
    assert!(fussy.poll().is_pending());
    let mut line = vec![Some(fussy)];
    line.extend(waiting(&world, 1));
    drop(first);
    assert_eq!(settle(&mut line).first().map(|(index, _)| *index), Some(1));
    drop(second);
    assert_eq!(settle(&mut line).first().map(|(index, _)| *index), Some(0));
}

#[test]
fn room_that_nobody_waiting_can_use_is_kept_for_the_next_to_come() {
    let mut settings = upstream(&["a", "b"]);
    settings.endpoints.iter_mut().for_each(|endpoint| endpoint.max = Some(1));
    let world = World::new(&settings);
    let (first, _second) = (world.pick().unwrap(), world.pick().unwrap());
    let tried = [first.index()];
    let mut line = vec![Some(Waiting::new(&world, &world.ask(&tried)))];
    assert!(line[0].as_mut().unwrap().poll().is_pending());
    drop(first);
    assert!(settle(&mut line).is_empty());
    let mut next = Waiting::new(&world, &world.ask(&[]));
    assert!(matches!(next.poll(), Poll::Ready(Ok(_))));
}

/// One who waits for the only endpoint that will do holds nobody up who may go elsewhere.
#[test]
fn those_behind_one_who_is_bound_go_on() {
    let mut settings = upstream(&["a", "b"]);
    settings.endpoints[0].max = Some(1);
    let world = World::new(&settings);
    let bound = PickRequest { bound: Some(0), ..world.ask(&[]) };
    let held = world.core.pick(&bound).unwrap();
    let mut line = vec![Some(Waiting::new(&world, &bound))];
    assert!(line[0].as_mut().unwrap().poll().is_pending());
    // One who comes now stands behind, but not for nothing; and nobody else has to end for that.
    let mut next = Waiting::new(&world, &world.ask(&[]));
    assert!(matches!(next.poll(), Poll::Ready(Ok(lease)) if lease.index() == 1));
    // Nor if the one in front has been called, and goes first.
    drop(held);
    for _ in 0..3 {
        let mut behind = Waiting::new(&world, &world.ask(&[]));
        assert!(behind.poll().is_pending());
        line.push(Some(behind));
    }
    line[1] = None;
    let went = settle(&mut line);
    let went: Vec<_> = went.iter().map(|(at, lease)| (*at, lease.index())).collect();
    assert_eq!(went, [(0, 0), (2, 1), (3, 1)]);
    assert_eq!(world.group.usage(world.now).waiting, 0);
}

/// A line that is full of those who wait for one endpoint is no reason to turn others away.
#[test]
fn a_full_line_turns_nobody_away_who_can_go_elsewhere() {
    let mut settings = upstream(&["a", "b"]);
    settings.endpoints.iter_mut().for_each(|endpoint| endpoint.max = Some(1));
    settings.queue.max = 2;
    let world = World::new(&settings);
    let bound = PickRequest { bound: Some(0), ..world.ask(&[]) };
    let held = world.core.pick(&bound).unwrap();
    let one = |ask: &PickRequest<'static>| {
        let mut waiting = Waiting::new(&world, ask);
        (waiting.poll(), Some(waiting))
    };
    let mut line = vec![one(&bound).1, one(&bound).1];
    assert!(matches!(one(&bound).0, Poll::Ready(Err(PickError::QueueFull))));
    let (elsewhere, _) = one(&world.ask(&[]));
    let Poll::Ready(Ok(elsewhere)) = elsewhere else { panic!("b has room") };
    assert_eq!(elsewhere.index(), 1);
    assert!(matches!(one(&world.ask(&[])).0, Poll::Ready(Err(PickError::QueueFull))));
    // Nor are those who wait woken for room that is none for them.
    drop(elsewhere);
    assert!(line.iter().flatten().all(|waiting| waiting.woken.0.load(Ordering::SeqCst) == 0));
    // While one in front is called, those who come wait for their turn: as many as have a place.
    drop(held);
    let (free, next) = one(&world.ask(&[]));
    let (full, last) = one(&bound);
    assert!(free.is_pending() && full.is_pending());
    assert!(matches!(one(&world.ask(&[])).0, Poll::Ready(Err(PickError::QueueFull))));
    line.extend([next, last]);
    let first = line[0].as_mut().unwrap().go_on().unwrap().unwrap();
    let next = line[2].as_mut().unwrap().go_on().unwrap().unwrap();
    assert_eq!((first.index(), next.index()), (0, 1));
    line[0] = None;
    line[2] = None;
    // There is a place for the last now, and later an endpoint.
    assert!(settle(&mut line).is_empty());
    assert_eq!(world.group.usage(world.now).waiting, 2);
    drop((first, next));
    let went = settle(&mut line);
    assert_eq!(went.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
    drop(went);
    assert_eq!(settle(&mut line).len(), 1);
    let usage = world.group.usage(world.now);
    assert_eq!((usage.waiting, usage.in_flight, usage.turned_away), (0, 0, 3));
}

/// One who is bound to an endpoint that goes away may go elsewhere, and is called for that.
#[test]
fn who_is_bound_to_an_endpoint_that_goes_away_is_called_for_the_others() {
    let mut settings = upstream(&["a", "b"]);
    settings.endpoints.iter_mut().for_each(|endpoint| endpoint.max = Some(1));
    let world = World::new(&settings);
    let bound = PickRequest { bound: Some(0), ..world.ask(&[]) };
    let _held = world.core.pick(&bound).unwrap();
    let elsewhere = world.pick().unwrap();
    let mut line = vec![Some(Waiting::new(&world, &bound))];
    assert!(line[0].as_mut().unwrap().poll().is_pending());
    world.group.apply_check(0, false, "down");
    assert!(settle(&mut line).is_empty());
    drop(elsewhere);
    assert_eq!(settle(&mut line).first().map(|(_, lease)| lease.index()), Some(1));
}

#[test]
fn all_try_again_when_an_endpoint_comes_up_or_all_are_down() {
    let mut settings = upstream(&["a", "b"]);
    settings.endpoints[0].max = Some(1);
    settings.endpoints[1].max = Some(3);
    let world = World::new(&settings);
    world.group.apply_check(1, false, "down");
    let _held = world.pick().unwrap();
    let mut line = waiting(&world, 5);
    world.group.apply_check(1, true, "up");
    let went = settle(&mut line);
    assert_eq!(went.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
    (0..2).for_each(|index| world.group.apply_check(index, false, "down"));
    let ended = line[3].as_mut().unwrap().go_on();
    assert!(matches!(ended, Some(Err(PickError::Down))));
}

#[test]
fn limits_of_the_whole_say_which_they_are() {
    let mut settings = upstream(&["a", "b"]);
    settings.breaker.in_flight = Some(3);
    settings.breaker.connecting = Some(2);
    let world = World::new(&settings);
    let mut held: Vec<Lease> = (0..3).map(|_| world.pick().unwrap()).collect();
    assert_eq!(world.pick().err(), Some(PickError::InFlight));
    assert!(!PickError::InFlight.may_wait());
    held.pop();
    held.push(world.pick().unwrap());
    assert_eq!(world.group.usage(world.now).limit, Some(3));
    let first = world.group.begin_connecting(0).ok().unwrap();
    let _second = world.group.begin_connecting(1).ok().unwrap();
    assert_eq!(world.group.begin_connecting(0).err(), Some(PickError::Connecting));
    assert_eq!(world.group.usage(world.now).connecting, 2);
    drop(first);
    assert!(world.group.begin_connecting(0).is_ok());
    // A pick that fails leaves nothing behind.
    held.clear();
    (0..2).for_each(|index| world.group.apply_check(index, false, "down"));
    (0..10).for_each(|_| assert_eq!(world.pick().err(), Some(PickError::Down)));
    (0..2).for_each(|index| world.group.apply_check(index, true, "up"));
    held.extend((0..3).map(|_| world.pick().unwrap()));
    assert_eq!(world.pick().err(), Some(PickError::InFlight));
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Many threads share few places. That it ends shows that no call is lost.
#[test]
fn threads_share_the_places_and_no_call_is_lost() {
    const THREADS: usize = 4;
    const REQUESTS: usize = 400;
    const CROWD: u32 = 20;
    let mut settings = upstream(&["a", "b"]);
    settings.endpoints[0].max = Some(1);
    settings.endpoints[1].max = Some(2);
    settings.breaker.in_flight = Some(100);
    let group = States::default().group(&settings);
    let under_way = [AtomicU32::new(0), AtomicU32::new(0)];
    let waited = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for core in 0..THREADS {
            let (group, under_way, waited) = (&group, &under_way, &waited);
            scope.spawn(move || {
                let core = Rc::new(Balancer::new(Arc::clone(group), core));
                let mut request = 0;
                // Until there has been a crowd, however the threads take turns.
                while request < REQUESTS || waited.load(Ordering::Relaxed) < CROWD {
                    request += 1;
                    let ask = PickRequest { key: 0, bound: None, tried: &[], now: Instant::now() };
                    let lease = match core.pick(&ask) {
                        Err(why) if why.may_wait() => {
                            waited.fetch_add(1, Ordering::Relaxed);
                            if request % 7 == 0 {
                                // It stands in line, and leaves.
                                let woken = Waker::from(Arc::new(Unpark(std::thread::current())));
                                let mut wait = pin!(core.wait(&ask));
                                drop(wait.as_mut().poll(&mut Context::from_waker(&woken)));
                                continue;
                            }
                            block_on(core.wait(&ask)).expect("both are up")
                        }
                        picked => picked.expect("both are up"),
                    };
                    let max = lease.index() as u32 + 1;
                    let now = under_way[lease.index()].fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(now <= max, "{now} at once on endpoint {}", lease.index());
                    std::thread::yield_now();
                    under_way[lease.index()].fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            });
        }
    });
    let usage = group.usage(Instant::now());
    assert_eq!((usage.in_flight, usage.waiting), (0, 0));
    let core = Rc::new(Balancer::new(group, 0));
    let ask = PickRequest { key: 0, bound: None, tried: &[], now: Instant::now() };
    let held: Vec<Lease> = (0..3).map(|_| core.pick(&ask).unwrap()).collect();
    assert_eq!(core.pick(&ask).err(), Some(PickError::Full));
    drop(held);
}
