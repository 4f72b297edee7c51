"""A certificate authority of our own, and certificates that it issues."""

import base64
import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from .programs import run

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
RSA = ("-newkey", "rsa:2048", "-nodes")


@dataclass(frozen=True)
class Pair:
    """A certificate with what leads to its authority, and its key."""

    certificate: Path
    key: Path

    @property
    def kdl(self):
        """As the configuration has it."""
        return f'cert="{self.certificate}" key="{self.key}"'

    def fingerprint(self):
        return hashlib.sha256(der(self.certificate)).hexdigest()


class Authority:
    """`ca` is what those must trust who meet its certificates."""

    def __init__(self, directory, name="Story CA"):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca, self.name = self.directory / "ca.pem", name
        self.openssl("req", "-x509", *EC, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30",
                     "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def openssl(self, *arguments):
        done = run(["openssl", *arguments], self.directory)
        assert done.code == 0, done

    def issue(self, file, *names, key=EC, days=30, subject=None, client=False):
        """A certificate for these names; the files are named after `file`."""
        alternatives = ",".join(f"IP:{n}" if n[0].isdigit() else f"DNS:{n}" for n in names)
        usage = "clientAuth" if client else "serverAuth"
        (self.directory / f"{file}.ext").write_text(
            (f"subjectAltName={alternatives}\n" if names else "")
            + f"basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n"
        )
        self.openssl("req", *key, "-keyout", f"{file}.key", "-out", f"{file}.csr",
                     "-subj", subject or f"/CN={names[0] if names else file}")
        self.openssl("x509", "-req", "-in", f"{file}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                     "-days", str(days), "-CAcreateserial", "-out", f"{file}.pem", "-extfile", f"{file}.ext")
        return Pair(self.directory / f"{file}.pem", self.directory / f"{file}.key")

    def context(self, *protocols):
        """For clients in Python: believes this authority alone, and offers these protocols."""
        context = ssl.create_default_context(cafile=self.ca)
        if protocols:
            context.set_alpn_protocols(protocols)
        return context


class Certificates:
    """An authority and one server: `certificate` and `key` are for these names, clients trust `ca`."""

    def __init__(self, directory, *names):
        authority = Authority(directory)
        pair = authority.issue("server", *names)
        self.ca, self.certificate, self.key = authority.ca, pair.certificate, pair.key


def der(certificate):
    """The first certificate of a PEM file."""
    text = Path(certificate).read_text()
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN") : text.index(end) + len(end)])


def key_digest(certificate, directory):
    """The digest of a certificate's public key, as Chromium wants it."""
    key = run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], directory)
    text = "".join(key.out.splitlines()[1:-1])
    return base64.b64encode(hashlib.sha256(base64.b64decode(text)).digest()).decode()
