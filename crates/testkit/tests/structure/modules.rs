//! Which module of the data plane may import which.
//!
//! A module here is a file in `crates/proxy/src` with the folder of the same name; what happens
//! within that folder is its own affair. A module imports from the layers below its own. Every other
//! import is an exception, declared in a table with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::source::{self, Source};
use super::{no_complaints, workspace};

/// The layers of the data plane, from the ground up.
const LAYERS: &[&[&str]] = &[
    // Values and words, and what is counted: no I/O.
    &[
        "account",
        "hsts",
        "listening",
        "maintenance",
        "page",
        "transfer",
        "trouble",
        "trust",
        "user_files",
        "websocket",
    ],
    &["identity", "key", "patience", "room", "split"],
    // Bodies, and messages over sockets and streams.
    &["body", "plan"],
    &["downstream", "http1", "replay", "source"],
    &["application", "http2", "sticky", "work"],
    &["secure"],
    // Connections to endpoints that are kept.
    &["pool"],
    &["login"],
    // A core, its clients, and where an exchange takes place.
    &["snapshot"],
    &["core"],
    &["client"],
    &["context"],
    // What an exchange is made of.
    &["admission", "deadline", "note", "retry", "upstream"],
    &["destination", "hops", "leaving", "tunnel"],
    &["ending", "respond"],
    &["answer", "attempt"],
    // Exchanges.
    &["authentication", "fetch"],
    &["mirror"],
    &["caching"],
    &["forward"],
    &["exchange"],
    // Connections of clients.
    &["serve"],
    // The control thread, and `explain`.
    &["preview", "report", "sweep", "testing"],
    &["server"],
];

/// Imports that do not go downwards: who imports which, and why that stays.
const EXCEPTIONS: &[(&str, &[&str], &str)] = &[];

/// Modules that may import each other in a circle.
const CIRCLE_MODULES_MAX: usize = 1;

/// Files that may import each other in a circle: a subject of several files.
const CIRCLE_FILES_MAX: usize = 3;

/// What a module imports: the other module, and where it says so.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The modules of a crate and what they import from each other.
struct Modules {
    imports: BTreeMap<String, Imports>,
    complaints: Vec<String>,
}

impl Modules {
    fn read(folder: &Path) -> Self {
        let files = sources(folder);
        let names = files.keys().filter_map(|path| path.first().cloned());
        let mut modules = Self {
            imports: names.map(|name| (name, Imports::new())).collect(),
            complaints: Vec::new(),
        };
        let is_test = |path: &[String]| {
            files.iter().any(|(parent, (_, source))| {
                path.strip_prefix(&**parent)
                    .and_then(<[_]>::first)
                    .is_some_and(|child| source.test_modules.contains(child))
            })
        };
        for (path, (file, source)) in files.iter().filter(|(path, _)| !is_test(path)) {
            // The root only names modules and gives on what is public.
            let Some(module) = path.first() else { continue };
            modules.add(module, file, source);
        }
        modules.imports.retain(|name, _| !is_test(std::slice::from_ref(name)));
        modules
    }

    fn add(&mut self, module: &str, file: &str, source: &Source) {
        for import in &source.imports {
            let Some(other) = import.path.first().filter(|other| *other != module) else {
                continue;
            };
            let place = format!("{file}:{}", import.line);
            if !self.imports.contains_key(other) {
                self.complaints.push(format!(
                    "{place}: `crate::{}` is no module: import it from the module that it is in",
                    import.path.join("::")
                ));
            } else if let Some(imports) = self.imports.get_mut(module) {
                imports.entry(other.clone()).or_default().insert(place);
            }
        }
    }

    /// Groups of modules that all import each other, directly or by others; the largest first.
    fn circles(&self) -> Vec<Vec<&str>> {
        let reached: BTreeMap<_, _> =
            self.imports.keys().map(|name| (&**name, self.reached(name))).collect();
        let (mut circles, mut seen) = (Vec::new(), BTreeSet::new());
        for (name, reaches) in &reached {
            if !seen.contains(name) && reaches.contains(name) {
                let is_both_ways =
                    |other: &&&str| reached.get(*other).is_some_and(|r| r.contains(name));
                let circle: Vec<&str> = reaches.iter().filter(is_both_ways).copied().collect();
                seen.extend(circle.iter().copied());
                circles.push(circle);
            }
        }
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    /// All modules that one imports, directly or by others.
    fn reached(&self, from: &str) -> BTreeSet<&str> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for other in self.imports.get(module).into_iter().flat_map(Imports::keys) {
                if reached.insert(&**other) {
                    next.push(other);
                }
            }
        }
        reached
    }
}

/// Every source file, by the path of its module, with its name below `folder`.
fn sources(folder: &Path) -> BTreeMap<Vec<String>, (String, Source)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder of sources") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(folder).expect("a path below the folder");
                let mut module: Vec<_> = below
                    .with_extension("")
                    .iter()
                    .map(|part| part.to_string_lossy().into_owned())
                    .collect();
                module.pop_if(|last| matches!(&**last, "lib" | "mod"));
                let text = fs::read_to_string(&path).expect("a source file");
                let source = source::read(&text, &module);
                files.insert(module, (below.display().to_string(), source));
            }
        }
    }
    files
}

