use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use config::{
    CertificateFiles, CertificateSource, ClientCertificates, ListenerId, Place, RouteSettings,
    Site, SiteName, SiteTls, TlsVersion,
};

use super::*;
use crate::fixtures::{TestCertificate, Wanted, at};
use crate::watch::look;

/// A directory, a configuration of one site, and the keeper.
struct Story {
    scratch: tempfile::TempDir,
    keeper: Arc<Keeper>,
    config: Config,
}

fn settings(certificates: CertificateSource) -> ServerTls {
    ServerTls {
        place: Place { file: 0, line: 7, column: 1 },
        certificates,
        version_min: TlsVersion::Tls12,
        version_max: TlsVersion::Tls13,
        client: ClientCertificates::default(),
        early_data: false,
        tickets: true,
        hsts: None,
    }
}

fn site(names: &[SiteName], tls: ServerTls) -> Site {
    Site {
        place: Place::default(),
        names: names.to_vec(),
        listeners: vec![ListenerId(0)],
        routes: Vec::new(),
        base: RouteSettings::default(),
        tls: Some(SiteTls::Terminate(tls)),
        https: None,
    }
}

impl Story {
    fn new(certificates: impl FnOnce(&Path) -> CertificateSource) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("state");
        let keeper = Keeper::start(Some(&state));
        let names = [SiteName::Exact("a.example".into())];
        let mut config = Config {
            files: vec!["bothways.kdl".into()],
            sites: vec![site(&names, settings(certificates(scratch.path())))],
            ..Config::default()
        };
        config.process.state = Some(state);
        Self { scratch, keeper, config }
    }

    fn of_files(made: &TestCertificate) -> Self {
        Self::new(|directory| CertificateSource::Files(vec![made.write(directory)]))
    }

    fn prepared(&self) -> Contexts {
        self.keeper.prepare(&self.config).unwrap()
    }

    /// As [`Keeper::install`], but the looks are the story's own.
    fn serve(&self) -> Contexts {
        let contexts = self.prepared();
        let mut installed = lock(&self.keeper.shared.installed);
        installed.sources = contexts.sources.iter().map(|(source, _)| source.clone()).collect();
        installed.servers.clone_from(&contexts.servers);
        installed.clients.clone_from(&contexts.clients);
        drop(installed);
        for (source, fresh) in &contexts.sources {
            if let Some(fresh) = fresh {
                source.take(fresh);
            }
        }
        contexts
    }

    fn look(&self) {
        look(&self.keeper.shared, SystemTime::now());
    }

    fn state(&self) -> CertificateState {
        let states = self.keeper.states();
        assert_eq!(states.len(), 1, "{states:?}");
        states.into_iter().next().unwrap()
    }

    #[track_caller]
    fn serves(&self, made: &TestCertificate) {
        assert_eq!(self.state().fingerprint, made.certificate().fingerprint);
    }

    fn put(&self, made: &TestCertificate) {
        made.write(self.scratch.path());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

fn good() -> TestCertificate {
    Wanted::default().by(None)
}

#[test]
fn a_new_pair_is_taken_and_a_bad_one_is_not() {
    let (first, second, third) = (good(), good(), good());
    let story = Story::of_files(&first);
    story.serve();
    story.serves(&first);
    assert_eq!(story.state().configured, "bothways.kdl:7");
    assert_eq!(story.state().key, "ECDSA P-256");
    story.put(&second);
    story.look();
    story.serves(&second);

    // Half written: the certificate is there, the key is not yet.
    fs::write(story.path("a.pem"), &third.cert).unwrap();
    story.look();
    story.serves(&second);
    assert!(story.state().error.is_some_and(|error| error.contains("is not the key of")));
    fs::write(story.path("a.key"), &third.key).unwrap();
    story.look();
    story.serves(&third);
    assert_eq!(story.state().error, None);

    for (bad, words) in [
        ("", "the file is empty"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
    ] {
        fs::write(story.path("a.pem"), bad).unwrap();
        story.look();
        story.serves(&third);
        assert!(story.state().error.is_some_and(|error| error.contains(words)), "{words}");
    }
    fs::remove_file(story.path("a.pem")).unwrap();
    story.look();
    story.serves(&third);
    assert!(story.state().error.is_some_and(|error| error.contains("no such file")));
    story.put(&second);
    story.look();
    story.serves(&second);
}

#[test]
fn what_clients_would_refuse_does_not_replace_what_they_take() {
    let first = good();
    let story = Story::of_files(&first);
    story.serve();
    let expired = Wanted { days: (-90, -1), ..Wanted::default() }.by(None);
    let other = Wanted { names: &["other.example"], ..Wanted::default() }.by(None);
    for (bad, words) in [(&expired, "expired on"), (&other, "not for `a.example`")] {
        story.put(bad);
        story.look();
        story.serves(&first);
        assert!(story.state().error.is_some_and(|error| error.contains(words)), "{words}");
    }
    // Where there is nothing better it is served, so that a restart does not make things worse.
    let story = Story::of_files(&expired);
    let contexts = story.serve();
    story.serves(&expired);
    assert!(contexts.warnings.iter().any(|problem| problem.message.contains("expired on")));
    story.put(&first);
    story.look();
    story.serves(&first);
}

#[test]
fn links_that_are_replaced_are_seen() {
    let (first, second) = (good(), good());
    let story = Story::new(|directory| {
        for (made, name) in [(&first, "one"), (&second, "two")] {
            fs::create_dir(directory.join(name)).unwrap();
            made.write(&directory.join(name));
        }
        symlink("one", directory.join("..data")).unwrap();
        for name in ["a.pem", "a.key"] {
            symlink(format!("..data/{name}"), directory.join(name)).unwrap();
        }
        let (cert, key) = (directory.join("a.pem"), directory.join("a.key"));
        CertificateSource::Files(vec![CertificateFiles { place: Place::default(), cert, key }])
    });
    story.serve();
    story.serves(&first);
    // As Kubernetes does: another directory, the link to it replaced by a rename.
    symlink("two", story.path("..tmp")).unwrap();
    fs::rename(story.path("..tmp"), story.path("..data")).unwrap();
    story.look();
    story.serves(&second);
}

#[test]
fn contexts_are_the_same_until_something_changes() {
    let mut story = Story::of_files(&good());
    let first = story.serve();
    let server = |contexts: &Contexts| contexts.sites[0].clone().unwrap();
    assert!(Arc::ptr_eq(&server(&first), &server(&story.prepared())));
    // Another line is no other setting.
    let Some(SiteTls::Terminate(tls)) = &mut story.config.sites[0].tls else { panic!() };
    tls.place.line = 9;
    assert!(Arc::ptr_eq(&server(&first), &server(&story.serve())));
    assert_eq!(story.state().configured, "bothways.kdl:9");
    let Some(SiteTls::Terminate(tls)) = &mut story.config.sites[0].tls else { panic!() };
    tls.version_min = TlsVersion::Tls13;
    assert!(!Arc::ptr_eq(&server(&first), &server(&story.serve())));
}

#[test]
fn a_site_that_names_other_files_shows_those() {
    let (first, second) = (good(), good());
    let mut story = Story::of_files(&first);
    story.serve();
    let other = story.path("other");
    fs::create_dir(&other).unwrap();
    let Some(SiteTls::Terminate(tls)) = &mut story.config.sites[0].tls else { panic!() };
    tls.certificates = CertificateSource::Files(vec![second.write(&other)]);
    let contexts = story.serve();
    let shown = contexts.sites[0].as_ref().unwrap().slot().load();
    let shown = crate::identity::fingerprint(&shown[0].key.cert[0]);
    assert_eq!(shown, second.certificate().fingerprint);
}

#[test]
fn a_reload_reads_files_anew_and_refuses_bad_ones() {
    let (first, second) = (good(), good());
    let story = Story::of_files(&first);
    story.serve();
    story.put(&second);
    let contexts = story.prepared();
    story.serves(&first);
    story.keeper.install(&contexts);
    story.serves(&second);
    fs::write(story.path("a.key"), "nonsense").unwrap();
    let problems = story.keeper.prepare(&story.config).unwrap_err();
    assert!(problems[0].message.contains("a.key: it is not PEM"), "{problems:?}");
    assert_eq!(problems[0].place.line, 7);
    story.serves(&second);
    // A site that is gone is forgotten.
    let empty = Config { process: story.config.process.clone(), ..Config::default() };
    story.keeper.install(&story.keeper.prepare(&empty).unwrap());
    assert_eq!(story.keeper.states(), []);
}

#[test]
fn the_internal_ca_issues_and_renews() {
    let story = Story::new(|_| CertificateSource::Internal { names: Vec::new() });
    story.serve();
    let first = story.state();
    assert_eq!((first.source, &*first.names), ("internal", &["a.example".into()][..]));
    story.look();
    assert_eq!(story.state().fingerprint, first.fingerprint);
    look(&story.keeper.shared, at(4));
    assert_eq!(story.state().fingerprint, first.fingerprint);
    look(&story.keeper.shared, at(5));
    assert_ne!(story.state().fingerprint, first.fingerprint, "two thirds of a week are over");
}

#[test]
fn sites_of_different_settings_have_slots_of_their_own() {
    let mut story = Story::new(|_| CertificateSource::Internal { names: Vec::new() });
    let tls = settings(CertificateSource::Internal { names: Vec::new() });
    story.config.sites.push(site(&[SiteName::Default], tls));
    let contexts = story.serve();
    let names: Vec<_> = contexts.sources.iter().map(|(source, _)| source.slot().name()).collect();
    assert_eq!(names, ["internal a.example", "internal *"]);
    let names = story.keeper.states()[1].names.clone();
    assert!(
        names.contains(&"localhost".into()) && names.contains(&"127.0.0.1".into()),
        "{names:?}"
    );
}

#[test]
fn a_state_directory_that_does_not_do_is_said_at_its_line() {
    let mut story = Story::new(|_| CertificateSource::Internal { names: Vec::new() });
    let file = story.path("file");
    fs::write(&file, "").unwrap();
    story.config.process.state = Some(file.clone());
    story.keeper = Keeper::start(Some(&file));
    let problems = story.keeper.prepare(&story.config).unwrap_err();
    assert!(problems[0].message.starts_with("there is no internal CA: "), "{problems:?}");
    assert!(problems[0].hint.as_ref().is_some_and(|hint| hint.contains("state \"/path\"")));
    assert_eq!(problems[0].place.line, 7);
}

#[test]
fn check_reads_everything_and_changes_nothing() {
    let story = Story::of_files(&good());
    assert_eq!(crate::check(&story.config), []);
    story.put(&Wanted { days: (-90, -1), ..Wanted::default() }.by(None));
    let problems = crate::check(&story.config);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("a.pem: the certificate expired on"), "{problems:?}");
    assert_eq!(problems[0].severity, Severity::Error);
    story.put(&good());
    fs::set_permissions(story.path("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let problems = crate::check(&story.config);
    assert!(problems[0].message.ends_with("every user can read it"), "{problems:?}");
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Warning));
    let story = Story::new(|_| CertificateSource::Internal { names: Vec::new() });
    assert_eq!(crate::check(&story.config), []);
    assert!(!story.path("state").exists());
}
