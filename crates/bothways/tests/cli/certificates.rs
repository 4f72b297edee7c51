//! Keys, requests and certificates on the command line, held against OpenSSL.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Scratch, free_address, get};

/// Runs OpenSSL in the directory; what it prints, and whether it was content.
fn openssl(scratch: &Scratch, line: &str) -> (String, bool) {
    let output = Command::new("openssl")
        .args(line.split_whitespace())
        .current_dir(scratch.path(""))
        .stdin(Stdio::null())
        .output()
        .expect("these stories need OpenSSL");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

#[track_caller]
fn openssl_does(scratch: &Scratch, line: &str) -> String {
    let (text, is_good) = openssl(scratch, line);
    assert!(is_good, "openssl {line}: {text}");
    text
}

/// A certificate of OpenSSL's making: `NAME.pem` and `NAME.key`.
fn certificate(scratch: &Scratch, name: &str, days: u32) {
    let line = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out \
         {name}.pem -days {days} -subj /CN={name} -addext subjectAltName=DNS:{name} -addext \
         basicConstraints=CA:FALSE"
    );
    openssl_does(scratch, &line);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_made_for_their_owner_and_never_overwritten() {
    let scratch = Scratch::new();
    for (kind, words) in [
        ("ec256", "prime256v1"),
        ("ec384", "secp384r1"),
        ("rsa2048", "2048 bit"),
        ("ed25519", "ED25519"),
    ] {
        let file = format!("{kind}.key");
        scratch.run(&["cert", "key", "--type", kind, "-o", &file]).ended(0).complains("a new ");
        assert_eq!(mode(&scratch.path(&file)), 0o600);
        let text = openssl_does(&scratch, &format!("pkey -in {file} -noout -text"));
        assert!(text.contains(words), "{kind}: {text}");
    }
    let before = scratch.read("ec256.key");
    let outcome = scratch.run(&["cert", "key", "-o", "ec256.key"]).ended(1);
    outcome.complains("exists already and contains a key").complains("--force");
    assert_eq!(scratch.read("ec256.key"), before);
    scratch.run(&["cert", "key", "-o", "ec256.key", "--force"]).ended(0);
    assert_ne!(scratch.read("ec256.key"), before);
    scratch.run(&["cert", "key"]).ended(0).says("-----BEGIN PRIVATE KEY-----");
    scratch.run(&["cert", "key", "--type", "rsa1024"]).ended(64).complains("rsa2048");
    scratch.run(&["cert", "key", "-o", "no/such/dir.key"]).ended(1).complains("cannot be written");
}

#[test]
fn requests_are_what_openssl_takes() {
    let scratch = Scratch::new();
    for kind in ["ec256", "rsa2048", "ed25519"] {
        let (key, csr) = (format!("{kind}.key"), format!("{kind}.csr"));
        let line = ["cert", "csr", "--key", &key, "--new-key", "--type", kind, "-o", &csr];
        let names = ["shop.example.com", "*.shop.example.com", "10.0.0.1", "::1"];
        scratch.run(&[&line[..], &names].concat()).ended(0).complains("tls cert=");
        assert_eq!(mode(&scratch.path(&key)), 0o600);
        let text = openssl_does(&scratch, &format!("req -verify -noout -text -in {csr}"));
        for words in [
            "verify OK",
            "CN = shop.example.com",
            "DNS:shop.example.com, DNS:*.shop.example.com, IP Address:10.0.0.1",
        ] {
            assert!(text.contains(words), "{kind}, {words}: {text}");
        }
        let outcome = scratch.run(&["cert", "show", &csr]).ended(0);
        outcome
            .says("shop.example.com, *.shop.example.com, 10.0.0.1, ::1")
            .says("nothing is wrong");
    }
    // Keys of OpenSSL in their older forms.
    openssl_does(&scratch, "ecparam -genkey -name prime256v1 -noout -out sec1.key");
    openssl_does(&scratch, "genrsa -traditional -out pkcs1.key 2048");
    for key in ["sec1.key", "pkcs1.key"] {
        let subject = "CN=a.example, O=A\\, B Inc., C=DE";
        let line = ["cert", "csr", "--key", key, "a.example", "--subject", subject];
        let csr = scratch.run(&line).ended(0).out;
        scratch.write("a.csr", &csr);
        let text = openssl_does(&scratch, "req -verify -noout -text -in a.csr");
        assert!(text.contains("O = \"A, B Inc.\", C = DE"), "{key}: {text}");
    }
}

#[test]
fn requests_that_cannot_be_made_say_the_way_out() {
    let scratch = Scratch::new();
    let line = |names: &[&'static str]| [&["cert", "csr", "--key", "a.key"][..], names].concat();
    scratch.run(&line(&["a.example"])).ended(1).complains("bothways cert key -o a.key");
    scratch.run(&line(&[])).ended(64);
    scratch.run(&line(&["--new-key", "https://a.example/"])).ended(64).complains("host alone");
    assert!(!scratch.path("a.key").exists(), "a wrong name leaves no key behind");
    scratch.run(&line(&["--new-key", "a.example"])).ended(0);
    scratch.run(&line(&["--new-key", "a.example"])).ended(1).complains("exists already");
    let outcome = scratch.run(&line(&["a.example", "-o", "a.key", "--force"])).ended(1);
    outcome.complains("exists already and contains a key");
    scratch.run(&line(&["a.example", "-o", "-"])).ended(0).says("BEGIN CERTIFICATE REQUEST");
    scratch.run(&line(&["a.example", "--subject", "X=1"])).ended(64).complains("known: CN");
    scratch.write("a.csr", "mine");
    scratch.run(&line(&["a.example", "-o", "a.csr"])).ended(1).complains("--force");
    assert_eq!(scratch.read("a.csr"), "mine");
}

#[test]
fn encrypted_keys_come_with_the_command_that_decrypts_them() {
    let scratch = Scratch::new();
    certificate(&scratch, "a.example", 90);
    openssl_does(&scratch, "pkey -in a.example.key -aes128 -passout pass:x -out locked.key");
    let outcome = scratch.run(&["cert", "show", "a.example.pem", "--key", "locked.key"]).ended(1);
    let outcome = outcome.says("locked.key: the key is encrypted with a password");
    let command = "openssl pkey -in locked.key -out locked.plain.key";
    let outcome = outcome.says(command);
    drop(outcome);
    openssl_does(&scratch, "pkey -in locked.key -passin pass:x -out locked.plain.key");
    scratch.run(&["cert", "show", "a.example.pem", "--key", "locked.plain.key"]).ended(0);
}

#[test]
fn show_of_files() {
    let scratch = Scratch::new();
    certificate(&scratch, "a.example", 90);
    certificate(&scratch, "b.example", 5);
    let outcome = scratch.run(&["cert", "show", "a.example.pem"]).ended(0);
    let outcome = outcome.says("names         a.example\n").says("issued by     itself\n");
    outcome.says("(ends in 89 days)").says("ECDSA P-256").says("nothing is wrong with it");
    scratch
        .run(&["cert", "show", "b.example.pem"])
        .ended(0)
        .says("warning: the certificate expires");
    let line = ["cert", "show", "a.example.pem", "--key", "b.example.key"];
    scratch.run(&line).ended(1).says("b.example.key is not the key of a.example.pem");
    let line = ["cert", "show", "a.example.pem", "--name", "c.example", "--json"];
    let json: Value = serde_json::from_str(&scratch.run(&line).ended(1).out).unwrap();
    assert_eq!(json["certificates"][0]["names"][0], "a.example");
    assert_eq!(json["findings"][0]["severity"], "error");
    let pem = scratch.run(&["cert", "show", "a.example.pem", "--pem"]).ended(0).out;
    assert_eq!(pem, scratch.read("a.example.pem"));
    openssl_does(&scratch, "x509 -in a.example.pem -outform der -out a.der");
    scratch.run(&["cert", "show", "a.der"]).ended(0).says("a.example");
    scratch.run(&["cert", "show", "a.example.key"]).ended(0).says("private key   ECDSA P-256");
    scratch.run(&["cert", "show", "gone.pem"]).ended(1).complains("no such file: gone.pem");
    scratch.write("hello.txt", "hello");
    scratch.run(&["cert", "show", "hello.txt"]).ended(1).complains("it is not PEM");
}

/// Every `sh` block of the page, one after the other in one directory.
#[test]
fn the_page_about_certificates_holds() {
    let scratch = Scratch::new();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/certificates.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<_> =
        page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 5);
    let program = Path::new(env!("CARGO_BIN_EXE_bothways")).parent().unwrap().display().to_string();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap());
    let script = format!("set -eux\n{}", blocks.concat());
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(scratch.path(""))
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{err}");
    let out = String::from_utf8_lossy(&out);
    assert!(out.contains("bothways.kdl: good") && out.contains("nothing is wrong"), "{out}{err}");
    assert!(!out.contains("warning"), "{out}{err}");
}

