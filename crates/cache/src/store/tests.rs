//! The store against a model that never evicts, and what readers of an arriving response see.

use config::Place;
use message::{Fields, Request, Response};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::{Lifetime, Vary};

fn request(language: &str) -> Request {
    let mut request = Request::default();
    if !language.is_empty() {
        request.fields.push(b"X-Language", language.as_bytes());
    }
    request
}

/// A head that varies by `X-Language`, if `language` is not empty.
fn head(request: &Request, varies: bool, arrived: Moment, tags: &[u64]) -> StoredHead {
    let (mut vary, mut values) = (None, Vec::new());
    if varies {
        let mut response = Response::default();
        response.fields.push(b"Vary", b"X-Language");
        if let Vary::Fields(fields) = Vary::of(&response) {
            crate::write_variant(&mut values, &fields, request);
            vary = Some(Arc::new(fields));
        }
    }
    StoredHead {
        status: 200,
        fields: Fields::new(),
        lifetime: Lifetime::default(),
        arrived,
        place: Place::default(),
        variant: Variant { space: 7, vary, values: values.into() },
        tags: tags.into(),
        part: None,
    }
}

fn lookup<'a>(key: &'a str, request: &'a Request, now: Moment) -> Lookup<'a> {
    Lookup { key: key.as_bytes(), space: 7, request, now }
}

/// Runs a future that never has to wait for another task.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(future)
}

fn put(store: &Arc<Store>, lookup: &Lookup<'_>, varies: bool, tags: &[u64], body: &[u8]) {
    let mut writer = store.fetch_alone(lookup);
    let head = head(lookup.request, varies, lookup.now, tags);
    writer.begin(FillHead { stored: head.clone(), length: None });
    // There may be no room for it.
    run(writer.append(body, u64::MAX, lookup.now));
    writer.finish(head);
}

fn body_of(object: &Object) -> Vec<u8> {
    let pieces = (0..).map_while(|index| object.content.piece(index));
    pieces.flat_map(|piece| piece.to_vec()).collect()
}

fn found(store: &Store, lookup: &Lookup<'_>) -> Option<(Vec<u8>, Option<PurgeKind>)> {
    match store.find(lookup, &mut Vec::new()) {
        Found::Object(object, purged) => Some((body_of(&object), purged)),
        Found::Nothing { .. } => None,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put { url: u8, language: u8, varies: bool, tag: u8, length: u16 },
    Find { url: u8, language: u8 },
    Invalidate { url: u8 },
    Purge { what: u8, which: u8, soft: bool },
    Resize { bytes: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..24u8, 0..3u8, any::<bool>(), 0..4u8, 0..5000u16).prop_map(
            |(url, language, varies, tag, length)| Step::Put { url, language, varies, tag, length }
        ),
        8 => (0..24u8, 0..3u8).prop_map(|(url, language)| Step::Find { url, language }),
        1 => (0..24u8).prop_map(|url| Step::Invalidate { url }),
        1 => (0..4u8, 0..4u8, any::<bool>())
            .prop_map(|(what, which, soft)| Step::Purge { what, which, soft }),
        1 => (0..200_000u32).prop_map(|bytes| Step::Resize { bytes }),
    ];
    prop::collection::vec(step, 1..200)
}

fn url(number: u8) -> String {
    format!("https://host-{}.example/part-{}/{number}", number % 3, number % 2)
}

const LANGUAGES: [&str; 3] = ["", "de", "ko"];

