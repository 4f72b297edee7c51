//! The ClientHello: tables, splits, and real ones.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::pki::{client, trusting};
use crate::{ClientHello, HELLO_BYTES_MAX, HelloError};

/// What a ClientHello is built of.
struct Parts {
    suites: Vec<u8>,
    compression: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
    after: Vec<u8>,
}

impl Default for Parts {
    fn default() -> Self {
        let extensions = vec![(0, name_extension(b"A.Example"))];
        Self { suites: vec![0x13, 1], compression: vec![0], extensions, after: Vec::new() }
    }
}

fn with_length(width: usize, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[4 - width..], content].concat()
}

fn name_extension(name: &[u8]) -> Vec<u8> {
    with_length(2, &[&[0], &*with_length(2, name)].concat())
}

impl Parts {
    fn message(&self) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(with_length(1, &[9; 32]));
        body.extend(with_length(2, &self.suites));
        body.extend(with_length(1, &self.compression));
        let extensions = self.extensions.iter().flat_map(|(kind, content)| {
            [&kind.to_be_bytes()[..], &with_length(2, content)].concat()
        });
        body.extend(with_length(2, &extensions.collect::<Vec<u8>>()));
        body.extend(&self.after);
        [&[1], &*with_length(3, &body)].concat()
    }

    fn parse(&self) -> Result<Option<ClientHello>, HelloError> {
        ClientHello::parse(&in_records(&self.message(), 1 << 14))
    }
}

fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1], &*with_length(2, part)].concat();
    message.chunks(size).flat_map(record).collect()
}

#[test]
fn names() {
    #[track_caller]
    fn check(name: &[u8], expected: Result<Option<&str>, HelloError>) {
        let extensions = vec![(0, name_extension(name))];
        let found = Parts { extensions, ..Parts::default() }.parse();
        let found = found.map(|hello| hello.unwrap().name);
        assert_eq!(found, expected.map(|name| name.map(Into::into)), "{}", name.escape_ascii());
    }
    const BAD: Result<Option<&str>, HelloError> =
        Err(HelloError::Malformed("server_name is no DNS name"));
    check(b"a.example", Ok(Some("a.example")));
    check(b"WWW.A.Example", Ok(Some("www.a.example")));
    check(b"a.example.", Ok(Some("a.example"))); // RFC 6066, section 3: without, but it is sent
    check(b"localhost", Ok(Some("localhost")));
    check(b"_dmarc.xn--bcher-kva.example", Ok(Some("_dmarc.xn--bcher-kva.example")));
    check(b"192.0.2.1", Ok(None)); // RFC 6066, section 3: no addresses
    check(b"2001:db8::1", Ok(None));
    check(b"", BAD);
    check(b".", BAD);
    check(b"a..example", BAD);
    check(b".a.example", BAD);
    check(b"-a.example", BAD);
    check(b"a-.example", BAD);
    check(b"a.example:443", BAD);
    check(b"*.example", BAD);
    check(b"a.example\0", BAD);
    check(b"a.exa\xc3\xa4mple", BAD);
    check(b"a.example\xff", BAD);
    check(b"a b.example", BAD);
    check(b"1.2.3.400", BAD);
    check(&[b'a'; 64], BAD);
    check(&b"a.".repeat(128), BAD);
    check(
        &[b"a.".repeat(126), b"a".to_vec()].concat(),
        Ok(Some(&format!("{}a", "a.".repeat(126)))),
    );
}

#[test]
fn what_is_malformed_is_refused() {
    #[track_caller]
    fn check(parts: Parts, expected: &'static str) {
        assert_eq!(parts.parse(), Err(HelloError::Malformed(expected)));
    }
    let with = |extensions: Vec<(u16, Vec<u8>)>| Parts { extensions, ..Parts::default() };
    let name = || (0, name_extension(b"a.example"));
    let two = [[0].as_slice(), &with_length(2, b"a"), &[0], &with_length(2, b"b")].concat();
    check(Parts { suites: vec![], ..Parts::default() }, "cipher_suites");
    check(Parts { suites: vec![0x13], ..Parts::default() }, "cipher_suites");
    check(Parts { compression: vec![1], ..Parts::default() }, "legacy_compression_methods");
    check(Parts { after: vec![0], ..Parts::default() }, "bytes after the extensions");
    check(with(vec![name(), name()]), "an extension comes twice");
    check(with((0..200).map(|kind| (1000 + kind, vec![])).collect()), "too many extensions");
    check(with(vec![(41, vec![]), name()]), "pre_shared_key is not the last extension");
    check(with(vec![(0, vec![])]), "server_name");
    check(with(vec![(0, vec![0, 0])]), "server_name");
    check(with(vec![(0, with_length(2, &[1, 0, 1, b'a']))]), "server_name of an unknown type");
    check(with(vec![(0, with_length(2, &two))]), "several names in server_name");
    check(with(vec![(0, [name().1, vec![0]].concat())]), "server_name");
    let alpn = "application_layer_protocol_negotiation";
    check(with(vec![(16, vec![0, 0])]), alpn);
    check(with(vec![(16, vec![0, 1, 0])]), alpn);
    check(with(vec![(16, vec![0, 3, 3, b'h', b'2'])]), alpn);
    check(with(vec![(16, with_length(2, &b"\x01a".repeat(65)))]), alpn);
    check(with(vec![(43, vec![0])]), "supported_versions");
    check(with(vec![(43, vec![3, 3, 4, 3])]), "supported_versions");
    check(with(vec![(43, vec![2, 3, 4, 3])]), "supported_versions");
}

