//! Random configurations and requests, by a seed.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// Random numbers (xorshift64*).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        let mut draw = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            draw.next();
        }
        draw
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A configuration, and the number that it answers with.
pub(crate) struct Configuration {
    pub(crate) text: String,
    pub(crate) number: u64,
}

const PROCESS: &str = "process {\n cores 1\n log access=off\n}\n";

/// Where requests in reverse and forward ones come in.
pub(crate) const REVERSE: &str = "127.0.0.1:0";
pub(crate) const FORWARD: &str = "127.0.0.2:0";
const SECURE: &str = "127.0.0.4:0";
/// The host whose only answer is the configuration's number.
pub(crate) const NUMBERED: &str = "number.test";

const NAMES: &[&str] = &[
    "X-Real-IP",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Ssl",
    "X-Original-URL",
    "Forwarded",
    "Via",
    "Cookie",
    "User-Agent",
    "Accept",
    "Early-Data",
    "Max-Forwards",
    "X-A",
    "X_A",
    "x-a",
    "X-B",
    "api_key",
    "api-key",
    "X_Real_IP",
];

const VALUES: &[&str] = &[
    "1",
    "{client}",
    "{scheme}://{host}",
    "{path}",
    "{query}",
    "{method} x",
    "a{{b}}",
    "{tls-version}",
];

impl Configuration {
    /// A random one, with sites that may have TLS.
    pub(crate) fn any(draw: &mut Draw, origin: SocketAddr, number: u64, tls: &Tls) -> Self {
        let mut text = PROCESS.to_owned();
        for net in ["127.0.0.1", "::ffff:127.0.0.3", "10.0.0.0/8", "2001:db8::/32"] {
            if draw.once_in(3) {
                let _ = writeln!(text, "trusted-proxy \"{net}\"");
            }
        }
        let _ =
            writeln!(text, "site \"{NUMBERED}\" {{ listen \"{REVERSE}\"; respond \"{number}\"; }}");
        for names in ["\"a.test\" \"b.test\"", "\"*.b.test\"", "\"*\""] {
            if draw.once_in(4) {
                continue;
            }
            let _ = writeln!(text, "site {names} {{");
            let _ = match draw.once_in(3) {
                true => tls.site(draw, &mut text),
                false => writeln!(text, " listen \"{REVERSE}\""),
            };
            modifiers(draw, &mut text, &[]);
            let mut routes = 0;
            for (pattern, captures) in PATTERNS {
                if draw.once_in(2) {
                    routes += 1;
                    route(draw, &mut text, pattern, captures, origin);
                }
            }
            if routes == 0 || !draw.once_in(4) {
                let _ = writeln!(text, " to \"{origin}\"");
            }
            text.push_str("}\n");
        }
        forward(draw, &mut text, origin);
        Self { text, number }
    }
}

/// What sites with TLS need.
pub(crate) struct Tls {
    /// Certificate and key, as one writes them.
    pub(crate) certificate: String,
    /// A file with a CA.
    pub(crate) ca: String,
}

impl Tls {
    /// A site's TLS, and who comes in clear is sent there.
    fn site(&self, draw: &mut Draw, text: &mut String) -> std::fmt::Result {
        let Self { certificate, ca } = self;
        let _ = writeln!(text, " listen \"{SECURE}\"; redirect-http \"{REVERSE}\"");
        let client = match draw.below(4) {
            0 => format!(" client require ca=\"{ca}\";"),
            1 => format!(" client request ca=\"{ca}\";"),
            _ => String::new(),
        };
        writeln!(text, " tls {certificate} {{{client} }}")
    }
}

const PATTERNS: &[(&str, &[&str])] = &[
    ("/a", &[]),
    ("/a/*", &["rest"]),
    ("/a/{id}", &["id"]),
    ("/a/{id}/b/*", &["id", "rest"]),
    ("/b/*", &["rest"]),
    ("/admin/*", &["rest"]),
];

fn route(draw: &mut Draw, text: &mut String, pattern: &str, captures: &[&str], origin: SocketAddr) {
    let method = draw.of(&["", "", "", " method=\"GET\"", " method=\"POST,PUT\""]);
    let _ = writeln!(text, " route \"{pattern}\"{method} {{");
    modifiers(draw, text, captures);
    let capture = captures.first().map_or("x".to_owned(), |name| format!("{{{name}}}"));
    if draw.once_in(4) {
        let _ = writeln!(text, "  strip-prefix \"{}\"", draw.of(&["/a", "/b", "/a/x"]));
    } else if draw.once_in(4) {
        let rest = draw.of(&["", "/{query}", "{path}", "/{host}"]);
        let _ = writeln!(text, "  rewrite \"/v/{capture}{rest}\"");
    }
    let _ = match draw.below(8) {
        0 => writeln!(text, "  redirect \"/new/{capture}?{{query}}\" status=301"),
        1 => writeln!(text, "  redirect \"{{scheme}}://{{host}}/to/{capture}\""),
        2 => writeln!(text, "  redirect \"https://x.test/{capture}{{path}}\" status=302"),
        3 => writeln!(text, "  respond \"own\" status={}", draw.of(&["200", "403", "418"])),
        _ => writeln!(text, "  to \"{origin}\""),
    };
    text.push_str(" }\n");
}

