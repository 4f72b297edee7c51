//! Which crate may depend on which.

use std::collections::BTreeMap;
use std::fs;

use super::{no_complaints, workspace};

/// Every crate, from the ground up, with all that it may depend on. A crate depends only on crates
/// above it in this list. Tests may use `testkit` and any crate.
const CRATES: &[(&str, &[&str])] = &[
    ("message", &[]),
    ("config", &[]),
    ("import", &["config"]),
    ("random", &[]),
    ("wire", &["message"]),
    ("rules", &["config", "message", "random"]),
    ("balance", &["config", "random"]),
    ("tls", &["config", "message", "random"]),
    ("net", &["random"]),
    ("auth", &["random"]),
    ("files", &["config", "message"]),
    ("cache", &["config", "message"]),
    ("discovery", &["config", "net"]),
    ("observe", &["balance", "config", "message", "tls", "wire"]),
    ("health", &["balance", "config", "net", "observe", "random", "tls", "wire"]),
    (
        "proxy",
        &[
            "auth",
            "balance",
            "cache",
            "config",
            "discovery",
            "files",
            "health",
            "message",
            "net",
            "observe",
            "random",
            "rules",
            "tls",
            "wire",
        ],
    ),
    (
        "bothways",
        &[
            "auth",
            "balance",
            "cache",
            "config",
            "discovery",
            "import",
            "message",
            "net",
            "observe",
            "proxy",
            "random",
            "rules",
            "tls",
        ],
    ),
    (
        "testkit",
        &[
            "auth",
            "cache",
            "config",
            "discovery",
            "files",
            "import",
            "message",
            "net",
            "proxy",
            "tls",
            "wire",
        ],
    ),
];

/// What a `Cargo.toml` says.
struct Manifest {
    name: String,
    /// The names under `[dependencies]`.
    dependencies: Vec<String>,
}

impl Manifest {
    fn parse(text: &str) -> Self {
        let (mut section, mut name, mut dependencies) = ("", String::new(), Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some(header) = line.strip_prefix('[') {
                section = header.trim_end_matches(']');
                if let Some(dependency) = section.strip_prefix("dependencies.") {
                    dependencies.push(dependency.to_owned());
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            match section {
                "package" if key.trim() == "name" => name = value.trim().trim_matches('"').into(),
                "dependencies" => {
                    let key = key.trim();
                    dependencies.push(key.strip_suffix(".workspace").unwrap_or(key).to_owned());
                }
                _ => {}
            }
        }
        Self { name, dependencies }
    }
}

/// Every crate in `crates`, by its folder.
fn manifests() -> BTreeMap<String, Manifest> {
    let folder = workspace().join("crates");
    let crates = fs::read_dir(&folder).expect("the folder of the crates").filter_map(|entry| {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(path.join("Cargo.toml")).ok()?;
        let folder = path.file_name()?.to_str()?.to_owned();
        Some((folder, Manifest::parse(&text)))
    });
    crates.collect()
}

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let manifests = manifests();
    let allowed: BTreeMap<_, _> = CRATES.iter().copied().collect();
    let mut complaints = Vec::new();
    for (folder, manifest) in &manifests {
        let name = &manifest.name;
        if name != folder {
            complaints.push(format!("the crate in `crates/{folder}` is called `{name}`"));
        }
        let Some(allowed) = allowed.get(name.as_str()) else {
            complaints.push(format!(
                "the crate `{name}` is not in the table `CRATES`: say there what it may depend on"
            ));
            continue;
        };
        let ours = manifest.dependencies.iter().filter(|one| manifests.contains_key(*one));
        for dependency in ours.clone().filter(|one| !allowed.contains(&one.as_str())) {
            complaints
                .push(format!("`{name}` depends on `{dependency}`, which `CRATES` does not allow"));
        }
        for unused in allowed.iter().filter(|one| !ours.clone().any(|other| other == *one)) {
            complaints.push(format!(
                "`{name}` no longer depends on `{unused}`: remove that from `CRATES`"
            ));
        }
    }
    for (name, _) in CRATES.iter().filter(|(name, _)| !manifests.contains_key(*name)) {
        complaints.push(format!("there is no crate `{name}`: remove it from `CRATES`"));
    }
    no_complaints(&complaints);
}

#[test]
fn the_table_has_no_circle() {
    let mut complaints = Vec::new();
    for (index, (name, allowed)) in CRATES.iter().enumerate() {
        let above: Vec<_> = CRATES.iter().take(index).map(|(name, _)| *name).collect();
        for dependency in allowed.iter().filter(|one| !above.contains(one)) {
            complaints.push(format!(
                "`{name}` may depend on `{dependency}`, which does not stand before it in `CRATES`"
            ));
        }
    }
    no_complaints(&complaints);
}

#[test]
fn architecture_has_a_row_for_every_crate() {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows: Vec<_> = text
        .lines()
        .skip_while(|line| *line != "## The crates")
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut complaints = Vec::new();
    for (name, _) in CRATES.iter().filter(|(name, _)| !rows.contains(name)) {
        complaints.push(format!("ARCHITECTURE.md, \"The crates\", has no row for `{name}`"));
    }
    for row in rows.iter().filter(|row| !CRATES.iter().any(|(name, _)| name == *row)) {
        complaints.push(format!("ARCHITECTURE.md, \"The crates\", has a row for `{row}`"));
    }
    no_complaints(&complaints);
}

#[test]
fn manifests_are_understood() {
    let manifest = Manifest::parse(
        "[package]\nname = \"one\"\n[dependencies]\n# two = 1\nnet.workspace = true\n\
         tls = { workspace = true }\n[dependencies.wire]\nworkspace = true\n\
         [dev-dependencies]\ntestkit.workspace = true\n",
    );
    assert_eq!((&*manifest.name, &*manifest.dependencies.join(" ")), ("one", "net tls wire"));
}
