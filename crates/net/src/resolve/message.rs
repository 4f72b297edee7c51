//! The messages of DNS (RFC 1035, section 4) that a client of name servers needs; no I/O.
//!
//! A question is written without EDNS, as servers and middle boxes that choke on it are still about, and what it would
//! buy is had by TCP. An answer is read leniently: what is not needed of it is not looked at, so that nothing odd
//! there does harm. But it must be for this very question (RFC 5452, section 9.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEAD_BYTES: usize = 12;
/// RFC 1035, section 3.1.
const NAME_BYTES_MAX: usize = 255;
/// Pointers within one name: it has no more labels.
const POINTERS_MAX: usize = 127;
/// Aliases that are followed from one name to the next.
const ALIASES_MAX: usize = 16;
const CNAME: u16 = 5;
const NS: u16 = 2;
const SOA: u16 = 6;
const IN: u16 = 1;

/// The type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordType {
    V4 = 1,
    V6 = 28,
    Services = 33,
}

/// A name in lower case, as it travels: each label behind its length, an empty one at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// A name with dots; nothing if it is none.
    pub(super) fn of(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            if label.is_empty() || label.len() > 63 {
                return None;
            }
            bytes.push(label.len() as u8);
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.push(0);
        (bytes.len() <= NAME_BYTES_MAX).then_some(Self(bytes))
    }

    /// True for the root.
    pub(super) fn is_root(&self) -> bool {
        self.0 == [0]
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = &*self.0;
        while let Some((length, after)) = rest.split_first()
            && let Some((label, after)) = after.split_at_checked(usize::from(*length))
            && !label.is_empty()
        {
            write!(out, "{}.", String::from_utf8_lossy(label))?;
            rest = after;
        }
        Ok(())
    }
}

/// A question.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) id: u16,
    pub(super) name: Name,
    pub(super) kind: RecordType,
}

impl Question {
    /// As it is sent.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.name.0.len() + 4);
        bytes.extend(self.id.to_be_bytes());
        bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // recursion is desired; one question
        bytes.extend(&self.name.0);
        bytes.extend((self.kind as u16).to_be_bytes());
        bytes.extend(IN.to_be_bytes());
        bytes
    }
}

/// The data of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordData {
    Address(IpAddr),
    Service { priority: u16, weight: u16, port: u16, target: Name },
}

/// The reply of a server to a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// These records, good for so many seconds.
    Found { data: Vec<RecordData>, ttl: u32 },
    /// The name is an alias, and the server says nothing about its target.
    Alias { target: Name, ttl: u32 },
    /// There is no record of this type, or no such name at all; valid for so many seconds, if the reply says so.
    Nothing { ttl: Option<u32>, name_exists: bool },
    /// It does not know, or refuses to answer.
    Useless(&'static str),
}

/// A message from a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// It is not whole: TCP brings the rest.
    pub(super) truncated: bool,
    pub(super) reply: Reply,
}

struct Record<'m> {
    owner: Name,
    kind: u16,
    class: u16,
    ttl: u32,
    /// Where its data are.
    data: std::ops::Range<usize>,
    message: &'m [u8],
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?))
}

/// RFC 1035, section 4.1.4: a name, whose end may be a pointer to what came before; and where it ends here.
fn read_name(message: &[u8], begin: usize) -> Option<(Name, usize)> {
    let (mut bytes, mut at, mut end) = (Vec::new(), begin, None);
    let (mut before, mut pointers) = (begin, 0);
    loop {
        let length = *message.get(at)?;
        match length {
            0 => {
                bytes.push(0);
                return (bytes.len() <= NAME_BYTES_MAX)
                    .then(|| (Name(bytes), end.unwrap_or(at + 1)));
            }
            1..=63 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                bytes.push(length);
                bytes.extend(label.iter().map(u8::to_ascii_lowercase));
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                end.get_or_insert(at + 2);
                at = usize::from(number(message, at)? & 0x3fff);
                // Only backwards, so that it terminates soon.
                if at >= before || pointers == POINTERS_MAX {
                    return None;
                }
                (before, pointers) = (at, pointers + 1);
            }
            _ => return None,
        }
        if bytes.len() > NAME_BYTES_MAX {
            return None;
        }
    }
}