/// `openssl s_server`; killed at the end.
struct SServer(Child);

impl SServer {
    fn start(scratch: &Scratch, line: &str) -> (Self, String) {
        let address = free_address().to_string();
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", &address, "-www"])
            .args(line.split_whitespace())
            .current_dir(scratch.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("ACCEPT")));
        (Self(child), address)
    }
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn show_of_servers() {
    let scratch = Scratch::new();
    certificate(&scratch, "a.example", 90);
    let line = "-cert a.example.pem -key a.example.key -tls1_2 -alpn http/1.1";
    let (_server, address) = SServer::start(&scratch, line);
    let outcome = scratch.run(&["cert", "show", &address, "--name", "a.example"]).ended(1);
    let outcome = outcome.says("TLSv1.2").says("protocol      http/1.1").says("trusted here  no");
    outcome.says("clients refuse it: the certificate is signed by itself (CN=a.example), and not among the trusted");
    let line = ["cert", "show", &address, "--name", "a.example", "--ca", "a.example.pem", "--json"];
    let json: Value = serde_json::from_str(&scratch.run(&line).ended(0).out).unwrap();
    assert_eq!((&json["trusted"], &json["alpn"]), (&true.into(), &"http/1.1".into()));
    let line = ["cert", "show", &address, "--name", "b.example", "--ca", "a.example.pem"];
    scratch.run(&line).ended(1).says("it is not for `b.example`, but for `a.example`");

    let line = "-cert a.example.pem -key a.example.key -Verify 1 -tls1_2 -CAfile a.example.pem";
    let (_strict, strict) = SServer::start(&scratch, line);
    let line = ["cert", "show", &strict, "--name", "a.example", "--ca", "a.example.pem"];
    let outcome = scratch.run(&line).ended(0).says("are asked for a certificate");
    outcome.says("warning: the peer gave up");

    let plain = crate::support::origin("plain").to_string();
    let nobody = free_address().to_string();
    scratch.run(&["cert", "show", &plain]).ended(1).complains("does not speak TLS");
    scratch.run(&["cert", "show", &nobody]).ended(1).complains("connection refused");
}

