//! DNS responses.

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use net::testing::{Outcome, read_answer};

use super::PREFIXES_MAX;

/// The maximum number of aliases that are followed within a message.
const ALIASES_MAX: usize = 16;
/// With more pointers in a message, there may be more in a name than we follow.
const POINTERS_MAX: usize = 127;

/// A response: the records found in a prefix are found in the whole message, and if another parser accepts the
/// message, both find the same records.
pub fn check(data: &[u8]) {
    let whole = read_answer(data);
    let step = data.len() / PREFIXES_MAX + 1;
    for length in (0..data.len()).step_by(step) {
        let part = read_answer(data.get(..length).unwrap_or_default());
        let is_found = |outcome: &Outcome| matches!(outcome, Outcome::Found(..));
        assert!(!is_found(&part) || is_found(&whole), "{whole:?} but {part:?} of {length} bytes");
    }
    if data.iter().filter(|byte| **byte >= 0xc0).count() <= POINTERS_MAX
        && let Some(expected) = read_by_hickory(data)
    {
        assert_eq!(whole, expected, "{data:x?}");
    }
}

/// The records that `hickory-proto` reads; none if it refuses the message, or the message does not match our query.
pub fn read_by_hickory(data: &[u8]) -> Option<Outcome> {
    let message = Message::from_vec(data).ok()?;
    let [question] = message.queries.as_slice() else { return None };
    let is_answer = message.metadata.message_type == MessageType::Response
        && message.metadata.op_code == OpCode::Query
        && question.query_class() == DNSClass::IN
        && matches!(question.query_type(), RecordType::A | RecordType::AAAA | RecordType::SRV);
    if !is_answer {
        return None;
    }
    // The code without the bits that EDNS adds.
    let answers = matches!(data.get(3)? & 15, 0 | 3);
    let found = answers.then(|| follow(&message.answers, question)).flatten();
    Some(found.unwrap_or(Outcome::Missed))
}

fn follow(records: &[Record], question: &Query) -> Option<Outcome> {
    let (mut name, mut least) = (question.name().clone(), u32::MAX);
    // RFC 2181, section 8.
    let ttl = |record: &Record| if record.ttl >> 31 == 1 { 0 } else { record.ttl };
    for _ in 0..=ALIASES_MAX {
        let own: Vec<_> =
            records.iter().filter(|r| r.dns_class == DNSClass::IN && r.name == name).collect();
        let wanted: Vec<_> = own
            .iter()
            .filter(|record| record.record_type() == question.query_type())
            .filter_map(|record| Some((print(&record.data)?, ttl(record))))
            .collect();
        if !wanted.is_empty() {
            let least = wanted.iter().map(|(_, ttl)| *ttl).fold(least, u32::min);
            return Some(Outcome::Found(wanted.into_iter().map(|(data, _)| data).collect(), least));
        }
        let alias = own.into_iter().find(|record| record.record_type() == RecordType::CNAME)?;
        let RData::CNAME(target) = &alias.data else { return None };
        least = least.min(ttl(alias));
        name = target.0.clone();
    }
    None
}

fn print(data: &RData) -> Option<Vec<u8>> {
    match data {
        RData::A(ip) => Some(ip.0.octets().to_vec()),
        RData::AAAA(ip) => Some(ip.0.octets().to_vec()),
        RData::SRV(service) => {
            let numbers = [service.priority, service.weight, service.port].map(u16::to_be_bytes);
            Some([numbers.concat(), print_name(&service.target)].concat())
        }
        _ => None,
    }
}

fn print_name(name: &Name) -> Vec<u8> {
    let label = |label: &[u8]| {
        let length = u8::try_from(label.len()).expect("a label is short");
        [vec![length], label.to_ascii_lowercase()].concat()
    };
    let labels: Vec<_> = name.iter().map(label).collect();
    [labels.concat(), vec![0]].concat()
}
