//! Both sides of the comparison: what the code behind `explain` says, and what a running proxy does.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, RwLock};

use message::Request;
use proxy::{HeadRefusal, IncomingPreview, OutgoingPreview};
use rules::{EntryPoint, Outcome, Query, Rules};
use testkit::message_text::Message;
use testkit::peer::Peer;
use testkit::secure::Authority;
use testkit::server::TestServer;
use testkit::wait;

use crate::generate::{Asked, Configuration, FORWARD, NUMBERED, REVERSE, Tls};
use crate::http2::{self, Framed};

/// A proxy, and the origin behind it.
pub(crate) struct Bench {
    server: TestServer,
    origin: SocketAddr,
    rules: RwLock<Arc<Rules>>,
    /// What sites with TLS need, and the files of it.
    pub(crate) tls: Tls,
    _authority: Authority,
}

/// What happens to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on with this head.
    Sent(String),
    /// It is answered with this status, and Location.
    Answered(u16, Option<String>),
}

/// The field in which the origin says what it got.
const SEEN: &str = "X-Seen";

impl Bench {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address to listen on");
        let origin = listener.local_addr().expect("a local address");
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                std::thread::spawn(move || serve(stream));
            }
        });
        let text =
            format!("site \"*\" {{ listen \"{REVERSE}\"; respond \"x\"; }}\nforward \"{FORWARD}\"");
        let server = TestServer::start(&text);
        let rules = RwLock::new(Arc::new(Rules::compile(server.server().config())));
        let authority = Authority::new();
        let issued = authority.issue("all", &["a.test", "b.test", "*.b.test"]);
        let ca = authority.file().display().to_string();
        let tls = Tls { certificate: issued.kdl(), ca };
        Self { server, origin, rules, tls, _authority: authority }
    }

    pub(crate) fn origin(&self) -> SocketAddr {
        self.origin
    }

    /// Goes over to another configuration, and waits until it holds.
    pub(crate) fn install(&self, configuration: &Configuration) {
        self.server.reload(&configuration.text).expect("a configuration that holds");
        *self.rules.write().unwrap() = Arc::new(Rules::compile(self.server.server().config()));
        let number = configuration.number.to_string();
        wait::until("the configuration", || {
            let mut peer = Peer::connect(self.server.address_of(REVERSE));
            peer.send(format!("GET / HTTP/1.1\r\nHost: {NUMBERED}\r\n\r\n"));
            peer.response().text() == number
        });
    }

    /// What the code behind `explain` says.
    pub(crate) fn said(&self, configuration: &Configuration, asked: &Asked, from: IpAddr) -> Fate {
        let rules = Arc::clone(&self.rules.read().unwrap());
        let config = rules.config();
        let written = if asked.forward { FORWARD } else { REVERSE };
        let found = (0u32..).zip(&config.listeners).find(|(_, l)| *l.written == *written);
        let (id, listener) = found.expect("a listener");
        let through = match asked.forward {
            true => EntryPoint::Forward(config::ForwardId(0)),
            false => EntryPoint::Listener(config::ListenerId(id)),
        };
        let incoming = IncomingPreview { listener, peer: from };
        let mut request = Request::default();
        let client = match incoming.read(asked.head.as_bytes(), &mut request) {
            Ok(client) => client,
            Err(HeadRefusal { status, .. }) => return Fate::Answered(status, None),
        };
        if let Some(status) = incoming.last_hop(&request) {
            return Fate::Answered(status, None);
        }
        let explanation = rules::explain(
            &rules,
            &Query {
                request: &request,
                from: client,
                entry: through,
                addresses: &[],
                classify: &proxy::rule_address,
                tls: None,
            },
        );
        let site = explanation.site.and_then(|site| config.sites.get(site.0 as usize));
        let route = site.zip(explanation.route).and_then(|(s, r)| s.routes.get(r.0 as usize));
        let forward = config.forwards.first().filter(|_| asked.forward);
        let settings = forward.map(|f| &f.settings).or(route.map(|route| &route.settings));
        let sent = |host: &str, path: &str| {
            let settings = settings.unwrap_or_else(|| panic!("settings\n{}", configuration.text));
            let outgoing = OutgoingPreview {
                forward,
                settings,
                route,
                client: rules::ClientFacts {
                    address: client.to_canonical(),
                    port: None,
                    listener_port: listener.address.port(),
                    user: None,
                    tls: None,
                },
                maps: rules.maps(),
                target: path.as_bytes(),
                host,
                protocol: config::UpstreamProtocol::Auto,
            };
            let head = outgoing.head(&incoming, &mut request.clone());
            let head = String::from_utf8_lossy(&head);
            Fate::Sent(head.trim_end_matches("\r\n").to_owned())
        };
        match &explanation.outcome {
            Outcome::Proxied { host, path, .. } => sent(host, path),
            Outcome::Forwarded { authority, path } => sent(authority, path),
            Outcome::Redirect { status, location } => {
                Fate::Answered(*status, Some(location.clone()))
            }
            other => Fate::Answered(other.status().expect("an answer"), None),
        }
    }

    /// What the proxy does.
    pub(crate) fn done(&self, asked: &Asked, client: &mut Client) -> Fate {
        let written = if asked.forward { FORWARD } else { REVERSE };
        let address = self.server.address_of(written);
        // A connection on which something was refused may be closed by now.
        let answer = (0..5).find_map(|_| client.ask(address, asked));
        let answer = answer.unwrap_or_else(|| panic!("no answer to {asked:?}"));
        fate(answer.status(), |name| answer.field(name))
    }

    /// What the proxy does with a request over HTTP/2.
    pub(crate) fn done_over_http2(&self, framed: &Framed, client: &mut http2::Client) -> Fate {
        let address = self.server.address_of(REVERSE);
        let answer = (0..5).find_map(|_| client.ask(address, framed));
        let answer = answer.unwrap_or_else(|| panic!("no answer to {:?}", framed.asked));
        match fate(answer.status(), |name| answer.field(&name.to_ascii_lowercase())) {
            // By what it came is all that differs.
            Fate::Sent(head) => Fate::Sent(head.replace("2.0 bothways", "1.1 bothways")),
            answered => answered,
        }
    }
}

