//! Sites that lead to themselves.

use testkit::origin::Origin;
use testkit::server::TestServer;

/// A port that is free, for a listener that its own configuration must name.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_request_comes_to_each_route_once() {
    let (a, b) = (free_port(), free_port());
    let origin = Origin::serving(|request| {
        assert!(!request.has("Bothways-Passed"), "{request:?}");
        testkit::message_text::ok("arrived")
    });
    let server = TestServer::start(&format!(
        "site \"*\" {{
            listen \"127.0.0.1:{a}\"
            route \"/self/*\" {{ to \"127.0.0.1:{a}\"; request {{ remove \"Via\"; }}; }}
            route \"/two/*\" {{ to \"127.0.0.1:{b}\"; }}
            route \"/h2/*\" {{ to h2; }}
            route \"/chain/*\" {{ to \"127.0.0.1:{b}\"; }}
        }}
        upstream h2 {{ to \"127.0.0.1:{a}\"; protocol h2c; }}
        site \"*\" {{
            listen \"127.0.0.1:{b}\"
            route \"/two/*\" {{ to \"127.0.0.1:{a}\"; }}
            route \"/chain/*\" {{ to \"{}\"; }}
        }}",
        origin.address()
    ));
    let mut client = testkit::peer::Peer::connect(server.address_of(&format!("127.0.0.1:{a}")));
    let mut ask = |path: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response()
    };
    // From site to site is no loop.
    assert_eq!(ask("/chain/x").text(), "arrived");
    let mut total = 2.0;
    for (path, exchanges) in [("/self/x", 2.0), ("/two/x", 3.0), ("/h2/x", 2.0)] {
        let answer = ask(path);
        assert_eq!(answer.status(), 508, "{path}: {answer:?}");
        total += exchanges;
        server.wait_for_metric("bothways_requests_total", "", total);
    }
    assert_eq!(ask("/chain/x").text(), "arrived");
}