fn modifiers(draw: &mut Draw, text: &mut String, captures: &[&str]) {
    if draw.once_in(3) {
        let _ = writeln!(text, "  forwarded {}", draw.of(&["on", "off"]));
    }
    if draw.once_in(3) {
        let _ = writeln!(text, "  underscores {}", draw.of(&["pass", "drop"]));
    }
    if draw.once_in(3) {
        let mut readings = String::new();
        for reading in ["merged", "host", "decoded", "parameters", "case"] {
            if draw.once_in(2) {
                readings = readings + " " + reading;
            }
        }
        if !readings.is_empty() {
            let _ = writeln!(text, "  path-readings{readings}");
        }
    }
    if draw.once_in(3) {
        let host = draw.of(&["preserve", "endpoint", "\"named.test:81\""]);
        let _ = writeln!(text, "  host {host}");
    }
    edits(draw, text, captures);
}

fn edits(draw: &mut Draw, text: &mut String, captures: &[&str]) {
    let count = draw.below(4);
    if count == 0 {
        return;
    }
    text.push_str("  request {\n");
    for _ in 0..count {
        let name = draw.of(NAMES);
        let value = match captures.first() {
            Some(capture) if draw.once_in(3) => format!("<{{{capture}}}>"),
            _ => draw.of(VALUES).to_owned(),
        };
        let _ = match draw.below(4) {
            0 => writeln!(text, "   remove \"{name}\""),
            1 => writeln!(text, "   add \"{name}\" \"{value}\""),
            _ => writeln!(text, "   set \"{name}\" \"{value}\""),
        };
    }
    text.push_str("  }\n");
}

fn forward(draw: &mut Draw, text: &mut String, origin: SocketAddr) {
    let _ = writeln!(text, "forward \"{FORWARD}\" {{");
    // All names are refused: what a look-up says is nothing that both sides could know.
    let _ = writeln!(text, " deny to=\"*.bad.test,bad.test\"");
    for rule in [
        "deny method=DELETE",
        "deny from=\"127.0.0.3\"",
        "deny from=\"::ffff:9.0.0.0/104\"",
        "deny to=\"127.0.0.0/8\" method=PUT",
        "deny port=\"1-100\"",
    ] {
        if draw.once_in(3) {
            let _ = writeln!(text, " {rule}");
        }
    }
    if !draw.once_in(8) {
        let _ = writeln!(text, " allow to=\"127.0.0.0/8\" port={}", origin.port());
    }
    let _ = match draw.below(4) {
        0 => writeln!(text, " anonymous"),
        1 => writeln!(text, " anonymous {{ remove \"User-Agent\" \"X-A\" \"Cookie\"; }}"),
        _ => writeln!(text, " via \"{}\"", draw.of(&["bothways", "office"])),
    };
    if draw.once_in(3) {
        let _ = writeln!(text, " forwarded {}", draw.of(&["on", "off"]));
    }
    if draw.once_in(3) {
        let _ = writeln!(text, " underscores {}", draw.of(&["pass", "drop"]));
    }
    edits(draw, text, &[]);
    text.push_str("}\n");
}

/// A request: its head, and what comes behind it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: &'static str,
    pub(crate) forward: bool,
}

const PARTS: &[&str] = &[
    "a",
    "a",
    "b",
    "x",
    "admin",
    "",
    "x%2Fy",
    "..%2fadmin",
    "a%2Fb",
    "%2f",
    "%2F..",
    "%5c..",
    "admin;a",
    ";x",
    ";",
    "%2e%2e;",
    "%u002f",
    "%252f",
    "ADMIN",
    "a\\b",
    "|",
    "%40",
    "..;",
    "%",
    "%5C",
    ".",
    "..",
    "%61",
    "%2e%2e",
    "x;y",
    "A",
    "~",
    "%20",
    "%C3%A4",
];

