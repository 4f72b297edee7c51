//! When another one is ordered.

use std::time::Duration;

use config::KeyKind;
use serde_json::json;
use tokio::time::sleep;

use super::directory::{Answer, epoch, problem};
use super::{DAY, HOUR, MINUTE, Story, wait_until};
use crate::acme::task::certificate_id;
use crate::slot::Chain;

#[tokio::test(start_paused = true)]
async fn each_certificate_has_a_key_of_its_own() {
    let mut story = Story::new();
    story.acme.key = KeyKind::EcP384;
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    let old = kept.issued().await;
    let new =
        wait_until("another", || kept.chain().filter(|new| new.fingerprint != old.fingerprint))
            .await;
    let spki = |chain: &Chain| chain.key.key.public_key().unwrap().to_vec();
    assert_ne!(spki(&old), spki(&new));
    assert_eq!(spki(&new).len(), 120, "a point on P-384");
    // Two thirds of ninety days, give or take three.
    let at = story.ca.asked("POST /finalize")[1].0;
    assert!((57 * DAY..=63 * DAY + HOUR).contains(&at), "{} days", at / DAY);
    assert_eq!(story.files(".pem").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn renewed_when_the_directory_says() {
    let story = Story::new();
    story.ca.script().window = Some((20 * DAY, 22 * DAY, 6 * HOUR));
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    let old = kept.issued().await;
    sleep(Duration::from_secs(2 * DAY)).await;
    let asked = story.ca.asked("GET /ari/").len();
    assert!((7..=9).contains(&asked), "every six hours and a bit, not {asked} times in two days");
    let due = kept.kept.status().due.unwrap().duration_since(epoch()).unwrap().as_secs();
    assert!((20 * DAY..=22 * DAY).contains(&due), "{due}");
    wait_until("another", || kept.chain().filter(|new| new.fingerprint != old.fingerprint)).await;
    let (at, _) = story.ca.asked("POST /finalize")[1];
    assert!(at >= due && at <= due + 15 * MINUTE, "{at} {due}");
    // RFC 9773, section 5.
    let orders = story.ca.asked("POST /order");
    let orders: Vec<_> = orders.iter().filter_map(|(_, order)| order.get("replaces")).collect();
    let id = certificate_id(&old).unwrap().to_string();
    assert_eq!(orders, [&json!(id)]);
}

#[tokio::test(start_paused = true)]
async fn renewed_early_when_the_window_moves() {
    let story = Story::new();
    story.ca.script().window = Some((60 * DAY, 62 * DAY, 6 * HOUR));
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    kept.issued().await;
    sleep(Duration::from_secs(3 * DAY)).await;
    assert_eq!(story.orders(), 1);
    // The CA has to revoke: now, please.
    story.ca.script().window = Some((0, 1, 6 * HOUR));
    sleep(Duration::from_secs(7 * HOUR)).await;
    assert_eq!(story.orders(), 2);
    // It says so of the new one too, and is not believed without end.
    sleep(Duration::from_secs(10 * HOUR)).await;
    assert_eq!(story.orders(), 2);
    sleep(Duration::from_secs(10 * DAY)).await;
    assert!((11..=12).contains(&story.orders()), "{}", story.orders());
}

#[tokio::test(start_paused = true)]
async fn an_order_that_may_not_replace_does_not() {
    let story = Story::new();
    story.ca.script().window = Some((DAY, 2 * DAY, 6 * HOUR));
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    kept.issued().await;
    let refusal = problem(409, "alreadyReplaced", "it was replaced before");
    story.ca.script().instead.push_back(("/order", refusal));
    wait_until("another", || (story.orders() == 2).then_some(())).await;
    let orders = story.ca.asked("POST /order");
    let orders = orders.iter().filter(|(_, order)| order.get("identifiers").is_some());
    let replaces: Vec<_> = orders.map(|(_, order)| order.get("replaces").is_some()).collect();
    assert_eq!(replaces, [false, true, false]);
    assert_eq!(kept.error(), "");
}

#[tokio::test(start_paused = true)]
async fn two_thirds_where_windows_fail() {
    let story = Story::new();
    story.ca.script().window = Some((20 * DAY, 22 * DAY, 6 * HOUR));
    for _ in 0..1000 {
        let answer = Answer { status: 503, retry_after: None, body: json!("busy") };
        story.ca.script().instead.push_back(("/ari", answer));
    }
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    kept.issued().await;
    sleep(Duration::from_secs(56 * DAY)).await;
    assert_eq!(story.orders(), 1);
    sleep(Duration::from_secs(8 * DAY)).await;
    assert_eq!(story.orders(), 2);
}
