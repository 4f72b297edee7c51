//! Answers of name servers against a second opinion, and any bytes in their place. What must hold is in
//! `testkit::fuzzing::dns_message`.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use proptest::prelude::*;
use testkit::fuzzing::dns_message;

const ASKED: &str = "www.example.test.";

fn name() -> impl Strategy<Value = Name> {
    let names = [ASKED, "WWW.example.TEST.", "cdn.test.", "a.cdn.test.", "b.CDN.test.", "."];
    prop::sample::select(names.to_vec()).prop_map(|name| Name::from_str(name).unwrap())
}

fn data() -> impl Strategy<Value = RData> {
    prop_oneof![
        4 => any::<[u8; 4]>().prop_map(|ip| RData::A(A(ip.into()))),
        4 => any::<[u8; 16]>().prop_map(|ip| RData::AAAA(AAAA(ip.into()))),
        4 => (any::<[u16; 3]>(), name())
            .prop_map(|([a, b, c], name)| RData::SRV(SRV::new(a, b, c, name))),
        4 => name().prop_map(|name| RData::CNAME(CNAME(name))),
        1 => name().prop_map(|name| RData::NS(NS(name))),
        1 => "[a-z]{0,9}".prop_map(|text| RData::TXT(TXT::new(vec![text]))),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let class = prop_oneof![9 => Just(DNSClass::IN), 1 => Just(DNSClass::CH)];
    let record = (name(), any::<u32>(), data(), class).prop_map(|(name, ttl, data, class)| {
        let mut record = Record::from_rdata(name, ttl, data);
        record.dns_class = class;
        record
    });
    prop::collection::vec(record, 0..10)
}

/// A message as another library writes it, with its names shortened.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![RecordType::A, RecordType::AAAA, RecordType::SRV]);
    let codes = prop_oneof![
        8 => Just(ResponseCode::NoError),
        1 => Just(ResponseCode::NXDomain),
        1 => Just(ResponseCode::ServFail),
    ];
    (kinds, codes, records(), records()).prop_map(|(kind, code, answers, authorities)| {
        let mut message = Message::response(7, OpCode::Query);
        message.metadata.response_code = code;
        message.add_query(Query::query(Name::from_str(ASKED).unwrap(), kind));
        message.add_answers(answers).add_authorities(authorities);
        message.to_vec().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 20_000 }))]

    #[test]
    fn answers_have_one_reading(message in message()) {
        prop_assert!(dns_message::read_by_hickory(&message).is_some());
        dns_message::check(&message);
    }

    #[test]
    fn damaged_answers_do_no_harm(
        mut message in message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (place, byte) in damage {
            *place.get_mut(&mut message) = byte;
        }
        dns_message::check(&message);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        dns_message::check(&bytes);
        // As an answer with some records.
        let head = [0, 7, 0x81, 0x80, 0, 1, 0, 9, 0, 9, 0, 9, 1, b'a', 0, 0, 1, 0, 1];
        dns_message::check(&[&head[..], &bytes].concat());
    }
}

#[test]
fn corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/dns_message");
    let mut count = 0;
    for file in fs::read_dir(corpus).expect("the corpus is readable") {
        let path = file.expect("the corpus is readable").path();
        // Shown only if a check fails.
        println!("{}", path.display());
        dns_message::check(&fs::read(path).expect("the corpus is readable"));
        count += 1;
    }
    assert!(count >= 10, "the corpus is nearly empty");
}

/// As much work as a message can make: records without number, whose names go from pointer to pointer.
#[test]
fn work_is_bounded() {
    let head = [0, 7, 0x81, 0x80, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 1];
    let mut message = head.to_vec();
    let ladder = 8000_usize;
    // In one record's data, each pointer to that before it, the first to the root in the question.
    message.extend([0, 0, 16, 0, 1, 0, 0, 0, 0]);
    message.extend(u16::try_from(2 * ladder).unwrap().to_be_bytes());
    let mut before = 12_u16;
    for _ in 0..ladder {
        let at = u16::try_from(message.len()).unwrap();
        message.extend((0xc000 | before).to_be_bytes());
        before = at;
    }
    while message.len() + 12 < 65535 {
        message.extend((0xc000 | before).to_be_bytes());
        message.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let began = std::time::Instant::now();
    assert_eq!(net::testing::read_answer(&message), net::testing::Outcome::Missed);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}
