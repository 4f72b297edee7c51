//! A target that is filled again and again must say the same as one that is filled once.

use message::{Method, Scheme, Target, TargetError};

type Seen = Result<(String, String, u16, Option<u16>, bool), TargetError>;

fn fill(target: &mut Target, raw: &str, host: &str, scheme: Scheme) -> Seen {
    target.parse(&Method::Get, raw.as_bytes(), Some(host.as_bytes()), scheme)?;
    let (authority, name) = (target.authority().to_owned(), target.host().to_owned());
    Ok((authority, name, target.port(), target.explicit_port(), target.ip().is_some()))
}

#[test]
fn hosts_of_earlier_requests_leave_no_trace() {
    let long = format!("{}.example", "a".repeat(60));
    let hosts = [
        "shop.example",
        "shop.example",
        "SHOP.example",
        "shop.example:8080",
        "127.0.0.1:80",
        "127.0.0.1:80",
        "",
        "bad host",
        "shop.example",
        "[::1]:8080",
        "[::1]:8080",
        "http://other.example/ as a host",
        &long,
        "shop.example.",
    ];
    let mut reused = Target::default();
    for round in 0..3 {
        for (index, host) in hosts.iter().enumerate() {
            let schemes = [Scheme::Http, Scheme::Https];
            let scheme = schemes[(round + index) % 2];
            let raw = if index % 5 == 4 { "http://127.0.0.1:80/x" } else { "/x" };
            let fresh = fill(&mut Target::default(), raw, host, scheme);
            assert_eq!(fill(&mut reused, raw, host, scheme), fresh, "{host} after others");
        }
    }
}
