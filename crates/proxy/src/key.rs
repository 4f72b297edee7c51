//! The key of a request, for algorithms that choose an endpoint by one.

use std::net::IpAddr;

use balance::AddressOctets;
use config::{Balance, KeyPart};
use message::{Request, cookie};

/// The key of a request.
pub fn of(settings: &Balance, request: &Request, client: IpAddr) -> u64 {
    let address = AddressOctets::of(client);
    balance::key(settings, |part| match part {
        KeyPart::Header(name) => request.fields.find(name.as_bytes()),
        KeyPart::Cookie(name) => cookie(&request.fields, name),
        KeyPart::Query(name) => parameter(request.target.path_and_query(), name),
        KeyPart::Path => Some(request.target.path().as_bytes()),
        KeyPart::Address => Some(address.as_bytes()),
    })
}

/// The value of a parameter of the query, as written.
fn parameter<'a>(target: &'a str, name: &str) -> Option<&'a [u8]> {
    let (_, query) = target.split_once('?')?;
    let mut parameters = query.split('&');
    parameters.find_map(|part| Some(part.strip_prefix(name)?.strip_prefix('=')?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        for (target, expected) in [
            ("/?id=7", Some("7")),
            ("/a?b=c&id=8&id=9", Some("8")),
            ("/?idx=1&id=", Some("")),
            ("/id=7", None),
            ("/?id", None),
        ] {
            assert_eq!(parameter(target, "id"), expected.map(str::as_bytes), "{target}");
        }
    }
}
