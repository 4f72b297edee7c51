//! Trees to the model, by the tables of `schema`.
//!
//! [`Decoder`] checks each node against its row: its values, properties and block, so that what
//! the modules below get is what the row says. They collect what the files say into raw parts
//! ([`reverse`], [`forward`], [`process`], [`layer`]); [`resolve`] joins those to a `Config` once
//! everything is known, as the order of lines never matters.
//! Every mistake becomes a [`Problem`] and the decoder goes on with what is left.

mod caching;
mod expand;
mod forward;
mod include;
mod layer;
mod login;
mod matching;
mod process;
mod resolve;
mod reverse;
mod show;
mod templates;
mod tls;
mod upstream;

pub(crate) use caching::{RawCacheCondition, RawCaching, RawStore, RawTtl};
pub(crate) use forward::{RawForward, RawRule};
pub(crate) use layer::{Edits, HasLayer, Layer, RawErrorPage, RawLog, RawMaintenance};
pub(crate) use login::RawLogin;
pub(crate) use matching::{RawCondition, RawFiles};
pub(crate) use process::RawProcess;
pub(crate) use resolve::addresses;
pub(crate) use reverse::{Raw, RawListen, RawRoute, RawSite, add_networks};
pub(crate) use show::{Shown, Writer, quoted_unless_number};
pub(crate) use templates::RawMap;
pub(crate) use tls::{
    ClientLists, RawAcme, RawChallenge, RawEab, RawTlsOptions, RawUpstreamTls, TlsNode,
};
pub(crate) use upstream::RawUpstream;
pub(crate) use upstream::resolve::{RawMirror, RawSplit, RawStay};
pub(crate) use upstream::show::{share_quoted, target_text};

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use expand::{Fragments, Via};
use include::Files;

use crate::Loaded;
use crate::diagnostic::{Diagnostic, Failure, Related, Severity};
use crate::model::{AdminAddress, EndpointAddress, LogTarget, Place};
use crate::nearest::nearest;
use crate::schema::{
    self, ArgumentRow, Block, Count, FOREIGN, FOREIGN_HERE, NodeRow, PLANNED, Property, Read, Row,
    Table,
};
use crate::source::{Source, Sources, Span};
use crate::syntax::{self, Node, SyntaxError, Value};
use crate::values::{self, Datum, Wrong};

/// Mistakes that are told at most; what is beyond is counted.
const PROBLEMS_MAX: usize = 200;

/// Reads a file with its includes.
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    let name = path.display().to_string();
    let text = include::read_main(path).map_err(|why| Failure::unreadable(&name, &why))?;
    let mut sources = Sources::default();
    sources.add(Source { name, text });
    let mut problems = Problems::default();
    let files = include::follow(path, &mut sources, &mut problems);
    finish(sources, &files, problems)
}

/// Reads a text, which can include nothing.
pub(crate) fn parse(name: &str, text: &str) -> Result<Loaded, Failure> {
    let mut sources = Sources::default();
    sources.add(Source { name: name.to_owned(), text: text.to_owned() });
    let mut problems = Problems::default();
    include::refuse(&sources, &mut problems);
    finish(sources, &Files::one(PathBuf::new()), problems)
}

/// Checks the text alone and gives it in canonical layout.
pub(crate) fn format(name: &str, text: &str) -> Result<String, Failure> {
    let mut sources = Sources::default();
    sources.add(Source { name: name.to_owned(), text: text.to_owned() });
    let mut problems = Problems::default();
    problems.syntax(syntax::parser::parse(text, 0).errors);
    if problems.errors() > 0 {
        return Err(problems.failure(&sources));
    }
    let tokens = syntax::lexer::tokens(text, 0, &mut Vec::new());
    Ok(syntax::layout::layout(text, &tokens))
}

