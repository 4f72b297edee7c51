use rcgen::{CustomExtension, ExtendedKeyUsagePurpose};

use super::*;
use crate::fixtures::{TestCertificate, Wanted, ca};

fn exact(name: &str) -> SiteName {
    SiteName::Exact(name.into())
}

#[track_caller]
fn check(chain: &[&TestCertificate], names: &[SiteName], expected: &[(Severity, &str)]) {
    let chain: Vec<_> = chain.iter().map(|made| made.certificate()).collect();
    let findings = judge(&chain, names, SystemTime::now());
    let is_same = findings.len() == expected.len()
        && findings.iter().zip(expected).all(|(finding, (severity, words))| {
            finding.severity == *severity && finding.message.contains(words)
        });
    assert!(is_same, "{findings:#?}, not {expected:#?}");
    for finding in findings {
        assert!(finding.hint.is_some(), "no way out: {finding:?}");
    }
}

const ERROR: Severity = Severity::Error;
const WARNING: Severity = Severity::Warning;

#[test]
fn dates_and_names() {
    let root = ca("root", None);
    let made = |days, names: &[&str]| Wanted { names, days, ..Wanted::default() }.by(Some(&root));
    let good = made((-1, 90), &["a.example", "*.b.example", "10.0.0.1"]);
    check(&[&good], &[exact("a.example"), SiteName::Default], &[]);
    check(&[&good], &[SiteName::Wildcard("b.example".into())], &[]);
    check(&[&good], &[exact("x.b.example"), exact("10.0.0.1")], &[]);
    check(&[&good], &[exact("b.example")], &[(ERROR, "not for `b.example`, but for `a.example`")]);
    check(&[&good], &[exact("x.y.b.example")], &[(ERROR, "not for `x.y.b.example`")]);
    check(&[&good], &[SiteName::Wildcard("a.example".into())], &[(ERROR, "not for `*.a.example`")]);
    check(&[&made((-90, -3), &["a.example"])], &[], &[(ERROR, "expired on 20")]);
    check(&[&made((-90, -3), &["a.example"])], &[], &[(ERROR, "(3 days ago)")]);
    check(&[&made((2, 90), &["a.example"])], &[], &[(ERROR, "not valid before")]);
    check(&[&made((-90, 20), &["a.example"])], &[], &[(WARNING, "(in 19 days)")]);
    check(&[&made((-90, 22), &["a.example"])], &[], &[]);
    let shown =
        |days| judge_shown(&[made(days, &["a.example"]).certificate()], &[], SystemTime::now());
    assert_eq!(shown((-1, 6)), [], "it lives for a week");
    assert_eq!(shown((-6, 1)).len(), 1);
    assert_eq!(shown((-60, 20)).len(), 1);
    check(&[&made((-1, 90), &[])], &[], &[(ERROR, "no subject alternative names")]);
}

#[test]
fn chains() {
    let root = ca("root", None);
    let middle = ca("middle", Some(&root));
    let leaf = Wanted::default().by(Some(&middle));
    check(&[&leaf, &middle], &[], &[]);
    check(&[&leaf, &middle, &root], &[], &[]);
    check(
        &[&leaf, &root, &middle],
        &[],
        &[
            (ERROR, "certificate 2 (`root`) did not sign the one before it (`a.example`)"),
            (WARNING, "`middle` follows a certificate that needs no other"),
        ],
    );
    check(
        &[&middle, &leaf],
        &[],
        &[
            (ERROR, "no subject alternative names"),
            (ERROR, "a CA's, not a server's"),
            (ERROR, "certificate 2 (`a.example`)"),
        ],
    );
    check(&[&leaf, &root], &[], &[(ERROR, "certificate 2 (`root`)")]);
    let twin = ca("middle", Some(&root));
    check(&[&leaf, &twin], &[], &[(ERROR, "is not signed by the `middle` that follows it")]);
    let ended = Wanted { names: &["old"], days: (-90, -1), change: crate::fixtures::authority };
    let ended = ended.by(Some(&root));
    let below = Wanted::default().by(Some(&ended));
    check(&[&below, &ended], &[], &[(ERROR, "the intermediate `old` expired on")]);
}

#[test]
fn what_a_public_ca_would_have_given() {
    let root = ca("root", None);
    // An authorityInfoAccess of one caIssuers, http://i.example/r.
    let change = |params: &mut rcgen::CertificateParams| {
        let url = b"http://i.example/r";
        let mut access = vec![0x30, 0x1e, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, 18];
        access.extend_from_slice(url);
        let content = [&[0x30, access.len() as u8][..], &access].concat();
        let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content);
        params.custom_extensions.push(extension);
    };
    let public = Wanted { change, ..Wanted::default() }.by(Some(&root));
    check(&[&public], &[], &[(WARNING, "the intermediate certificate is missing: `CN=root`")]);
    check(&[&public, &root], &[], &[]);
    let for_clients = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let client = Wanted { change: for_clients, ..Wanted::default() }.by(Some(&root));
    check(&[&client], &[], &[(ERROR, "not for servers")]);
}

#[test]
fn names_are_written_as_rfc_4514_says() {
    let change = |params: &mut rcgen::CertificateParams| {
        let mut name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::CountryName, "DE");
        name.push(rcgen::DnType::OrganizationName, " A, \"B\" + C");
        name.push(rcgen::DnType::CommonName, "#a\n");
        params.distinguished_name = name;
    };
    let made = Wanted { change, ..Wanted::default() }.by(None).certificate();
    assert_eq!(made.subject, "CN=\\#a\\0A,O=\\ A\\, \\\"B\\\" \\+ C,C=DE");
    assert_eq!(made.issuer, made.subject);
    assert!(made.is_self_signed);
}

#[test]
fn times_in_words() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_453_278);
    assert_eq!(day(now), "2026-11-23");
    assert_eq!(day(SystemTime::UNIX_EPOCH), "1970-01-01");
    let hour = Duration::from_secs(3600);
    assert_eq!(relative(now + hour / 60, now), "in 1 minute");
    assert_eq!(relative(now + hour * 3, now), "in 3 hours");
    assert_eq!(relative(now - hour * 24 * 21, now), "21 days ago");
}

#[test]
fn what_is_no_certificate_is_refused() {
    assert!(Certificate::from_der(CertificateDer::from(vec![0x30, 0x80])).is_err());
    let mut der = Wanted::default().by(None).certificate().der().to_vec();
    der.push(0);
    assert!(Certificate::from_der(CertificateDer::from(der)).is_err());
}

proptest::proptest! {
    /// Whatever a file or a server says, there is an answer.
    #[test]
    fn broken_certificates_are_no_panic(
        changes in proptest::collection::vec((0..1000_usize, 0..=255_u8), 1..8),
        cut in 0..2000_usize,
    ) {
        static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let good = GOOD.get_or_init(|| Wanted::default().by(None).certificate().der().to_vec());
        let mut der = good.clone();
        for (at, byte) in changes {
            let at = at % der.len();
            der[at] = byte;
        }
        der.truncate(cut.max(1));
        if let Ok(certificate) = Certificate::from_der(CertificateDer::from(der)) {
            judge(&[certificate], &[exact("a.example")], SystemTime::now());
        }
    }
}
