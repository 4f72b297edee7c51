//! The ClientHello: tables, splits, and real ones.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::pki::{Leaf, PKI, client, plain_server, server, settings, trusting};
use crate::open::alert;
use crate::{ClientHello, HELLO_BYTES_MAX, HelloError};
use HelloError::{Illegal, Malformed, NotTls, RecordTooLong, TooOld, Unexpected};
use config::{ServerTls, TlsVersion};

/// What a ClientHello is built of.
struct Parts {
    version: u16,
    session: usize,
    suites: Vec<u8>,
    compression: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
    after: Vec<u8>,
}

impl Default for Parts {
    fn default() -> Self {
        let extensions = vec![(0, name_extension(b"A.Example"))];
        Self {
            version: 0x0303,
            session: 32,
            suites: vec![0x13, 1],
            compression: vec![0],
            extensions,
            after: Vec::new(),
        }
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
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.extend(with_length(1, &vec![9; self.session]));
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
    const BAD: Result<Option<&str>, HelloError> = Err(Illegal("server_name is no DNS name"));
    check(b"a.example", Ok(Some("a.example")));
    check(b"WWW.A.Example", Ok(Some("www.a.example")));
    check(b"a.example.", Ok(Some("a.example"))); // RFC 6066, section 3: without, but it is sent
    check(b"localhost", Ok(Some("localhost")));
    check(b"_dmarc.xn--bcher-kva.example", Ok(Some("_dmarc.xn--bcher-kva.example")));
    check(b"192.0.2.1", Ok(None)); // RFC 6066, section 3: no addresses
    check(b"2001:db8::1", Ok(None));
    check(b"A_b.Example", Ok(Some("a_b.example")));
    check(b"", Err(Malformed("server_name")));
    check(b".", BAD);
    check(b"a..example", BAD);
    check(b".a.example", BAD);
    check(b"-a.example", BAD);
    check(b"a-.example", BAD);
    check(b"a.example..", BAD);
    check(b"a.example:443", BAD);
    check(b"web.1", BAD); // as rustls has it
    check(b"[::1]", BAD);
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

/// What RFC 8446 says of a ClientHello, for all of it that we read ourselves: what is wrong with it, and the alert.
#[test]
fn what_is_not_as_it_must_be_is_refused_with_the_right_alert() {
    #[track_caller]
    fn check(parts: Parts, expected: HelloError, alert: u8) {
        assert_eq!(parts.parse(), Err(expected));
        assert_eq!(expected.alert(), Some(alert));
    }
    #[track_caller]
    fn fine(parts: Parts) {
        assert!(matches!(parts.parse(), Ok(Some(_))), "{:?}", parts.parse());
    }
    use alert::{DECODE_ERROR, ILLEGAL_PARAMETER, PROTOCOL_VERSION};
    let with = |extensions: Vec<(u16, Vec<u8>)>| Parts { extensions, ..Parts::default() };
    let name = || (0, name_extension(b"a.example"));
    let tls13 = || (43, vec![2, 3, 4]);
    // Section 4.1.2 and appendix D.5: legacy_version.
    for version in [0, 2, 0x0200, 0x02ff, 0x0300] {
        check(Parts { version, ..Parts::default() }, TooOld, PROTOCOL_VERSION);
        check(Parts { version, ..with(vec![tls13()]) }, TooOld, PROTOCOL_VERSION);
    }
    for version in [0x0301, 0x0302, 0x0304, 0x03ff, 0x0400, 0x7f1c, 0xffff] {
        fine(Parts { version, ..Parts::default() });
    }
    // legacy_session_id<0..32>
    for session in [0, 1, 31, 32] {
        fine(Parts { session, ..Parts::default() });
    }
    for session in [33, 255] {
        let parts = Parts { session, ..Parts::default() };
        check(parts, Malformed("legacy_session_id"), DECODE_ERROR);
    }
    // cipher_suites<2..2^16-2>
    for suites in [vec![], vec![0x13], vec![0x13, 1, 0x13]] {
        check(Parts { suites, ..Parts::default() }, Malformed("cipher_suites"), DECODE_ERROR);
    }
    // legacy_compression_methods<1..2^8-1>: "null" among them, and of TLS 1.3 alone.
    const COMPRESSION: &str = "legacy_compression_methods";
    let compressed = |compression: &[u8], extensions| Parts {
        compression: compression.to_vec(),
        ..with(extensions)
    };
    check(compressed(&[], vec![]), Malformed(COMPRESSION), DECODE_ERROR);
    check(compressed(&[1], vec![]), Illegal(COMPRESSION), ILLEGAL_PARAMETER);
    check(compressed(&[1], vec![tls13()]), Illegal(COMPRESSION), ILLEGAL_PARAMETER);
    check(compressed(&[1, 0], vec![tls13()]), Illegal(COMPRESSION), ILLEGAL_PARAMETER);
    check(compressed(&[0, 0], vec![tls13()]), Illegal(COMPRESSION), ILLEGAL_PARAMETER);
    fine(compressed(&[1, 0], vec![(43, vec![2, 3, 3])]));
    fine(compressed(&[64, 0, 1], vec![]));
    // Lengths add up.
    let after = Parts { after: vec![0], ..Parts::default() };
    check(after, Malformed("bytes after the extensions"), DECODE_ERROR);
    // Section 4.2: none twice, known or not; unknown ones are ignored.
    let twice = Illegal("an extension comes twice");
    check(with(vec![name(), name()]), twice, ILLEGAL_PARAMETER);
    check(with(vec![(1000, vec![]), name(), (1000, vec![])]), twice, ILLEGAL_PARAMETER);
    check(with(vec![(65535, vec![]), (65535, vec![1])]), twice, ILLEGAL_PARAMETER);
    fine(with((0..200).map(|kind| (1000 + kind, vec![])).collect()));
    fine(with((100..15_000).map(|kind| (kind, vec![])).collect()));
    // Section 4.2.11.
    let not_last = Illegal("pre_shared_key is not the last extension");
    check(with(vec![(41, vec![]), name()]), not_last, ILLEGAL_PARAMETER);
    fine(with(vec![name(), (41, vec![])]));
    // Section 4.2.1: versions<2..254>
    for versions in [vec![0], vec![3, 3, 4, 3], vec![2, 3, 4, 3], vec![3, 3, 4], vec![]] {
        check(with(vec![(43, versions)]), Malformed("supported_versions"), DECODE_ERROR);
    }
    // RFC 6066, section 3: ServerNameList<1..2^16-1>, HostName<1..2^16-1>, one of a type.
    let list = |names: &[(u8, &[u8])]| {
        let one = |(kind, name): &(u8, &[u8])| [&[*kind], &*with_length(2, name)].concat();
        (0, with_length(2, &names.iter().flat_map(one).collect::<Vec<_>>()))
    };
    for content in [vec![], vec![0, 0], vec![0, 1, 0], vec![0, 3, 0, 0, 0], vec![0, 4, 0, 0, 2, 97]]
    {
        check(with(vec![(0, content)]), Malformed("server_name"), DECODE_ERROR);
    }
    let more = (0, [name().1, vec![0]].concat());
    check(with(vec![more]), Malformed("server_name"), DECODE_ERROR);
    let several = Illegal("several names in server_name");
    check(with(vec![list(&[(0, b"a"), (0, b"b")])]), several, ILLEGAL_PARAMETER);
    check(with(vec![list(&[(0, b"a"), (0, b"a")])]), several, ILLEGAL_PARAMETER);
    let nameless = Illegal("server_name without a host name");
    check(with(vec![list(&[(1, b"a")])]), nameless, ILLEGAL_PARAMETER);
    fine(with(vec![list(&[(0, b"a"), (1, b"b")])]));
    // RFC 7301, section 3.1: protocol_name_list<2..2^16-1>, ProtocolName<1..2^8-1>
    let alpn = "application_layer_protocol_negotiation";
    for content in [vec![0, 0], vec![0, 1, 0], vec![0, 3, 3, b'h', b'2'], vec![]] {
        check(with(vec![(16, content)]), Malformed(alpn), DECODE_ERROR);
    }
    fine(with(vec![(16, with_length(2, &b"\x01a".repeat(500)))]));
}

/// RFC 8446, section 5.1 and section 5, for the records that a ClientHello comes in.
#[test]
fn records_that_must_not_be_are_refused_with_the_right_alert() {
    #[track_caller]
    fn check(bytes: &[u8], expected: HelloError, alert: Option<u8>) {
        assert_eq!(ClientHello::parse(bytes), Err(expected), "{bytes:?}");
        assert_eq!(expected.alert(), alert);
    }
    use alert::{DECODE_ERROR, PROTOCOL_VERSION, RECORD_OVERFLOW, UNEXPECTED_MESSAGE};
    let unexpected = Some(UNEXPECTED_MESSAGE);
    let hello = Parts::default().message();
    let part = |bytes: &[u8]| in_records(bytes, 1 << 14);
    // The version of a record is ignored.
    for minor in [0, 1, 3, 4, 0xff] {
        let mut record = part(&hello);
        record[2] = minor;
        assert!(matches!(ClientHello::parse(&record), Ok(Some(_))), "0x03{minor:02x}");
    }
    for (number, kind) in [20, 21, 23, 24, 1, 31].into_iter().enumerate() {
        let first = Unexpected("another record comes first");
        check(&[kind, 3, 1, 0, 1, 1], first, unexpected);
        let within = Unexpected("another record comes within it");
        let bytes = [part(&hello[..number + 1]), vec![kind, 3, 3, 0, 1, 1]].concat();
        check(&bytes, within, unexpected);
    }
    check(&[22, 3, 1, 0, 0], Unexpected("an empty record"), unexpected);
    let empty_within = [part(&hello[..9]), vec![22, 3, 3, 0, 0]].concat();
    check(&empty_within, Unexpected("an empty record"), unexpected);
    check(&[22, 3, 1, 0x40, 1], RecordTooLong, Some(RECORD_OVERFLOW));
    check(
        &[part(&hello[..9]), vec![22, 3, 3, 0xff, 0xff]].concat(),
        RecordTooLong,
        Some(RECORD_OVERFLOW),
    );
    // Section 4: what comes first must be a ClientHello.
    for kind in [0, 2, 4, 11, 20, 24, 254] {
        let other = Unexpected("another message comes first");
        check(&[22, 3, 1, 0, 4, kind, 0, 0, 0], other, unexpected);
        check(&[22, 3, 1, 0, 9, kind], other, unexpected);
    }
    // Appendix D.5: SSL 2.0 and older than 3.1.
    check(&[0x80, 0x2e, 1, 3, 1], TooOld, Some(PROTOCOL_VERSION));
    check(&[22, 2, 0], TooOld, Some(PROTOCOL_VERSION));
    for first in [
        b"GET / HTTP/1.1\r\n".as_slice(),
        b"PRI * ",
        b"\0",
        b"\x80\x2e\x02",
        b"SSH-2.0",
        b"\x05\x01\0",
    ] {
        check(first, NotTls, None);
    }
    assert_eq!(ClientHello::parse(b"G"), Err(NotTls), "known at once");
    assert_eq!(HelloError::TooLong.alert(), Some(DECODE_ERROR));
}

/// What is taken here must be taken by the handshake as well.
#[test]
fn what_is_unusual_but_right_is_served() {
    #[track_caller]
    fn check(change: impl Fn(&mut Vec<(u16, Vec<u8>)>)) {
        let session = client(&trusting()).session("a.example").unwrap();
        let parts = Taken::of(session.outgoing());
        let mut extensions = parts.extensions.clone();
        change(&mut extensions);
        let flight = in_records(&Taken { extensions, ..parts }.message(), 1 << 14);
        let hello = ClientHello::parse(&flight).unwrap().expect("it is whole");
        let session = plain_server().session(&hello, &flight).expect("a session");
        assert_eq!(session.outgoing()[..3], [22, 3, 3], "a ServerHello");
    }
    check(|_| {});
    check(|extensions| {
        let unknown = (0..200).map(|kind| (20_000 + kind, vec![0; 3]));
        extensions.splice(0..0, unknown);
    });
    let renamed = |name: &'static [u8]| {
        move |extensions: &mut Vec<(u16, Vec<u8>)>| {
            extensions.retain(|(kind, _)| *kind != 0);
            extensions.insert(0, (0, name_extension(name)));
        }
    };
    for name in [b"a.example.".as_slice(), b"A.EXAMPLE", b"a_b.example", b"127.0.0.1", b"::1"] {
        check(renamed(name));
    }
    let offering = |protocols: &'static [u8]| {
        move |extensions: &mut Vec<(u16, Vec<u8>)>| {
            extensions.retain(|(kind, _)| *kind != 16);
            extensions.insert(0, (16, with_length(2, protocols)));
        }
    };
    check(offering(b"\x08http/1.0"));
    check(offering(b"\x08http/0.9\x08http/1.0"));
    check(offering_many);
}

