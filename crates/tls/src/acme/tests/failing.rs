//! What fails, what is said of it, and when it is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use config::AcmeChallenge;
use tokio::time::sleep;

use super::directory::{Wire, problem};
use super::{DAY, HOUR, MINUTE, Story, wait_until};
use crate::acme::Manager;

#[tokio::test(start_paused = true)]
async fn rate_limits_are_respected() {
    let story = Story::new();
    let mut limited = problem(429, "rateLimited", "too many certificates for a.example");
    limited.retry_after = Some(30 * HOUR);
    story.ca.script().instead.push_back(("/order", limited));
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example", "b.example"]);
    let other = story.keep(&manager, &["c.example"]);
    assert_eq!(
        kept.failed().await,
        "cannot order a certificate for a.example, b.example: the CA says: too many certificates \
         for a.example (rateLimited)"
    );
    other.issued().await;
    assert!(story.ca.seconds() < MINUTE, "another set of names does not wait");
    kept.issued().await;
    let orders = story.ca.asked("POST /order");
    let times: Vec<_> = orders
        .iter()
        .filter(|(_, order)| {
            order.get("identifiers").is_some_and(|names| names.as_array().unwrap().len() == 2)
        })
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(times.len(), 2, "{times:?}");
    assert!(times[1] >= 30 * HOUR, "{times:?}");
    assert_eq!(kept.error(), "");
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_ever_more_rarely() {
    let mut story = Story::new();
    let zone = story.hook();
    // Challenges cannot be seen: nothing of ours answers for this directory.
    story.acme.challenge = AcmeChallenge::Http;
    story.ca.script().offered = vec!["dns-01"];
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    assert_eq!(kept.failed().await, "the CA does not take http-01 for a.example, only: dns-01");
    sleep(Duration::from_secs(HOUR)).await;
    let tries = |from: u64| {
        story
            .ca
            .asked("POST /order")
            .iter()
            .filter(|(at, order)| *at >= from && order.get("identifiers").is_some())
            .count()
    };
    assert!(tries(0) <= 4, "{} tries in an hour", tries(0));
    sleep(Duration::from_secs(3 * DAY)).await;
    let day = tries(story.ca.seconds() - DAY);
    assert!((3..=4).contains(&day), "{day} tries a day in the long run");
    assert!(!zone.exists());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_of_which_name_and_why() {
    let story = Story::new();
    story.ca.script().blind = vec!["a.example"];
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example", "b.example"]);
    assert_eq!(
        kept.failed().await,
        "http-01 for a.example failed; the CA says: nothing is there (unauthorized)"
    );
    assert!(story.ca.challenges.is_empty());
    story.ca.script().blind.clear();
    kept.issued().await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_down() {
    let story = Story::new();
    let old = story.keep(&story.manager(), &["a.example"]).issued().await;
    story.ca.script().down = true;
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    let new = story.keep(&manager, &["b.example"]);
    assert_eq!(kept.chain().unwrap().fingerprint, old.fingerprint, "what is there is served");
    assert_eq!(new.failed().await, "cannot use the directory: connection refused");
    sleep(Duration::from_secs(100 * DAY)).await;
    assert!(kept.chain().is_some(), "even an expired one");
    let asked = story.ca.asked("GET /directory").len();
    assert!(asked < 100 * 24 * 4, "{asked} requests in a hundred days");
    story.ca.script().down = false;
    wait_until("a new one", || kept.chain().filter(|chain| chain.fingerprint != old.fingerprint))
        .await;
    new.issued().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_gone_is_made_anew() {
    let story = Story::new();
    story.keep(&story.manager(), &["a.example"]).issued().await;
    story.ca.script().accounts.clear();
    story.keep(&story.manager(), &["b.example"]).issued().await;
    assert_eq!(story.ca.asked("POST /account").len(), 2);
    assert_eq!(story.files("account.json.unknown-").len(), 1, "the old one is still there");
    assert!(story.ca.seconds() < MINUTE);
}

#[tokio::test(start_paused = true)]
async fn what_is_corrupt_is_put_aside() {
    let story = Story::new();
    story.keep(&story.manager(), &["a.example"]).issued().await;
    for part in ["account.json", ".pem"] {
        std::fs::write(&story.files(part)[0], "half of a fi").unwrap();
    }
    let kept = story.keep(&story.manager(), &["a.example"]);
    assert!(kept.chain().is_none());
    kept.issued().await;
    assert_eq!(story.files(".corrupt-").len(), 2);
    assert_eq!(story.orders(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_process_at_a_time() {
    let story = Story::new();
    let other = story.state().lock("acme").unwrap();
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    let failure = kept.failed().await;
    assert!(failure.contains("is used by another process"), "{failure}");
    sleep(Duration::from_secs(HOUR)).await;
    assert_eq!(story.ca.script().seen.len(), 0);
    drop(other);
    kept.issued().await;
    assert!(story.ca.seconds() < HOUR + MINUTE);
}

#[tokio::test]
async fn records_are_cleared_after_a_failure() {
    let mut story = Story::new();
    let zone = story.hook();
    story.ca.script().zone = None;
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    let failure = wait_until("a failure", || kept.kept.status().last_error).await;
    assert_eq!(
        failure,
        "dns-01 for a.example failed; the CA says: nothing is there (unauthorized)"
    );
    assert_eq!(std::fs::read_to_string(zone).unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn a_mistake_of_ours_is_not_the_end() {
    let story = Story::new();
    let (ca, clock) = (Arc::clone(&story.ca), Arc::clone(&story.ca));
    let broken = AtomicBool::new(true);
    let manager = Manager::with(
        story.state(),
        Arc::clone(&story.ca.challenges),
        Arc::new(move |_| {
            assert!(!broken.swap(false, Ordering::Relaxed), "a story wants this panic");
            Ok(Arc::new(Wire(Arc::clone(&ca))))
        }),
        Box::new(move || clock.now()),
    );
    let kept = story.keep(&manager, &["a.example"]);
    kept.issued().await;
    let after = story.ca.asked("POST /order")[0].0;
    assert!((30 * MINUTE..32 * MINUTE).contains(&after), "{after}");
}
