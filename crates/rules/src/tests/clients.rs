use std::net::IpAddr;
use std::sync::Arc;

use config::{ClientMatch, ForwardId};
use message::{ClientCertificate, Method};

use crate::fixtures::{at, certificate, client, forward};
use crate::{
    Address, ClientRefusal, ForwardRequest, RefusalReason, Rules, Verdict, client_allowed,
};

#[test]
fn names_of_certificates() {
    #[track_caller]
    fn check(wanted: &str, expected: bool) {
        let allowed = client_allowed(&[client(wanted)], Some(&certificate()));
        assert_eq!(allowed.is_ok(), expected, "{wanted}");
    }
    check("ops.example.com", true);
    check("OPS.example.com", true);
    check("ops", true); // the common name
    check("10.0.0.1", true);
    check("ops@mail.example.com", true);
    check("*.example.com", true);
    check("*.com", true);
    check("*.ops.example.com", false); // the suffix itself is not below it
    check("*.mail.example.com", false); // a mail address is no host
    check("*ops.example.com", false);
    check("*", false);
    check("example.com", false);
    check("", false);
    check("*.", false);
}

#[test]
fn a_uri_is_not_below_a_wildcard() {
    let shown = ClientCertificate {
        names: vec!["spiffe://a.example.com".into(), ".example.com".into()],
        ..ClientCertificate::default()
    };
    assert!(client_allowed(&[client("*.example.com")], Some(&shown)).is_err());
    assert!(client_allowed(&[client("spiffe://a.example.com")], Some(&shown)).is_ok());
}

#[test]
fn every_part_must_match_and_any_line_may() {
    let shown = certificate();
    let none = ClientMatch { place: at(50), name: None, fingerprint: None, subject: None };
    let refused = |reason| Err(ClientRefusal { place: at(50), reason });
    let check = |line: ClientMatch, expected| {
        assert_eq!(client_allowed(&[line], Some(&shown)), expected);
    };
    let other = RefusalReason::OtherCertificate;
    let by_subject = ClientMatch { subject: Some("CN=ops,O=Example".into()), ..none.clone() };
    check(by_subject.clone(), Ok(Some(at(50))));
    check(ClientMatch { name: Some("ops".into()), ..by_subject.clone() }, Ok(Some(at(50))));
    check(ClientMatch { name: Some("dev".into()), ..by_subject }, refused(other));
    check(ClientMatch { subject: Some("CN=ops".into()), ..none.clone() }, refused(other));
    let fingerprint = |text: String| ClientMatch { fingerprint: Some(text.into()), ..none.clone() };
    check(fingerprint("ab".repeat(32)), Ok(Some(at(50))));
    check(fingerprint("AB".repeat(32)), Ok(Some(at(50))));
    check(fingerprint("ac".repeat(32)), refused(other));
    check(none.clone(), refused(other));

    let lines = [fingerprint("00".repeat(32)), ClientMatch { place: at(51), ..client("ops") }];
    assert_eq!(client_allowed(&lines, Some(&shown)), Ok(Some(at(51))));
    assert_eq!(client_allowed(&lines, None), refused(RefusalReason::NoCertificate));
    assert_eq!(client_allowed(&[], None), Ok(None));
    assert_eq!(client_allowed(&[], Some(&shown)), Ok(None));
}

#[test]
fn rules_of_a_forward_listener() {
    let rules = ["deny client=dev,test to=a.example", "allow client=*.example.com", "deny"];
    let shown = certificate();
    let dev = ClientCertificate { common_name: Some("dev".into()), ..shown.clone() };
    #[track_caller]
    fn check(
        rules: &[&str],
        shown: Option<&ClientCertificate>,
        host: &str,
        expected: Option<usize>,
    ) {
        let filler = (0..20).map(|n| format!("deny to=x{n}.invalid"));
        let many: Vec<String> = rules.iter().map(|&rule| rule.to_owned()).chain(filler).collect();
        let few: Vec<String> = rules.iter().map(|&rule| rule.to_owned()).collect();
        for list in [few, many] {
            let compiled = Rules::compile(Arc::new(forward(&list)));
            let client = IpAddr::from([10, 0, 0, 1]);
            let method = &Method::Get;
            let request = ForwardRequest { client, method, host, port: 80, certificate: shown };
            let address = Address::global(IpAddr::from([1, 2, 3, 4]));
            let (Verdict::Allow { rule, .. } | Verdict::Deny { rule, .. }) =
                compiled.judge(ForwardId(0), &request, Some(address), &mut ())
            else {
                panic!("an address is judged at once")
            };
            assert_eq!(rule, expected, "{host}");
        }
    }
    check(&rules, Some(&shown), "a.example", Some(1));
    check(&rules, Some(&dev), "a.example", Some(0));
    check(&rules, Some(&dev), "b.example", Some(1));
    check(&rules, None, "a.example", Some(2));
}
