//! What became of each line of nginx.

use std::fmt::Write as _;

use crate::nginx::{Directive, DirectiveId, Tree};

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It means the same here.
    Exact,
    /// It is here, with a difference that the note names.
    Near,
    /// It has no counterpart yet, but is planned.
    Planned,
    /// It has no counterpart.
    Refused,
}

impl Verdict {
    /// `exact`, `near`, `refused: planned` or `refused`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Near => "near",
            Self::Planned => "refused: planned",
            Self::Refused => "refused",
        }
    }

    /// True if the line has no counterpart.
    pub fn is_refused(self) -> bool {
        self >= Self::Planned
    }
}

/// What became of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its directive.
    pub id: DirectiveId,
    /// The file.
    pub file: String,
    /// The line in it.
    pub line: u32,
    /// The line itself, shortened.
    pub theirs: String,
    /// The name of the directive.
    pub directive: String,
    /// What became of it.
    pub verdict: Verdict,
    /// What it is called here; may be empty.
    pub ours: String,
    /// What differs, or why it is refused and what to do.
    pub notes: Vec<String>,
}

/// What became of every line, in their order.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The lines.
    pub lines: Vec<Line>,
}

impl Report {
    /// How many lines have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }

    /// True if a line was refused.
    pub fn has_refused(&self) -> bool {
        self.lines.iter().any(|line| line.verdict.is_refused())
    }

    /// For people: what is not exact, then the numbers.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for verdict in [Verdict::Refused, Verdict::Planned, Verdict::Near] {
            for group in self.groups(verdict) {
                group.write(verdict, &mut out);
            }
        }
        let _ = writeln!(out, "{}", self.summary());
        out
    }

    /// The lines with a verdict, those with the same notes together, in the order of the first of each.
    fn groups(&self, verdict: Verdict) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut known = std::collections::BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.verdict == verdict) {
            let index = *known.entry((&line.ours, &line.notes)).or_insert(groups.len());
            match groups.get_mut(index) {
                Some(group) => group.lines.push(line),
                None => groups.push(Group { lines: vec![line] }),
            }
        }
        groups
    }

    /// `31 lines: 25 exact, 4 near, 2 refused (1 of them planned)`
    pub fn summary(&self) -> String {
        let planned = self.count(Verdict::Planned);
        let refused = self.count(Verdict::Refused) + planned;
        let of_them =
            if planned > 0 { format!(" ({planned} of them planned)") } else { String::new() };
        format!(
            "{} lines: {} exact, {} near, {refused} refused{of_them}",
            self.lines.len(),
            self.count(Verdict::Exact),
            self.count(Verdict::Near),
        )
    }

    /// For programs: an object with every line and the numbers.
    pub fn json(&self) -> String {
        let lines = self.lines.iter().map(|line| {
            let notes: Vec<_> = line.notes.iter().map(|note| string(note)).collect();
            format!(
                "    {{\"file\": {}, \"line\": {}, \"nginx\": {}, \"verdict\": {}, \"planned\": {}, \
                 \"ours\": {}, \"notes\": [{}]}}",
                string(&line.file),
                line.line,
                string(&line.theirs),
                string(if line.verdict.is_refused() { "refused" } else { line.verdict.word() }),
                line.verdict == Verdict::Planned,
                string(&line.ours),
                notes.join(", ")
            )
        });
        let lines: Vec<_> = lines.collect();
        format!(
            "{{\n  \"exact\": {},\n  \"near\": {},\n  \"refused\": {},\n  \"planned\": {},\n  \
             \"lines\": [\n{}\n  ]\n}}\n",
            self.count(Verdict::Exact),
            self.count(Verdict::Near),
            self.count(Verdict::Refused) + self.count(Verdict::Planned),
            self.count(Verdict::Planned),
            lines.join(",\n")
        )
    }
}

/// Lines about which there is the same to say.
struct Group<'r> {
    lines: Vec<&'r Line>,
}

impl Group<'_> {
    /// A file that is included twice has its lines twice: they are shown once.
    fn write(&self, verdict: Verdict, out: &mut String) {
        let mut shown = std::collections::BTreeSet::new();
        for line in &self.lines {
            if shown.insert((&line.file, line.line, &line.theirs)) {
                let (file, number, theirs) = (&line.file, line.line, &line.theirs);
                let _ = writeln!(out, "{file}:{number}: {}: {theirs}", verdict.word());
            }
        }
        let Some(first) = self.lines.first() else { return };
        if !first.ours.is_empty() {
            let _ = writeln!(out, "    here: {}", first.ours);
        }
        for note in &first.notes {
            let _ = writeln!(out, "    {note}");
        }
    }
}

/// A string of JSON.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Collects what became of each directive; a directive that several routes inherit is judged several
/// times, and the worst verdict counts.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: std::collections::BTreeMap<DirectiveId, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    verdict: Verdict,
    ours: String,
    notes: Vec<String>,
}

impl Ledger {
    /// Writes down what became of a directive.
    pub(crate) fn judge(&mut self, id: DirectiveId, verdict: Verdict, ours: &str, note: &str) {
        let entry = self.entries.entry(id).or_insert_with(|| Entry {
            verdict,
            ours: ours.to_owned(),
            notes: Vec::new(),
        });
        entry.verdict = entry.verdict.max(verdict);
        // What stands in the file says more than `(not needed)`.
        if entry.ours.is_empty() || entry.ours.starts_with('(') && !ours.is_empty() {
            entry.ours = ours.to_owned();
        }
        if !note.is_empty() && !entry.notes.iter().any(|known| known == note) {
            entry.notes.push(note.to_owned());
        }
    }

    pub(crate) fn exact(&mut self, id: DirectiveId, ours: &str) {
        self.judge(id, Verdict::Exact, ours, "");
    }

    pub(crate) fn near(&mut self, id: DirectiveId, ours: &str, note: &str) {
        self.judge(id, Verdict::Near, ours, note);
    }

    pub(crate) fn refused(&mut self, id: DirectiveId, note: &str) {
        self.judge(id, Verdict::Refused, "", note);
    }

    pub(crate) fn planned(&mut self, id: DirectiveId, note: &str) {
        self.judge(id, Verdict::Planned, "", note);
    }

    pub(crate) fn knows(&self, id: DirectiveId) -> bool {
        self.entries.contains_key(&id)
    }

    /// The lines of a directive and of its block.
    pub(crate) fn collect(&self, tree: &Tree, directive: &Directive, out: &mut Vec<Line>) {
        if let Some(entry) = self.entries.get(&directive.id) {
            out.push(Line {
                id: directive.id,
                file: tree.files.get(directive.place.file as usize).cloned().unwrap_or_default(),
                line: directive.place.line,
                theirs: directive.line(),
                directive: directive.name.clone(),
                verdict: entry.verdict,
                ours: entry.ours.clone(),
                notes: entry.notes.clone(),
            });
        }
        for child in directive.children() {
            self.collect(tree, child, out);
        }
    }
}