fn offering_many(extensions: &mut Vec<(u16, Vec<u8>)>) {
    extensions.retain(|(kind, _)| *kind != 16);
    let many = [b"\x02zz".repeat(100), b"\x02h2".to_vec()].concat();
    extensions.insert(0, (16, with_length(2, &many)));
}

/// A ClientHello taken apart.
struct Taken {
    before: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Taken {
    fn of(flight: &[u8]) -> Self {
        let body = &flight[9..];
        let session = 35 + usize::from(body[34]);
        let suites =
            session + 2 + usize::from(u16::from_be_bytes([body[session], body[session + 1]]));
        let end = suites + 1 + usize::from(body[suites]);
        let mut rest = &body[end + 2..];
        let mut extensions = Vec::new();
        while let [a, b, c, d, after @ ..] = rest {
            let (content, later) = after.split_at(usize::from(u16::from_be_bytes([*c, *d])));
            extensions.push((u16::from_be_bytes([*a, *b]), content.to_vec()));
            rest = later;
        }
        Self { before: body[..end].to_vec(), extensions }
    }

    fn message(&self) -> Vec<u8> {
        let extensions = self.extensions.iter().flat_map(|(kind, content)| {
            [&kind.to_be_bytes()[..], &with_length(2, content)].concat()
        });
        let extensions = with_length(2, &extensions.collect::<Vec<u8>>());
        [&[1], &*with_length(3, &[self.before.clone(), extensions].concat())].concat()
    }
}

/// RFC 8446, section 9.2: a hello of TLS 1.3 without what that demands; one site may speak TLS 1.2 alone.
#[test]
fn extensions_that_are_missing() {
    let only12 = ServerTls { version_max: TlsVersion::Tls12, ..settings() };
    let only12 = server(&only12, vec![PKI.chain(&Leaf::default())]);
    for (kind, is_missing) in [(10, true), (13, true), (51, true), (16, false), (0, false)] {
        let session = client(&trusting()).session("a.example").unwrap();
        let mut parts = Taken::of(session.outgoing());
        parts.extensions.retain(|(is, _)| *is != kind);
        let flight = in_records(&parts.message(), 1 << 14);
        let hello = ClientHello::parse(&flight).unwrap().expect("it is whole");
        let refused = plain_server().session(&hello, &flight).err();
        assert_eq!(refused.is_some(), is_missing, "without {kind}: {refused:?}");
        if let Some(refused) = refused {
            assert_eq!(refused.farewell(), [21, 3, 3, 0, 2, 2, alert::MISSING_EXTENSION]);
        }
        if kind == 51 {
            assert!(only12.session(&hello, &flight).is_ok(), "TLS 1.2 needs no key_share");
        }
    }
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