fn finish(sources: Sources, files: &Files, mut problems: Problems) -> Result<Loaded, Failure> {
    let mut nodes = Vec::new();
    let mut fragments = Fragments { named: files.named.clone(), ..Fragments::default() };
    let mut balanced = true;
    for file in 0..sources.len() {
        let document = syntax::parser::parse(sources.text(file as u16), file as u16);
        problems.syntax(document.errors);
        balanced &= document.balanced;
        match files.is_fragment(file as u16) {
            true => drop(fragments.lines.insert(file as u16, document.nodes)),
            false => nodes.extend(document.nodes),
        }
    }
    if !balanced {
        // What stands in the wrong block would be told as many mistakes that are none.
        return Err(problems.failure(&sources));
    }
    let nodes = expand::expand(nodes, &fragments, &sources, &mut problems);
    let mut decoder = Decoder::new(&sources, files, &nodes, problems);
    let raw = decoder.top(&nodes);
    let (config, effective) = resolve::resolve(&mut decoder, raw);
    let (problems, hides) = (decoder.problems, decoder.hiding.is_needed);
    let for_output = (hides && problems.errors() == 0).then(|| {
        let mut decoder = Decoder::new(&sources, files, &nodes, Problems::default());
        decoder.hiding.is_on = true;
        let raw = decoder.top(&nodes);
        Box::new(resolve::resolve(&mut decoder, raw).0)
    });
    drop((nodes, fragments));
    if problems.errors() > 0 {
        let partial = Some(Box::new(config));
        return Err(Failure { partial, ..problems.failure(&sources) });
    }
    let warnings = problems.diagnostics(&sources).1;
    let config = Arc::new(config);
    Ok(Loaded { config, for_output, warnings, effective, sources })
}

/// Something wrong with bytes of a file.
#[derive(Debug)]
pub(crate) struct Problem {
    severity: Severity,
    span: Span,
    message: String,
    hint: Option<String>,
    related: Vec<(Span, String)>,
    /// It is about the file as a whole.
    whole: bool,
}

impl Problem {
    fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    fn related(&mut self, span: Span, message: impl Into<String>) -> &mut Self {
        self.related.push((span, message.into()));
        self
    }

    fn diagnostic(self, sources: &Sources, vias: &[Via]) -> Diagnostic {
        let mut diagnostic = match self.whole {
            true => {
                let place = Place { file: self.span.file, line: 0, column: 0 };
                sources.diagnostic(self.severity, place, self.message)
            }
            false => sources.at(self.severity, self.span, self.message),
        };
        diagnostic.hint = self.hint;
        let related = self.related.into_iter().flat_map(|(span, message)| {
            std::iter::once((span, message)).chain(reasons(span, vias))
        });
        let related: Vec<_> = related.chain(reasons(self.span, vias)).collect();
        for (span, message) in related {
            let place = sources.place(span);
            let file = sources.name(span.file);
            diagnostic = diagnostic.with_related(Related { file, place, message });
        }
        diagnostic
    }
}

/// What has put a line where it is meant, from the inside to the outside.
fn reasons(span: Span, vias: &[Via]) -> impl Iterator<Item = (Span, String)> {
    let via = |span: Span| vias.get((span.via as usize).checked_sub(1)?);
    let reasons = std::iter::successors(via(span), move |via_of| via(via_of.span));
    reasons.map(|via| (via.span, via.what.to_owned()))
}

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    all: Vec<Problem>,
    /// What has put lines where they are meant, by `Span::via` - 1.
    vias: Vec<Via>,
    errors: usize,
}

impl Problems {
    fn add(&mut self, severity: Severity, span: Span, message: String) -> &mut Problem {
        self.errors += usize::from(severity == Severity::Error);
        let at = self.all.len();
        self.all.push(Problem {
            severity,
            span,
            message,
            hint: None,
            related: Vec::new(),
            whole: false,
        });
        &mut self.all[at]
    }

    fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Error, span, message.into())
    }

    fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Warning, span, message.into())
    }

    fn syntax(&mut self, errors: Vec<SyntaxError>) {
        for error in errors {
            self.error(error.span, error.message).hint = error.hint;
        }
    }

    fn errors(&self) -> usize {
        self.errors
    }

    /// The line outside of all `define` and files that has put this one where it is meant.
    fn put_by(&self, span: Span) -> Option<Span> {
        reasons(span, &self.vias).last().map(|(span, _)| span)
    }

    /// Notes what puts lines somewhere; gives its number.
    fn add_via(&mut self, via: Via) -> u32 {
        self.vias.push(via);
        self.vias.len() as u32
    }

    fn failure(self, sources: &Sources) -> Failure {
        let (errors, warnings) = self.diagnostics(sources);
        Failure { errors, warnings, sources: sources.clone(), partial: None }
    }

    /// Errors and warnings, each sorted by place.
    fn diagnostics(mut self, sources: &Sources) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        self.all.sort_by_key(|problem| (problem.span.file, problem.span.start));
        // A line that is put in several places has one mistake.
        let mut told_of = HashSet::new();
        self.all.retain(|problem| {
            let Span { file, start, end, via } = problem.span;
            via == 0 || told_of.insert((file, start, end, problem.message.clone()))
        });
        let (errors, warnings): (Vec<_>, Vec<_>) =
            self.all.into_iter().partition(|problem| problem.severity == Severity::Error);
        (told(errors, sources, &self.vias), told(warnings, sources, &self.vias))
    }
}

/// The first of many, and how many more there are.
fn told(problems: Vec<Problem>, sources: &Sources, vias: &[Via]) -> Vec<Diagnostic> {
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    let shown = problems.into_iter().take(PROBLEMS_MAX);
    let mut told: Vec<_> = shown.map(|problem| problem.diagnostic(sources, vias)).collect();
    if let Some(last) = told.last_mut().filter(|_| more > 0) {
        let note = format!("({more} more are not shown)");
        last.hint = Some(match last.hint.take() {
            Some(hint) => format!("{hint} {note}"),
            None => note,
        });
    }
    told
}

/// A value that is what its row says.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) datum: Datum,
    pub(crate) span: Span,
}

/// A node that was checked against its row. Values that are wrong are left out, and told.
pub(crate) struct Checked<'n, 't> {
    row: &'static NodeRow,
    node: &'n Node<'t>,
    pub(crate) arguments: Vec<Given>,
    properties: Vec<(&'static str, Given)>,
}

impl Checked<'_, '_> {
    pub(crate) fn property(&self, name: &str) -> Option<&Given> {
        self.properties.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// The first value behind the name.
    pub(crate) fn first(&self) -> Option<&Given> {
        self.arguments.first()
    }

    /// Every value behind the name.
    pub(crate) fn data(&self) -> impl Iterator<Item = &Datum> {
        self.arguments.iter().map(|given| &given.datum)
    }

    pub(crate) fn name_span(&self) -> Span {
        self.node.name_span
    }

    /// Puts what its properties say into their places.
    pub(crate) fn put<P>(&self, properties: &'static [Property<P>], target: &mut P) {
        for (name, given) in &self.properties {
            let property = properties.iter().find(|property| property.row.name == *name);
            debug_assert!(property.is_some(), "`{name}` goes nowhere");
            if let Some(property) = property {
                (property.set)(target, &given.datum);
            }
        }
    }
}

/// Where each value that is set stands: by the name of its node, and of its property if it is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    set: Vec<(&'static str, &'static str, Span)>,
    /// Where all the others stand, if that is one place.
    others: Option<Span>,
}

impl Origins {
    /// One node there.
    pub(crate) fn at(name: &'static str, span: Option<Span>) -> Self {
        Self { set: span.map(|span| (name, "", span)).into_iter().collect(), others: None }
    }

    /// All of it there.
    pub(crate) fn everything_at(span: Option<Span>) -> Self {
        Self { set: Vec::new(), others: span }
    }

    fn note(&mut self, node: &Checked<'_, '_>) {
        self.set.push((node.row.name, "", node.name_span()));
        let properties = node.properties.iter();
        self.set.extend(properties.map(|(name, given)| (node.row.name, *name, given.span)));
    }

    /// Where a node stands that this block does not have, but one further out.
    fn otherwise(&mut self, name: &'static str, span: Option<Span>) {
        self.set.extend(span.map(|span| (name, "", span)));
    }

    /// Where a node stands.
    pub(crate) fn node(&self, name: &str) -> Option<Span> {
        self.property(name, "")
    }

