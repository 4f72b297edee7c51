//! Clients that count exactly what goes wrong for them, and how long each answer takes.
//!
//! `--connections` of them ask `--to` for `/work` again and again over connections that are kept, each as soon as it
//! has its answer; with `--rate` at so many requests per second all together, and then the time counts from the
//! moment at which a request was due, whether or not a connection was free for it. With `--post NAME` each request
//! is a POST to `/post/NAME-NUMBER`, and what was answered with 200 is written to the file `--acked`.
//!
//! A line on the standard input is the name of a lap that ends now: a line of JSON tells what happened in it. The end
//! of the input ends the program. The lap `last` ends once all answers that are awaited are there, and no more is asked.
//! An error is whatever a client sees that is not a whole answer with 200: another
//! status, a refused connection, its end or reset before the answer is whole, no answer within `--timeout`.

use bench_peers::{argument, http, invalid, raise_open_files, required};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Error, ErrorKind, Result, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::LocalRuntime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A client that cannot even connect does not ask faster than this.
const PAUSE: Duration = Duration::from_millis(10);
/// The lap after which nothing is asked any more.
const LAST: &str = "last";
/// What a POST carries.
const BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Plan {
    to: SocketAddr,
    timeout: Duration,
    /// From one request of a client to its next; none: as soon as there is an answer.
    interval: Option<Duration>,
    post: Option<String>,
    acked: Option<RefCell<File>>,
    number: Cell<u64>,
    /// No request is begun any more.
    over: Cell<bool>,
    lap: RefCell<Lap>,
}

/// What happened since the last line.
struct Lap {
    began: Instant,
    /// How long each good answer took, in microseconds.
    took: Vec<u32>,
    errors: BTreeMap<String, u64>,
    first_error: Option<Duration>,
    last_error: Option<Duration>,
}

impl Lap {
    fn begin() -> Self {
        let (began, took, errors) = (Instant::now(), Vec::new(), BTreeMap::new());
        Self { began, took, errors, first_error: None, last_error: None }
    }

    fn failed(&mut self, what: String) {
        let at = self.began.elapsed();
        self.first_error.get_or_insert(at);
        self.last_error = Some(at);
        *self.errors.entry(what).or_default() += 1;
    }

    fn json(mut self, name: &str) -> String {
        self.took.sort_unstable();
        let at = |per_mille: usize| {
            let index = (self.took.len() * per_mille / 1000).min(self.took.len().saturating_sub(1));
            self.took
                .get(index)
                .map_or("null".to_owned(), |&us| format!("{:.3}", f64::from(us) / 1000.0))
        };
        let ms =
            |at: Option<Duration>| at.map_or("null".to_owned(), |at| at.as_millis().to_string());
        let errors: Vec<String> =
            self.errors.iter().map(|(what, count)| format!("\"{what}\":{count}")).collect();
        format!(
            "{{\"lap\":\"{name}\",\"seconds\":{:.3},\"requests\":{},\"errors\":{{{}}},\"first_error_ms\":{},\
             \"last_error_ms\":{},\"p50_ms\":{},\"p90_ms\":{},\"p99_ms\":{},\"p999_ms\":{},\"max_ms\":{}}}",
            self.began.elapsed().as_secs_f64(),
            self.took.len(),
            errors.join(","),
            ms(self.first_error),
            ms(self.last_error),
            at(500),
            at(900),
            at(990),
            at(999),
            at(1000),
        )
    }
}