const CLAIMS: &[&str] = &[
    "9.9.9.9",
    "6.6.6.6, 9.9.9.9",
    "9.9.9.9, 127.0.0.3",
    "9.9.9.9:80, 10.1.1.1",
    "::ffff:9.9.9.9",
    "[2001:db8::1]:80",
    "unknown",
    "",
    "for=9.9.9.9",
    "for=9.9.9.9;proto=https;host=shop.test",
    "for=\"[2001:db9::1]:80\";proto=https, for=127.0.0.3;host=\"in,ner\"",
    "for=_x, for=10.0.0.1;proto=http",
    "proto=https;host=a.test:444",
    "https",
    "http, https",
    "HTTPS",
    "shop.test",
    "shop.test:8443",
    "a b",
    "on",
];

const OTHERS: &[&str] = &[
    "Connection: keep-alive, X-A",
    "Connection: X-Forwarded-For, Via, Cookie, x-forwarded-ssl",
    "Connection: TE",
    "TE: trailers",
    "TE: gzip",
    "Keep-Alive: 5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic eA==",
    "Proxy: http://evil",
    "Upgrade: h2c",
    "Cookie: a=b",
    "Cookie: c=d",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Proto: https",
    "Forwarded: proto=https",
    "Via: 1.0 fred",
    "Via: 1.1 a, 1.1 b",
    "Max-Forwards: 3",
    "Max-Forwards: 0",
    "Max-Forwards: x",
    "Early-Data: 1",
    "X-A: 1",
    "x-a: 2",
    "X_A: 3",
    "X-B:",
    "api_key: 1",
    "api-key: 2",
    "User-Agent: me",
    "Accept: */*",
    "Content_Length: 3",
    "Transfer_Encoding: chunked",
    "X-Client-IP: 6.6.6.6",
    "X-Forwarded: 6",
    "X-Spaces: \ta  b \t",
    "Range: bytes=0-1",
    "Expect: 200-ok",
    "Host: second.test",
    "No Token: 1",
];

/// A request in reverse or to the forward proxy.
pub(crate) fn request(draw: &mut Draw, origin: SocketAddr) -> Asked {
    let forward = draw.once_in(3);
    let method = draw
        .of(&["GET", "GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PURGE", "TRACE"]);
    let mut path = String::new();
    for _ in 0..draw.below(5) {
        let _ = write!(path, "/{}", draw.of(PARTS));
    }
    if path.is_empty() || draw.once_in(3) {
        path.push('/');
    }
    if draw.once_in(16) {
        path.insert_str(0, draw.of(&["/", "//", "/%2F", "/;"]));
    }
    path.push_str(draw.of(&["", "", "?", "?q=1", "?a=%2f&b=//../x", "?{q}"]));
    let at = origin.to_string();
    let host = match forward {
        true => draw.of(&[&at, &at, &at, "bad.test", "x.bad.test", "127.0.0.1:7"]).to_owned(),
        false => {
            let host = [
                "a.test",
                "B.test:80",
                "x.b.test",
                "other.test",
                "a.test.",
                "a.test:8080",
                "[::1]",
                "1.2.3.4",
            ];
            draw.of(&host).to_owned()
        }
    };
    let target = match draw.below(8) {
        0 if forward => path,
        _ if forward => format!("http://{host}{path}"),
        0 => format!("{}://{host}{path}", draw.of(&["http", "http", "https"])),
        1 if method == "OPTIONS" => "*".to_owned(),
        _ => path,
    };
    let version = draw.of(&["1.1", "1.1", "1.1", "1.0"]);
    let mut head = format!("{method} {target} HTTP/{version}\r\n");
    let _ = match draw.below(12) {
        0 => Ok(()),
        1 => write!(head, "Host:\r\n"),
        2 => write!(head, "Host: elsewhere.test\r\n"),
        _ => write!(head, "Host: {host}\r\n"),
    };
    for _ in 0..draw.below(6) {
        if draw.once_in(2) {
            let _ = write!(head, "{}: {}\r\n", draw.of(NAMES), draw.of(CLAIMS));
        } else {
            let _ = write!(head, "{}\r\n", draw.of(OTHERS));
        }
    }
    let body = match method {
        "POST" | "PUT" => match draw.below(4) {
            0 => "",
            1 => {
                head.push_str("Content-Length: 0\r\n");
                ""
            }
            2 => {
                head.push_str("Content-Length: 003\r\n");
                "abc"
            }
            _ => {
                head.push_str("Transfer-Encoding: chunked\r\n");
                "3\r\nabc\r\n0\r\n\r\n"
            }
        },
        _ => "",
    };
    head.push_str("\r\n");
    Asked { head, body, forward }
}