fn read_record(message: &[u8], at: usize) -> Option<(Record<'_>, usize)> {
    let (owner, at) = read_name(message, at)?;
    let (kind, class) = (number(message, at)?, number(message, at + 2)?);
    let ttl = u32::from(number(message, at + 4)?) << 16 | u32::from(number(message, at + 6)?);
    // RFC 2181, section 8: with the highest bit set it is zero.
    let ttl = if ttl >> 31 == 1 { 0 } else { ttl };
    let begin = at + 10;
    let end = begin + usize::from(number(message, at + 8)?);
    message.get(begin..end)?;
    Some((Record { owner, kind, class, ttl, data: begin..end, message }, end))
}

impl Record<'_> {
    fn bytes(&self) -> &[u8] {
        self.message.get(self.data.clone()).unwrap_or_default()
    }

    /// The name that begins so far behind the beginning of the data, and ends in them.
    fn name(&self, behind: usize) -> Option<(Name, usize)> {
        read_name(self.message, self.data.start + behind).filter(|(_, end)| *end <= self.data.end)
    }

    fn data(&self, kind: RecordType) -> Option<RecordData> {
        if self.kind != kind as u16 {
            return None;
        }
        match kind {
            RecordType::V4 => <[u8; 4]>::try_from(self.bytes())
                .ok()
                .map(|ip| RecordData::Address(Ipv4Addr::from(ip).into())),
            RecordType::V6 => <[u8; 16]>::try_from(self.bytes())
                .ok()
                .map(|ip| RecordData::Address(Ipv6Addr::from(ip).into())),
            RecordType::Services => {
                let at = |place| number(self.bytes(), place);
                let (target, _) = self.name(6)?;
                Some(RecordData::Service { priority: at(0)?, weight: at(2)?, port: at(4)?, target })
            }
        }
    }

    /// RFC 2308, section 5: how long it holds that there is nothing.
    fn negative_ttl(&self) -> Option<u32> {
        let (_, at) = self.name(0)?;
        let (_, at) = self.name(at - self.data.start)?;
        let last = |behind| number(self.bytes(), at - self.data.start + behind);
        let minimum = u32::from(last(16)?) << 16 | u32::from(last(18)?);
        Some(minimum.min(self.ttl))
    }
}

/// Reads a message. `None`: it does not answer this question, and the right answer may still come.
pub(super) fn read(message: &[u8], question: &Question) -> Option<Message> {
    let flags = number(message, 2)?;
    let (is_response, opcode, code) = (flags >> 15 == 1, flags >> 11 & 15, flags & 15);
    if number(message, 0)? != question.id || !is_response || opcode != 0 {
        return None;
    }
    let count = |index: usize| number(message, 4 + 2 * index);
    let at = match count(0)? {
        // Servers that have not understood the question may leave it out.
        0 if code != 0 => HEAD_BYTES,
        1 => {
            let (name, at) = read_name(message, HEAD_BYTES)?;
            let same = name == question.name && number(message, at)? == question.kind as u16;
            if !same || number(message, at + 2)? != IN {
                return None;
            }
            at + 4
        }
        _ => return None,
    };
    let truncated = flags & 0x0200 != 0;
    let reply = match code {
        0 | 3 => understand(message, question, flags, at, (count(1)?, count(2)?)),
        1 => Reply::Useless("the server has not understood the question"),
        2 => Reply::Useless("the server failed"),
        4 => Reply::Useless("the server does not know this kind of question"),
        5 => Reply::Useless("the server refuses to answer"),
        _ => Reply::Useless("the server answers with an unknown code"),
    };
    Some(Message { truncated, reply })
}