/// Compares what is imported with the tables.
fn judge(
    modules: &Modules,
    layers: &[&[&str]],
    exceptions: &[(&str, &[&str], &str)],
) -> Vec<String> {
    let mut complaints = modules.complaints.clone();
    let layer: BTreeMap<&str, usize> = layers
        .iter()
        .enumerate()
        .flat_map(|(index, layer)| layer.iter().map(move |name| (*name, index)))
        .collect();
    for name in modules.imports.keys().filter(|name| !layer.contains_key(&***name)) {
        complaints.push(format!("`{name}` is in no layer: give it a place in `LAYERS`"));
    }
    for name in layer.keys().filter(|name| !modules.imports.contains_key(**name)) {
        complaints.push(format!("there is no module `{name}`: remove it from `LAYERS`"));
    }
    let mut unused: BTreeSet<(&str, &str)> = exceptions
        .iter()
        .flat_map(|(from, others, _)| others.iter().map(move |other| (*from, *other)))
        .collect();
    for (from, imports) in &modules.imports {
        for (to, places) in imports {
            let (Some(own), Some(other)) = (layer.get(&**from), layer.get(&**to)) else { continue };
            if other < own || unused.remove(&(&**from, &**to)) {
                continue;
            }
            let stands = if other == own { "in the same layer" } else { "above it" };
            let places: Vec<_> = places.iter().map(String::as_str).collect();
            complaints.push(format!(
                "`{from}` imports `{to}`, which stands {stands} ({}): move what it needs to a \
                 module below both, or pass it in",
                places.join(", ")
            ));
        }
    }
    for (from, to) in unused {
        complaints.push(format!(
            "`{from}` no longer imports `{to}` against the layers: remove that from `EXCEPTIONS`"
        ));
    }
    complaints
}

fn proxy() -> Modules {
    Modules::read(&workspace().join("crates/proxy/src"))
}

#[test]
fn modules_of_the_data_plane_import_downwards() {
    let modules = proxy();
    let declared: usize = EXCEPTIONS.iter().map(|(_, others, _)| others.len()).sum();
    let all: usize = modules.imports.values().map(BTreeMap::len).sum();
    println!(
        "{all} imports between {} modules, {declared} of them exceptions",
        modules.imports.len()
    );
    for (from, others, why) in EXCEPTIONS {
        println!("{from} -> {}: {why}", others.join(", "));
    }
    no_complaints(&judge(&modules, LAYERS, EXCEPTIONS));
}

#[test]
fn circles_of_modules_are_small() {
    let modules = proxy();
    let circles = modules.circles();
    let mut complaints = Vec::new();
    for circle in circles.iter().filter(|circle| circle.len() > CIRCLE_MODULES_MAX) {
        complaints.push(format!(
            "{} modules import each other in a circle, {CIRCLE_MODULES_MAX} may: {}",
            circle.len(),
            circle.join(", ")
        ));
    }
    no_complaints(&complaints);
}

/// A file imports the one that a path leads to: the longest part of it that is a file. (What a folder's `mod.rs` gives
/// on counts for that.)
#[test]
fn circles_of_files_are_small() {
    let files = sources(&workspace().join("crates/proxy/src"));
    let mut imports: BTreeMap<String, Imports> = BTreeMap::new();
    for (module, (_, source)) in &files {
        let of = imports.entry(module.join("::")).or_default();
        for import in &source.imports {
            let parts = (1..=import.path.len()).rev().map(|length| &import.path[..length]);
            let found = parts.into_iter().find(|path| files.contains_key(*path));
            if let Some(found) = found.filter(|found| *found != module.as_slice()) {
                of.entry(found.join("::")).or_default();
            }
        }
    }
    let modules = Modules { imports, complaints: Vec::new() };
    let circles = modules.circles();
    let too_large = circles.iter().filter(|circle| circle.len() > CIRCLE_FILES_MAX);
    let complaints: Vec<_> = too_large
        .map(|circle| {
            let (count, names) = (circle.len(), circle.join(", "));
            format!("{count} files import each other in a circle, {CIRCLE_FILES_MAX} may: {names}")
        })
        .collect();
    no_complaints(&complaints);
}

#[test]
fn complaints_say_what_to_do() {
    let folder = |name: &str| name.split("::").map(str::to_owned).collect::<Vec<_>>();
    let texts = [
        ("low", "use crate::high::A;"),
        ("same", "use crate::low::B;\nuse crate::Thing;"),
        ("high", "use super::same::C;\nuse crate::low::B;"),
        ("high::inner", "use super::D;\nuse crate::same::C;"),
        ("other", ""),
    ];
    let mut modules = Modules { imports: BTreeMap::new(), complaints: Vec::new() };
    for (name, _) in texts.iter().filter(|(name, _)| !name.contains(':')) {
        modules.imports.insert((*name).to_owned(), Imports::new());
    }
    for (name, text) in texts {
        let path = folder(name);
        let source = source::read(text, &path);
        modules.add(&path[0], &format!("{}.rs", name.replace("::", "/")), &source);
    }
    let layers: &[&[&str]] = &[&["low", "same"], &["high", "gone"]];
    let exceptions: &[(&str, &[&str], &str)] = &[("high", &["other"], "no more")];
    let expected = [
        "same.rs:2: `crate::Thing` is no module: import it from the module that it is in",
        "`other` is in no layer: give it a place in `LAYERS`",
        "there is no module `gone`: remove it from `LAYERS`",
        "`low` imports `high`, which stands above it (low.rs:1): move what it needs to a module \
         below both, or pass it in",
        "`same` imports `low`, which stands in the same layer (same.rs:1): move what it needs to a \
         module below both, or pass it in",
        "`high` no longer imports `other` against the layers: remove that from `EXCEPTIONS`",
    ];
    assert_eq!(judge(&modules, layers, exceptions), expected);
    assert_eq!(modules.circles(), [["high", "low", "same"]]);
}