fn site(names: &str, tls: &str) -> String {
    format!(
        "process {{\n    state \"state\"\n}}\nsite {names} {{\n    listen \"127.0.0.1:0\"\n    \
         {tls}\n    redirect-http off\n    respond \"hello\"\n}}\n"
    )
}

#[test]
fn check_says_what_is_wrong_with_certificates() {
    let scratch = Scratch::new();
    certificate(&scratch, "a.example", 90);
    certificate(&scratch, "b.example", 90);
    let tls = "tls cert=\"a.example.pem\" key=\"a.example.key\"";
    scratch.write("bothways.kdl", &site("\"a.example\"", tls));
    scratch.run(&["check"]).ended(0).says("good");
    let outcome = scratch.run(&["cert", "check", "a.example"]).ended(0);
    outcome.says("a.example.pem").says("ECDSA P-256").says("nothing is wrong");

    let wrong = "tls cert=\"a.example.pem\" key=\"b.example.key\"";
    scratch.write("wrong.kdl", &site("\"a.example\"", wrong));
    let outcome = scratch.run(&["check", "wrong.kdl"]).ended(78).says("not good").says("1 error");
    let outcome = outcome.complains("wrong.kdl:6:").complains("    tls cert=\"a.example.pem\"");
    outcome.complains("is not the key of").complains("hint: ");
    scratch.run(&["run", "--config", "wrong.kdl"]).ended(78).complains("wrong.kdl:6:");
    let line = ["cert", "check", "a.example", "--config", "wrong.kdl"];
    scratch.run(&line).ended(78).complains("is not the key of");

    scratch.write("names.kdl", &site("\"a.example\" \"c.example\"", tls));
    let outcome = scratch.run(&["check", "names.kdl"]).ended(78);
    outcome.complains("a.example.pem: it is not for `c.example`, but for `a.example`");
    let line = ["cert", "check", "d.example", "--config", "names.kdl"];
    scratch.run(&line).ended(1).complains("known names: a.example, c.example");
    scratch.write("auto.kdl", &site("\"a.example\"", "tls auto"));
    let line = ["cert", "check", "a.example", "--config", "auto.kdl"];
    let outcome = scratch
        .run(&line)
        .ended(0)
        .says("by ACME from https://")
        .says("there is no certificate yet");
    let file = outcome.out.lines().find_map(|line| line.trim().strip_prefix("stored in")).unwrap();
    let file = scratch.path(file.trim());
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::copy(scratch.path("a.example.pem"), &file).unwrap();
    scratch.run(&line).ended(0).says("expires      20").says("(in 89 days)");
    let missing = site("\"a.example\"", "tls cert=\"gone.pem\" key=\"a.example.key\"");
    scratch.write("gone.kdl", &missing);
    scratch
        .run(&["check", "gone.kdl"])
        .ended(78)
        .complains("gone.pem cannot be read: no such file");
}