fn understand(
    message: &[u8],
    question: &Question,
    flags: u16,
    mut at: usize,
    (answers, authorities): (u16, u16),
) -> Reply {
    let mut records = Vec::new();
    for _ in 0..answers {
        // Of an answer that is cut off or damaged, what came before may do.
        let Some((record, end)) = read_record(message, at) else { break };
        at = end;
        records.push(record);
    }
    let whole = records.len() == usize::from(answers);
    records.retain(|record| record.class == IN);
    let (mut name, mut ttl, mut aliases) = (question.name.clone(), u32::MAX, 0);
    loop {
        let of_name = || records.iter().filter(|record| record.owner == name);
        let found: Vec<_> =
            of_name().filter_map(|r| Some((r.data(question.kind)?, r.ttl))).collect();
        if !found.is_empty() {
            let ttl = found.iter().map(|(_, ttl)| *ttl).min().unwrap_or(0).min(ttl);
            return Reply::Found { data: found.into_iter().map(|(data, _)| data).collect(), ttl };
        }
        let Some(alias) = of_name().find(|record| record.kind == CNAME) else { break };
        let Some((target, _)) = alias.name(0).filter(|_| aliases < ALIASES_MAX) else {
            return Reply::Useless("its aliases lead nowhere");
        };
        (ttl, aliases) = (ttl.min(alias.ttl), aliases + 1);
        name = target;
    }
    if !whole {
        return Reply::Useless("the answer is damaged");
    }
    let (mut negative_ttl, mut refers) = (None, false);
    for _ in 0..authorities {
        let Some((record, end)) = read_record(message, at) else { break };
        at = end;
        match record.kind {
            SOA if record.class == IN => negative_ttl = record.negative_ttl(),
            NS => refers = true,
            _ => {}
        }
    }
    let (is_authority, recurses) = (flags & 0x0400 != 0, flags & 0x0080 != 0);
    match flags & 15 {
        3 => Reply::Nothing { ttl: negative_ttl, name_exists: false },
        _ if aliases > 0 && negative_ttl.is_none() => Reply::Alias { target: name, ttl },
        // One that does not know the zone and does not ask others says where to go, or nothing at all.
        _ if negative_ttl.is_none() && !is_authority && (refers || !recurses) => {
            Reply::Useless("the server does not answer for this name")
        }
        _ => Reply::Nothing { ttl: negative_ttl, name_exists: true },
    }
}

