//! The client of name servers: over UDP, with a port of its own for each question; over TCP if the reply does not fit.
//!
//! The servers are asked in the order of the configuration, except that those that were silent recently come last. If one
//! fails, refuses or is silent, the next is asked. Every other reply is accepted, also that a name does not exist (as
//! stub resolvers do: RFC 1123, section 6.1.3.1).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::ResolveError;
use super::message::{Name, Question, RecordData, RecordType, Reply, read};
use crate::system::is_shortage;

/// More than a server sends by UDP if it is not asked to (RFC 1035, section 4.2.1: 512).
const DATAGRAM_BYTES: usize = 4096;
/// How long a server that was silent is asked last.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// Aliases that are asked for one after another.
const ALIASES_ASKED_MAX: usize = 8;

/// The servers, and how they are asked.
#[derive(Debug)]
pub(super) struct Client {
    servers: Vec<Server>,
    /// How long one question may take, each time it is asked.
    timeout: Duration,
    /// How many times each server is asked.
    tries: u32,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// When it was silent last.
    silent: Mutex<Option<Instant>>,
}

/// Records, good for so many seconds.
pub(super) struct Records {
    pub(super) data: Vec<RecordData>,
    pub(super) ttl: u32,
}

/// Why there are none.
#[derive(Debug)]
pub(super) enum QueryError {
    /// There is none of this type, or no such name at all.
    Nothing {
        ttl: Option<u32>,
        name_exists: bool,
    },
    Failure(ResolveError),
}

impl Client {
    pub(super) fn new(servers: Vec<SocketAddr>, timeout: Duration, tries: u32) -> Self {
        let server = |address| Server { address, silent: Mutex::default() };
        Self { servers: servers.into_iter().map(server).collect(), timeout, tries }
    }

    /// The records of a name, or of the target of its alias.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Records, QueryError> {
        let (mut name, mut ttl) = (name.clone(), u32::MAX);
        for _ in 0..ALIASES_ASKED_MAX {
            match self.ask_once(&name, kind).await? {
                Reply::Found { data, ttl: own } => return Ok(Records { data, ttl: ttl.min(own) }),
                Reply::Alias { target, ttl: own } => (name, ttl) = (target, ttl.min(own)),
                Reply::Nothing { ttl, name_exists } => {
                    return Err(QueryError::Nothing { ttl, name_exists });
                }
                Reply::Useless(why) => return Err(failure(why)),
            }
        }
        Err(failure("its aliases lead nowhere"))
    }

    async fn ask_once(&self, name: &Name, kind: RecordType) -> Result<Reply, QueryError> {
        let mut failure = None;
        for _ in 0..self.tries {
            for server in self.in_order() {
                // RFC 5452, section 9.2: an attacker who forges replies must not guess the ID.
                let Ok(id) = random::secret().map(u16::from_ne_bytes) else {
                    return Err(self::failure("the system has no source of random numbers"));
                };
                let question = Question { id, name: name.clone(), kind };
                let until = Instant::now() + self.timeout;
                match server.ask(&question, until).await {
                    Ok(Reply::Useless(why)) => failure = Some(ResolveError::Failed(why.into())),
                    Ok(reply) => return Ok(reply),
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                        server.set_silent(Some(Instant::now()));
                        failure.get_or_insert(ResolveError::Timeout);
                    }
                    Err(error) if is_shortage(&error) => {
                        return Err(QueryError::Failure(ResolveError::Exhausted));
                    }
                    Err(error) => failure = Some(ResolveError::Failed(error.to_string().into())),
                }
            }
        }
        let none = || ResolveError::Failed("there is no name server to ask".into());
        Err(QueryError::Failure(failure.unwrap_or_else(none)))
    }

    fn in_order(&self) -> Vec<&Server> {
        let now = Instant::now();
        let mut servers: Vec<_> = self.servers.iter().collect();
        servers.sort_by_key(|server| server.is_silent(now)); // those alike stay in their order
        servers
    }
}

fn failure(why: &'static str) -> QueryError {
    QueryError::Failure(ResolveError::Failed(why.into()))
}

impl Server {
    fn is_silent(&self, now: Instant) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|at| now.saturating_duration_since(at) < SILENT_FOR)
    }

    fn set_silent(&self, at: Option<Instant>) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    async fn ask(&self, question: &Question, until: Instant) -> io::Result<Reply> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let message = timeout_at(until, self.ask_by_udp(question)).await.map_err(late)??;
        self.set_silent(None);
        let Some(cut) = message else {
            return timeout_at(until, self.ask_by_tcp(question)).await.map_err(late)?;
        };
        if !cut.truncated {
            return Ok(cut.reply);
        }
        match timeout_at(until, self.ask_by_tcp(question)).await {
            Ok(Ok(whole)) => Ok(whole),
            // Not every network lets TCP through: the truncated reply will do if it has records.
            _ if matches!(cut.reply, Reply::Found { .. }) => Ok(cut.reply),
            Ok(failed) => failed,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Nothing: the answer is too long.
    async fn ask_by_udp(&self, question: &Question) -> io::Result<Option<super::message::Message>> {
        let any = match self.address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(self.address).await?;
        socket.send(&question.encode()).await?;
        let mut datagram = vec![0; DATAGRAM_BYTES];
        loop {
            let count = socket.recv(&mut datagram).await?;
            if count == datagram.len() {
                return Ok(None);
            }
            // A message that does not answer this may be late or forged; the right one may still come.
            if let Some(message) = read(datagram.get(..count).unwrap_or_default(), question) {
                return Ok(Some(message));
            }
        }
    }

    async fn ask_by_tcp(&self, question: &Question) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(self.address).await?;
        let message = question.encode();
        // RFC 1035, section 4.2.2: two bytes of length go before each message; in one segment, as some read no further.
        let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        stream.write_all(&framed).await?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut message).await?;
        match read(&message, question) {
            Some(message) => Ok(message.reply),
            None => Ok(Reply::Useless("the server answers another question")),
        }
    }
}
