"""`tls auto` against Pebble, the ACME test server of Let's Encrypt: certificates that come and renew by themselves."""

import json
import signal
import ssl

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness.acme import Pebble
from harness.clients import Load, connect, read_to_end, request
from harness.programs import free_port, wait_until
from harness.story import Story, needs
from harness.tls import Authority

EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@needs("pebble", "pebble-challtestsrv")
class Acme(Story):
    def setUp(self):
        super().setUp()
        self.plain, self.secure = free_port(), free_port()
        self.at = f"127.0.0.1:{self.secure}"
        self.authority = Authority(self.directory / "authority")
        self.pebble = Pebble(self, self.authority, self.plain, self.secure)

    def config(self, acme="", names='"a.test"', more=""):
        return f"""
process {{ state "{self.directory}/state"; cores 2; }}
acme {{
    directory "{self.pebble.url}"
    ca "{self.authority.ca}"
    {acme}
}}
site {names} {{
    listen "{self.at}"
    redirect-http "127.0.0.1:{self.plain}"
    tls auto
    respond "here"
}}
{more}
"""

    def shown(self, name="a.test"):
        """The certificate that one is shown who asks for this name; None: there is none."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with connect(self.at, context, name) as client:
                return x509.load_der_x509_certificate(client.getpeercert(binary_form=True))
        except (ssl.SSLError, ConnectionError):
            return None

    def wait_for_certificate(self, proxy, name="a.test", other_than=None):
        def found():
            shown = self.shown(name)
            return shown if shown and shown != other_than else None

        return wait_until(found, f"a certificate for {name}", program=proxy)

    def get(self, name="a.test"):
        """What curl gets that believes the CA of Pebble."""
        where = f"{name}:{self.secure}"
        return self.curl("--cacert", self.pebble.root(), "--resolve", f"{where}:127.0.0.1", f"https://{where}/").out

    def state_files(self):
        return sorted(path for path in (self.directory / "state").rglob("*") if path.is_file())

    def test_http(self):
        """The first certificate, and a restart that needs no other."""
        self.pebble.start()
        proxy = self.bothways(self.config(names='"a.test" "b.test"'))
        shown = self.wait_for_certificate(proxy)
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(sorted(names.get_values_for_type(x509.DNSName)), ["a.test", "b.test"])
        self.assertEqual((self.get(), self.get("b.test")), ("here", "here"))
        for path in self.state_files():
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path)
        for path in (self.directory / "state").rglob("*/"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o700, path)
        # Nothing is answered any more, and the rest of the port redirects.
        asked = self.curl("-o", "/dev/null", "-w", "%{http_code}",
                          f"http://127.0.0.1:{self.plain}/.well-known/acme-challenge/abc", "-H", "Host: a.test")
        self.assertEqual(asked.out, "308")

        orders = self.pebble.orders()
        self.assertEqual(orders, 1)
        proxy.stop()
        self.pebble.stop()
        again = self.bothways(self.config(names='"a.test" "b.test"'))
        self.assertEqual(self.shown(), shown, "from the first handshake on, with the directory down")
        self.assertEqual([event for event in again.events() if "ordering" in event["msg"]], [])

    def test_tls_alpn(self):
        self.pebble.start()
        proxy = self.bothways(self.config("challenge tls-alpn; key ec384"))
        shown = self.wait_for_certificate(proxy)
        self.assertEqual(shown.public_key().curve.name, ec.SECP384R1.name)
        self.assertEqual(self.get(), "here")

    def test_dns(self):
        """A wildcard and its parent: two values of one record, set by a hook and cleared by it."""
        self.pebble.start()
        hook, calls = self.pebble.hook()
        acme = f'challenge dns command="{hook}" wait="10ms"; key rsa2048'
        proxy = self.bothways(self.config(acme, '"a.test" "*.a.test"'))
        shown = self.wait_for_certificate(proxy)
        self.assertIsInstance(shown.public_key(), rsa.RSAPublicKey)
        self.assertEqual((self.get(), self.get("x.a.test")), ("here", "here"))
        done = [line.split()[:2] for line in calls.read_text().splitlines()]
        self.assertEqual(done, [[word, "_acme-challenge.a.test"] for word in ("set", "set", "clear", "clear")])
        self.assertEqual(proxy.wait_for_event("the DNS hook says")["line"], "doing set for _acme-challenge.a.test")

    def test_renewal(self):
        """A certificate of seconds is renewed in time, and nobody notices."""
        self.pebble.start(certificateValidityPeriod=24)
        proxy = self.bothways(self.config("challenge tls-alpn"))
        first = self.wait_for_certificate(proxy)
        context = ssl.create_default_context(cafile=self.pebble.root())

        def ask(_):
            # A handshake each time: what has expired would be refused.
            with connect(self.at, context, "a.test") as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                answer = read_to_end(client)
            return None if answer.endswith(b"here") else answer

        load = Load(self.at, 1, ask)
        second = self.wait_for_certificate(proxy, other_than=first)
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertGreater(load.good, 10)
        numbers = [shown.public_key().public_numbers() for shown in (first, second)]
        self.assertNotEqual(*numbers, "each has a key of its own")
        self.assertEqual(len([path for path in self.state_files() if path.suffix == ".pem"]), 1)

    def test_directory_down(self):
        """What is there is served, what is not comes later, and an account that is gone is made anew."""
        self.pebble.start()
        proxy = self.bothways(self.config())
        shown = self.wait_for_certificate(proxy)
        proxy.stop()
        self.pebble.stop()
        more = f'site "b.test" {{ listen "{self.at}"; redirect-http off; tls auto; respond "there"; }}'
        proxy = self.bothways(self.config(more=more))
        self.assertEqual(self.shown(), shown)
        self.assertIsNone(self.shown("b.test"))
        event = proxy.wait_for_event("cannot get a certificate")
        self.assertIn(f"127.0.0.1:{self.pebble.port}", event["error"])
        self.assertIn("refused", event["error"].lower())
        self.assertEqual(self.shown(), shown)

        self.pebble.start()
        self.wait_for_certificate(proxy, "b.test")
        self.assertEqual(self.get("b.test"), "there")
        self.assertEqual(self.shown(), shown)
        self.assertEqual(len(list(self.directory.rglob("account.json.unknown-*"))), 1)

    def test_reload_adds_a_name(self):
        """Those who are served already notice nothing while the new certificate is on its way."""
        self.pebble.start()
        proxy = self.bothways(self.config())
        shown = self.wait_for_certificate(proxy)
        proxy.rewrite(self.config(names='"a.test" "b.test"'))
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.assertIsNotNone(self.shown())
        self.wait_for_certificate(proxy, other_than=shown)
        self.assertEqual((self.get(), self.get("b.test")), ("here", "here"))

    def test_reload_asks_elsewhere(self):
        """Another kind of key, or another directory: ordered at once, and what is there serves until then."""
        self.pebble.start()
        proxy = self.bothways(self.config())
        first = self.wait_for_certificate(proxy)
        proxy.rewrite(self.config("key rsa2048"))
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.assertIsNotNone(self.shown())
        second = self.wait_for_certificate(proxy, other_than=first)
        self.assertIsInstance(second.public_key(), rsa.RSAPublicKey)
        elsewhere = self.config("key rsa2048").replace("https://127.0.0.1", "https://localhost")
        proxy.rewrite(elsewhere)
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.assertIsNotNone(self.shown())
        self.wait_for_certificate(proxy, other_than=second)
        self.assertEqual(len(list(self.directory.rglob("account.json"))), 2)

    def test_refusal(self):
        """The log says which name failed, by which challenge, and what the CA says."""
        self.pebble.start()
        self.pebble.points("b.test", "127.0.0.2")
        admin = f"127.0.0.1:{free_port()}"
        config = self.config(names='"a.test" "b.test"').replace("process {", f'process {{ admin "{admin}";')
        proxy = self.bothways(config)
        event = proxy.wait_for_event("cannot get a certificate")
        self.assertEqual((event["level"].lower(), event["names"]), ("error", "a.test, b.test"))
        self.assertIn("http-01 for b.test failed; the CA says: ", event["error"])
        self.assertIn("127.0.0.2", event["error"])
        self.assertNotIn("http-01 for a.test", event["error"])

        def listed():
            (state,) = json.loads(request(admin, target="/certificates")[2])["certificates"]
            return state["error"] == event["error"]

        wait_until(listed, "the admin interface says so too", program=proxy)
        self.assertIn("bothways_certificate_renewal_failed{", request(admin, target="/metrics")[2].decode())
        self.assertIsNone(self.shown())

    def test_external_account(self):
        binding = {"externalAccountBindingRequired": True, "externalAccountMACKeys": {"kid-1": EAB_KEY}}
        self.pebble.start(**binding)
        proxy = self.bothways(self.config())
        error = proxy.wait_for_event("cannot get a certificate")["error"]
        self.assertIn("(externalAccountRequired); give the key that the CA handed out by `eab`", error)
        key = self.write("eab.key", EAB_KEY + "\n")
        proxy.rewrite(self.config(f'eab key-id="kid-1" key-file="{key}"'))
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.wait_for_certificate(proxy)
        self.assertEqual(self.get(), "here")

    def test_what_cannot_be(self):
        """`check` says it before anything is asked."""
        done = self.bothways_command("check", self.write("wild.kdl", self.config(names='"*.a.test"')), code=None)
        self.assertNotEqual(done.code, 0)
        said = done.out + done.err
        self.assertIn("a certificate for `*.a.test` needs the DNS challenge", said)
        hook = self.write("hook", "not a program")
        text = self.config(f'challenge dns command="{hook}"; eab key-id="k" key-file="/does/not/exist"')
        done = self.bothways_command("check", self.write("hook.kdl", text), code=None)
        said = done.out + done.err
        self.assertIn(f"the DNS hook {hook} cannot be executed", said)
        self.assertIn("cannot read the EAB key in /does/not/exist", said)

    def test_hook_is_gone(self):
        """What is stored is served without it; and a restart is no reason to refuse."""
        self.pebble.start()
        hook, _ = self.pebble.hook()
        config = self.config(f'challenge dns command="{hook}" wait="10ms"')
        proxy = self.bothways(config)
        shown = self.wait_for_certificate(proxy)
        proxy.stop()
        hook.unlink()
        proxy = self.bothways(config)
        self.assertEqual(self.shown(), shown)

    def test_records_are_cleared_at_the_end(self):
        """A process that is ended while the CA is yet to look leaves no record behind."""
        self.pebble.start()
        hook, calls = self.pebble.hook()
        proxy = self.bothways(self.config(f'challenge dns command="{hook}" wait="10min"'))
        wait_until(lambda: calls.exists() and "set " in calls.read_text(), "the hook was called", program=proxy)
        proxy.send(signal.SIGTERM)
        self.assertEqual(proxy.ended(), 0)
        self.assertEqual([line.split()[0] for line in calls.read_text().splitlines()], ["set", "clear"])

    def test_directory_of_an_unknown_issuer(self):
        """The directory's own certificate is verified, and the log says what to do."""
        self.pebble.start()
        other = Authority(self.directory / "other", "Other CA")
        config = self.config().replace(str(self.authority.ca), str(other.ca))
        proxy = self.bothways(config)
        error = proxy.wait_for_event("cannot get a certificate")["error"]
        self.assertIn("an issuer that is not known here; `ca` of the `acme` block names a file with it", error)
        self.assertEqual(self.pebble.orders(), 0)

    def test_second_process(self):
        """Two processes with one state: one orders, the other says why it does not."""
        self.pebble.start()
        proxy = self.bothways(self.config())
        self.wait_for_certificate(proxy)
        (self.directory / "second").mkdir()
        ports = self.plain, self.secure
        self.plain, self.secure = free_port(), free_port()
        self.at = f"127.0.0.1:{self.secure}"
        second = self.bothways(self.config(names='"c.test"'), name="second/second.kdl")
        error = second.wait_for_event("cannot get a certificate")["error"]
        self.assertIn(f"is used by another process (process {proxy.pid})", error)
        self.plain, self.secure = ports
        self.assertEqual(self.pebble.orders(), 1)