#[test]
fn the_root_of_the_internal_ca() {
    let scratch = Scratch::new();
    let outcome = scratch.run(&["ca", "root", "--state", "state"]).ended(1);
    outcome.complains("there is no internal CA in state yet").complains("--make");
    assert!(!scratch.path("state").exists());
    let root = scratch.run(&["ca", "root", "--state", "state", "--make"]).ended(0);
    assert_eq!(root.err, "", "hints are for terminals");
    scratch.write("root.pem", &root.out);
    let text = openssl_does(&scratch, "x509 -in root.pem -noout -text");
    assert!(text.contains("CA:TRUE") && text.contains("Bothways internal CA of"), "{text}");
    openssl_does(&scratch, "verify -CAfile root.pem root.pem");
    // By the configuration too.
    scratch.write("bothways.kdl", &site("\"a.example\"", "tls internal"));
    assert_eq!(scratch.run(&["ca", "root"]).ended(0).out, root.out);
    scratch.run(&["cert", "show", "root.pem"]).ended(0).says("nothing is wrong with it");
    assert_eq!(mode(&scratch.path("state")), 0o700);
    assert_eq!(mode(&scratch.path("state/internal-ca/root.key")), 0o600);
}

#[test]
fn who_trusts_the_internal_ca_trusts_the_site() {
    let scratch = Scratch::new();
    scratch.write("bothways.kdl", &site("\"a.example\" \"*.a.example\"", "tls internal"));
    let running = scratch.start(&[]);
    let address = running.address(0).to_string();
    scratch.write("root.pem", &scratch.run(&["ca", "root"]).ended(0).out);
    for name in ["a.example", "b.a.example"] {
        let line = ["cert", "show", &address, "--name", name, "--ca", "root.pem"];
        let outcome = scratch.run(&line).ended(0).says("TLSv1.3").says("protocol      h2");
        outcome.says("trusted here  yes").says("nothing is wrong with it");
    }
    let line = ["cert", "show", &address, "--name", "other.example"];
    scratch.run(&line).ended(1).complains("it serves nothing of that name");
    running.stop();
}

#[test]
fn what_is_looked_after_shows_in_the_admin_interface() {
    let scratch = Scratch::new();
    certificate(&scratch, "a.example", 90);
    certificate(&scratch, "b.example", 10);
    fs::copy(scratch.path("a.example.pem"), scratch.path("live.pem")).unwrap();
    fs::copy(scratch.path("a.example.key"), scratch.path("live.key")).unwrap();
    let admin = free_address();
    let text = site("\"a.example\"", "tls cert=\"live.pem\" key=\"live.key\"");
    let text = text.replace("process {", &format!("process {{\n    admin \"{admin}\""));
    scratch.write("bothways.kdl", &text);
    let mut running = scratch.start(&[]);
    let list: Value = serde_json::from_str(&get(admin, "/certificates").body).unwrap();
    let first = &list["certificates"][0];
    assert_eq!((&first["names"][0], &first["source"]), (&"a.example".into(), &"files".into()));
    assert!(
        first["configured"].as_str().is_some_and(|at| at.ends_with("bothways.kdl:7")),
        "{list}"
    );
    let name = "bothways_certificate_expiry_timestamp_seconds{name=\"a.example\",source=\"files\"";
    let metrics = get(admin, "/metrics").body;
    assert!(metrics.contains(name), "{metrics}");

    // A key that is not the certificate's, then one that is: the first is only told.
    let replace = |from: &str, to: &str| {
        fs::copy(scratch.path(from), scratch.path("new")).unwrap();
        fs::rename(scratch.path("new"), scratch.path(to)).unwrap();
    };
    replace("b.example.key", "live.key");
    let event = running.wait_for("new certificate not taken");
    assert!(event["error"].as_str().is_some_and(|text| text.contains("is not the key")), "{event}");
    let metrics = get(admin, "/metrics").body;
    let failed = metrics.lines().find(|line| line.contains("renewal_failed{")).unwrap();
    assert!(failed.ends_with(" 1"), "{failed}");
    certificate(&scratch, "a.example", 10);
    replace("a.example.pem", "live.pem");
    replace("a.example.key", "live.key");
    running.wait_for("certificate renewed");
    running.wait_for("certificate expires soon");
    running.stop();
}
