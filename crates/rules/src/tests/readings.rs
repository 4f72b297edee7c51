//! Paths that servers read in several ways, and the routes of a site.

use std::sync::Arc;

use config::{ListenerId, PathReadings, Rewrite, RouteId};
use message::{Fields, Method, Readings, Scheme, Target};

use crate::fixtures::{reverse, site};
use crate::{Decision, RouteRequest, Routing, Rules};

/// A site with these routes, whose settings are edited.
fn rules(routes: &[&str], edit: impl Fn(&mut config::RouteSettings)) -> Rules {
    let mut site = site(1, &["*"], routes);
    edit(&mut site.base);
    site.routes.iter_mut().for_each(|route| edit(&mut route.settings));
    Rules::compile(Arc::new(reverse(vec![site])))
}

fn decide(rules: &Rules, path: &str) -> Decision {
    let mut target = Target::default();
    target.parse(&Method::Get, path.as_bytes(), Some(b"a"), Scheme::Http).unwrap();
    let fields = Fields::new();
    let client = [127, 0, 0, 1].into();
    let asked =
        RouteRequest { method: &Method::Get, client, fields: &fields, query: target.sent_query() };
    rules.decide(ListenerId(0), &asked, &target, &mut Readings::default(), &mut ())
}

/// Whether it goes on to the route at this place of the list.
fn passes(rules: &Rules, path: &str, index: u32) -> bool {
    let Decision { routing, conflict } = decide(rules, path);
    let leads = matches!(routing, Routing::Route { route: RouteId(found), .. } if found == index);
    leads && conflict.is_none()
}

/// Spellings of which some server takes each for something below `/admin`.
fn spellings() -> Vec<String> {
    // Between nothing and `admin`, and between `admin` and `x`.
    let before = [
        "//",
        "///",
        "/./",
        "//./",
        "/p/../",
        "/p//../",
        "/p/..//",
        "/p/%2e%2e//",
        "//p/..//",
        "//host/",
        "///host/",
        "/p/..//host/",
        "/%2f",
        "/%2F",
        "/%5c",
        "/\\",
        "/%u002f",
        "/;/",
        "/;a=b/",
        "/p/..%2f",
        "/p%2f..%2f",
        "/p%2F%2e%2e%2f",
        "/p/..%5c",
        "/p\\..\\",
        "/p/..;/",
        "/p/..;a/",
        "/p/%2e%2e;/",
        "/p/.%2e%2f",
        "/%2fp/..%2f",
        "//p%2f..%2f",
        "/p/..;//",
        "/p;a/..%2f",
        "/p;/..;b/",
        "/\\host/",
        "\\\\host/",
        "/%5chost%2f",
        "/%2fhost/",
        "/p/..%3b/",
        "/;/host/../",
        "/p/q/..;/..;/",
        "/p%2fq/../z/..%2f",
        "/a\\b%2f..%2f",
        "/a%2fb\\..\\",
        "/",
    ];
    let after = [
        "/x",
        "//x",
        "%2fx",
        "%2Fx",
        "\\x",
        "%5cx",
        "%5Cx",
        "%u002fx",
        ";a/x",
        ";/x",
        ";a=b;c/x",
        "/;a/x",
        "%3ba/x",
        "/.;/x",
        "%2f%2fx",
        "/y/../x",
        "/y%2f..%2fx",
        "/%2e%2fx",
        ";a%2fx",
        "%2f;a/x",
        "/x%00.png",
        "/x;a",
        "//",
    ];
    let mut all = Vec::new();
    for before in before {
        for after in after {
            for name in ["admin", "%61dmin", "adm%69n"] {
                all.push(format!("{before}{name}{after}"));
            }
        }
    }
    all.retain(|path| path.starts_with('/'));
    all
}

