//! Secrets of the configuration: no command and no page prints what `{env:NAME}` and `{file:PATH}` stand for, nor what a field
//! authenticates with.

use rustix::process::Signal;

use crate::support::{Outcome, Scratch, ask, free_address, get};

/// The content of the file, of the variable, and a value of the configuration itself.
const FILE: &str = "s3cret-of-file";
const VARIABLE: &str = "s3cret-of-env";
const WRITTEN: &str = "s3cret-written";

fn text(admin: &str, listen: &str) -> String {
    format!(
        r#"
process {{ admin "{admin}"; }}
map tier "{{env:BOTHWAYS_TIER}}" {{ "s3cret-of-e*" "gold"; default "none"; }}
map key "{{header:X-Key}}" {{ default "{{file:token}}"; }}
site "shop.test" {{
    listen "{listen}"
    request {{
        set "Authorization" "Bearer {{file:token}}"
        set "X-Tier" "{{tier}} {{key}}"
        set "X-Api-Key" "{WRITTEN}"
    }}
    response {{ set "X-Env" "{{env:BOTHWAYS_TIER}}"; }}
    route "/to/*" {{ redirect "https://a.test/{{rest}}?key={{env:BOTHWAYS_TIER}}&k={{key}}" status=302; }}
    route "/loop/*" {{ redirect "/loop/{{rest}}?k={{env:BOTHWAYS_TIER}}" status=302; }}
    route "/in/*" {{ rewrite "/{{file:token}}/{{rest}}"; to "127.0.0.1:9"; }}
    route "/said" {{ respond "{{file:token}} {{env:BOTHWAYS_TIER}}"; }}
    to "127.0.0.1:9"
}}
expect "GET http://shop.test/to/a" status=200
expect "GET http://shop.test/to/a" location="https://b.test/"
"#
    )
}

/// No secret is in what is printed.
#[track_caller]
fn keeps(what: &str, printed: &str) {
    for secret in [FILE, VARIABLE, WRITTEN] {
        assert!(!printed.contains(secret), "{what} prints {secret}:\n{printed}");
    }
}

struct Shop {
    scratch: Scratch,
    admin: String,
    listen: String,
}

impl Shop {
    fn new() -> Self {
        let (admin, listen) = (free_address().to_string(), free_address().to_string());
        let scratch = Scratch::new();
        scratch.write("token", &format!("{FILE}\n"));
        scratch.write("bothways.kdl", &text(&admin, &listen));
        Self { scratch, admin, listen }
    }

    /// What a command prints, which has no secret.
    fn run(&self, arguments: &[&str], code: i32) -> Outcome {
        let environment = [("BOTHWAYS_TIER", VARIABLE)];
        let outcome = self.scratch.run_in(arguments, &environment).ended(code);
        keeps(&arguments.join(" "), &(outcome.out.clone() + &outcome.err));
        outcome
    }
}

#[test]
fn no_command_prints_a_secret() {
    let shop = Shop::new();
    let port = shop.listen.rsplit_once(':').unwrap().1;
    let url = |path: &str| format!("http://shop.test:{port}{path}");
    let seen = shop.run(&["explain", &url("/a"), "-H", "X-Key: a"], 0);
    let seen = seen.says("Authorization: Bearer (file:token)").says("X-Api-Key: ***");
    // A map is asked about the text itself.
    seen.says("X-Tier: gold (file:token)");
    shop.run(&["explain", &url("/a"), "--json"], 0).says("Bearer (file:token)").says("***");
    let to = "https://a.test/x?key=(env:BOTHWAYS_TIER)&k=(file:token)";
    shop.run(&["explain", &url("/to/x")], 0).says(to);
    shop.run(&["explain", &url("/to/x"), "--json"], 0).says(to);
    shop.run(&["explain", &url("/in/x")], 0).says("/(file:token)/x");
    shop.run(&["explain", &url("/said")], 0);
    shop.run(&["show"], 0).says("{env:BOTHWAYS_TIER}");
    shop.run(&["show", "--json"], 0);
    shop.run(&["fmt", "--check"], 1);
    let checked = shop.run(&["check"], 78).complains("leads to itself");
    let got = "got redirected to https://a.test/a?key=(env:BOTHWAYS_TIER)&k=(file:token)";
    checked.complains(got);
}

#[test]
fn no_page_and_no_log_has_a_secret() {
    let shop = Shop::new();
    let environment = [("BOTHWAYS_TIER", VARIABLE)];
    let mut running = shop.scratch.start_with(&["run", "--config", "bothways.kdl"], &environment);
    let to: std::net::SocketAddr = shop.listen.parse().unwrap();
    let get_from_shop = |path: &str| {
        ask(to, &format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n"))
    };
    // It works with the texts themselves.
    assert_eq!(get_from_shop("/said").body, format!("{FILE} {VARIABLE}"));
    assert!(get_from_shop("/to/a").head.contains(VARIABLE));
    assert_eq!(get_from_shop("/in/a").status, 502);
    let admin = shop.admin.parse().unwrap();
    for page in ["/config", "/upstreams", "/metrics"] {
        keeps(page, &get(admin, page).body);
    }
    running.signal(Signal::HUP);
    running.wait_for("reloaded");
    let records: String = (0..3).map(|_| running.next_record().to_string()).collect();
    keeps("the access log", &records);
    let events = running.stop();
    keeps("the error log", &format!("{events:?}"));
}
