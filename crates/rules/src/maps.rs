//! Maps: which value a text has.
//!
//! Equal texts are found by their hash, and so are beginnings and ends of texts, from the longest to the shortest. Regular
//! expressions are tried in the order of the file.

use config::{Config, Map, MapId, MapMatch, Regex, Table, Template};
use foldhash::HashMap;

/// Every map of a configuration, made ready.
#[derive(Debug, Default)]
pub struct Maps(Table<MapId, MapIndex>);

/// For where no template names a map.
static NONE: Maps = Maps(Table::new());

impl Maps {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self(config.maps.iter().map(MapIndex::of).collect())
    }

    /// No maps.
    pub fn none() -> &'static Self {
        &NONE
    }

    pub(crate) fn get(&self, id: MapId) -> Option<&MapIndex> {
        self.0.get(id)
    }
}

#[derive(Debug)]
pub(crate) struct MapIndex {
    /// What is compared.
    pub(crate) input: Template,
    exact: HashMap<Box<[u8]>, usize>,
    affixes: Affixes,
    regexes: Vec<(Regex, usize)>,
    values: Vec<Template>,
    default: Template,
}

/// Beginnings and ends of texts; of each, the first row that has it.
#[derive(Debug, Default)]
struct Affixes {
    prefixes: HashMap<Box<[u8]>, usize>,
    suffixes: HashMap<Box<[u8]>, usize>,
    /// Their lengths, the longest first.
    lengths: Vec<usize>,
}

impl Affixes {
    /// Puts them in order.
    fn order(&mut self) {
        let all = self.prefixes.keys().chain(self.suffixes.keys());
        self.lengths = all.map(|text| text.len()).collect();
        self.lengths.sort_unstable_by(|one, other| other.cmp(one));
        self.lengths.dedup();
    }

    /// The row of the longest one; of two as long, the first.
    fn longest(&self, text: &[u8]) -> Option<usize> {
        self.lengths.iter().find_map(|&length| {
            let start = text.len().checked_sub(length)?;
            let prefix = text.get(..length).and_then(|text| self.prefixes.get(text));
            let suffix = text.get(start..).and_then(|text| self.suffixes.get(text));
            prefix.into_iter().chain(suffix).min().copied()
        })
    }
}

impl MapIndex {
    fn of(map: &Map) -> Self {
        let mut index = Self {
            input: map.input.clone(),
            exact: HashMap::default(),
            affixes: Affixes::default(),
            regexes: Vec::new(),
            values: map.rows.iter().map(|row| row.value.clone()).collect(),
            default: map.default.clone(),
        };
        for (number, row) in map.rows.iter().enumerate() {
            match &row.matches {
                MapMatch::Exact(text) => {
                    index.exact.entry(text.as_bytes().into()).or_insert(number);
                }
                MapMatch::Prefix(text) => {
                    index.affixes.prefixes.entry(text.as_bytes().into()).or_insert(number);
                }
                MapMatch::Suffix(text) => {
                    index.affixes.suffixes.entry(text.as_bytes().into()).or_insert(number);
                }
                MapMatch::Regex(regex) => index.regexes.push((regex.clone(), number)),
            }
        }
        index.affixes.order();
        index
    }

    /// The value of a text.
    pub(crate) fn value(&self, text: &[u8]) -> &Template {
        let found = self.exact.get(text).copied();
        let found = found.or_else(|| self.affixes.longest(text));
        let found = found.or_else(|| {
            let regexes = self.regexes.iter().find(|(regex, _)| regex.is_match(text));
            regexes.map(|&(_, number)| number)
        });
        found.and_then(|number| self.values.get(number)).unwrap_or(&self.default)
    }
}
