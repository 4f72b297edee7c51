"""Pebble, the ACME test server of Let's Encrypt, with a DNS that its companion answers."""

import json
import shlex
import ssl
import urllib.request

from .programs import environment, free_port, wait_until

DIRECTORY = "/dir"


class Pebble:
    """A directory that validates on `http_port` and `tls_port`, and whose accounts, orders and CA end with it.

    All names are at 127.0.0.1 unless `points` said otherwise.
    """

    def __init__(self, story, authority, http_port, tls_port):
        self.story, self.authority = story, authority
        self.pair = authority.issue("pebble", "127.0.0.1", "localhost")
        self.port, self.management = free_port(), free_port()
        self.dns_port, self.dns_management = free_port(), free_port()
        self.config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(self.pair.certificate),
            "privateKey": str(self.pair.key),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
        self.program, self.starts = None, 0
        dns = story.start("challtestsrv", [
            "pebble-challtestsrv", "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "",
            "-dns01", f"127.0.0.1:{self.dns_port}", "-management", f"127.0.0.1:{self.dns_management}",
        ])
        dns.wait_for_port(self.dns_management)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}{DIRECTORY}"

    def start(self, **config):
        """Starts it, with these settings besides."""
        self.starts += 1
        text = json.dumps({"pebble": self.config | config})
        path = self.story.write(f"pebble-{self.starts}.json", text)
        variables = {"PEBBLE_VA_NOSLEEP": 1, "PEBBLE_WFE_NONCEREJECT": 0, "PEBBLE_AUTHZREUSE": 0}
        command = ["pebble", "-config", path, "-dnsserver", f"127.0.0.1:{self.dns_port}"]
        directory = self.story.directory
        self.program = self.story.start(
            f"pebble-{self.starts}", command, env=environment(directory, **variables)
        )
        self.program.wait_for_port(self.port)
        self.program.wait_for_port(self.management)
        return self

    def stop(self):
        self.program.stop()

    def root(self):
        """A file with the CA that its certificates come from; another one after each start."""
        context = ssl.create_default_context(cafile=self.authority.ca)
        with urllib.request.urlopen(f"https://127.0.0.1:{self.management}/roots/0", context=context) as answer:
            return self.story.write(f"pebble-root-{self.starts}.pem", answer.read().decode())

    def dns(self, what, **fields):
        """Changes what its DNS says."""
        url = f"http://127.0.0.1:{self.dns_management}/{what}"
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(fields).encode())).close()

    def points(self, name, address):
        self.dns("add-a", host=f"{name}.", addresses=[address])

    def hook(self):
        """A command for DNS-01, and the file in which it writes down its calls."""
        at, calls = f"http://127.0.0.1:{self.dns_management}", self.story.directory / "hook.calls"
        path = self.story.write("dns-hook", f"""#!/bin/sh
echo "$@" >> {shlex.quote(str(calls))}
echo "doing $1 for $2"
case $1 in
    set) curl -q -sSf -d "{{\\"host\\":\\"$2.\\",\\"value\\":\\"$3\\"}}" {at}/set-txt;;
    clear) curl -q -sSf -d "{{\\"host\\":\\"$2.\\"}}" {at}/clear-txt;;
esac
""")
        path.chmod(0o755)
        return path, calls

    def orders(self):
        """How many orders it took, since its last start."""
        return self.program.out.read_text().count("POST /order-plz")

    def wait_for_orders(self, count):
        wait_until(lambda: self.orders() >= count, f"{count} orders", program=self.program)