    pub(crate) fn property(&self, node: &str, name: &str) -> Option<Span> {
        let found = self.set.iter().find(|set| (set.0, set.1) == (node, name));
        found.map(|&(_, _, span)| span).or(self.others)
    }
}

/// What reads the tree.
pub(crate) struct Decoder<'s> {
    sources: &'s Sources,
    /// Where relative paths of each file start.
    directories: &'s [PathBuf],
    problems: Problems,
    maps: templates::MapNames,
    hiding: templates::Hiding,
}

impl<'s> Decoder<'s> {
    fn new(sources: &'s Sources, files: &'s Files, nodes: &[Node<'_>], problems: Problems) -> Self {
        let (maps, hiding) = (templates::MapNames::of(nodes), templates::Hiding::default());
        Self { sources, directories: &files.directories, problems, maps, hiding }
    }
}

impl Decoder<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.problems.error(span, message)
    }

    fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.problems.warning(span, message)
    }

    fn wrong(&mut self, span: Span, wrong: Wrong) {
        self.error(span, wrong.message).hint = wrong.hint;
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        self.sources.place(span)
    }

    /// The text of a span, as written.
    fn written(&self, span: Span) -> &str {
        self.sources.slice(span)
    }

    /// A value with where it stands; its path starts where the file that names it is.
    fn placed(&self, datum: Datum, span: Span) -> Given {
        let datum = match datum {
            Datum::Path(path) => Datum::Path(self.path(&path, span)),
            Datum::Log(LogTarget::File(path)) => {
                Datum::Log(LogTarget::File(self.path(&path, span)))
            }
            Datum::Admin(AdminAddress::Unix(path)) => {
                Datum::Admin(AdminAddress::Unix(self.path(&path, span)))
            }
            Datum::Endpoint { written, address: EndpointAddress::Unix(path), tls } => {
                let address = EndpointAddress::Unix(self.path(&path, span));
                Datum::Endpoint { written, address, tls }
            }
            datum => datum,
        };
        Given { datum, span }
    }

    /// A path, from where the file that names it is.
    fn path(&self, path: &Path, span: Span) -> PathBuf {
        match self.directories.get(usize::from(span.file)) {
            Some(directory) => directory.join(path),
            None => path.to_owned(),
        }
    }

    /// Reads the block of a node into `target`, by the rows of its table.
    pub(crate) fn block<T>(
        &mut self,
        parent: &Checked<'_, '_>,
        table: &'static Table<T>,
        target: &mut T,
    ) -> Origins {
        let children = self.rows(parent, table);
        self.read(&children, target)
    }

    /// The nodes in a node's block, each with its row.
    fn rows<'n, 't, T>(
        &mut self,
        parent: &Checked<'n, 't>,
        table: &'static Table<T>,
    ) -> Vec<(&'static Row<T>, Checked<'n, 't>)> {
        self.with_rows(parent.node.children.as_deref().unwrap_or_default(), table)
    }

    fn with_rows<'n, 't, T>(
        &mut self,
        nodes: &'n [Node<'t>],
        table: &'static Table<T>,
    ) -> Vec<(&'static Row<T>, Checked<'n, 't>)> {
        // All of them have one: it is how they were checked.
        let of = |node: &Checked<'n, 't>| {
            table.rows.iter().find(|row| std::ptr::eq(&raw const row.node, node.row)).copied()
        };
        let nodes = self.nodes(nodes, table).into_iter();
        nodes.filter_map(|node| Some((of(&node)?, node))).collect()
    }

    /// Reads nodes into `target`, by their rows; gives where each setting stands.
    fn read<T>(&mut self, nodes: &[(&'static Row<T>, Checked<'_, '_>)], target: &mut T) -> Origins {
        let mut set = Origins::default();
        for (row, node) in nodes {
            set.note(node);
            match row.read {
                Read::Value(read) => {
                    if let Some(given) = node.first() {
                        read(target, &given.datum);
                    }
                }
                Read::Node(read) => read(self, target, node),
            }
        }
        set
    }

    /// The nodes in a node's block, checked against the rows of the block.
    fn children<'n, 't>(&mut self, parent: &Checked<'n, 't>) -> Vec<Checked<'n, 't>> {
        let nodes = parent.node.children.as_deref().unwrap_or_default();
        match parent.row.block {
            Some(block) => self.nodes(nodes, block),
            None => Vec::new(),
        }
    }

    fn nodes<'n, 't>(
        &mut self,
        nodes: &'n [Node<'t>],
        block: &'static dyn Block,
    ) -> Vec<Checked<'n, 't>> {
        let mut checked: Vec<Checked<'n, 't>> = Vec::with_capacity(nodes.len());
        for node in nodes {
            let Some(row) = block.row(&node.name) else {
                self.unknown_node(node, block);
                continue;
            };
            let earlier = match row.repeats {
                true => None,
                false => checked.iter().find(|other| std::ptr::eq(other.row, row)),
            };
            if let Some(earlier) = earlier {
                let span = earlier.name_span();
                self.error(
                    node.name_span,
                    format!("`{}` appears twice {}", row.name, block.place()),
                )
                .related(span, "here first");
            }
            let node = self.check(node, row);
            checked.push(node);
        }
        checked
    }

    /// Checks a node against its row.
    fn check<'n, 't>(&mut self, node: &'n Node<'t>, row: &'static NodeRow) -> Checked<'n, 't> {
        for &annotation in &node.annotations {
            self.error(annotation, "type annotations in parentheses are not used here")
                .hint("remove it");
        }
        let arguments = self.arguments(node, row);
        let properties = self.properties(node, row);
        if row.block.is_none() && node.children.is_some() {
            self.error(node.name_span, format!("`{}` has no block", row.name)).hint(usage(row));
        }
        Checked { row, node, arguments, properties }
    }

    fn arguments(&mut self, node: &Node<'_>, row: &'static NodeRow) -> Vec<Given> {
        let mut given = Vec::with_capacity(node.arguments.len());
        let mut values = node.arguments.iter().peekable();
        for argument in row.arguments {
            let missing = values.peek().is_none();
            if missing && matches!(argument.count, Count::One | Count::AtLeastOne) {
                if !node.damaged {
                    let expected = argument.kind.expected();
                    self.error(node.span, format!("`{}` needs {expected}", row.name))
                        .hint(usage(row));
                }
                break;
            }
            let several = matches!(argument.count, Count::AtLeastOne | Count::Any);
            for value in values.by_ref() {
                given.extend(self.given(value, argument, row));
                if !several {
                    break;
                }
            }
        }
        if let Some(extra) = values.next() {
            let message = match row.arguments.len() {
                0 => format!("`{}` has no value after its name", row.name),
                1 => format!("`{}` has one value", row.name),
                count => format!("`{}` has {count} values", row.name),
            };
            self.error(extra.span, message).hint(usage(row));
        }
        given
    }

    fn given(
        &mut self,
        value: &Value<'_>,
        argument: &ArgumentRow,
        row: &'static NodeRow,
    ) -> Option<Given> {
        match values::read(value, argument.kind) {
            Ok(datum) => Some(self.placed(datum, value.span)),
            Err(mut wrong) => {
                // Most likely a property without its name.
                if argument.count == Count::Optional && row.properties().next().is_some() {
                    wrong.hint.get_or_insert_with(|| usage(row));
                }
                self.wrong(value.span, wrong);
                None
            }
        }
    }

    fn properties(&mut self, node: &Node<'_>, row: &'static NodeRow) -> Vec<(&'static str, Given)> {
        let mut given = Vec::with_capacity(node.properties.len());
        for (index, property) in node.properties.iter().enumerate() {
            let Some(known) = row.property(&property.name) else {
                self.unknown_property(row, &property.name, property.name_span);
                continue;
            };
            let earlier = node.properties.iter().take(index).find(|p| p.name == property.name);
            if let Some(earlier) = earlier {
                self.error(property.name_span, format!("`{}` appears twice", known.name))
                    .hint(format!("combine several with commas: {}=\"a,b\"", known.name))
                    .related(earlier.name_span, "here first");
                continue;
            }
            match values::read(&property.value, known.kind) {
                Ok(datum) => given.push((known.name, self.placed(datum, property.value.span))),
                Err(wrong) => self.wrong(property.value.span, wrong),
            }
        }
        given
    }

    fn unknown_property(&mut self, row: &'static NodeRow, name: &str, span: Span) {
        let home = schema::property_home(row.name, name);
        let planned = PLANNED.iter().find(|(word, _)| *word == name);
        if let Some((_, what)) = planned.filter(|_| home.is_none()) {
            self.error(span, format!("`{name}` is planned, but not in this version"))
                .hint(format!("it will be for {what}"));
            return;
        }
        let other =
            home.map(|block| format!("`{name}` is a property of `{}` in `{block}`", row.name));
        // Other programs say `header` where this one says `field`.
        let is_header = name == "header" && row.property("field").is_some();
        let hint = other
            .or_else(|| is_header.then(|| "write field=\"…\"".to_owned()))
            .or_else(|| foreign(name))
            .or_else(|| suggestion(name, || row.properties().map(|property| property.name)));
        let hint = hint.unwrap_or_else(|| usage(row));
        self.error(span, format!("unknown property `{name}` of `{}`", row.name)).hint(hint);
    }

    fn unknown_node(&mut self, node: &Node<'_>, block: &'static dyn Block) {
        let name = &*node.name;
        let here = block.place();
        let span = node.name_span;
        if let Some((_, what)) = PLANNED.iter().find(|(word, _)| *word == name) {
            self.error(span, format!("`{name}` is planned, but not in this version"))
                .hint(format!("it will be for {what}"));
            return;
        }
        let mut here_only = FOREIGN_HERE.iter();
        let elsewhere = here_only.find(|row| (row.0, row.1) == (block.name(), name));
        let hint = elsewhere.map(|row| foreign_hint(row.1, row.2, row.3));
        if let Some(hint) = hint.or_else(|| foreign(name)) {
            self.error(span, format!("`{name}` is not known {here}")).hint(hint);
            return;
        }
        if let Some(homes) = schema::homes(name) {
            self.error(span, format!("`{name}` is not allowed {here}"))
                .hint(format!("it belongs {homes}"));
            return;
        }
        let hint = suggestion(name, || block.rows().into_iter().map(|row| row.name));
        self.error(span, format!("`{name}` is not known {here}")).hint = hint;
    }
}