#[test]
fn nothing_walks_past_a_guard() {
    let rules = rules(&["/admin/*", "/*"], |_| {});
    let all = spellings();
    assert!(all.len() > 2000);
    for path in &all {
        assert!(!passes(&rules, path, 1), "{path} goes to `/*`");
    }
    // The guard may be deeper, exact, or for a method.
    let deep = self::rules(&["/a/{b}/admin/*", "/a/*"], |_| {});
    // A host stands at the start of a path only.
    for path in all.iter().filter(|path| !path.contains("host")) {
        let path = format!("/a/b{path}");
        assert!(!passes(&deep, &path, 1), "{path} goes to `/a/*`");
    }
    let exact = self::rules(&["GET /admin/x", "/*"], |_| {});
    for path in ["//admin/x", "/admin//x", "/admin%2fx", "/admin;/x", "/admin/x;a", "/admin/x%00"] {
        assert!(!passes(&exact, path, 1), "{path} goes to `/*`");
    }
}

#[test]
fn what_no_route_is_about_passes() {
    let ordinary = [
        "/api/v4/projects/group%2Fproject",
        "/@scope%2fname",
        "/%40scope%2fname",
        "/api/queues/%2F/q",
        "/api/queues/%2F",
        "//x",
        "//a//b",
        "/a//b",
        "/a;b=c/d",
        "/f%252Fx",
        "/a%5Cb",
        "/a\\b",
        "/x/https://other.example//y",
        "/plain/http:%2F%2Fa.example%2Fb.png",
        "/100%",
        "/%u002f",
        "/s3/key%2Fwith%2Fslashes;v=1//",
        "/../a%2f..%2fb",
        "/a%00",
        "/..;/a",
    ];
    for (routes, index) in
        [(&["/*"][..], 0), (&["/admin/*", "/*"][..], 1), (&["/b/{c}/d", "/*"], 1)]
    {
        let rules = rules(routes, |_| {});
        for path in ordinary {
            assert!(passes(&rules, path, index), "{path}: {:?}", decide(&rules, path));
        }
    }
    // Below one route, too.
    let below = rules(&["/api/*", "/"], |_| {});
    for path in ["/api//x", "/api/a%2Fb", "/api/;x", "/api/a/..%2fb", "/%61pi/x%2f"] {
        assert!(passes(&below, path, 0), "{path}: {:?}", decide(&below, path));
    }
    assert!(!passes(&below, "/api/..%2fb", 0)); // it leaves the route
}

#[test]
fn readings_are_set() {
    #[track_caller]
    fn check(path: &str, needs: &str, setting: &str) {
        let routes = ["/admin/*", "/*"];
        let detail = decide(&rules(&routes, |_| {}), path).conflict.unwrap().detail;
        assert!(detail.contains(needs), "{detail}");
        assert!(detail.contains(&format!("`path-readings {setting}`")), "{detail}");
        let without = rules(&routes, |settings| {
            let readings = &mut settings.path_readings;
            let has = |word: &str| setting.split(' ').any(|there| there == word);
            *readings = PathReadings {
                merged: has("merged"),
                host: has("host"),
                decoded: has("decoded"),
                parameters: has("parameters"),
                case: has("case"),
            };
            assert_eq!(readings.written(), setting);
        });
        assert!(passes(&without, path, 1), "{:?}", decide(&without, path));
    }
    check("//admin/x", "with empty segments merged (/admin/x)", "host decoded parameters");
    check("//h/admin/x", "with a leading `//name` taken for a host", "merged decoded parameters");
    check("/admin%2fx", "with encoded separators decoded", "merged host parameters");
    check("/admin;a/x", "with `;…` cut from segments", "merged host decoded");
    let all = "path-readings decoded` lets it pass";
    let detail =
        decide(&rules(&["/admin/*", "/*"], |_| {}), "//;/admin/x").conflict.unwrap().detail;
    assert!(detail.ends_with(all), "{detail}");
    let nothing =
        rules(&["/admin/*", "/*"], |settings| settings.path_readings = PathReadings::NONE);
    for path in spellings() {
        assert!(decide(&nothing, &path).conflict.is_none());
    }
}