/// For the fuzz target, whose reference implementation is not a dependency of this crate.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use super::*;

    /// What was read of a message.
    #[derive(Debug, PartialEq, Eq)]
    pub enum Outcome {
        /// It answers no question.
        PassedOver,
        /// Records, as they travel but for names, which are whole and in lower case; and their TTL.
        Found(Vec<Vec<u8>>, u32),
        /// There are none.
        Missed,
    }

    /// Reads a message as the answer to the very question that it repeats.
    pub fn read_answer(message: &[u8]) -> Outcome {
        let name = read_name(message, HEAD_BYTES);
        let asked = name.as_ref().and_then(|(_, at)| number(message, *at));
        let kinds = [RecordType::V4, RecordType::V6, RecordType::Services];
        let kind = kinds.into_iter().find(|kind| Some(*kind as u16) == asked);
        let question = Question {
            id: number(message, 0).unwrap_or_default(),
            name: name.map_or(Name(vec![0]), |(name, _)| name),
            kind: kind.unwrap_or(RecordType::V4),
        };
        match read(message, &question) {
            None => Outcome::PassedOver,
            Some(Message { reply: Reply::Found { data, ttl }, .. }) => {
                Outcome::Found(data.into_iter().map(print).collect(), ttl)
            }
            Some(_) => Outcome::Missed,
        }
    }

    fn print(data: RecordData) -> Vec<u8> {
        match data {
            RecordData::Address(IpAddr::V4(ip)) => ip.octets().to_vec(),
            RecordData::Address(IpAddr::V6(ip)) => ip.octets().to_vec(),
            RecordData::Service { priority, weight, port, target } => {
                let numbers = [priority, weight, port].map(u16::to_be_bytes);
                [numbers.concat(), target.0].concat()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: RecordType) -> Question {
        Question { id: 7, name: Name::of("Www.Example").unwrap(), kind }
    }

    /// A message: the flags, the sections' counts, and everything behind the head.
    fn message(flags: u16, counts: [u16; 4], body: &[&[u8]]) -> Vec<u8> {
        let head: Vec<u8> =
            [7, flags].iter().chain(&counts).flat_map(|n| n.to_be_bytes()).collect();
        [&head, &body.concat()[..]].concat()
    }

    const ASKED: &[u8] = b"\x03wWw\x07exAmple\0\0\x01\0\x01";

    fn record(owner: &[u8], kind: u8, ttl: u8, data: &[u8]) -> Vec<u8> {
        [owner, &[0, kind, 0, 1, 0, 0, 0, ttl, 0, data.len() as u8], data].concat()
    }

    fn v4(last: u8) -> RecordData {
        RecordData::Address(Ipv4Addr::new(192, 0, 2, last).into())
    }

    #[test]
    fn answers_of_every_kind() {
        let ask = b"\xc0\x0c";
        let a = |owner: &[u8], last| record(owner, 1, 60, &[192, 0, 2, last]);
        let found = |data: &[RecordData], ttl| Reply::Found { data: data.to_vec(), ttl };
        let soa = record(
            b"\x07example\0",
            6,
            9,
            b"\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x05",
        );
        let alias = record(ask, 5, 7, b"\x03cdn\x04test\0");
        let other = a(b"\x03cdn\x04test\0", 9);
        let class = [&b"\xc0\x0c\0\x01\0\x03\0\0\0\x3c\0\x04"[..], &[1, 2, 3, 4]].concat();
        let ns = record(b"\0", 2, 60, b"\x01a\0");
        const OK: u16 = 0x8180;
        for (what, flags, counts, body, expected) in [
            ("one", OK, [1, 1, 0, 0], vec![&a(ask, 1)[..]], found(&[v4(1)], 60)),
            (
                "two",
                OK,
                [1, 2, 0, 0],
                vec![&a(ask, 1), &a(b"\x03www\x07EXAMPLE\0", 2)],
                found(&[v4(1), v4(2)], 60),
            ),
            ("alias", OK, [1, 2, 0, 0], vec![&alias, &other], found(&[v4(9)], 7)),
            ("alias behind", OK, [1, 2, 0, 0], vec![&other, &alias], found(&[v4(9)], 7)),
            (
                "alias alone",
                OK,
                [1, 1, 0, 0],
                vec![&alias],
                Reply::Alias { target: Name::of("cdn.test").unwrap(), ttl: 7 },
            ),
            (
                "alias to nothing",
                OK,
                [1, 1, 1, 0],
                vec![&alias, &soa],
                Reply::Nothing { ttl: Some(5), name_exists: true },
            ),
            (
                "somebody else's",
                OK,
                [1, 1, 0, 0],
                vec![&other],
                Reply::Nothing { ttl: None, name_exists: true },
            ),
            ("another class", OK, [1, 2, 0, 0], vec![&class, &a(ask, 1)], found(&[v4(1)], 60)),
            (
                "garbage behind",
                OK,
                [1, 1, 3, 9],
                vec![&a(ask, 1), b"\xff\xff\xff"],
                found(&[v4(1)], 60),
            ),
            ("cut off", OK, [1, 2, 0, 0], vec![&a(ask, 1), b"\xc0"], found(&[v4(1)], 60)),
            (
                "cut off at once",
                OK,
                [1, 1, 0, 0],
                vec![b"\xc0"],
                Reply::Useless("the answer is damaged"),
            ),
            (
                "no data",
                OK,
                [1, 0, 1, 0],
                vec![&soa],
                Reply::Nothing { ttl: Some(5), name_exists: true },
            ),
            (
                "no data, no word",
                OK,
                [1, 0, 0, 0],
                vec![],
                Reply::Nothing { ttl: None, name_exists: true },
            ),
            (
                "no name",
                OK | 3,
                [1, 0, 1, 0],
                vec![&soa],
                Reply::Nothing { ttl: Some(5), name_exists: false },
            ),
            (
                "lame",
                0x8100,
                [1, 0, 0, 0],
                vec![],
                Reply::Useless("the server does not answer for this name"),
            ),
            (
                "elsewhere",
                OK,
                [1, 0, 1, 0],
                vec![&ns],
                Reply::Useless("the server does not answer for this name"),
            ),
            ("failed", OK | 2, [1, 0, 0, 0], vec![], Reply::Useless("the server failed")),
            (
                "refused",
                OK | 5,
                [1, 0, 0, 0],
                vec![],
                Reply::Useless("the server refuses to answer"),
            ),
        ] {
            let body = [&[ASKED], &body[..]].concat();
            let read = read(&message(flags, counts, &body), &question(RecordType::V4));
            assert_eq!(read, Some(Message { truncated: false, reply: expected }), "{what}");
        }
        let mut looped = alias.clone();
        looped.truncate(12);
        let looped = [&looped[..10], b"\0\x02", ask].concat();
        let looped = message(OK, [1, 1, 0, 0], &[ASKED, &looped]);
        assert_eq!(
            read(&looped, &question(RecordType::V4)).unwrap().reply,
            Reply::Useless("its aliases lead nowhere")
        );
        let bare = message(OK | 1, [0, 0, 0, 0], &[]);
        assert!(matches!(read(&bare, &question(RecordType::V4)).unwrap().reply, Reply::Useless(_)));
        let cut = message(OK | 0x0200, [1, 0, 0, 0], &[ASKED]);
        assert!(read(&cut, &question(RecordType::V4)).unwrap().truncated);
    }

    #[test]
    fn what_is_no_answer_is_passed_over() {
        let good = message(0x8180, [1, 0, 0, 0], &[ASKED]);
        assert!(read(&good, &question(RecordType::V4)).is_some());
        assert!(read(&good, &question(RecordType::V6)).is_none(), "another question");
        assert!(
            read(&good, &Question { id: 8, ..question(RecordType::V4) }).is_none(),
            "another number"
        );
        let name = Name::of("www.example.com").unwrap();
        assert!(
            read(&good, &Question { name, ..question(RecordType::V4) }).is_none(),
            "another name"
        );
        for bad in [
            message(0x0180, [1, 0, 0, 0], &[ASKED]),
            message(0x8980, [1, 0, 0, 0], &[ASKED]),
            message(0x8180, [0, 0, 0, 0], &[]),
            message(0x8180, [2, 0, 0, 0], &[ASKED, ASKED]),
        ] {
            assert!(read(&bad, &question(RecordType::V4)).is_none(), "{bad:?}");
        }
        // Whatever comes, it is read to no harm.
        for length in 0..good.len() {
            assert!(read(&good[..length], &question(RecordType::V4)).is_none());
        }
    }

    #[test]
    fn names_and_questions() {
        assert_eq!(Name::of("a.B.").unwrap().to_string(), "a.b.");
        for bad in ["", ".", "a..b", &"a.".repeat(130), &"a".repeat(64)] {
            assert!(Name::of(bad).is_none(), "{bad}");
        }
        let encoded = question(RecordType::V6).encode();
        assert_eq!(encoded, b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x1c\0\x01");
        // A pointer to itself, and one forwards.
        assert!(read_name(b"\xc0\0", 0).is_none());
        assert!(read_name(b"\xc0\x02\x01a\0", 0).is_none());
        // A ladder of pointers: as many as a name has labels, and then no more.
        let ladder = |rungs: usize| {
            let rung = |n: usize| (0xc000 | n as u16).to_be_bytes();
            let bytes = (0..rungs).flat_map(|n| rung(if n == 0 { 0 } else { 2 * n })).collect();
            [b"\x00\x00".to_vec(), bytes].concat()
        };
        assert!(read_name(&ladder(POINTERS_MAX), 2 * POINTERS_MAX).is_some());
        assert!(read_name(&ladder(POINTERS_MAX + 1), 2 * POINTERS_MAX + 2).is_none());
        assert_eq!(read_name(b"\x01a\0\x01B\xc0\0", 3).unwrap(), (Name::of("b.a").unwrap(), 7));
    }
}
