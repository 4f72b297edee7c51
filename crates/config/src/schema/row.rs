//! Rows: a node of a block, or a property of a node, with what becomes of it and how it is shown.
//!
//! A block is read into some `T`, and a [`Row`] says how its node changes that `T`, so that a row
//! without an effect does not compile. Hints and the reference, which walk the whole language, see
//! rows without their `T`, by [`Block`] and [`Properties`].

use super::{NodeRow, PropertyRow, Scope, TOP, block_text};
use crate::decode::{Checked, Decoder, Shown, Writer};
use crate::values::Datum;

/// A node of a block that is read into a `T`.
pub(crate) struct Row<T: 'static> {
    pub(crate) node: NodeRow,
    pub(crate) read: Read<T>,
    pub(crate) show: Show<T>,
}

/// What becomes of a node.
pub(crate) enum Read<T: 'static> {
    /// Its first value goes somewhere.
    Value(fn(&mut T, &Datum)),
    /// It is read as a whole.
    Node(fn(&mut Decoder<'_>, &mut T, &Checked<'_, '_>)),
}

/// How a setting is shown.
pub(crate) enum Show<T: 'static> {
    /// As one line with this behind the name; `None`: what holds without it, as a comment.
    Value(fn(&T) -> Option<String>),
    /// As lines of its own.
    Lines(fn(&mut Writer<'_, '_>, &T, Shown<'_>)),
    /// The same, but one that routes inherit from their site: there its default is a line as well, and
    /// in a route it is no line at all.
    Inherited(fn(&T) -> Option<String>),
    /// With the node of this name.
    With(&'static str),
}

/// A property of a node, which is read into a `T`.
pub(crate) struct Property<T: 'static> {
    pub(crate) row: PropertyRow,
    /// Puts its value in.
    pub(crate) set: fn(&mut T, &Datum),
    /// How the value is written; `None`: it is not set.
    pub(crate) text: fn(&T) -> Option<String>,
}

impl PropertyRow {
    /// What becomes of it, and how it is shown.
    pub(crate) const fn of<T>(
        self,
        set: fn(&mut T, &Datum),
        text: fn(&T) -> Option<String>,
    ) -> Property<T> {
        Property { row: self, set, text }
    }
}

/// Properties as they stand behind the value of a node.
pub(crate) fn in_line<T>(properties: &'static [Property<T>], of: &T) -> String {
    texts(properties, of, |_, text| text)
}

/// The same without their secrets.
pub(crate) fn in_line_masked<T>(properties: &'static [Property<T>], of: &T) -> String {
    texts(properties, of, |row, text| {
        let bare = text.trim_start_matches('"').trim_end_matches('"');
        row.secrecy.masked(row.name, bare).map_or(text, |masked| format!("\"{masked}\""))
    })
}

fn texts<T>(
    properties: &'static [Property<T>],
    of: &T,
    shown: impl Fn(&PropertyRow, String) -> String,
) -> String {
    let text = |property: &Property<T>| {
        let text = shown(&property.row, (property.text)(of)?);
        Some(format!(" {}={text}", property.row.name))
    };
    properties.iter().filter_map(text).collect()
}

/// The rows of a block.
pub(crate) struct Table<T: 'static> {
    /// Whose braces, for people: the name of the node, or `the top level`.
    pub(crate) name: &'static str,
    pub(crate) rows: &'static [&'static Row<T>],
}

/// What may stand between braces.
pub(crate) trait Block: Sync {
    fn name(&self) -> &'static str;
    fn row(&self, name: &str) -> Option<&'static NodeRow>;
    fn rows(&self) -> Vec<&'static NodeRow>;
    /// Of times and limits: where they stand.
    fn scope(&self) -> Option<Scope> {
        None
    }
}

impl<T> Table<T> {
    pub(crate) fn find(&self, name: &str) -> Option<&'static Row<T>> {
        self.rows.iter().find(|row| row.node.name == name).copied()
    }
}

impl<T> Block for Table<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn row(&self, name: &str) -> Option<&'static NodeRow> {
        self.find(name).map(|row| &row.node)
    }

    fn rows(&self) -> Vec<&'static NodeRow> {
        self.rows.iter().map(|row| &row.node).collect()
    }
}

impl dyn Block {
    /// Where what stands in it stands, for people.
    pub(crate) fn place(&self) -> String {
        match self.scope() {
            None if self.name() == TOP.name() => format!("at {}", self.name()),
            None => format!("in {}", block_text(self.name())),
            Some(Scope::Top) => format!("in `{}`", self.name()),
            Some(scope) => format!("in `{}` of `{}`", self.name(), scope.name()),
        }
    }
}

/// The properties of a node.
pub(crate) trait Properties: Sync {
    fn get(&self, index: usize) -> Option<&PropertyRow>;
}

impl<T, const N: usize> Properties for [Property<T>; N] {
    fn get(&self, index: usize) -> Option<&PropertyRow> {
        self.as_slice().get(index).map(|property| &property.row)
    }
}

impl<const N: usize> Properties for [PropertyRow; N] {
    fn get(&self, index: usize) -> Option<&PropertyRow> {
        self.as_slice().get(index)
    }
}