#[test]
fn case_is_a_reading_by_a_setting() {
    let routes = ["/Admin/{x}", "/admin/y/*", "/*"];
    let usual = rules(&routes, |_| {});
    assert!(passes(&usual, "/ADMIN/x", 2));
    let ignoring = rules(&routes, |settings| settings.path_readings.case = true);
    for path in ["/ADMIN/x", "/aDMIN/Y/z", "//ADMIN/x", "/admin/Y/z", "/%41DMIN;/x"] {
        assert!(!passes(&ignoring, path, 2), "{path}");
    }
    assert!(passes(&ignoring, "/other/X", 2));
    assert!(passes(&ignoring, "/Admin/x", 0) && passes(&ignoring, "/admin/y/z", 1));
    let detail = decide(&ignoring, "/ADMIN/x").conflict.unwrap().detail;
    assert!(detail.contains("with case ignored (/ADMIN/x)"), "{detail}");
}

#[test]
fn what_is_stripped_is_the_same_by_each_reading() {
    let strip = |settings: &mut config::RouteSettings| {
        settings.rewrite = Rewrite::StripPrefix("/api".into());
    };
    // One route takes all, but not every reading begins with the prefix.
    let whole = rules(&["/*"], strip);
    for path in ["//api/x", "/api%2fx", "/api;a/x", "/x/..%2fapi/y", "/api/..%2fx"] {
        assert!(!passes(&whole, path, 0), "{path}");
    }
    for path in ["/api//x", "/api/a%2fb", "//x", "/a%2fb", "/api"] {
        assert!(passes(&whole, path, 0), "{path}: {:?}", decide(&whole, path));
    }
    // What is left may begin with `//name`, which some take for a host.
    let below = rules(&["/api/*", "/api/admin/*", "/*"], strip);
    for path in ["/api//h/admin/x", "/api/\\h/admin/x", "/api/%2fh/admin/x"] {
        assert!(!passes(&below, path, 0), "{path}");
    }
    assert!(passes(&below, "/api//h/x", 0));
}

#[test]
fn too_many_readings_are_refused_where_there_is_something_to_guard() {
    let kinds = ["//", "%2f", "%5c", "\\", "%u002f", "%00", "%3b", ";", "/../", "/..;/"];
    let worst = format!("/{}", kinds.join("x").repeat(40));
    assert!(!passes(&rules(&["/admin/*", "/*"], |_| {}), &worst, 1));
    assert!(passes(&rules(&["/*"], |_| {}), &worst, 0));
}

#[test]
fn routes_for_get_take_head() {
    #[track_caller]
    fn check(routes: &[&str], method: Method, expected: Option<u32>) {
        let rules = rules(routes, |_| {});
        let (fields, client) = (Fields::new(), [127, 0, 0, 1].into());
        let asked = RouteRequest { method: &method, client, fields: &fields, query: None };
        let routing = rules.route(ListenerId(0), &asked, "a", "/x", &mut ());
        let found = match routing {
            Routing::Route { route, .. } => Some(route.0),
            _ => None,
        };
        assert_eq!(found, expected, "{method} of {routes:?}");
    }
    check(&["GET /x"], Method::Head, Some(0));
    check(&["POST /x"], Method::Head, None);
    check(&["GET /x"], Method::Post, None);
    check(&["HEAD /x"], Method::Get, None);
    check(&["GET,POST /x"], Method::Head, Some(0));
    check(&["GET /x", "HEAD /x"], Method::Head, Some(1));
    check(&["GET /x", "HEAD /x"], Method::Get, Some(0));
    check(&["GET /x", "GET,HEAD /x"], Method::Head, Some(1));
    check(&["/x", "GET /x"], Method::Head, Some(1));
    check(&["/*", "GET /x"], Method::Head, Some(1));
    check(&["/*", "POST /x"], Method::Head, Some(0));
    let mut allow = String::new();
    let (fields, client) = (Fields::new(), [127, 0, 0, 1].into());
    let asked = RouteRequest { method: &Method::Put, client, fields: &fields, query: None };
    let rules = rules(&["GET /x", "POST,HEAD /x"], |_| {});
    rules.allowed_methods(config::SiteId(0), &asked, "/x", &mut allow);
    assert_eq!(allow, "GET, HEAD, POST");
}
