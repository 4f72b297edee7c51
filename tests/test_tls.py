"""TLS towards clients and origins, and an HTTPS proxy: curl, nginx, gunicorn, pip, git, wrk, sslyze, OpenSSL."""

import base64
import datetime
import json
import os
import re
import shutil
import socket
import ssl
import stat
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from websockets.sync.client import connect as websocket

from harness.clients import Load, ask_for, connect, read_to_end, read_until, request
from harness.http2 import Http2
from harness.origins import Dns, Nginx, flask, nginx, websocket_echo
from harness.programs import environment, free_port, wait_until
from harness.story import Story, needs, once
from harness.tls import RSA, Authority, der
from test_forward import make_repository, make_wheel


class Keys:
    """An authority, and certificates that several stories need."""

    def __init__(self, directory):
        self.authority = Authority(directory)
        self.ca = self.authority.ca
        self.shop = self.authority.issue("shop", "shop.test", "www.shop.test", "127.0.0.1")
        self.shop_rsa = self.authority.issue("shop-rsa", "shop.test", "www.shop.test", key=RSA)
        self.wild = self.authority.issue("wild", "*.wild.test")
        self.both = self.authority.issue("both", "a.test", "b.test")
        self.default = self.authority.issue("default", "default.test")

    def stop(self):
        pass


keys = once(Keys)


class TlsStory(Story):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.at = f"127.0.0.1:{self.port}"

    def get(self, host, target="/", *arguments, ca=None, port=None, **more):
        """curl over TLS to this name, which leads to us."""
        port = port or self.port
        return self.curl("--cacert", ca or keys().ca, "--resolve", f"{host}:{port}:127.0.0.1", *arguments,
                         f"https://{host}:{port}{target}", **more)

    def certificate_for(self, name, ca=None, **more):
        """The certificate (DER) that is shown to one who asks for this name."""
        context = keys().authority.context() if ca is None else ssl.create_default_context(cafile=ca)
        context.check_hostname = False
        with connect(self.at, context, name) as client:
            return client.getpeercert(binary_form=True)