#[test]
fn what_is_found() {
    let protocols = with_length(2, b"\x02h2\x08http/1.1");
    let hello = |extensions| {
        Parts { extensions, ..Parts::default() }.parse().unwrap().expect("it is whole")
    };
    let found = hello(vec![(16, protocols), (43, vec![4, 0x0a, 0x0a, 3, 4])]);
    assert_eq!(
        found.alpn,
        [b"h2".as_slice().into(), b"http/1.1".as_slice().into()] as [Box<[u8]>; 2]
    );
    assert!(found.tls13 && found.name.is_none() && !found.is_acme_challenge());
    assert!(!hello(vec![(43, vec![2, 3, 3])]).tls13);
    assert!(hello(vec![(16, with_length(2, b"\x0aacme-tls/1"))]).is_acme_challenge());
    let both = with_length(2, b"\x0aacme-tls/1\x02h2");
    assert!(!hello(vec![(16, both)]).is_acme_challenge());
    let chacha = |suites: &[u8]| {
        let parts = Parts { suites: suites.to_vec(), ..Parts::default() };
        parts.parse().unwrap().unwrap().prefers_chacha
    };
    assert!(chacha(&[0x13, 3, 0x13, 1]) && chacha(&[0x0a, 0x0a, 0xcc, 0xa9]));
    assert!(!chacha(&[0x13, 1, 0x13, 3]) && !chacha(&[0x0a, 0x0a]));
}

#[test]
fn what_is_no_tls_is_known_at_once() {
    for first in [b"GET / HTTP/1.1\r\n".as_slice(), b"PRI * ", b"\x80\x2e\x01", b"\x16\x02", b"\0"]
    {
        assert_eq!(ClientHello::parse(first), Err(HelloError::NotTls), "{first:?}");
        assert_eq!(ClientHello::parse(&first[..1]).is_err(), first[0] != 22);
    }
    let other = "another message comes first";
    assert_eq!(ClientHello::parse(&[22, 3, 1, 0, 9, 2]), Err(HelloError::Malformed(other)));
    assert_eq!(
        ClientHello::parse(&[22, 3, 1, 0, 0]),
        Err(HelloError::Malformed("a record's length"))
    );
}

#[test]
fn one_of_any_length_is_bounded() {
    let padded = |length| {
        let extensions = vec![(21, vec![0; length]), (0, name_extension(b"a.example"))];
        Parts { extensions, ..Parts::default() }.message()
    };
    let large = in_records(&padded(50_000), 4096);
    assert!(ClientHello::parse(&large).unwrap().is_some());
    let mut endless = in_records(&[&[1, 0, 0xff, 0xff], [0; 70_000].as_slice()].concat(), 1);
    assert_eq!(ClientHello::parse(&endless), Err(HelloError::TooLong));
    endless.truncate(HELLO_BYTES_MAX);
    assert_eq!(ClientHello::parse(&endless), Err(HelloError::TooLong));
    let promised = [22, 3, 1, 0, 4, 1, 9, 0, 0];
    assert_eq!(ClientHello::parse(&promised), Err(HelloError::TooLong));
}

#[test]
fn a_real_one_in_any_split() {
    let session = client(&trusting()).session("Shop.A.example").unwrap();
    let first = session.outgoing();
    let whole = ClientHello::parse(first).unwrap().expect("it is whole");
    assert_eq!(whole.name.as_deref(), Some("shop.a.example"));
    assert_eq!(whole.alpn.len(), 2);
    assert!(whole.tls13);
    for length in 0..first.len() {
        assert_eq!(ClientHello::parse(&first[..length]), Ok(None), "of {length} bytes");
    }
    let message = &first[5..];
    for size in [1, 2, 3, 5, 100, 1000] {
        assert_eq!(ClientHello::parse(&in_records(message, size)), Ok(Some(whole.clone())));
    }
}

/// What rustls makes of it, if it is whole.
fn by_rustls(bytes: &[u8]) -> Option<(Option<String>, Vec<Vec<u8>>)> {
    let mut acceptor = rustls::server::Acceptor::default();
    acceptor.read_tls(&mut &*bytes).ok()?;
    let accepted = acceptor.accept().ok()??;
    let hello = accepted.client_hello();
    let alpn = hello.alpn().map(|alpn| alpn.map(<[u8]>::to_vec).collect());
    Some((hello.server_name().map(str::to_ascii_lowercase), alpn.unwrap_or_default()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever both take means the same to both.
    #[test]
    fn rustls_sees_the_same(position: usize, value: u8) {
        static FIRST: LazyLock<Vec<u8>> = LazyLock::new(|| {
            client(&trusting()).session("shop.a.example").unwrap().outgoing().to_vec()
        });
        let mut bytes = FIRST.clone();
        let index = 5 + position % (bytes.len() - 5);
        bytes[index] = value;
        if let (Ok(Some(ours)), Some((name, alpn))) = (ClientHello::parse(&bytes), by_rustls(&bytes)) {
            prop_assert_eq!(ours.name.map(String::from), name);
            prop_assert_eq!(ours.alpn.into_iter().map(Vec::from).collect::<Vec<_>>(), alpn);
        }
    }

    /// A change anywhere is refused or read, and prefixes never contradict the whole.
    #[test]
    fn changed_ones(position in 0usize..160, value: u8, size in 1usize..60) {
        let mut message = Parts {
            extensions: vec![
                (16, with_length(2, b"\x02h2\x08http/1.1")),
                (43, vec![4, 3, 4, 3, 3]),
                (0, name_extension(b"a.example")),
            ],
            ..Parts::default()
        }
        .message();
        let index = position % message.len();
        message[index] = value;
        let bytes = in_records(&message, size);
        let whole = ClientHello::parse(&bytes);
        for length in 0..bytes.len() {
            match ClientHello::parse(&bytes[..length]) {
                Ok(None) => {}
                early => prop_assert_eq!(&early, &whole, "of {} bytes", length),
            }
        }
    }
}
