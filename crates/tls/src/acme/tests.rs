//! Stories of certificates against a scripted directory, on simulated time.

mod directory;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{Acme, AcmeChallenge, AcmeEab, KeyKind, Place};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

use self::directory::{Answer, Ca, DIRECTORY, Wire, problem};
use super::{Kept, Manager};
use crate::slot::{Chain, Slot};
use crate::state::StateDir;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A directory, a place for state, and what we make of both.
struct Story {
    ca: Arc<Ca>,
    scratch: TempDir,
    acme: Acme,
}

impl Story {
    fn new() -> Self {
        let acme = Acme {
            place: Place::default(),
            name: "".into(),
            directory: DIRECTORY.into(),
            contacts: vec!["mailto:ops@a.example".into()],
            challenge: AcmeChallenge::Http,
            eab: None,
            profile: None,
            ca: None,
            key: KeyKind::EcP256,
        };
        Self { ca: Ca::new(), scratch: tempfile::tempdir().unwrap(), acme }
    }

    fn state(&self) -> StateDir {
        StateDir::new(self.scratch.path().join("state"))
    }

    /// A process begins.
    fn manager(&self) -> Manager {
        let (ca, clock) = (Arc::clone(&self.ca), Arc::clone(&self.ca));
        Manager::with(
            self.state(),
            Arc::clone(&self.ca.challenges),
            Arc::new(move |_| Ok(Arc::new(Wire(Arc::clone(&ca))))),
            Box::new(move || clock.now()),
        )
    }

    fn keep(&self, manager: &Manager, names: &[&str]) -> Certificate {
        let slot = Arc::new(Slot::new("test"));
        let names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
        let kept = manager.keep(&self.acme, &names, Arc::clone(&slot));
        Certificate { kept, slot }
    }

    /// The files below the state directory whose names contain `part`.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        let (mut found, mut open) = (Vec::new(), vec![self.scratch.path().to_owned()]);
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.to_str().unwrap().contains(part) {
                    found.push(path);
                }
            }
        }
        found
    }

    fn orders(&self) -> usize {
        self.ca.asked("POST /finalize").len()
    }

    /// A hook that keeps a zone in a file, and a log of its calls.
    fn hook(&mut self) -> PathBuf {
        let at = self.scratch.path();
        let (zone, calls) = (at.join("zone"), at.join("calls"));
        let script = at.join("hook.sh");
        let text = format!(
            "#!/bin/sh\necho \"$1 $2\" >> {calls}\ntouch {zone}\ncase $1 in\n\
             set) echo \"$2 $3\" >> {zone};;\n\
             clear) grep -vxF -- \"$2 $3\" {zone} > {zone}.new; mv {zone}.new {zone};;\nesac\n",
            zone = zone.display(),
            calls = calls.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        self.ca.script().zone = Some(zone.clone());
        let command = vec![script.to_str().unwrap().into()];
        self.acme.challenge = AcmeChallenge::Dns { command, wait: Duration::ZERO };
        zone
    }
}

/// One that is looked after.
struct Certificate {
    kept: Kept,
    slot: Arc<Slot>,
}

impl Certificate {
    fn chain(&self) -> Option<Arc<Chain>> {
        self.slot.load().first().cloned()
    }

    fn error(&self) -> String {
        self.kept.status().last_error.unwrap_or_default()
    }

    /// The first certificate.
    async fn issued(&self) -> Arc<Chain> {
        for _ in 0..1000 {
            if self.chain().is_some() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        wait_until(&format!("a certificate: {}", self.error()), || self.chain()).await
    }

    async fn failed(&self) -> String {
        wait_until("a failure", || self.kept.status().last_error).await
    }
}

/// Waits on simulated time, for a year at most.
async fn wait_until<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    for round in 0..20_000_u64 {
        if let Some(found) = found() {
            return found;
        }
        // Fine-grained at first: then half an hour at a time.
        sleep(Duration::from_secs(if round < 1000 { 1 } else { 1800 })).await;
    }
    panic!("there never was {what}");
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

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
    let due = kept.kept.status().due.unwrap().duration_since(directory::epoch()).unwrap().as_secs();
    assert!((20 * DAY..=22 * DAY).contains(&due), "{due}");
    wait_until("another", || kept.chain().filter(|new| new.fingerprint != old.fingerprint)).await;
    let (at, _) = story.ca.asked("POST /finalize")[1];
    assert!(at >= due && at <= due + 15 * MINUTE, "{at} {due}");
    // RFC 9773, section 5.
    let orders = story.ca.asked("POST /order");
    let orders: Vec<_> = orders.iter().filter_map(|(_, order)| order.get("replaces")).collect();
    let id = super::task::certificate_id(&old).unwrap().to_string();
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
        "no CA issues a certificate for *.a.example unless control of a.example is shown in the DNS"
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