class Termination(TlsStory):
    def site(self, more="", names='"shop.test" "www.shop.test"', tls=None):
        return f"""
site {names} {{
    listen "{self.at}"
    redirect-http off
    {tls or "tls " + keys().shop.kdl}
    route "/nginx/*" {{ strip-prefix "/nginx"; to "{nginx().at}"; }}
    route "/echo" {{ to "{websocket_echo().at}"; }}
    {more}
    to "{flask().at}"
}}
"""

    def test_every_version_and_protocol(self):
        proxy = self.bothways(self.site())
        for version in ("1.2", "1.3"):
            for protocol, told in (("--http1.1", "1.1"), ("--http2", "2")):
                with self.subTest(version=version, protocol=protocol):
                    how = (f"--tlsv{version}", "--tls-max", version, protocol, "-w", "%{stderr}%{http_version}")
                    done = self.get("shop.test", "/seen?a=b", *how)
                    seen = json.loads(done.out)
                    fields = {name.lower(): value for name, value in seen["fields"]}
                    self.assertEqual((done.err, seen["path"]), (told, "/seen?a=b"))
                    self.assertEqual(fields["x-forwarded-proto"], "https")
                    self.assertEqual(fields["host"], f"shop.test:{self.port}")
                    self.assertEqual(self.get("shop.test", "/nginx/hello", *how).out, "hello\n")
        wait_until(lambda: len(proxy.records()) == 8, "two records for each")
        self.assertEqual({record["status"] for record in proxy.records()}, {200})

    def test_large_bodies(self):
        self.bothways(self.site())
        big = self.directory / "big"
        big.write_bytes(os.urandom(20 << 20))
        (nginx().www / "big").write_bytes(big.read_bytes())
        for protocol in ("--http1.1", "--http2"):
            told = json.loads(self.get("shop.test", "/digest", protocol, "-T", big).out)
            self.assertEqual(told["length"], 20 << 20)
            self.get("shop.test", "/nginx/big", protocol, "-o", "copy")
            self.same_bytes((self.directory / "copy").read_bytes(), big.read_bytes(), protocol)
            self.assertEqual(len(self.get("shop.test", "/stream?pieces=300", protocol).out), 300_000)

    def test_ecdsa_and_rsa_side_by_side(self):
        self.bothways(self.site(tls=f"tls {keys().shop.kdl}\n    tls {keys().shop_rsa.kdl}"))
        for kind, pair in (("ECDSA", keys().shop), ("RSA", keys().shop_rsa)):
            context = keys().authority.context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
            with connect(self.at, context, "shop.test") as client:
                self.assertEqual(client.getpeercert(binary_form=True), der(pair.certificate), kind)

    def test_sessions_are_resumed_on_every_core(self):
        self.bothways(self.site())
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = keys().authority.context()
            context.minimum_version = context.maximum_version = version
            session, reused = None, []
            for _ in range(12):
                raw = connect(self.at)
                with context.wrap_socket(raw, server_hostname="shop.test", session=session) as client:
                    client.sendall(b"GET /nginx/hello HTTP/1.1\r\nHost: shop.test\r\n\r\n")
                    read_until(client, b"hello\n")
                    reused.append(client.session_reused)
                    session = client.session
            self.assertEqual(reused, [False] + [True] * 11, version)

    def test_a_session_of_one_site_is_no_good_for_another(self):
        self.bothways(self.site() + self.site(names='"other.test"'))
        context = keys().authority.context()
        context.check_hostname = False
        with connect(self.at, context, "shop.test") as client:
            client.sendall(b"GET /nginx/hello HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            read_until(client, b"hello\n")
            session = client.session
        with context.wrap_socket(connect(self.at), server_hostname="other.test", session=session) as client:
            client.sendall(b"GET /nginx/hello HTTP/1.1\r\nHost: other.test\r\n\r\n")
            read_until(client, b"hello\n")
            self.assertFalse(client.session_reused)

    def test_websocket(self):
        self.bothways(self.site())
        raw = connect(self.at)
        address = f"wss://shop.test:{self.port}/echo"
        with websocket(address, sock=raw, ssl=keys().authority.context("http/1.1"), proxy=None, max_size=None) as client:
            for message in ("hello", os.urandom(1 << 20)):
                client.send(message)
                self.same_bytes(client.recv(timeout=30), message)

    def test_a_client_that_speaks_no_tls_is_told(self):
        self.bothways(self.site())
        status, _, body = request(self.at, Host="shop.test")
        self.assertEqual(status, 400)
        self.assertIn(b"TLS", body)
        self.assertEqual(self.get("shop.test", "/nginx/hello").out, "hello\n")

    def test_a_large_hello_in_small_pieces(self):
        """About 8 KiB, as with post-quantum keys and a session, and every few bytes a segment."""
        self.bothways(self.site())
        context = keys().authority.context(*LONG_NAMES, "http/1.1")
        self.assertIn(b"hello\n", slowly(self.at, context, "shop.test", "/nginx/hello"))

    def test_early_data(self):
        """0-RTT: safe requests only, marked for the origin; off unless asked for."""
        for options, expected in (("early-data #true", True), ("", False)):
            with self.subTest(options):
                self.port = free_port()
                self.at = f"127.0.0.1:{self.port}"
                proxy = self.bothways(self.site(tls=f"tls {keys().shop.kdl} {{ {options} }}"), name=f"{expected}.kdl")
                common = ("openssl", "s_client", "-connect", self.at, "-servername", "shop.test", "-tls1_3",
                          "-CAfile", keys().ca)
                self.write("early", "GET /seen/early HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
                first = "GET /nginx/hello HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
                self.run_command(*common, "-sess_out", "session", "-ign_eof", text=first)
                if not expected:
                    done = self.run_command(*common, "-sess_in", "session", "-ign_eof", text=first)
                    self.assertNotIn("Early data was accepted", done.out)
                    self.assertIn("hello\n", done.out)
                else:
                    done = self.run_command(*common, "-sess_in", "session", "-early_data", "early", "-ign_eof")
                    self.assertIn("Early data was accepted", done.out)
                    self.assertRegex(done.out, r'(?i)\["early-data", ?"1"\]')
                proxy.stop()

    # Whose certificate, whose site.

    def test_sites_by_name(self):
        proxy = self.bothways(
            self.site()
            + self.site(names='"*.wild.test"', tls=f"tls {keys().wild.kdl}")
            + self.site(names="", tls=f"tls {keys().default.kdl}")
        )
        expected = {
            "shop.test": keys().shop, "WWW.shop.test": keys().shop, "one.wild.test": keys().wild,
            "two.wild.test": keys().wild, "other.test": keys().default, None: keys().default,
        }
        for name, pair in expected.items():
            with self.subTest(name):
                self.assertEqual(self.certificate_for(name), der(pair.certificate))
        for name in ("shop.test", "one.wild.test"):
            self.assertEqual(self.get(name, "/nginx/hello").out, "hello\n")
        proxy.wait_for_record(sni="one.wild.test", status=200)

    def test_a_name_that_nobody_serves(self):
        self.bothways(self.site())
        for name in ("other.test", "shop.test.other.test"):
            with self.assertRaises(ssl.SSLError) as refused:
                self.certificate_for(name)
            self.assertIn("unrecognized", str(refused.exception).replace("_", " ").lower().replace("unrecognised", "unrecognized"))
        # Without a name, the only site is meant.
        self.assertEqual(self.certificate_for(None), der(keys().shop.certificate))

    def test_misdirected_requests(self):
        """A certificate good for two sites lets browsers send requests for both over one connection; for a site with
        another certificate they are misdirected."""
        self.bothways(
            self.site(names='"a.test"', tls=f"tls {keys().both.kdl}")
            + self.site(names='"b.test"', tls=f"tls {keys().both.kdl}")
            + self.site(names='"shop.test"', tls=f"tls {keys().shop.kdl}")
        )
        context = keys().authority.context("h2")
        client = Http2(self.at, context, "a.test")
        self.addCleanup(client.close)
        for authority, status in (("a.test", 200), ("b.test", 200), ("shop.test", 421), (f"a.test:{self.port}", 200),
                                  ("c.test", 421)):
            self.assertEqual(client.get(authority, "/nginx/hello")[0], status, authority)
        other = Http2(self.at, context, "b.test")
        self.addCleanup(other.close)
        self.assertEqual(other.get("b.test", "/nginx/hello")[2], b"hello\n")
        done = self.get("a.test", "/nginx/hello", "--http1.1", "-o", "out", "-w", "%{http_code}", "-H", "Host: shop.test")
        self.assertEqual(done.out, "421")

    def test_names_of_one_site_share_a_connection(self):
        self.bothways(self.site())
        client = Http2(self.at, keys().authority.context("h2"), "shop.test")
        self.addCleanup(client.close)
        for authority in ("shop.test", "www.shop.test"):
            self.assertEqual(client.get(authority, "/nginx/hello")[2], b"hello\n")

    def test_hsts_and_the_redirect_of_http(self):
        plain = f"127.0.0.1:{free_port()}"
        text = self.site(tls=f'tls {keys().shop.kdl} {{ hsts max-age="365d" subdomains=#true }}')
        self.bothways(text.replace("redirect-http off", f'redirect-http "{plain}"'))
        head = self.get("shop.test", "/seen", "-i", "--http1.1").out
        self.assertRegex(head, r"(?im)^strict-transport-security: max-age=31536000; ?includeSubDomains\r?$")
        status, fields, _ = request(plain, target="/a%20b?c=d&e", Host="shop.test")
        self.assertEqual((status, fields["location"]), (308, f"https://shop.test:{self.port}/a%20b?c=d&e"))
        self.assertNotIn("strict-transport-security", fields)

    # Who the client is.

    def test_client_certificates(self):
        authority = Authority(self.directory / "clients", "Clients")
        ops = authority.issue("ops", "ops.test", client=True, subject="/O=Story/CN=ops")
        dev = authority.issue("dev", "dev.test", client=True)
        gone = authority.issue("gone", "gone.test", client=True)
        stranger = Authority(self.directory / "strangers", "Strangers").issue("ops", "ops.test", client=True)
        crl = revocations(authority, gone)
        fields = """request {
        set "X-Subject" "{client-subject}"
        set "X-Names" "{client-names}"
        set "X-Fingerprint" "{client-fingerprint}"
    }
    route "/seen/ops" { client name="ops.test"; to "%s"; }""" % flask().at
        for policy in ("request", "require"):
            self.port = free_port()
            self.at = f"127.0.0.1:{self.port}"
            tls = f'tls {keys().shop.kdl} {{ client {policy} ca="{authority.ca}" crl="{crl}" }}'
            proxy = self.bothways(self.site(fields, tls=tls), name=f"{policy}.kdl")

            def told(pair, target="/seen", code=0):
                shown = ("--cert", pair.certificate, "--key", pair.key) if pair else ()
                return self.get("shop.test", target, *shown, "-w", "%{stderr}%{http_code}", code=code)

            seen = {name.lower(): value for name, value in json.loads(told(ops).out)["fields"]}
            self.assertEqual(seen["x-fingerprint"].lower(), ops.fingerprint())
            self.assertIn("ops.test", seen["x-names"])
            self.assertRegex(seen["x-subject"], r"CN=ops, ?O=Story|O=Story, ?CN=ops")
            self.assertEqual(told(ops, "/seen/ops").err, "200")
            self.assertEqual(told(dev, "/seen/ops").err, "403")
            for refused in (gone, stranger):
                self.assertNotEqual(told(refused, code=None).code, 0, f"{policy} {refused}")
            if policy == "require":
                self.assertNotEqual(told(None, code=None).code, 0)
            else:
                seen = {name.lower(): value for name, value in json.loads(told(None).out)["fields"]}
                self.assertEqual(seen.get("x-subject", ""), "")
                self.assertEqual(told(None, "/seen/ops").err, "403")
            proxy.stop()

    # Passing through.

    def test_passthrough_beside_termination(self):
        behind = Authority(self.directory / "behind").issue("server", "behind.test")
        server = Nginx(self.directory, tls=behind)
        self.addCleanup(server.stop)
        proxy = self.bothways(self.site() + f"""
site "behind.test" {{
    listen "{self.at}"
    tls passthrough
    to "127.0.0.1:{server.tls_port}"
}}
""")
        ca = self.directory / "behind/ca.pem"
        self.assertEqual(self.certificate_for("behind.test", ca), der(behind.certificate))
        self.assertIn("behind.test", self.get("behind.test", "/protocol", ca=ca).out)
        self.assertEqual(self.get("shop.test", "/nginx/hello").out, "hello\n")
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols([*LONG_NAMES, "http/1.1"])
        self.assertIn(b"hello\n", slowly(self.at, context, "behind.test", "/hello"))
        record = proxy.wait_for_record(scope="behind.test")
        self.assertGreater(record["sent_bytes"], 0)

    # What it looks like from outside.

    def test_sslyze(self):
        """Nothing to complain of, beyond what docs/operations.md defends."""
        self.bothways(self.site(tls=f"tls {keys().shop.kdl}\n    tls {keys().shop_rsa.kdl}"))
        done = self.run_command(sys.executable, "-W", "ignore", "-m", "sslyze", "--quiet", *SCANS, "--json_out", "told.json",
                                "--certinfo_ca_file", keys().ca, "--sni", "shop.test", self.at, code=None, patience=300)
        told = json.loads((self.directory / "told.json").read_text())
        self.assertEqual(told["invalid_server_strings"], [])
        result = told["server_scan_results"][0]
        self.assertEqual(result["connectivity_status"], "COMPLETED", result.get("connectivity_error_trace"))
        # It also holds the server against Mozilla's "intermediate" configuration, and says what differs.
        self.assertIn("COMPLIANCE AGAINST", done.out)
        remarks = set(re.findall(r"^ *\* (.*)$", done.out, re.M))
        self.assertEqual((complaints(result["scan_result"]) | remarks) - DEFENDED, set(), done)


# Of protocols that nobody knows: with them, a ClientHello has some 8 KiB.
LONG_NAMES = [f"protocol-{number:02}-".ljust(200, "x") for number in range(40)]

# What sslyze complains of and docs/operations.md ("What scanners say") defends.
SCANS = [f"--{name}" for name in (
    "mozilla_config=intermediate", "certinfo", "sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "early_data",
    "compression", "openssl_ccs", "heartbleed", "robot", "reneg", "fallback", "ems", "elliptic_curves",
)]
DEFENDED = {"no TLS_FALLBACK_SCSV"}


def complaints(result):
    """What somebody who reads the result of sslyze would frown at."""
    found = set()

    def of(name):
        scan = result[name]
        if scan["status"] != "COMPLETED":
            found.add(f"{name}: {scan['status']} {scan.get('error_reason')} {scan.get('error_trace')}")
            return {}
        return scan["result"]

    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        if of(f"{version}_cipher_suites").get("accepted_cipher_suites"):
            found.add(f"{version} is spoken")
    for version in ("tls_1_2", "tls_1_3"):
        accepted = of(f"{version}_cipher_suites").get("accepted_cipher_suites", [])
        if not accepted:
            found.add(f"{version} is not spoken")
        for suite in accepted:
            name = suite["cipher_suite"]["name"]
            if version == "tls_1_2" and not re.search(r"ECDHE_(ECDSA|RSA)_WITH_(AES_\d+_GCM|CHACHA20)", name):
                found.add(f"suite {name}")
            key = suite.get("ephemeral_key")
            if key is not None and key["size"] < 253:
                found.add(f"weak key exchange with {name}: {key['size']} bits")
    if of("tls_compression").get("supports_compression"):
        found.add("compression")
    if of("tls_1_3_early_data").get("supports_early_data"):
        found.add("early data")
    if of("openssl_ccs_injection").get("is_vulnerable_to_ccs_injection"):
        found.add("CCS injection")
    if of("heartbleed").get("is_vulnerable_to_heartbleed"):
        found.add("Heartbleed")
    if of("robot").get("robot_result", "").startswith("VULNERABLE"):
        found.add("ROBOT")
    renegotiation = of("session_renegotiation")
    if renegotiation.get("is_vulnerable_to_client_renegotiation_dos"):
        found.add("renegotiation asked for by clients")
    if renegotiation and not renegotiation["supports_secure_renegotiation"]:
        found.add("no secure renegotiation")
    if not of("tls_fallback_scsv").get("supports_fallback_scsv", True):
        found.add("no TLS_FALLBACK_SCSV")
    if not of("tls_extended_master_secret").get("supports_ems_extension", True):
        found.add("no extended master secret")
    for curve in of("elliptic_curves").get("supported_curves", []) or []:
        if curve["name"] not in ("X25519", "X25519MLKEM768", "prime256v1", "secp256r1", "secp384r1"):
            found.add(f"curve {curve['name']}")
    for deployment in of("certificate_info").get("certificate_deployments", []):
        if deployment["verified_certificate_chain"] is None:
            found.add("the chain leads nowhere")
        if not deployment["received_chain_has_valid_order"]:
            found.add("the chain is out of order")
    return found


class Certificates(TlsStory):
    """Where certificates come from, and how they are changed."""

    def test_internal(self):
        state = self.directory / "state"
        text = f"""
process {{ state "{state}"; }}
site "shop.test" "*.wild.test" {{
    listen "{self.at}"
    redirect-http off
    tls internal
    to "{nginx().at}"
}}
"""
        proxy = self.bothways(text)
        root = self.bothways_command("ca", "root", "--config", "bothways.kdl").out
        self.assertIn("BEGIN CERTIFICATE", root)
        ca = self.write("root.pem", root)
        for name in ("shop.test", "any.wild.test"):
            self.assertEqual(self.get(name, "/hello", ca=ca).out, "hello\n")
        for path in [state, *state.rglob("*")]:
            mode = stat.S_IMODE(path.stat().st_mode)
            self.assertEqual(mode, 0o700 if path.is_dir() else 0o600, path)
        # It is made once.
        proxy.stop()
        self.bothways(text)
        self.assertEqual(self.bothways_command("ca", "root", "--config", "bothways.kdl").out, root)
        self.assertEqual(self.get("shop.test", "/hello", ca=ca).out, "hello\n")

    def config(self, pair, more=""):
        return f"""
site "shop.test" {{
    listen "{self.at}"
    redirect-http off
    tls {pair.kdl}
    {more}
    to "{nginx().at}"
}}
"""

    def copy(self, pair):
        """The pair under names that every later one takes, too: both files at once, as deployments do."""
        place = self.directory / "live"
        place.mkdir(exist_ok=True)
        for source, name in ((pair.key, "shop.key"), (pair.certificate, "shop.pem")):
            shutil.copy(source, place / f"{name}.new")
            (place / f"{name}.new").rename(place / name)
        return type(pair)(place / "shop.pem", place / "shop.key")

    def new_pair(self, number):
        return Authority.issue(keys().authority, f"{self.id()}-{number}", "shop.test", "127.0.0.1")

    @needs("wrk", "h2load")
    def test_a_new_certificate_under_load(self):
        """No request fails, and the connections that are there go on."""
        pairs = [keys().shop, *(self.new_pair(number) for number in range(3))]
        proxy = self.bothways(self.config(pairs[0]))
        old_h2 = Http2(self.at, keys().authority.context("h2"), "shop.test")
        self.addCleanup(old_h2.close)
        old_h1 = connect(self.at, keys().authority.context(), "shop.test")
        self.addCleanup(old_h1.close)
        wrk = self.start("wrk", ["wrk", "-t1", "-c32", "-d6s", "-H", "Host: shop.test", f"https://{self.at}/hello"])
        fresh = Load(self.at, 2, ask_for("/hello", lambda b: b == b"hello\n", Host="shop.test", Connection="close"),
                     keys().authority.context())
        h2load = self.start("h2load", ["h2load", "-t1", "-c4", "-m8", "-D5s", "-H", ":authority: shop.test",
                                       f"https://{self.at}/hello"])
        reloads = 0
        while h2load.process.poll() is None or wrk.process.poll() is None:
            pair = pairs[reloads % len(pairs)]
            proxy.rewrite(self.config(pair, f'response {{ set "X-Reload" "{reloads}"; }}'))
            self.assertEqual(proxy.reload()["msg"], "reloaded")
            self.assertEqual(self.certificate_for("shop.test"), der(pair.certificate), "the new is in force")
            self.assertEqual(old_h2.get("shop.test", "/hello")[2], b"hello\n")
            old_h1.sendall(b"GET /hello HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            self.assertIn(b" 200 ", read_until(old_h1, b"hello\n"))
            reloads += 1
        fresh.stop()
        self.assertEqual(fresh.failures, [])
        self.assertGreater(fresh.good, 50)
        told = wrk.out.read_text()
        self.assertNotIn("Socket errors", told)
        self.assertNotIn("Non-2xx", told)
        self.assertGreater(int(re.search(r"(\d+) requests in", told).group(1)), 1000, told)
        told = h2load.out.read_text()
        self.assertRegex(told, r"[1-9]\d{2,} succeeded, 0 failed, 0 errored, 0 timeout")
        self.assertGreater(reloads, 8)

    def test_files_that_change_are_read_again(self):
        pair = self.copy(keys().shop)
        proxy = self.bothways(self.config(pair))
        old = connect(self.at, keys().authority.context(), "shop.test")
        self.addCleanup(old.close)
        newer = self.new_pair(1)
        self.copy(newer)
        wait_until(lambda: self.certificate_for("shop.test") == der(newer.certificate), "the new file is in force",
                   program=proxy)
        # A key that does not fit is told of, and what there was goes on.
        (self.directory / "live/shop.key").write_bytes(keys().wild.key.read_bytes())
        event = proxy.wait_for_event("certificate")
        wait_until(lambda: any("shop.key" in json.dumps(event) or "shop.pem" in json.dumps(event)
                               for event in proxy.events() if event.get("level") in ("WARN", "ERROR", "warn", "error")),
                   f"the file is named: {event}", program=proxy)
        self.assertEqual(self.certificate_for("shop.test"), der(newer.certificate))
        old.sendall(b"GET /hello HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        self.assertIn(b" 200 ", read_until(old, b"hello\n"))

    def test_check_finds_bad_pairs(self):
        wrong_key = type(keys().shop)(keys().shop.certificate, keys().wild.key)
        wrong_name = keys().wild
        missing = type(keys().shop)(self.directory / "none.pem", keys().shop.key)
        self.write("good.kdl", self.config(keys().shop))
        self.bothways_command("check", "--config", "good.kdl")
        for name, pair, words in (("key", wrong_key, "key"), ("name", wrong_name, "shop.test"), ("file", missing, "none.pem")):
            with self.subTest(name):
                self.write(f"{name}.kdl", self.config(pair))
                done = self.bothways_command("check", "--config", f"{name}.kdl", code=None)
                self.assertNotEqual(done.code, 0, done)
                self.assertIn(words, done.out + done.err)
                self.assertIn(pair.certificate.name, done.out + done.err)

    def test_a_bad_pair_leaves_the_old_in_force(self):
        proxy = self.bothways(self.config(keys().shop))
        proxy.rewrite(self.config(type(keys().shop)(keys().shop.certificate, keys().wild.key)))
        self.assertIn("not reloaded", proxy.reload()["msg"])
        self.assertEqual(self.get("shop.test", "/hello").out, "hello\n")


class Upstreams(TlsStory):
    """TLS towards origins."""

    def setUp(self):
        super().setUp()
        self.origin_keys = Authority(self.directory / "origin", "Origins")
        self.pair = self.origin_keys.issue("origin", "origin.test", "127.0.0.1")

    def nginx(self, pair=None, more="", http2=False):
        server = Nginx(self.directory, more, tls=pair or self.pair, http2=http2)
        self.addCleanup(server.stop)
        return server

    def config(self, server, tls, more=""):
        return f"""
upstream secure {{
    to "https://127.0.0.1:{server.tls_port}"
    {more}
    tls {{ {tls} }}
}}
site {{
    listen "{self.at}"
    to secure
}}
"""

    def test_verified(self):
        server = self.nginx()
        self.bothways(self.config(server, f'ca "{self.origin_keys.ca}"; name "origin.test"'))
        for _ in range(3):
            status, _, body = request(self.at, target="/protocol")
            self.assertEqual((status, body.split()[:3]), (200, [b"HTTP/1.1", b"TLSv1.3", b"origin.test"]))

    def test_the_address_is_the_name_unless_told(self):
        server = self.nginx()
        self.bothways(self.config(server, f'ca "{self.origin_keys.ca}"'))
        self.assertEqual(request(self.at, target="/hello")[2], b"hello\n")

    def test_http2_by_alpn(self):
        server = self.nginx(http2=True)
        self.bothways(self.config(server, f'ca "{self.origin_keys.ca}"'))
        self.assertEqual(request(self.at, target="/protocol")[2].split()[0], b"HTTP/2.0")
        self.assertEqual(self.curl("--http2-prior-knowledge", f"http://{self.at}/protocol").out.split()[0], "HTTP/2.0")

    def test_large_bodies(self):
        server = self.nginx(http2=True)
        (server.www / "big").write_bytes(os.urandom(20 << 20))
        for protocol in ("h1", "h2"):
            with self.subTest(protocol):
                self.port = free_port()
                self.at = f"127.0.0.1:{self.port}"
                proxy = self.bothways(self.config(server, f'ca "{self.origin_keys.ca}"', f"protocol {protocol}"),
                                      name=f"{protocol}.kdl")
                self.same_bytes(request(self.at, target="/big")[2], (server.www / "big").read_bytes())
                proxy.stop()

    def refused(self, server, tls, *words):
        proxy = self.bothways(self.config(server, tls))
        self.assertEqual(request(self.at)[0], 502)
        record = proxy.wait_for_record(status=502)

        def told():
            texts = [json.dumps(event) for event in proxy.events()] + [json.dumps(record)]
            return next((text for text in texts if all(word in text for word in words)), None)

        wait_until(told, f"the log says {words}; {proxy.events()[-3:]} {record}", patience=10, program=proxy)

    def test_an_unknown_authority(self):
        self.refused(self.nginx(), f'ca "{keys().ca}"', "unknown issuer")

    def test_the_authorities_of_the_system_do_not_know_ours(self):
        self.refused(self.nginx(), "", "unknown issuer")

    def test_another_name(self):
        self.refused(self.nginx(), f'ca "{self.origin_keys.ca}"; name "other.test"', "other.test", "origin.test")

    def test_expired(self):
        old = expired(self.origin_keys, "origin.test", "127.0.0.1")
        self.refused(self.nginx(old), f'ca "{self.origin_keys.ca}"', "expired")

    def test_an_origin_that_speaks_no_tls(self):
        server = self.nginx()
        server.tls_port = server.port
        self.refused(server, f'ca "{self.origin_keys.ca}"', "TLS")

    def test_verify_off_is_loud(self):
        proxy = self.bothways(self.config(self.nginx(), "verify off"))
        self.assertEqual(request(self.at, target="/hello")[2], b"hello\n")
        self.assertIn("NOT verified", proxy.err.read_text())

    def test_we_show_a_certificate(self):
        us = self.origin_keys.issue("us", "proxy.test", client=True)
        server = self.nginx(more=f"ssl_verify_client on; ssl_client_certificate {self.origin_keys.ca};"
                                 ' location = /who { return 200 "$ssl_client_s_dn"; }')
        self.bothways(self.config(server, f'ca "{self.origin_keys.ca}"; cert "{us.certificate}"; key "{us.key}"'))
        self.assertEqual(request(self.at, target="/who")[2], b"CN=proxy.test")

    def test_sessions_are_resumed(self):
        server = self.nginx(more='location = /reused { keepalive_timeout 0; return 200 "$ssl_session_reused"; }')
        self.bothways("process { cores 1; }" + self.config(server, f'ca "{self.origin_keys.ca}"'))
        told = [request(self.at, target="/reused")[2] for _ in range(5)]
        self.assertEqual(told, [b"."] + [b"r"] * 4)


class World:
    """An nginx in clear and over TLS, and a name server; its authority is also that of the proxy."""

    def __init__(self, directory):
        self.authority = Authority(directory)
        self.ca = self.authority.ca
        self.nginx = Nginx(directory, tls=self.authority.issue("world", "world.test"))
        self.proxy = self.authority.issue("proxy", "proxy.test", "localhost", "127.0.0.1")
        self.dns = Dns({"world.test": "127.0.0.1", "denied.test": "127.0.0.1"})
        self.http = f"http://world.test:{self.nginx.port}"
        self.https = f"https://world.test:{self.nginx.tls_port}"

    def stop(self):
        self.nginx.stop()
        self.dns.stop()


world = once(World)


class HttpsProxy(TlsStory):
    """A forward proxy that its clients talk TLS to."""

    def config(self, tls="", allow='to="world.test" special=#true'):
        return f"""
process {{ resolver {{ server "{world().dns.at}"; hosts #false; }} }}
forward "{self.at}" {{
    tls {world().proxy.kdl} {tls}
    ports any
    deny to="denied.test"
    allow {allow}
}}
"""

    def through(self, *arguments, **more):
        return self.curl("-x", f"https://localhost:{self.port}", "--proxy-cacert", world().ca, "--cacert", world().ca,
                         *arguments, **more)

    def environment(self, **more):
        at = f"https://localhost:{self.port}"
        return environment(self.directory, http_proxy=at, https_proxy=at, **more)

    def test_curl(self):
        proxy = self.bothways(self.config())
        for address, kind in ((world().http, "GET"), (world().https, "CONNECT")):
            self.assertEqual(self.through(f"{address}/hello").out, "hello\n")
            proxy.wait_for_record(method=kind, direction="forward", status=200)
        self.assertEqual(self.through("-p", f"{world().http}/hello").out, "hello\n")
        denied = self.through("-i", f"http://denied.test:{world().nginx.port}/").out
        self.assertRegex(denied, r"^HTTP/1\.1 403 ")

    def test_http2(self):
        """GET and CONNECT as streams of one connection, and TLS within such a stream."""
        proxy = self.bothways(self.config())
        client = Http2(self.at, world().authority.context("h2"), "localhost")
        self.addCleanup(client.close)
        target = f"world.test:{world().nginx.port}"
        got = client.start([(":method", "GET"), (":scheme", "http"), (":authority", target), (":path", "/hello")])
        self.assertEqual(client.head(got)[":status"], "200")
        self.assertEqual(client.body(got), b"hello\n")
        tunnels = [client.tunnel(target) for _ in range(5)]
        for tunnel in tunnels:
            self.assertEqual(client.head(tunnel)[":status"], "200")
        for tunnel in reversed(tunnels):
            client.send(tunnel, b"GET /hello HTTP/1.1\r\nHost: world.test\r\nConnection: close\r\n\r\n")
        for tunnel in tunnels:
            self.assertTrue(client.body(tunnel).endswith(b"hello\n"))
        refused = client.tunnel(f"denied.test:{world().nginx.port}")
        self.assertEqual(client.head(refused)[":status"], "403")
        # RFC 9113, section 8.5: CONNECT has neither scheme nor path.
        secure = client.tunnel(f"world.test:{world().nginx.tls_port}")
        self.assertEqual(client.head(secure)[":status"], "200")
        self.assertIn(b"hello\n", through_stream(client, secure, world().authority.context(), "world.test", "/hello"))
        proxy.wait_for_record(method="CONNECT", status=403)

    def test_clients_by_certificate(self):
        ops = world().authority.issue("ops", "ops.test", client=True)
        dev = world().authority.issue("dev", "dev.test", client=True)
        self.bothways(self.config(f'{{ client require ca="{world().ca}" }}', 'to="world.test" special=#true client-name="ops.test"'))
        for pair, code in ((ops, "200"), (dev, "403")):
            done = self.through("--proxy-cert", pair.certificate, "--proxy-key", pair.key, "-o", "out",
                                "-w", "%{http_code}", f"{world().http}/hello")
            self.assertEqual(done.out, code)
        self.assertNotEqual(self.through(f"{world().http}/hello", code=None).code, 0)

    def test_pip(self):
        make_wheel(world().nginx.www / "simple" / "story-pears")
        proxy = self.bothways(self.config())
        for scheme in (world().http, world().https):
            target = self.directory / scheme.partition(":")[0]
            self.run_command(
                *(sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-deps", "--target", target),
                *("--index-url", f"{scheme}/simple", "--cert", world().ca, "--trusted-host", "world.test"),
                *("--proxy", f"https://localhost:{self.port}", "story-pears"),
            )
            self.assertIn("PEARS = 7", (target / "story_pears.py").read_text())
        proxy.wait_for_record(method="CONNECT", status=200)

    @needs("git")
    def test_git(self):
        make_repository(self, flask().repositories / "tls-pears.git")
        self.bothways(self.config())
        # No https:// within: TLS in TLS stalls in Debian's libcurl-gnutls, whoever speaks the outer TLS
        # (the same with HAProxy in front of the proxy in clear). `test_tls_within_tls` shows ours.
        env = self.environment(GIT_PROXY_SSL_CAINFO=world().ca)
        self.run_command("git", "clone", "-q", f"http://world.test:{flask().port}/git/tls-pears.git", "clone", env=env)
        self.assertEqual((self.directory / "clone/pears").stat().st_size, 2 << 20)

    def test_tls_within_tls(self):
        """Many exchanges through one tunnel, whose records are of all sizes."""
        sizes = (0, 1, 5000, 16384, 16385, 40_000, 300_000)
        for size in sizes:
            (world().nginx.www / f"of-{size}").write_bytes(b"x" * size)
        self.bothways(self.config())
        target = f"world.test:{world().nginx.tls_port}"
        for _ in range(5):
            with connect(self.at, world().authority.context(), "localhost") as client:
                client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
                self.assertIn(b" 200 ", read_until(client, b"\r\n\r\n"))
                within = Within(world().authority.context(), "world.test", client.sendall, lambda: client.recv(65536))
                for size in sizes:
                    body = within.get(f"/of-{size}", size)
                    self.assertEqual(len(body), size)


def slowly(at, context, name, target):
    """One exchange whose every byte of the handshake comes in pieces of 100, each a segment of its own."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with connect(at) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def turn(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    flush()
                    data = client.recv(65536)
                    if not data:
                        raise AssertionError("the connection ended")
                    incoming.write(data)

        def flush():
            data = outgoing.read()
            for start in range(0, len(data), 100):
                client.sendall(data[start : start + 100])

        turn(session.do_handshake)
        session.write(f"GET {target} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        flush()
        answer = b""
        while not answer.endswith(b"hello\n"):
            answer += turn(lambda: session.read(65536))
        return answer


def through_stream(client, number, context, name, target):
    """One exchange over TLS within a tunnel that is a stream of HTTP/2."""
    send, receive = (lambda data: client.send(number, data)), (lambda: client.data(number, 1))
    return Within(context, name, send, receive).get(target, len(b"hello\n"))


class Within:
    """HTTP/1.1 over TLS over something that sends and receives bytes."""

    def __init__(self, context, name, send, receive):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self.name, self.send, self.receive = name, send, receive
        self.turn(self.session.do_handshake)

    def turn(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.receive()
                assert data, "the connection ended"
                self.incoming.write(data)

    def flush(self):
        if data := self.outgoing.read():
            self.send(data)

    def get(self, target, length):
        """The body, of which the length is known."""
        self.session.write(f"GET {target} HTTP/1.1\r\nHost: {self.name}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < length:
            answer += self.turn(lambda: self.session.read(65536))
        assert answer.startswith(b"HTTP/1.1 200"), answer[:100]
        return answer.partition(b"\r\n\r\n")[2]


def loaded(authority):
    """The authority's own certificate and key."""
    certificate = x509.load_pem_x509_certificate(authority.ca.read_bytes())
    key = serialization.load_pem_private_key((authority.directory / "ca.key").read_bytes(), None)
    return certificate, key


def revocations(authority, *pairs):
    """A list of revoked certificates with these on it."""
    certificate, key = loaded(authority)
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateRevocationListBuilder().issuer_name(certificate.subject)
        .last_update(now - datetime.timedelta(days=1)).next_update(now + datetime.timedelta(days=30))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for pair in pairs:
        revoked = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        entry = x509.RevokedCertificateBuilder().serial_number(revoked.serial_number).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    path = authority.directory / "crl.pem"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def expired(authority, *names):
    """A certificate whose time is over since yesterday."""
    pair = authority.issue("expired", *names)
    old = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    issuer, key = loaded(authority)
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder().subject_name(old.subject).issuer_name(issuer.subject)
        .public_key(old.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9)).not_valid_after(now - datetime.timedelta(days=1))
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    pair.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return pair
