//! The choice of an upstream by a split.
//!
//! A request has a *point*, one of 10 000, and the parts of a split divide that range in the order
//! in which they are written, each as long as its share. A point made from the client's address, or
//! kept in a cookie, leads to the same part each time. When shares change, only clients whose points
//! lie between the old border and the new one move.

use std::net::IpAddr;

use config::{Split, SplitPart, Stay, UpstreamId};
use message::{Request, Response, cookie};

/// The number of points: shares are counted in hundredths of a percent.
const POINTS: u16 = 10_000;

/// A choice that the client keeps in a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point<'a> {
    cookie: &'a str,
    point: u16,
    /// Whether the request came over TLS.
    secure: bool,
}

/// Chooses the upstream for a request, and the cookie that keeps the client with it. `random`
/// differs from request to request.
pub(crate) fn choose<'a>(
    split: &'a Split,
    request: &Request,
    client: IpAddr,
    secure: bool,
    random: u64,
) -> (Option<UpstreamId>, Option<Point<'a>>) {
    let (point, cookie_to_set) = match (own_point(split, request, client), &split.stay) {
        (Some(point), _) => (point, None),
        (None, Stay::Cookie(cookie)) => {
            let point = point(random);
            (point, Some(Point { cookie, point, secure }))
        }
        (None, Stay::No | Stay::Address) => (point(random), None),
    };
    (part(split, point).map(|part| part.upstream), cookie_to_set)
}

/// The point that a request has by itself, and the part that it leads to; `None`: the choice is
/// random.
pub fn decided<'a>(
    split: &'a Split,
    request: &Request,
    client: IpAddr,
) -> Option<(u16, &'a SplitPart)> {
    let point = own_point(split, request, client)?;
    Some((point, part(split, point)?))
}

fn own_point(split: &Split, request: &Request, client: IpAddr) -> Option<u16> {
    match &split.stay {
        Stay::No => None,
        Stay::Address => Some(point(balance::hash(balance::AddressOctets::of(client).as_bytes()))),
        Stay::Cookie(cookie) => kept(request, cookie),
    }
}

fn point(number: u64) -> u16 {
    (number % u64::from(POINTS)) as u16
}

/// The point in a client's cookie.
fn kept(request: &Request, name: &str) -> Option<u16> {
    let value = str::from_utf8(cookie(&request.fields, name)?).ok()?;
    value.parse().ok().filter(|point| *point < POINTS)
}

fn part(split: &Split, point: u16) -> Option<&SplitPart> {
    let mut end = 0;
    let part = split.parts.iter().find(|part| {
        end += part.share;
        point < end
    });
    // Shares add up to all points; if not, the last part takes the rest.
    part.or(split.parts.last())
}

impl Point<'_> {
    /// Adds the cookie to a response.
    pub(crate) fn mark(self, response: &mut Response) {
        let Self { cookie, point, secure } = self;
        let secure = if secure { "; Secure" } else { "" };
        // Once per client, so it may allocate.
        let value = format!("{cookie}={point}; Path=/; HttpOnly; SameSite=Lax{secure}");
        response.fields.push(b"Set-Cookie", value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use config::Place;

    use super::*;

    fn split(shares: &[u16], stay: Stay) -> Split {
        let part = |(index, &share): (usize, &u16)| SplitPart {
            place: Place::default(),
            upstream: UpstreamId(index as u32),
            share,
        };
        Split { parts: shares.iter().enumerate().map(part).collect(), stay }
    }

    fn chosen(split: &Split, cookie: Option<&str>, client: &str, random: u64) -> (u32, bool) {
        let mut request = Request::default();
        if let Some(cookie) = cookie {
            request.fields.push(b"Cookie", cookie.as_bytes());
        }
        let client = client.parse().unwrap();
        let (upstream, cookie_to_set) = choose(split, &request, client, false, random);
        (upstream.unwrap().0, cookie_to_set.is_some())
    }

    #[test]
    fn parts_lie_behind_one_another() {
        let three = split(&[9_000, 999, 1], Stay::No);
        for (random, expected) in
            [(0, 0), (8_999, 0), (9_000, 1), (9_998, 1), (9_999, 2), (10_000, 0), (19_999, 2)]
        {
            assert_eq!(chosen(&three, None, "192.0.2.1", random), (expected, false), "{random}");
        }
    }

    #[test]
    fn an_address_stays_and_shares_hold() {
        let canary = split(&[9_500, 500], Stay::Address);
        let larger = split(&[8_000, 2_000], Stay::Address);
        let mut counts = [0; 2];
        for number in 0..20_000u32 {
            let client = format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255);
            let (part, _) = chosen(&canary, None, &client, u64::from(number));
            assert_eq!(chosen(&canary, None, &client, 7).0, part);
            assert!(
                part == 0 || chosen(&larger, None, &client, 0).0 == 1,
                "the canary keeps {client}"
            );
            counts[part as usize] += 1;
        }
        assert!((800..1_200).contains(&counts[1]), "{counts:?}");
        let of = |client| chosen(&larger, None, client, 0).0;
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"), "one /64 is one client");
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }

    #[test]
    fn a_cookie_stays() {
        let canary = split(&[9_500, 500], Stay::Cookie("v".into()));
        assert_eq!(chosen(&canary, Some("v=9999"), "192.0.2.1", 0), (1, false));
        assert_eq!(chosen(&canary, Some("v=0"), "192.0.2.1", 9_999), (0, false));
        for unusable in ["v=10000", "v=-1", "v=x", "v=", "w=1"] {
            assert_eq!(
                chosen(&canary, Some(unusable), "192.0.2.1", 9_999),
                (1, true),
                "{unusable}"
            );
        }
        let mut response = Response::default();
        let request = Request::default();
        let client = "192.0.2.1".parse().unwrap();
        choose(&canary, &request, client, true, 42).1.unwrap().mark(&mut response);
        let value = response.fields.find(b"Set-Cookie").unwrap();
        assert_eq!(value, b"v=42; Path=/; HttpOnly; SameSite=Lax; Secure");
    }
}