fn fate<'a>(status: u16, field: impl Fn(&str) -> Option<&'a str>) -> Fate {
    let Some(hex) = field(SEEN) else {
        return Fate::Answered(status, field("Location").map(str::to_owned));
    };
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("digits");
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
    Fate::Sent(String::from_utf8_lossy(&bytes).into_owned())
}

/// Answers each request of a connection with the head that it had.
fn serve(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let whole = head.and_then(|head| {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = match text.split("\r\ncontent-length: ").nth(1) {
                Some(rest) => rest.lines().next()?.parse().ok()?,
                None if text.contains("\r\ntransfer-encoding: chunked") => {
                    bytes[head + 4..].windows(5).position(|five| five == b"0\r\n\r\n")? + 5
                }
                None => 0,
            };
            (bytes.len() >= head + 4 + length).then_some((head, head + 4 + length))
        });
        if let Some((head, end)) = whole {
            let hex: String = bytes[..head].iter().map(|byte| format!("{byte:02x}")).collect();
            let answer = format!("HTTP/1.1 200 OK\r\n{SEEN}: {hex}\r\nContent-Length: 0\r\n\r\n");
            bytes.drain(..end);
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
            continue;
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
}

/// A client at an address, with a connection to each listener while those last.
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    connections: BTreeMap<SocketAddr, Peer>,
}

impl Client {
    pub(crate) fn new(address: [u8; 4]) -> Self {
        Self { address: address.into(), connections: BTreeMap::new() }
    }

    /// The answer; `None` if the connection ended before.
    fn ask(&mut self, to: SocketAddr, asked: &Asked) -> Option<Message> {
        let kept = self.connections.remove(&to);
        let mut peer = kept.unwrap_or_else(|| Peer::connect_from(self.address, to));
        peer.try_send([asked.head.as_bytes(), asked.body.as_bytes()].concat()).ok()?;
        let method = asked.head.split(' ').next().unwrap_or_default();
        let answer = peer.try_response_to(method).ok()?;
        if answer.field("Connection") != Some("close") {
            self.connections.insert(to, peer);
        }
        Some(answer)
    }
}

/// Whether both are the same.
pub(crate) fn agree(said: &Fate, done: &Fate) -> bool {
    said == done
}

/// How often what came out.
#[derive(Debug, Default)]
pub(crate) struct Played(BTreeMap<String, u64>);

impl Played {
    pub(crate) fn count(&mut self, said: &Fate) {
        let kind = match said {
            Fate::Sent(_) => "sent".to_owned(),
            Fate::Answered(status, _) => status.to_string(),
        };
        *self.0.entry(kind).or_default() += 1;
    }

    /// Whether a good part was sent on, and all usual answers were among them.
    pub(crate) fn is_balanced(&self) -> bool {
        let count = |kind: &str| self.0.get(kind).copied().unwrap_or(0);
        let all: u64 = self.0.values().sum();
        let answers = ["301", "302", "308", "400", "403", "404", "405", "421"];
        count("sent") * 5 > all && answers.iter().all(|kind| count(kind) > 0)
    }
}
