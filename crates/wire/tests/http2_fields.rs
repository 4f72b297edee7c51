//! Field blocks that another encoder has written in every form, read by ours.

use std::collections::VecDeque;

use proptest::prelude::*;
use testkit::h2raw::hpack::{huffman_string, indexed, integer, string, table_size};
use wire::http2::hpack::{Decoder, FIELD_OVERHEAD, StringBuffers, TABLE_BYTES};

/// Where the table that is learnt begins.
const LEARNT: usize = 62;
/// Some entries of the table that is given (RFC 7541, appendix A).
const GIVEN: &[(usize, &str, &str)] = &[
    (1, ":authority", ""),
    (2, ":method", "GET"),
    (8, ":status", "200"),
    (16, "accept-encoding", "gzip, deflate"),
    (32, "cookie", ""),
    (61, "www-authenticate", ""),
];

type Pair = (Vec<u8>, Vec<u8>);

/// How a field is written.
#[derive(Clone, Debug)]
enum Form {
    /// As an entry of a table, if there is one.
    Entry(usize),
    /// The name of an entry, if there is one, with a value.
    Named(usize, Vec<u8>),
    /// Name and value.
    Words(Vec<u8>, Vec<u8>),
}

/// A field: its form, the bits that say what the table does with it, and whether name and value are coded.
type Written = (Form, u8, [bool; 2]);

/// Sizes of the table that are told at the beginning, and the fields.
type Block = (Vec<usize>, Vec<Written>);

/// An encoder that follows instructions.
#[derive(Default)]
struct Encoder {
    table: VecDeque<Pair>,
    size_max: usize,
}

impl Encoder {
    fn entry(&self, choice: usize) -> (usize, Pair) {
        let place = choice % (GIVEN.len() + self.table.len());
        match GIVEN.get(place) {
            Some((index, name, value)) => {
                (*index, (name.as_bytes().into(), value.as_bytes().into()))
            }
            None => {
                let place = place - GIVEN.len();
                (LEARNT + place, self.table[place].clone())
            }
        }
    }

    fn shrink(&mut self) {
        let size = |(name, value): &Pair| name.len() + value.len() + FIELD_OVERHEAD;
        while self.table.iter().map(size).sum::<usize>() > self.size_max {
            self.table.pop_back();
        }
    }

    fn write(&mut self, (form, kind, coded): &Written, block: &mut Vec<u8>) -> Pair {
        let text = |text: &[u8], coded| if coded { huffman_string(text) } else { string(text) };
        let prefix = if *kind == 0x40 { 6 } else { 4 };
        let field = match form {
            Form::Entry(choice) => {
                let (index, field) = self.entry(*choice);
                block.extend(indexed(index));
                return field;
            }
            Form::Named(choice, value) => {
                let (index, (name, _)) = self.entry(*choice);
                block.extend(integer(*kind, prefix, index));
                (name, value.clone())
            }
            Form::Words(name, value) => {
                block.extend(integer(*kind, prefix, 0));
                block.extend(text(name, coded[0]));
                (name.clone(), value.clone())
            }
        };
        block.extend(text(&field.1, coded[1]));
        if *kind == 0x40 {
            self.table.push_front(field.clone());
            self.shrink();
        }
        field
    }
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let text = || {
        prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..40),
            2 => "[a-z0-9:-]{1,12}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 900..2500),
        ]
    };
    let form = prop_oneof![
        any::<usize>().prop_map(Form::Entry),
        (any::<usize>(), text()).prop_map(|(choice, value)| Form::Named(choice, value)),
        (text(), text()).prop_map(|(name, value)| Form::Words(name, value)),
    ];
    // Not learnt, never to be learnt (section 6.2.3), learnt.
    let kind = prop::sample::select(vec![0, 0x10, 0x40, 0x40]);
    let sizes = prop_oneof![6 => Just(vec![]), 2 => prop::collection::vec(0..=TABLE_BYTES, 1..3)];
    let fields = prop::collection::vec((form, kind, any::<[bool; 2]>()), 0..12);
    prop::collection::vec((sizes, fields), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 20_000 }))]

    #[test]
    fn what_is_written_in_any_form_is_read(blocks in blocks(), damage in any::<[prop::sample::Index; 2]>()) {
        let mut encoder = Encoder { size_max: TABLE_BYTES, ..Encoder::default() };
        let (mut decoder, mut strings) = (Decoder::default(), StringBuffers::default());
        for (sizes, fields) in &blocks {
            let mut block = Vec::new();
            for size in sizes {
                block.extend(table_size(*size));
                encoder.size_max = *size;
                encoder.shrink();
            }
            let expected: Vec<_> =
                fields.iter().map(|field| encoder.write(field, &mut block)).collect();
            // One that is damaged is refused or means something else, and that is all.
            if !block.is_empty() {
                let mut damaged = block.clone();
                *damage[0].get_mut(&mut damaged) = damage[1].index(256) as u8;
                let _ = decoder.clone().decode(&damaged, &mut strings, |_, _| {});
            }
            let mut read = Vec::new();
            let result = decoder.decode(&block, &mut strings, |name, value| {
                read.push((name.to_vec(), value.to_vec()));
            });
            prop_assert!(result.is_ok(), "{block:x?}");
            prop_assert_eq!(read, expected);
        }
    }
}
