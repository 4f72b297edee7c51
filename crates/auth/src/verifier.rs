//! The threads that check passwords.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::credentials::Credentials;
use crate::failures::Failures;
use crate::file::UserFile;

/// Passwords that may wait to be checked. With a tenth of a second each, and two threads, the last one waits 6 s.
const WAITING_MAX: usize = 128;
/// Of those, passwords from one address: nobody alone can keep others from logging in.
const WAITING_OF_ADDRESS_MAX: usize = WAITING_MAX / 4;

/// Checks passwords on threads of its own.
#[derive(Debug, Clone)]
pub struct Verifier {
    jobs: SyncSender<Job>,
    failures: Arc<Mutex<Failures>>,
    waiting: Waiting,
}

/// How many passwords wait or are being checked, by address; those without any have no entry.
type Waiting = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// A password that counts on its address until this is dropped.
struct Place {
    waiting: Waiting,
    address: IpAddr,
}

impl Place {
    fn take(waiting: &Waiting, address: IpAddr) -> Option<Self> {
        let mut counts = lock(waiting);
        let count = counts.entry(address).or_default();
        if *count >= WAITING_OF_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Self { waiting: Arc::clone(waiting), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.waiting);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

struct Job {
    file: Arc<UserFile>,
    credentials: Credentials,
    address: IpAddr,
    _place: Place,
    reply: oneshot::Sender<Outcome>,
}

/// What became of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is that of this user.
    Right(Arc<str>),
    /// It is not, or there is no such user.
    Wrong,
    /// There were too many wrong ones before: it was not looked at.
    TooMany(Duration),
}

/// Too many passwords wait to be checked, in all or from one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait;

impl Verifier {
    /// Starts this many threads, at least one. They end when the last clone is dropped.
    pub fn start(threads: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel(WAITING_MAX);
        let (queue, failures) = (Arc::new(Mutex::new(queue)), Arc::default());
        for _ in 0..threads.max(1) {
            let (queue, failures) = (Arc::clone(&queue), Arc::clone(&failures));
            thread::Builder::new()
                .name("passwords".to_owned())
                .spawn(move || check_all(&queue, &failures))?;
        }
        Ok(Self { jobs, failures, waiting: Waiting::default() })
    }

    /// Checks a password of a client at this address (of IPv6, what stands for one client). The receiver fails only if
    /// the check has panicked. If it is dropped before its turn comes, the password is not checked.
    pub fn verify(
        &self,
        file: &Arc<UserFile>,
        credentials: Credentials,
        address: IpAddr,
    ) -> Result<oneshot::Receiver<Outcome>, Wait> {
        let (reply, outcome) = oneshot::channel();
        let wait = lock(&self.failures).wait(credentials.user(), address, Instant::now());
        if !wait.is_zero() {
            let _ = reply.send(Outcome::TooMany(wait)); // nobody else has the receiver
            return Ok(outcome);
        }
        let place = Place::take(&self.waiting, address).ok_or(Wait)?;
        let job = Job { file: Arc::clone(file), credentials, address, _place: place, reply };
        self.jobs.try_send(job).map_err(|_| Wait)?;
        Ok(outcome)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_all(queue: &Mutex<Receiver<Job>>, failures: &Mutex<Failures>) {
    loop {
        let Ok(job) = lock(queue).recv() else { return };
        if job.reply.is_closed() {
            continue; // the client has left
        }
        let user = job.credentials.user();
        // Others of this user may have failed since it began to wait.
        let wait = lock(failures).wait(user, job.address, Instant::now());
        let outcome = if wait.is_zero() {
            let (users, password) = (job.file.users(), job.credentials.password());
            // A panic ends this check, not the thread: the others still have to be checked.
            let checked = catch_unwind(AssertUnwindSafe(|| users.verify(user, password)));
            let Ok(checked) = checked else { continue };
            match checked {
                Some(name) => {
                    lock(failures).succeeded(user, job.address);
                    Outcome::Right(name)
                }
                None => {
                    lock(failures).failed(user, job.address, Instant::now());
                    Outcome::Wrong
                }
            }
        } else {
            Outcome::TooMany(wait)
        };
        let _ = job.reply.send(outcome); // the client may have left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn file(text: &str) -> Arc<UserFile> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        Arc::new(UserFile::open(file.path()).unwrap())
    }

    fn sesame() -> Arc<UserFile> {
        file("ann:{SHA}W8r/fyL/UzygmbNAjq2HbA67qac=\n")
    }

    fn ann(password: &str) -> Credentials {
        use base64::Engine as _;
        let token = base64::engine::general_purpose::STANDARD.encode(format!("ann:{password}"));
        Credentials::decode(token.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn right_wrong_and_too_often_wrong() {
        let (verifier, file) = (Verifier::start(2).unwrap(), sesame());
        let check = |password: &'static str| {
            let outcome = verifier.verify(&file, ann(password), ADDRESS).unwrap();
            async move { outcome.await.unwrap() }
        };
        assert_eq!(check("open sesame").await, Outcome::Right("ann".into()));
        for _ in 0..5 {
            assert_eq!(check("no").await, Outcome::Wrong);
        }
        // Not even the right one, or else guessing would go on at full speed.
        for password in ["no", "open sesame"] {
            assert!(matches!(check(password).await, Outcome::TooMany(wait) if wait.as_secs() <= 1));
        }
    }

    #[tokio::test]
    async fn the_queue_is_bounded() {
        let verifier = Verifier::start(1).unwrap();
        let slow = file(&format!("ann:{}\n", crate::new_hash(b"x").unwrap()));
        let mut waiting = Vec::new();
        // One address has a share of it.
        let mut of_one = Vec::new();
        while let Ok(outcome) = verifier.verify(&slow, ann("x"), ADDRESS) {
            of_one.push(outcome);
            assert!(of_one.len() <= WAITING_MAX);
        }
        assert!(of_one.len() >= WAITING_OF_ADDRESS_MAX);
        let other = |number: usize| IpAddr::V4((0x0A00_0000 + number as u32).into());
        let refused = (0..10 * WAITING_MAX).find_map(|number| {
            match verifier.verify(&slow, ann("x"), other(number)) {
                Ok(outcome) => {
                    waiting.push(outcome);
                    None
                }
                Err(wait) => Some(wait),
            }
        });
        assert_eq!(refused, Some(Wait));
        assert!(waiting.len() <= 2 * WAITING_MAX);
        // Clients that leave make room.
        drop(of_one);
        waiting.truncate(1);
        assert_eq!(waiting.remove(0).await, Ok(Outcome::Right("ann".into())));
        let last = loop {
            match verifier.verify(&slow, ann("x"), ADDRESS) {
                Ok(outcome) => break outcome,
                Err(Wait) => thread::yield_now(),
            }
        };
        assert_eq!(last.await, Ok(Outcome::Right("ann".into())));
    }
}
