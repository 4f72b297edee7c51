//! Maps: which value a text has.
//!
//! Equal texts are found by their hash. Those that begin or end so are compared from the longest to the shortest, regular
//! expressions in the order of the file.

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
    /// Beginnings and ends, the longest first.
    affixes: Vec<(Affix, usize)>,
    regexes: Vec<(Regex, usize)>,
    values: Vec<Template>,
    default: Template,
}

#[derive(Debug)]
enum Affix {
    Prefix(Box<str>),
    Suffix(Box<str>),
}

impl Affix {
    fn text(&self) -> &str {
        let (Self::Prefix(text) | Self::Suffix(text)) = self;
        text
    }

    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
        }
    }
}

impl MapIndex {
    fn of(map: &Map) -> Self {
        let mut index = Self {
            input: map.input.clone(),
            exact: HashMap::default(),
            affixes: Vec::new(),
            regexes: Vec::new(),
            values: map.rows.iter().map(|row| row.value.clone()).collect(),
            default: map.default.clone(),
        };
        for (number, row) in map.rows.iter().enumerate() {
            match &row.matches {
                MapMatch::Exact(text) => {
                    index.exact.entry(text.as_bytes().into()).or_insert(number);
                }
                MapMatch::Prefix(text) => index.affixes.push((Affix::Prefix(text.clone()), number)),
                MapMatch::Suffix(text) => index.affixes.push((Affix::Suffix(text.clone()), number)),
                MapMatch::Regex(regex) => index.regexes.push((regex.clone(), number)),
            }
        }
        index.affixes.sort_by_key(|(affix, _)| std::cmp::Reverse(affix.text().len()));
        index
    }

    /// The value of a text.
    pub(crate) fn value(&self, text: &[u8]) -> &Template {
        let found = self.exact.get(text).copied();
        let found = found.or_else(|| {
            let affixes = self.affixes.iter().find(|(affix, _)| affix.matches(text));
            affixes.map(|&(_, number)| number)
        });
        let found = found.or_else(|| {
            let regexes = self.regexes.iter().find(|(regex, _)| regex.is_match(text));
            regexes.map(|&(_, number)| number)
        });
        found.and_then(|number| self.values.get(number)).unwrap_or(&self.default)
    }
}