/// What the model knows of a stored response.
#[derive(Debug, Clone)]
struct Known {
    body: Vec<u8>,
    tag: u64,
    purged: Option<PurgeKind>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// What is found is what was put in last and is not purged; nothing is counted that is not there.
    #[test]
    fn the_store_agrees_with_a_model(steps in steps()) {
        let store = Arc::new(Store::new(100_000));
        // By URL, and by language if the response varies by it.
        let mut model: HashMap<(String, Option<&str>), Known> = HashMap::new();
        let mut order: Vec<(String, Option<&str>)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let now = Moment(number as u64 + 1);
            match step {
                Step::Put { url: number, language, varies, tag, length } => {
                    let language = LANGUAGES[usize::from(language)];
                    let (url, request) = (url(number), request(language));
                    let body = vec![number ^ length as u8; usize::from(length)];
                    put(&store, &lookup(&url, &request, now), varies, &[u64::from(tag)], &body);
                    let key = (url, varies.then_some(language));
                    order.retain(|known| *known != key);
                    order.push(key.clone());
                    model.insert(key, Known { body, tag: u64::from(tag), purged: None });
                }
                Step::Find { url: number, language } => {
                    let language = LANGUAGES[usize::from(language)];
                    let (url, request) = (url(number), request(language));
                    if let Some((body, purged)) = found(&store, &lookup(&url, &request, now)) {
                        let fits = |key: &&(String, Option<&str>)| {
                            key.0 == url && key.1.is_none_or(|varies| varies == language)
                        };
                        // A newer one may have been evicted before an older one.
                        let candidates = order.iter().rev().filter(fits).map(|key| &model[key]);
                        let same = candidates.into_iter().find(|known| {
                            known.body == body && known.purged == purged
                        });
                        prop_assert!(same.is_some(), "{url} {language:?}: {} bytes", body.len());
                    }
                }
                Step::Invalidate { url: number } => {
                    let url = url(number);
                    store.invalidate(url.as_bytes());
                    order.retain(|key| key.0 != url);
                }
                Step::Purge { what, which, soft } => {
                    let kind = if soft { PurgeKind::Soft } else { PurgeKind::Hard };
                    let which_host = which % 3;
                    let host = format!("host-{which_host}.example");
                    let prefix = format!("https://{host}/part-{}/", which % 2);
                    let scope = match what {
                        0 => Scope::All,
                        1 => Scope::Host(host.as_str().into()),
                        2 => Scope::Prefix(prefix.as_str().into()),
                        _ => Scope::Tag(u64::from(which)),
                    };
                    store.purge(scope, kind, now);
                    for (key, known) in &mut model {
                        let concerned = match what {
                            0 => true,
                            1 => key.0.starts_with(&format!("https://{host}/")),
                            2 => key.0.starts_with(&prefix),
                            _ => known.tag == u64::from(which),
                        };
                        if concerned {
                            known.purged = known.purged.max(Some(kind));
                        }
                    }
                    order.retain(|key| model[key].purged != Some(PurgeKind::Hard));
                }
                Step::Resize { bytes } => store.resize(u64::from(bytes)),
            }
            let stats = store.stats();
            prop_assert!(stats.bytes <= stats.bytes_max, "{stats:?}");
        }
        // The counters are the sum of what is there.
        let objects: Vec<_> = (0..SHARDS)
            .flat_map(|index| store.lock(index).objects().cloned().collect::<Vec<_>>())
            .collect();
        let stats = store.stats();
        prop_assert_eq!(stats.objects, objects.len() as u64);
        prop_assert_eq!(stats.bytes, objects.iter().map(|object| object.bytes()).sum::<u64>());
    }

    /// Everybody who reads a response along gets every byte of it, whenever and however fast.
    #[test]
    fn readers_get_every_byte(
        pieces in prop::collection::vec(0..3000usize, 0..20),
        joins in prop::collection::vec((0..20usize, 1..700usize), 1..6),
        breaks in any::<bool>(),
    ) {
        let store = Arc::new(Store::new(1 << 20));
        let request = request("");
        let lookup = lookup("http://a/", &request, Moment(1));
        let Claim::Fetch(mut writer) = store.claim(&lookup, None, &mut Vec::new()) else {
            panic!("nobody else fetches it");
        };
        let head = head(&request, false, Moment(1), &[]);
        writer.begin(FillHead { stored: head.clone(), length: None });
        let (mut expected, mut readers) = (Vec::new(), Vec::new());
        for (number, length) in pieces.iter().enumerate() {
            for (_, step) in joins.iter().filter(|(at, _)| *at == number) {
                let claim = store.claim(&lookup, None, &mut Vec::new());
                let Claim::Wait(reader) = claim else { panic!("it can be read along") };
                readers.push((reader, *step, Vec::new()));
            }
            let piece = vec![number as u8; *length];
            expected.extend_from_slice(&piece);
            prop_assert!(run(writer.append(&piece, u64::MAX, Moment(1))));
            for (reader, step, got) in &mut readers {
                while !reader.is_drained() {
                    prop_assert_eq!(run(reader.ready()), Ok(true));
                    let count = reader.data().len().min(*step);
                    got.extend_from_slice(&reader.data()[..count]);
                    reader.consume(count);
                }
            }
        }
        match breaks {
            true => drop(writer),
            false => writer.finish(head),
        }
        for (mut reader, _, mut got) in readers {
            let end = loop {
                match run(reader.ready()) {
                    Ok(true) => {
                        got.extend_from_slice(reader.data());
                        reader.consume(usize::MAX);
                    }
                    end => break end,
                }
            };
            prop_assert_eq!(end, if breaks { Err(Incomplete) } else { Ok(false) });
            prop_assert_eq!(&got, &expected);
        }
        let stored = found(&store, &lookup).map(|(body, _)| body);
        prop_assert_eq!(stored, (!breaks).then_some(expected));
    }
}

