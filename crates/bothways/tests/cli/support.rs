//! What the stories need: a directory, the binary, a running process, an origin, a client.
//!
//! Nothing waits for time to pass: a story waits for a line of the process's log, or for an answer.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own, removed at the end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bothways-cli-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bothways"));
        command.args(arguments).current_dir(&self.0);
        command.env("STATE_DIRECTORY", self.0.join("state"));
        // What the one who runs the tests has set must not matter.
        for name in ["RUST_LOG", "NO_COLOR", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the program in the directory, to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, "")
    }

    /// With these variables set.
    pub(crate) fn run_in(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        Self::outcome(command, "")
    }

    /// With something on standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Outcome {
        Self::outcome(self.command(arguments), input)
    }

    fn outcome(mut command: Command, input: &str) -> Outcome {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts `run --config bothways.kdl` with more arguments, and waits until it is ready.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(&[&["run", "--config", "bothways.kdl"], arguments].concat(), &[])
    }

    /// Starts any command that serves, and waits until it is ready.
    pub(crate) fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut running = self.spawn(arguments, environment);
        running.wait_for("ready");
        running.listening = running.seen.iter().filter_map(listening).collect();
        running
    }

    /// Starts any command that serves; nothing is waited for.
    pub(crate) fn spawn(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        self.spawn_on(arguments, environment, Stdio::null())
    }

    /// With a socket as descriptor 0.
    pub(crate) fn spawn_with_socket(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
        socket: TcpListener,
    ) -> Running {
        self.spawn_on(arguments, environment, Stdio::from(OwnedFd::from(socket)))
    }

    fn spawn_on(&self, arguments: &[&str], environment: &[(&str, &str)], on: Stdio) -> Running {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        let command = command.stdin(on).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = lines_of(child.stderr.take().unwrap());
        let access = lines_of(child.stdout.take().unwrap());
        Running { child, log, access, seen: Vec::new(), listening: Vec::new() }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    /// Holds it to an exit code; what was printed shows if it is another.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "out: {}\nerr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.out.contains(words), "{words:?} is not in: {}", self.out);
        self
    }

    #[track_caller]
    pub(crate) fn complains(self, words: &str) -> Self {
        assert!(self.err.contains(words), "{words:?} is not in: {}", self.err);
        self
    }
}

fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn listening(event: &Value) -> Option<(String, SocketAddr)> {
    if event["msg"] != "listening" {
        return None;
    }
    Some((event["written"].as_str()?.to_owned(), event["address"].as_str()?.parse().ok()?))
}

/// A process that serves; killed if the story does not stop it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: mpsc::Receiver<String>,
    access: mpsc::Receiver<String>,
    seen: Vec<Value>,
    listening: Vec<(String, SocketAddr)>,
}

impl Running {
    /// Waits for an event of the log whose message starts so.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!("no `{message}` in the log, but: {:#?}", self.seen);
            };
            let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
            self.seen.push(event.clone());
            if event["msg"].as_str().is_some_and(|msg| msg.starts_with(message)) {
                return event;
            }
        }
    }

    /// The next line of the access log.
    #[track_caller]
    pub(crate) fn next_record(&mut self) -> Value {
        let line = self.access.recv_timeout(PATIENCE).expect("no record");
        serde_json::from_str(&line).expect(&line)
    }

    /// Where it listens; counts in the order of the file.
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        self.listening[index].1
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(mut self, code: i32) -> Vec<Value> {
        // Standard error closes when it ends.
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) =
            self.log.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.seen.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
        }
        assert!(Instant::now() < deadline, "it does not end: {:#?}", self.seen);
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{:#?}", self.seen);
        std::mem::take(&mut self.seen)
    }

    /// Stops it by SIGTERM.
    #[track_caller]
    pub(crate) fn stop(self) -> Vec<Value> {
        self.signal(Signal::TERM);
        self.ended(0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address for where a file must name one: of the loopback network, and nobody else's, so that
/// what was free a moment ago still is.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed) as u8;
    let (high, low) = (64 + high % 64, low); // below 127.64.0.0 are those of other tests
    let own = Ipv4Addr::new(127, high, low, number);
    TcpListener::bind((own, 0)).unwrap().local_addr().unwrap()
}

/// An origin that answers every request with its name and closes.
pub(crate) fn origin(name: &'static str) -> SocketAddr {
    origin_with(move |_| Some(name.to_owned()))
}

/// An origin whose answer to a request line is up to the story; `None` closes without one.
pub(crate) fn origin_with(
    answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                let head = read_head(&mut reader);
                if let Some(body) = answer(head.lines().next().unwrap_or_default()) {
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    let _ = (&stream).write_all((head + &body).as_bytes());
                }
            });
        }
    });
    address
}

/// An origin that says when it has been asked, and answers when it is told to.
pub(crate) fn slow_origin() -> (SocketAddr, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (asked, is_asked) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let (asked, released) = (Mutex::new(asked), Mutex::new(released));
    let address = origin_with(move |_| {
        let _ = asked.lock().unwrap().send(());
        released.lock().unwrap().recv().ok().map(|()| "late".to_owned())
    });
    (address, is_asked, release)
}

fn read_head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            break;
        }
    }
    head
}

/// An answer to a client.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends a request head (without its end) and reads the answer to its end.
#[track_caller]
pub(crate) fn ask(to: SocketAddr, head: &str) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    send_head(&mut stream, &format!("{head}Connection: close\r\n"));
    read_answer(stream)
}

pub(crate) fn send_head(stream: &mut impl Write, head: &str) {
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
}

#[track_caller]
pub(crate) fn read_answer(mut stream: impl Read) -> Answer {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// `GET path` with a Host.
#[track_caller]
pub(crate) fn get(to: SocketAddr, path: &str) -> Answer {
    ask(to, &format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n"))
}