/// What is said of a word of another program.
fn foreign(name: &str) -> Option<String> {
    let found = FOREIGN.iter().find(|(word, _, _)| word.eq_ignore_ascii_case(name));
    found.map(|(_, whose, ours)| foreign_hint(name, whose, ours))
}

fn foreign_hint(name: &str, whose: &str, ours: &str) -> String {
    match ours.starts_with('`') {
        true => format!("what is `{name}` in {whose} is {ours} here"),
        false => format!("`{name}` is of {whose}; {ours}"),
    }
}

/// `did you mean …? (known: …)`.
fn suggestion<'a, I: Iterator<Item = &'a str>>(
    name: &str,
    known: impl Fn() -> I,
) -> Option<String> {
    let mut names: Vec<_> = known().collect();
    names.sort_unstable();
    let all = names.join(", ");
    match nearest(name, known()) {
        _ if names.is_empty() => None,
        Some(near) => Some(format!("did you mean `{near}`? (known: {all})")),
        None => Some(format!("known: {all}")),
    }
}

/// How a node is written.
fn usage(row: &NodeRow) -> String {
    let mut out = format!("write {}", row.name);
    for argument in row.arguments {
        out.push_str(&match argument.count {
            Count::One => format!(" <{}>", argument.name),
            Count::Optional => format!(" [<{}>]", argument.name),
            Count::AtLeastOne => format!(" <{}> …", argument.name),
            Count::Any => format!(" [<{}> …]", argument.name),
        });
    }
    for property in row.properties() {
        out.push_str(&format!(" [{}=…]", property.name));
    }
    if row.block.is_some() {
        out.push_str(" { … }");
    }
    out
}