#[test]
fn a_response_that_is_too_long_waits_for_its_slowest_reader() {
    let store = Arc::new(Store::new(64 << 20));
    let request = request("");
    let lookup = lookup("http://a/long", &request, Moment(1));
    let Claim::Fetch(mut writer) = store.claim(&lookup, None, &mut Vec::new()) else { panic!() };
    let head = head(&request, false, Moment(1), &[]);
    writer.begin(FillHead { stored: head.clone(), length: None });
    let (mut slow, fast) = (writer.reader(), writer.reader());
    drop(fast);
    let piece = vec![1; 100_000];
    run(async {
        let (fill, mut taken) = (writer.fill(), 0_u64);
        let writing = async {
            for _ in 0..30 {
                assert!(writer.append(&piece, 500_000, Moment(2)).await);
            }
            writer.finish(head);
        };
        let reading = async {
            while slow.ready().await == Ok(true) {
                let count = slow.data().len().min(30_000);
                taken += count as u64;
                slow.consume(count);
                let ahead = fill.length() - taken;
                assert!(taken < 500_000 || ahead <= 400_000, "{ahead} bytes ahead");
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(writing, reading);
        assert_eq!(taken, 3_000_000);
    });
    assert!(found(&store, &lookup).is_none(), "it was too long");
    let Found::Nothing { is_unstorable, .. } = store.find(&lookup, &mut Vec::new()) else {
        panic!()
    };
    assert!(is_unstorable);
    assert_eq!(store.stats().bytes, 0, "nothing of it counts any more");
}

#[test]
fn others_go_ahead_when_a_response_cannot_be_stored() {
    let store = Arc::new(Store::new(1 << 20));
    let request = request("");
    let lookup = lookup("http://a/private", &request, Moment(1));
    let scratch = &mut Vec::new();
    let Claim::Fetch(writer) = store.claim(&lookup, None, scratch) else { panic!() };
    let Claim::Wait(reader) = store.claim(&lookup, None, scratch) else { panic!() };
    writer.decline(Moment(2));
    assert!(matches!(run(reader.head()), Awaited::Ended(FillEnd::Unshared)));
    // It is remembered for a while.
    let at = |now| match store.find(&Lookup { now, ..lookup }, &mut Vec::new()) {
        Found::Nothing { is_unstorable, .. } => is_unstorable,
        Found::Object(..) => panic!("nothing is stored"),
    };
    assert!(at(Moment(3)));
    assert!(!at(Moment(100_000)));
}

#[test]
fn what_is_invalidated_while_it_arrives_is_not_stored() {
    let store = Arc::new(Store::new(1 << 20));
    let request = request("");
    let lookup = lookup("http://a/b", &request, Moment(1));
    let scratch = &mut Vec::new();
    let Claim::Fetch(mut writer) = store.claim(&lookup, None, scratch) else { panic!() };
    let head = head(&request, false, Moment(1), &[]);
    writer.begin(FillHead { stored: head.clone(), length: Some(3) });
    assert!(run(writer.append(b"old", 100, Moment(1))));
    store.invalidate(b"http://a/b");
    let claim = store.claim(&lookup, None, scratch);
    assert!(matches!(claim, Claim::Fetch(_)), "nobody new is given the old response");
    let _reader = writer.reader();
    writer.finish(head);
    assert!(found(&store, &lookup).is_none());
}

#[test]
fn a_purge_concerns_what_is_on_its_way() {
    for (scope, known) in [
        (Scope::All, true),
        (Scope::Host("a".into()), true),
        (Scope::Tag(1), true),
        (Scope::Tag(2), false),
        (Scope::Host("b".into()), false),
    ] {
        for is_alone in [false, true] {
            let store = Arc::new(Store::new(1 << 20));
            let request = request("");
            let before = lookup("http://a/b", &request, Moment(1));
            let after = Lookup { now: Moment(3), ..before };
            let scratch = &mut Vec::new();
            let writer = match store.claim(&before, None, scratch) {
                Claim::Fetch(_) if is_alone => store.fetch_alone(&before),
                Claim::Fetch(writer) => writer,
                _ => panic!(),
            };
            store.purge(scope.clone(), PurgeKind::Hard, Moment(2));
            // Its head has not come: what tags it has is not known.
            let joins = !known && !is_alone && !matches!(scope, Scope::Tag(_));
            let claim = store.claim(&after, None, scratch);
            assert_eq!(matches!(claim, Claim::Wait(_)), joins, "{scope:?}");
            drop(claim);
            let head = head(&request, false, Moment(4), &[1]);
            writer.begin(FillHead { stored: head.clone(), length: None });
            let joins = !known && !is_alone;
            let claim = store.claim(&after, None, scratch);
            assert_eq!(matches!(claim, Claim::Wait(_)), joins, "{scope:?} {is_alone}");
            drop(claim);
            writer.finish(head);
            // It arrived after the purge, but was asked for before.
            assert_eq!(found(&store, &after).is_none(), known, "{scope:?} {is_alone}");
        }
    }
}

#[test]
fn purges_that_are_forgotten_concern_what_is_on_its_way() {
    let store = Arc::new(Store::new(1 << 20));
    let request = request("");
    let lookup = lookup("http://a/b", &request, Moment(1));
    let Claim::Fetch(writer) = store.claim(&lookup, None, &mut Vec::new()) else { panic!() };
    for number in 0..=purge::NOTES_MAX as u64 {
        store.purge(Scope::Tag(number), PurgeKind::Hard, Moment(2));
    }
    let claim = store.claim(&lookup, None, &mut Vec::new());
    assert!(matches!(claim, Claim::Fetch(_)));
    drop(claim);
    let head = head(&request, false, Moment(3), &[7]);
    writer.begin(FillHead { stored: head.clone(), length: None });
    writer.finish(head);
    assert!(found(&store, &lookup).is_none());
    assert_eq!((store.stats().objects, store.stats().bytes), (0, 0));
    // What is asked for later is stored.
    put(&store, &Lookup { now: Moment(4), ..lookup }, false, &[7], b"new");
    assert!(found(&store, &lookup).is_some());
}

#[test]
fn what_is_fetched_alone_is_invalidated_too() {
    let store = Arc::new(Store::new(1 << 20));
    let request = request("");
    let lookup = lookup("http://a/b", &request, Moment(1));
    let writer = store.fetch_alone(&lookup);
    store.invalidate(b"http://a/b");
    let head = head(&request, false, Moment(1), &[]);
    writer.begin(FillHead { stored: head.clone(), length: None });
    writer.finish(head);
    assert!(found(&store, &lookup).is_none());
}

#[test]
fn another_length_than_was_declared_is_a_broken_response() {
    let store = Arc::new(Store::new(1 << 20));
    let request = request("");
    let lookup = lookup("http://a/b", &request, Moment(1));
    let mut writer = store.fetch_alone(&lookup);
    let mut reader = writer.reader();
    let head = head(&request, false, Moment(1), &[]);
    writer.begin(FillHead { stored: head.clone(), length: Some(4) });
    assert!(run(writer.append(b"abc", 100, Moment(1))));
    writer.finish(head);
    reader.consume(0);
    assert_eq!(run(reader.ready()), Ok(true));
    reader.consume(3);
    assert_eq!(run(reader.ready()), Err(Incomplete));
    assert!(found(&store, &lookup).is_none());
    assert_eq!(store.stats().bytes, 0);
}

#[test]
fn a_reader_of_what_is_invalidated_does_not_stop_the_writer() {
    let store = Arc::new(Store::new(1 << 24));
    let request = request("");
    let lookup = lookup("http://a/b", &request, Moment(1));
    let Claim::Fetch(mut writer) = store.claim(&lookup, None, &mut Vec::new()) else { panic!() };
    let mut reader = writer.reader();
    let head = head(&request, false, Moment(1), &[]);
    writer.begin(FillHead { stored: head.clone(), length: None });
    store.invalidate(b"http://a/b");
    run(async {
        let writing = async {
            for _ in 0..20 {
                assert!(writer.append(&[1; 100_000], u64::MAX, Moment(1)).await);
            }
            writer.finish(head);
        };
        let reading = async {
            let mut taken = 0;
            while reader.ready().await == Ok(true) {
                let count = reader.data().len();
                taken += count;
                reader.consume(count);
                tokio::task::yield_now().await;
            }
            taken
        };
        let both = async { tokio::join!(writing, reading).1 };
        let taken = tokio::time::timeout(Duration::from_secs(20), both).await;
        assert_eq!(taken, Ok(2_000_000));
    });
}

#[test]
fn keys_of_what_cannot_be_stored_take_no_memory() {
    let store = Arc::new(Store::new(1 << 20));
    let request = request("");
    for number in 0..1000 {
        let key = format!("http://a/{number}");
        let lookup = lookup(&key, &request, Moment(1));
        let Claim::Fetch(writer) = store.claim(&lookup, None, &mut Vec::new()) else { panic!() };
        writer.decline(Moment(1));
        assert!(store.is_unstorable(key.as_bytes(), Moment(2)));
    }
    assert_eq!((0..SHARDS).map(|index| store.lock(index).len()).sum::<usize>(), 0);
}

#[test]
fn those_who_wait_get_what_was_validated() {
    let store = Arc::new(Store::new(1 << 20));
    let request = request("");
    let lookup = lookup("http://a/b", &request, Moment(1));
    put(&store, &lookup, false, &[], b"body");
    let scratch = &mut Vec::new();
    let Found::Object(old, None) = store.find(&lookup, scratch) else { panic!() };
    let Claim::Fetch(writer) = store.claim(&lookup, Some(&old), scratch) else { panic!() };
    let Claim::Wait(reader) = store.claim(&lookup, Some(&old), scratch) else { panic!() };
    let renewed = writer.renew(&old, head(&request, false, Moment(9), &[]), true);
    assert!(
        matches!(run(reader.head()), Awaited::Renewed(object) if Arc::ptr_eq(&object, &renewed))
    );
    let claim = store.claim(&lookup, Some(&old), scratch);
    assert!(matches!(claim, Claim::Look), "who comes later looks again");
    assert_eq!(store.stats().objects, 1);
    assert_eq!(found(&store, &lookup), Some((b"body".to_vec(), None)));
}

/// Which part of the requests of a trace the store answers, with room for a tenth of the objects.
fn hit_ratio(trace: &[u32], objects: u64) -> f64 {
    let length = 1000;
    let store = Arc::new(Store::new(objects / 10 * (length + 900)));
    let request = request("");
    let mut hits = 0;
    for &number in trace {
        let key = format!("http://a/{number}");
        let lookup = lookup(&key, &request, Moment(1));
        match found(&store, &lookup) {
            Some(_) => hits += 1,
            None => put(&store, &lookup, false, &[], &vec![0; length as usize]),
        }
    }
    f64::from(hits) / trace.len() as f64
}

/// The same with the least recently used going first.
fn hit_ratio_of_lru(trace: &[u32], room: usize) -> f64 {
    let (mut last, mut queue, mut hits) = (HashMap::new(), std::collections::VecDeque::new(), 0);
    for (at, &number) in trace.iter().enumerate() {
        hits += u32::from(last.insert(number, at).is_some());
        queue.push_back((number, at));
        while last.len() > room {
            let Some((number, at)) = queue.pop_front() else { break };
            if last.get(&number) == Some(&at) {
                last.remove(&number);
            }
        }
    }
    f64::from(hits) / trace.len() as f64
}

#[test]
fn few_requests_for_many_objects_push_nothing_popular_out() {
    // A Zipf distribution (exponent 0.9), with a scan over objects that nobody asks for again.
    const OBJECTS: u32 = 5_000;
    let weights: Vec<f64> = (1..=OBJECTS).map(|rank| f64::from(rank).powf(-0.9)).collect();
    let total: f64 = weights.iter().sum();
    let mut state = 7_u64;
    let mut chance = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    };
    let mut sums = Vec::with_capacity(weights.len());
    weights.iter().fold(0.0, |sum, weight| {
        sums.push(sum + weight / total);
        sum + weight / total
    });
    let mut trace = Vec::new();
    for number in 0..60_000_u32 {
        let at = chance();
        trace.push(sums.partition_point(|sum| *sum < at) as u32);
        if number % 4 == 0 {
            trace.push(OBJECTS + number);
        }
    }
    let (ours, lru) =
        (hit_ratio(&trace, OBJECTS.into()), hit_ratio_of_lru(&trace, OBJECTS as usize / 10));
    println!("hit ratio {ours:.3}, least recently used first {lru:.3}");
    assert!(ours > lru + 0.03, "ours {ours:.3}, least recently used first {lru:.3}");
}

/// What slow clients are still sent counts, so that many of them cannot take more memory than the store may have.
#[test]
fn what_made_room_counts_until_nobody_has_it() {
    let store = Arc::new(Store::new(1_000_000));
    let request = request("");
    let body = vec![7; 200_000];
    let mut kept = Vec::new();
    let url = |number: usize| format!("http://a/{number}");
    for number in 0..20 {
        let url = url(number);
        let lookup = lookup(&url, &request, Moment(1));
        put(&store, &lookup, false, &[], &body);
        if let Found::Object(object, None) = store.find(&lookup, &mut Vec::new()) {
            kept.push(object); // somebody is sent it, slowly
        }
    }
    assert!((4..=6).contains(&kept.len()), "{} of 20 were stored", kept.len());
    assert!(store.held.bytes() <= 1_250_000, "{}", store.held.bytes());
    // Once they are gone, there is memory again.
    kept.clear();
    let url = url(99);
    let lookup = lookup(&url, &request, Moment(1));
    put(&store, &lookup, false, &[], &body);
    assert!(found(&store, &lookup).is_some());
    store.resize(0);
    assert_eq!(store.held.bytes(), 0);
}
