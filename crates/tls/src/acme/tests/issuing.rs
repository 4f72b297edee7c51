//! How certificates come, and are kept.

use std::sync::Arc;
use std::time::Duration;

use config::{Acme, AcmeChallenge, AcmeEab, KeyKind};
use serde_json::json;
use tokio::time::sleep;

use super::{Certificate, DAY, MINUTE, Story, mode, wait_until};
use crate::slot::Slot;

#[tokio::test(start_paused = true)]
async fn ordered_once_and_kept_over_a_restart() {
    for challenge in [AcmeChallenge::Http, AcmeChallenge::TlsAlpn] {
        let mut story = Story::new();
        story.acme.challenge = challenge;
        let manager = story.manager();
        let first = story.keep(&manager, &["b.example", "a.example"]);
        assert!(first.chain().is_none());
        let chain = first.issued().await;
        let mut names = chain.names.clone();
        names.sort();
        assert_eq!(names, ["a.example".into(), "b.example".into()]);
        assert!(story.ca.challenges.is_empty(), "what was shown is taken down");
        assert_eq!(first.error(), "");
        let files = [story.files("account.json"), story.files(".pem")].concat();
        assert_eq!(files.len(), 2, "{files:?}");
        assert!(files.iter().all(|file| mode(file) == 0o600));
        drop((first, manager));

        let again = story.keep(&story.manager(), &["a.example", "b.example"]);
        assert_eq!(again.chain().unwrap().fingerprint, chain.fingerprint, "at once");
        sleep(Duration::from_secs(30 * DAY)).await;
        assert_eq!(story.orders(), 1);
        assert_eq!(story.ca.asked("POST /account").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn profiles() {
    let mut story = Story::new();
    story.ca.script().profiles = vec!["tlsserver", "classic"];
    story.acme.profile = Some("shortlived".into());
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    assert_eq!(
        kept.failed().await,
        "the directory has no profile `shortlived`; it offers: classic, tlsserver"
    );
    assert_eq!(story.ca.asked("POST /order").len(), 0);
    story.acme.profile = Some("tlsserver".into());
    story.keep(&manager, &["a.example"]).issued().await;
    assert_eq!(story.ca.asked("POST /order")[0].1["profile"], "tlsserver");
}

#[tokio::test(start_paused = true)]
async fn external_accounts() {
    let mut story = Story::new();
    story.ca.script().eab = Some(("kid-1", b"a secret of thirty-two bytes!!!!".to_vec()));
    let manager = story.manager();
    assert_eq!(
        story.keep(&manager, &["a.example"]).failed().await,
        "cannot make an account with https://ca.example/directory: the CA says: who are you? \
         (externalAccountRequired); give the key that the CA handed out by `eab`"
    );
    let key_file = story.scratch.path().join("eab.key");
    story.acme.eab = Some(AcmeEab { key_id: "kid-1".into(), key_file: key_file.clone() });
    let missing = story.keep(&manager, &["a.example"]).failed().await;
    assert!(missing.starts_with("cannot read the EAB key in /"), "{missing}");
    std::fs::write(&key_file, "d3Jvbmc\n").unwrap();
    let wrong = story.keep(&manager, &["a.example"]).failed().await;
    assert!(wrong.contains("not the key that we handed out (unauthorized)"), "{wrong}");
    std::fs::write(&key_file, "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcyEhISE=\n").unwrap();
    story.keep(&manager, &["a.example"]).issued().await;
}

#[tokio::test(start_paused = true)]
async fn contacts_change() {
    let mut story = Story::new();
    story.keep(&story.manager(), &["a.example"]).issued().await;
    story.acme.contacts = vec!["mailto:new@a.example".into()];
    story.keep(&story.manager(), &["b.example"]).issued().await;
    story.keep(&story.manager(), &["c.example"]).issued().await;
    let changes = story.ca.asked("POST /accounts/");
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].1, json!({"contact": ["mailto:new@a.example"]}));
}

#[tokio::test(start_paused = true)]
async fn other_names_are_served_by_what_there_is() {
    let story = Story::new();
    let old = story.keep(&story.manager(), &["a.example"]).issued().await;
    story.keep(&story.manager(), &["c.example"]).issued().await;
    story.ca.script().down = true;
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example", "b.example"]);
    assert_eq!(kept.chain().unwrap().fingerprint, old.fingerprint);
    assert!(story.keep(&manager, &["d.example"]).chain().is_none());
    kept.failed().await;
    story.ca.script().down = false;
    wait_until("the right one", || kept.chain().filter(|chain| chain.names.len() == 2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_no_good_is_not_taken() {
    let story = Story::new();
    let manager = story.manager();
    story.ca.script().certify = Some(vec!["other.example".to_owned()]);
    let kept = story.keep(&manager, &["a.example"]);
    assert_eq!(
        kept.failed().await,
        "the CA issued a certificate that cannot be used: it is not for a.example"
    );
    assert!(kept.chain().is_none() && story.files(".pem").is_empty());
    story.ca.script().certify = None;
    kept.issued().await;
}

#[tokio::test(start_paused = true)]
async fn wildcards_only_by_the_dns() {
    let story = Story::new();
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example", "*.a.example"]);
    assert_eq!(
        kept.failed().await,
        "no CA issues a certificate for *.a.example unless control of a.example is proven in the DNS"
    );
    sleep(Duration::from_secs(DAY)).await;
    assert_eq!(story.ca.script().seen.len(), 0);
}

#[tokio::test]
async fn by_the_dns() {
    let mut story = Story::new();
    let zone = story.hook();
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example", "*.a.example"]);
    let chain = kept.issued().await;
    assert!(chain.covers("x.a.example") && chain.covers("a.example"));
    let calls = std::fs::read_to_string(story.scratch.path().join("calls")).unwrap();
    let set = "set _acme-challenge.a.example\n".repeat(2);
    assert_eq!(calls, set.clone() + &set.replace("set", "clear"), "both values at once");
    assert_eq!(std::fs::read_to_string(zone).unwrap(), "");
}

#[tokio::test]
async fn records_are_cleared_when_it_is_stopped() {
    let mut story = Story::new();
    let zone = story.hook();
    if let AcmeChallenge::Dns { wait, .. } = &mut story.acme.challenge {
        *wait = Duration::from_secs(1000);
    }
    let lines = || std::fs::read_to_string(&zone).ok().map(|text| text.lines().count());
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    while lines() != Some(1) {
        sleep(Duration::from_millis(5)).await;
    }
    drop(kept);
    while lines() != Some(0) {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(story.orders(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_asks_no_more() {
    let story = Story::new();
    let manager = story.manager();
    let kept = story.keep(&manager, &["a.example"]);
    kept.issued().await;
    drop(kept);
    let seen = story.ca.script().seen.len();
    sleep(Duration::from_secs(100 * DAY)).await;
    assert_eq!(story.ca.script().seen.len(), seen);
}

#[tokio::test(start_paused = true)]
async fn other_settings_are_another_certificate() {
    let mut story = Story::new();
    let manager = story.manager();
    let slot = Arc::new(Slot::new("test"));
    let names: [Box<str>; 1] = ["a.example".into()];
    let keep = |acme: &Acme| {
        let kept = manager.keep(acme, &names, Arc::clone(&slot));
        Certificate { kept, slot: Arc::clone(&slot) }
    };
    let first = keep(&story.acme).issued().await;
    assert_eq!(keep(&story.acme).issued().await.fingerprint, first.fingerprint);
    story.acme.key = KeyKind::EcP384;
    let kept = keep(&story.acme);
    assert!(kept.chain().is_some(), "the old one serves until then");
    let next = || kept.chain().filter(|chain| chain.fingerprint != first.fingerprint);
    let second = wait_until("another", next).await;
    // In a new slot, as after another reload, and from another directory.
    story.acme.directory = "https://ca.example:443/directory".into();
    let elsewhere = story.keep(&manager, &["a.example"]);
    assert_eq!(elsewhere.chain().unwrap().fingerprint, second.fingerprint);
    let third = || elsewhere.chain().filter(|chain| chain.fingerprint != second.fingerprint);
    wait_until("a third", third).await;
    assert_eq!(story.ca.asked("POST /account").len(), 2);
    assert!(story.ca.seconds() < MINUTE);
}
