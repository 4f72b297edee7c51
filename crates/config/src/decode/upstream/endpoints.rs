//! Endpoints of an upstream, and where more of them come from.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use super::super::{Checked, Decoder};
use super::RawUpstream;
use crate::model::{Endpoint, EndpointAddress, Source, SourceKind};
use crate::schema::{ENDPOINT_PROPERTIES, Property};
use crate::source::Span;
use crate::values::Datum;

/// Where the endpoints of an upstream stand.
#[derive(Debug, Default)]
pub(crate) struct EndpointSpans {
    pub(in crate::decode) all: Vec<Span>,
    /// Which one each is, by its address and whether it is spoken to over TLS.
    numbers: HashMap<(EndpointAddress, bool), usize>,
}

impl Decoder<'_> {
    pub(crate) fn endpoint_line(&mut self, raw: &mut RawUpstream, node: &Checked<'_, '_>) {
        raw.broken |= node.arguments.is_empty();
        let set = |node: &Checked<'_, '_>, new: &mut Endpoint| node.put(&ENDPOINT_PROPERTIES, new);
        self.endpoints(node, &mut raw.settings.endpoints, &mut raw.endpoint_spans, set);
    }

    /// Reads a line of endpoints, of which `set` gives each its settings. One that is there already is the same, with a larger weight.
    pub(in crate::decode) fn endpoints(
        &mut self,
        node: &Checked<'_, '_>,
        endpoints: &mut Vec<Endpoint>,
        spans: &mut EndpointSpans,
        set: impl Fn(&Checked<'_, '_>, &mut Endpoint),
    ) {
        for given in &node.arguments {
            let Datum::Endpoint { written, address, tls } = &given.datum else { continue };
            let mut new = Endpoint {
                place: self.place(given.span),
                tls: *tls,
                ..Endpoint::new(written.as_ref(), address.clone())
            };
            set(node, &mut new);
            match spans.numbers.entry((address.clone(), *tls)) {
                Entry::Occupied(known) => {
                    let earlier = endpoints.get_mut(*known.get());
                    if let Some((earlier, &span)) = earlier.zip(spans.all.get(*known.get())) {
                        self.merge(earlier, span, &new, given.span);
                    }
                }
                Entry::Vacant(free) => {
                    free.insert(endpoints.len());
                    endpoints.push(new);
                    spans.all.push(given.span);
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

    pub(crate) fn source_line(
        &mut self,
        raw: &mut RawUpstream,
        node: &Checked<'_, '_>,
        properties: &'static [Property<Source>],
    ) {
        let Some(given) = node.first() else {
            raw.broken = true;
            return;
        };
        let kind = match &given.datum {
            Datum::Path(path) => {
                self.check_there(
                    path,
                    given.span,
                    "the upstream has no endpoints from it until the file exists",
                );
                SourceKind::File(path.clone())
            }
            name => SourceKind::Srv(name.text().into()),
        };
        let mut source = Source { place: self.place(node.name_span()), kind, tls: false };
        node.put(properties, &mut source);
        raw.settings.sources.push(source);
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