fn main() -> Result<()> {
    raise_open_files();
    let connections: u32 = required("--connections")?;
    let rate: Option<f64> = argument("--rate")?;
    let acked = match argument::<String>("--acked")? {
        Some(path) => Some(RefCell::new(File::create(path)?)),
        None => None,
    };
    let plan = Rc::new(Plan {
        to: required("--to")?,
        timeout: Duration::from_secs_f64(argument("--timeout")?.unwrap_or(10.0)),
        interval: rate.map(|rate| Duration::from_secs_f64(f64::from(connections) / rate)),
        post: argument("--post")?,
        acked,
        number: Cell::new(0),
        over: Cell::new(false),
        lap: RefCell::new(Lap::begin()),
    });
    LocalRuntime::new()?.block_on(async move {
        let mut lines = lines();
        let began = Instant::now();
        let mut clients = JoinSet::new();
        for number in 0..connections {
            let first = plan.interval.map(|interval| began + interval * number / connections);
            clients.spawn_local(plan.clone().client(first));
        }
        println!("started");
        std::io::stdout().flush()?;
        while let Some(name) = lines.recv().await {
            if name == LAST {
                plan.over.set(true);
                while clients.join_next().await.is_some() {}
            }
            let lap = plan.lap.replace(Lap::begin());
            println!("{}", lap.json(name.trim()));
            std::io::stdout().flush()?;
        }
        Ok(())
    })
}

/// What comes on the standard input, read by a thread of its own.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Plan {
    /// One client: it asks until all is over, `first` at this time.
    async fn client(self: Rc<Self>, first: Option<Instant>) {
        let mut connection = None;
        let mut due = first;
        while !self.over.get() {
            if let Some(due) = due {
                tokio::time::sleep_until(due.into()).await;
            }
            let asked = due.unwrap_or_else(Instant::now);
            let id = self.number.replace(self.number.get() + 1);
            let outcome = tokio::time::timeout(self.timeout, self.ask(&mut connection, id)).await;
            match outcome.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
                Ok(200) => self.answered(id, asked.elapsed()),
                Ok(status) => self.lap.borrow_mut().failed(format!("status {status}")),
                Err(error) => {
                    self.lap.borrow_mut().failed(word(&error));
                    connection = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            due = due.zip(self.interval).map(|(due, interval)| due + interval);
        }
    }

    fn answered(&self, id: u64, took: Duration) {
        self.lap.borrow_mut().took.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        if let (Some(acked), Some(name)) = (&self.acked, &self.post) {
            // A disk that is full shows when the two lists are compared.
            let _ = writeln!(acked.borrow_mut(), "{name}-{id}");
        }
    }

    /// One exchange; the connection is kept if the answer lets it.
    async fn ask(&self, kept: &mut Option<TcpStream>, id: u64) -> Result<u16> {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.to).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(self.request(id).as_bytes()).await?;
        let mut answer = Vec::with_capacity(1024);
        let head_bytes = loop {
            if answer.len() > ANSWER_BYTES_MAX {
                return Err(invalid("the answer is too long".to_owned()));
            }
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(head_bytes) = http::head_bytes(&answer) {
                break head_bytes;
            }
        };
        let head = answer.get(..head_bytes).unwrap_or_default().to_ascii_lowercase();
        let status =
            http::status(&head).ok_or_else(|| invalid("the answer has no status".to_owned()))?;
        let length = http::content_length(&head);
        let whole = length.map(|length| head_bytes + usize::try_from(length).unwrap_or(usize::MAX));
        // Without a length it goes to the end of the connection.
        while whole.is_none_or(|whole| answer.len() < whole) {
            if stream.read_buf(&mut answer).await? == 0 {
                if whole.is_some() {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                return Ok(status);
            }
        }
        let closes =
            head.split(|&byte| byte == b'\n').any(|line| line.starts_with(b"connection: close"));
        *kept = (!closes).then_some(stream);
        Ok(status)
    }

    fn request(&self, id: u64) -> String {
        match &self.post {
            None => "GET /work HTTP/1.1\r\nHost: balanced.test\r\nAccept: */*\r\n\r\n".to_owned(),
            Some(name) => format!(
                "POST /post/{name}-{id} HTTP/1.1\r\nHost: balanced.test\r\nContent-Length: {}\r\n\r\n{BODY}",
                BODY.len()
            ),
        }
    }
}

/// A word for what a client saw.
fn word(error: &Error) -> String {
    let word = match error.kind() {
        ErrorKind::TimedOut => "timeout",
        ErrorKind::UnexpectedEof => "closed",
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset",
        ErrorKind::ConnectionRefused => "refused",
        _ => "other",
    };
    word.to_owned()
}
