//! A strict reader of the exposition format, for what the registry writes.
//!
//! Stricter than Prometheus: a family is described (HELP, then TYPE) once, before its samples,
//! and has all of them together; no series comes twice; every value is a number that fits.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Exposition, Registry};

type Series = (String, BTreeMap<String, String>);

/// What a scrape read.
pub(super) struct Scrape {
    samples: BTreeMap<Series, f64>,
}

/// Renders and reads.
#[track_caller]
pub(super) fn scrape(registry: &Registry, form: Exposition) -> Scrape {
    let text = registry.render(form, &[]);
    match read(&text, form) {
        Ok(scrape) => scrape,
        Err(error) => panic!("{error}\n{text}"),
    }
}

impl Scrape {
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.samples.get(&(name.to_owned(), labels.collect())).copied()
    }

    /// How many series a sample name has.
    pub(super) fn count(&self, name: &str) -> usize {
        self.samples.keys().filter(|(other, _)| other == name).count()
    }
}

struct Family {
    name: String,
    kind: String,
}

fn read(text: &str, form: Exposition) -> Result<Scrape, String> {
    let body = match form {
        Exposition::Text => text,
        Exposition::OpenMetrics => text.strip_suffix("# EOF\n").ok_or("no # EOF at the end")?,
    };
    if !body.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    let mut families = BTreeSet::new();
    let mut family = None;
    let mut samples = BTreeMap::new();
    let mut lines = body.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or("HELP without words")?;
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let kind = kind.and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let kind = kind.ok_or_else(|| format!("no TYPE after HELP of {name}"))?;
            if !help.ends_with('.') || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(format!("{name}: help {help:?}, type {kind:?}"));
            }
            if !families.insert(name.to_owned()) {
                return Err(format!("{name} is there twice"));
            }
            family = Some(Family { name: name.to_owned(), kind: kind.to_owned() });
            continue;
        }
        let family = family.as_ref().ok_or("a sample before its family")?;
        let (series, value) = sample(line).ok_or_else(|| format!("no sample: {line}"))?;
        check_name(family, &series, form).map_err(|why| format!("{why}: {line}"))?;
        let is_count = family.kind != "gauge";
        if !value.is_finite() || (is_count && value < 0.0) {
            return Err(format!("bad value: {line}"));
        }
        if samples.insert(series, value).is_some() {
            return Err(format!("twice: {line}"));
        }
    }
    let scrape = Scrape { samples };
    check_histograms(&scrape)?;
    Ok(scrape)
}

fn check_name(family: &Family, series: &Series, form: Exposition) -> Result<(), &'static str> {
    let (name, labels) = series;
    let suffix = name.strip_prefix(&family.name).ok_or("not of this family")?;
    let fits = match (family.kind.as_str(), form) {
        ("counter", Exposition::Text) => suffix.is_empty() && name.ends_with("_total"),
        ("counter", Exposition::OpenMetrics) => suffix == "_total",
        ("gauge", _) => suffix.is_empty() && !name.ends_with("_total"),
        _ => ["_bucket", "_sum", "_count"].contains(&suffix),
    };
    if !fits {
        return Err("no name for its type");
    }
    if labels.contains_key("le") != (suffix == "_bucket") {
        return Err("le is for buckets");
    }
    Ok(())
}

/// Reads `name{label="value",…} number`.
fn sample(line: &str) -> Option<(Series, f64)> {
    let is_name = |name: &str, colon: bool| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(fits)
    };
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = label_value(after)?;
            if !is_name(label, false) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => {
                    rest = after.strip_prefix('}')?;
                    break;
                }
            }
        }
    }
    let number = rest.strip_prefix(' ')?;
    let is_number = number.chars().all(|c| c.is_ascii_digit() || "+-.e".contains(c));
    let value = number.parse().ok().filter(|_| is_number)?;
    is_name(name, true).then(|| ((name.to_owned(), labels), value))
}

/// Reads a label's value up to the quote that ends it.
fn label_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(index + 1..)?)),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                same @ ('"' | '\\') => same,
                _ => return None,
            }),
            _ => value.push(character),
        }
    }
    None
}

/// Buckets rise with their bounds, the last has none, and it is the count.
fn check_histograms(scrape: &Scrape) -> Result<(), String> {
    let mut histograms: BTreeMap<Series, Vec<(f64, f64)>> = BTreeMap::new();
    for ((name, labels), value) in &scrape.samples {
        if let Some(name) = name.strip_suffix("_bucket") {
            let mut labels = labels.clone();
            let bound = labels.remove("le").and_then(|bound| bound.parse().ok());
            let bound = bound.ok_or_else(|| format!("{name}: a bucket without bound"))?;
            histograms.entry((name.to_owned(), labels)).or_default().push((bound, *value));
        }
    }
    for ((name, labels), mut buckets) in histograms {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        if !buckets.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1) {
            return Err(format!("{name}: buckets fall"));
        }
        let count = scrape.samples.get(&(format!("{name}_count"), labels.clone()));
        let sum = scrape.samples.get(&(format!("{name}_sum"), labels));
        let last = buckets.last().filter(|(bound, _)| bound.is_infinite()).map(|(_, count)| count);
        if count.is_none() || count != last || sum.is_none() {
            return Err(format!("{name}: count {count:?}, last bucket {last:?}, sum {sum:?}"));
        }
    }
    Ok(())
}

#[test]
fn the_reader_is_strict() {
    let head = "# HELP a_total Words.\n# TYPE a_total counter\n";
    let check = |body: &str| read(&format!("{head}{body}"), Exposition::Text).is_ok();
    assert!(check("a_total 1\n"));
    assert!(check("a_total{b=\"c\\\"\\n\",d=\"\"} 1.5e3\n"));
    for wrong in [
        "a_total 1",
        "a_total\n",
        "a_total  1\n",
        "a_total NaN\n",
        "a_total -1\n",
        "a_total{} 1\n",
        "a_total{b=\"c\",} 1\n",
        "a_total{b=\"\\c\"} 1\n",
        "a_total{b=\"c\",b=\"d\"} 1\n",
        "a_total 1\na_total 1\n",
        "b_total 1\n",
        "a_total{le=\"1\"} 1\n",
        head,
    ] {
        assert!(!check(wrong), "{wrong}");
    }
}
