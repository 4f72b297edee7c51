//! Endpoints of HTTP/2 that break off at every moment and for every reason: what may have been acted on
//! is not sent again, what is incomplete is not taken for complete, and nothing is left behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use testkit::h2raw::{Connection, data, field, frame, headers, reset};
use testkit::origin::Origin;
use testkit::peer::{ConnectionEnd, Peer};
use testkit::server::TestServer;
use testkit::wait;
use wire::http2::frame::{code, flag, kind};

/// When an endpoint breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeTheHead,
    BehindAnInterimHead,
    BehindTheHead,
    InTheBody,
    BehindTheEnd,
}

use Moment::{BeforeTheHead, BehindAnInterimHead, BehindTheEnd, BehindTheHead, InTheBody};

const MOMENTS: [Moment; 5] =
    [BeforeTheHead, BehindAnInterimHead, BehindTheHead, InTheBody, BehindTheEnd];

/// How often a request has come, by its path.
type Came = Arc<Mutex<HashMap<String, usize>>>;

/// What is sent of an answer until then.
fn sent_until(moment: Moment, stream: u32) -> Vec<u8> {
    let head = || headers(0, stream, &[(":status", "200")]);
    let whole = || data(flag::END_STREAM, stream, "whole");
    match moment {
        BeforeTheHead => Vec::new(),
        BehindAnInterimHead => headers(0, stream, &[(":status", "103"), ("link", "</a>")]),
        BehindTheHead => head(),
        InTheBody => [head(), data(0, stream, "a part")].concat(),
        BehindTheEnd => [head(), whole()].concat(),
    }
}

/// An endpoint that breaks off as `ending` does, and answers what comes again.
fn breaking(
    moment: Moment,
    ending: impl Fn(&mut Connection<&mut Peer>, u32, &str) + Send + Sync + 'static,
) -> (Origin, Came) {
    let came = Came::default();
    let counting = Arc::clone(&came);
    let origin = Origin::start(move |peer, _| {
        let mut raw = Connection::server(peer, &[]);
        loop {
            let begun = |raw: &mut Connection<&mut Peer>| -> Result<(u32, String), ConnectionEnd> {
                let head = raw.until(|frame| frame.head.kind == kind::HEADERS)?;
                let path = field(&raw.fields_of(&head), ":path").unwrap_or_default().to_owned();
                if !head.has(flag::END_STREAM) {
                    raw.until(|frame| frame.has(flag::END_STREAM))?;
                }
                Ok((head.head.stream, path))
            };
            let Ok((stream, path)) = begun(&mut raw) else { return };
            let times = {
                let mut came = counting.lock().unwrap();
                let times = came.entry(path.clone()).or_default();
                *times += 1;
                *times
            };
            if times == 1 && path != "/well" {
                raw.send(sent_until(moment, stream));
                ending(&mut raw, stream, &path);
            } else {
                raw.send(sent_until(BehindTheEnd, stream));
            }
        }
    });
    (origin, came)
}

fn before(origin: &Origin) -> TestServer {
    let text = format!(
        "upstream up {{\n to \"{}\"\n protocol h2c\n}}\n\
         site \"*\" {{\n listen \"127.0.0.1:0\"\n to up\n}}",
        origin.address()
    );
    TestServer::start_with(&text, |upstream| {
        upstream.ejection = None;
        (upstream.retry.budget, upstream.retry.budget_min) = (100, 1000);
    })
}

/// What a client sees: the status of a complete response, or `None`.
fn ask(server: &TestServer, method: &str, path: &str) -> Option<u16> {
    let mut client = server.connect();
    let length = if method == "POST" { "Content-Length: 5\r\n\r\nhello" } else { "\r\n" };
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{length}"));
    let mut response = client.try_response().ok()?;
    while response.status() < 200 {
        response = client.try_response().ok()?;
    }
    assert!(response.status() != 200 || response.text() == "whole", "{path}: {response:?}");
    Some(response.status())
}

#[track_caller]
fn nothing_is_left(server: &TestServer) {
    assert_eq!(ask(server, "GET", "/well"), Some(200));
    for gauge in ["bothways_upstream_streams_open", "bothways_endpoint_in_flight"] {
        wait::until(gauge, || server.metric(gauge, "") == 0.0);
    }
}

#[test]
fn streams_that_are_reset_at_any_moment_for_any_reason() {
    for moment in MOMENTS {
        let (origin, came) = breaking(moment, |raw, stream, path| {
            let code = path.split('/').nth(1).and_then(|code| code.parse().ok());
            raw.send(reset(stream, code.unwrap()));
        });
        let server = before(&origin);
        for code in (0..=13).chain([14, 0xffff_ffff]) {
            for method in ["GET", "POST"] {
                let path = format!("/{code}/{method}");
                let status = ask(&server, method, &path);
                let came = came.lock().unwrap().get(&path).copied().unwrap_or(0);
                let nothing_done = code == code::REFUSED_STREAM;
                let (seen, times) = match moment {
                    BeforeTheHead if nothing_done || method == "GET" => (Some(200), 2),
                    BehindAnInterimHead if nothing_done => (Some(200), 2),
                    BeforeTheHead | BehindAnInterimHead => (Some(502), 1),
                    BehindTheHead | InTheBody => (None, 1),
                    BehindTheEnd => (Some(200), 1),
                };
                assert_eq!((status, came), (seen, times), "{moment:?} {path}");
            }
        }
        nothing_is_left(&server);
    }
}

#[test]
fn connections_that_go_away_at_any_moment() {
    for moment in MOMENTS {
        for (last_is_before, closes) in [(true, false), (true, true), (false, true)] {
            for why in [code::NO_ERROR, code::INTERNAL_ERROR] {
                let (origin, came) = breaking(moment, move |raw, stream, _| {
                    let last = if last_is_before { stream - 1 } else { stream };
                    let goaway = [last.to_be_bytes(), why.to_be_bytes()].concat();
                    raw.send(frame(kind::GOAWAY, 0, 0, goaway));
                    if closes {
                        raw.peer().finish();
                    }
                    let _ = raw.goodbye(); // what comes now is not looked at
                });
                let server = before(&origin);
                for method in ["GET", "POST"] {
                    let path = format!("/{method}");
                    let status = ask(&server, method, &path);
                    let came = came.lock().unwrap().get(&path).copied().unwrap_or(0);
                    let what = format!("{moment:?} {method} {last_is_before} {closes} {why}");
                    let (seen, times) = match moment {
                        BeforeTheHead if last_is_before || method == "GET" => (Some(200), 2),
                        BehindAnInterimHead if last_is_before => (Some(200), 2),
                        BeforeTheHead | BehindAnInterimHead => (Some(502), 1),
                        BehindTheHead | InTheBody => (None, 1),
                        BehindTheEnd => (Some(200), 1),
                    };
                    assert_eq!((status, came), (seen, times), "{what}");
                }
                nothing_is_left(&server);
            }
        }
    }
}
