"""A certificate authority of our own, and a certificate that it issued."""

from pathlib import Path

from .programs import run


class Certificates:
    """`ca` is what clients must trust; `certificate` and `key` are for a server of these names."""

    def __init__(self, directory, *names):
        directory = Path(directory)
        self.ca = directory / "ca.pem"
        self.certificate = directory / "server.pem"
        self.key = directory / "server.key"
        alternatives = ",".join(f"IP:{n}" if n[0].isdigit() else f"DNS:{n}" for n in names)
        (directory / "server.ext").write_text(
            f"subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"
        )
        ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        for command in (
            ("req", "-x509", *ec, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2")
            + ("-subj", "/CN=Story CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            ("req", *ec, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=Story server"),
            ("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2")
            + ("-CAcreateserial", "-out", "server.pem", "-extfile", "server.ext"),
        ):
            done = run(["openssl", *command], directory)
            assert done.code == 0, done
