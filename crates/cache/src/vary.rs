//! `Vary`: which fields of requests a response depends on, and which requests are the same in them.

use message::{Known, Request, Response, tells_of_client};

/// What a response varies by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vary {
    /// Nothing: it answers every request with its key.
    None,
    /// More than fields, or fields that tell who the client is: it is never stored.
    Star,
    /// These fields.
    Fields(VaryFields),
}

/// The fields that a response varies by: in lower case, sorted, each once, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct VaryFields(Box<[u8]>);

impl VaryFields {
    /// The names with commas between them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What [`VaryFields::as_bytes`] gave before, as a store keeps it.
    pub fn from_bytes(names: &[u8]) -> Self {
        Self(names.into())
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b',').filter(|name| !name.is_empty())
    }
}

impl Vary {
    /// What `Vary` of a response says.
    pub fn of(response: &Response) -> Self {
        if !response.fields.has(Known::Vary) {
            return Self::None;
        }
        let mut names: Vec<Vec<u8>> = Vec::new();
        for name in response.fields.list(Known::Vary) {
            if name == b"*" || tells_of_client(Known::of_twin(name), name) {
                return Self::Star;
            }
            names.push(name.to_ascii_lowercase());
        }
        names.sort_unstable();
        names.dedup();
        match names.is_empty() {
            true => Self::None,
            false => Self::Fields(VaryFields(names.join(&b","[..]).into())),
        }
    }
}

/// Writes what a request has in the fields that a response varies by: equal bytes are the same variant.
pub fn write_variant(out: &mut Vec<u8>, vary: &VaryFields, request: &Request) {
    for name in vary.iter() {
        let mut values = request
            .fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value);
        // A field that is not there differs from one that is empty.
        if let Some(first) = values.next() {
            out.push(b'=');
            out.extend_from_slice(first);
        }
        for value in values {
            out.push(b',');
            out.extend_from_slice(value);
        }
        out.push(b'\n');
    }
}
