//! Endpoints of an upstream, and where more of them come from.

use std::path::Path;

use super::super::{Checked, Decoder};
use super::{number, put};
use crate::model::{Addresses, Endpoint, Source, SourceKind};
use crate::source::Span;
use crate::values::Datum;

impl Decoder<'_> {
    /// Reads a line of endpoints. One that is there already is the same, with a larger weight.
    pub(in crate::decode) fn endpoints(
        &mut self,
        node: &Checked<'_, '_>,
        endpoints: &mut Vec<Endpoint>,
        spans: &mut Vec<Span>,
    ) {
        for given in &node.arguments {
            let Datum::Endpoint { written, address, tls } = &given.datum else { continue };
            let mut new = Endpoint {
                place: self.place(given.span),
                tls: *tls,
                ..Endpoint::new(written.as_ref(), address.clone())
            };
            put(node, "weight", &mut new.weight, number);
            put(node, "zone", &mut new.zone, |datum| Some(datum.text().into()));
            put(node, "priority", &mut new.priority, number);
            put(node, "backup", &mut new.backup, Datum::flag);
            put(node, "max", &mut new.max, |datum| Some(number(datum)));
            put(node, "drain", &mut new.draining, Datum::flag);
            put(node, "addresses", &mut new.addresses, |datum| match datum.text() {
                "each" => Addresses::Each,
                "one" => Addresses::One,
                _ => Addresses::Auto,
            });
            let is_same = |(other, _): &(&mut Endpoint, _)| {
                other.address == new.address && other.tls == new.tls
            };
            match endpoints.iter_mut().zip(spans.iter()).find(is_same) {
                Some((earlier, &span)) => self.merge(earlier, span, &new, given.span),
                None => {
                    endpoints.push(new);
                    spans.push(given.span);
                }
            }
        }
    }

    fn merge(&mut self, earlier: &mut Endpoint, span: Span, later: &Endpoint, later_span: Span) {
        let differs = Endpoint {
            place: later.place,
            written: later.written.clone(),
            weight: later.weight,
            ..earlier.clone()
        } != *later;
        if differs {
            let message =
                format!("`{}` is in the upstream twice, and not in the same way", later.written);
            self.error(later_span, message).related(span, "here first").hint("write it once");
            return;
        }
        earlier.weight = earlier.weight.saturating_add(later.weight).min(1000);
        let message = format!("`{}` is in the upstream twice", later.written);
        self.warning(later_span, message)
            .hint(format!("for a larger share, write weight={}", earlier.weight));
    }

    pub(super) fn source(&mut self, node: &Checked<'_, '_>) -> Option<Source> {
        let given = node.first()?;
        let kind = match &given.datum {
            Datum::Path(path) => {
                self.check_there(
                    path,
                    given.span,
                    "the upstream has no endpoints of it until there is",
                );
                SourceKind::File(path.clone())
            }
            name => SourceKind::Srv(name.text().into()),
        };
        let tls = node.property("tls").is_some_and(|given| given.datum.flag());
        Some(Source { place: self.place(node.name_span()), kind, tls })
    }

    /// Warns of a file that is read later and not there now.
    pub(in crate::decode) fn check_there(&mut self, path: &Path, span: Span, hint: &str) -> bool {
        if path.is_file() {
            return true;
        }
        self.warning(span, format!("there is no file `{}`", path.display())).hint(hint);
        false
    }
}
