"""Clients that say exactly what they mean, for what curl does not do."""

import http.client
import socket
import threading

from .programs import PATIENCE


def request(at, method="GET", target="/", body=None, **fields):
    """One exchange on a connection of its own: status, fields in lower case, body."""
    connection = http.client.HTTPConnection(at, timeout=PATIENCE)
    try:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def connect(at, context=None, name=None):
    """A bare connection; with a `context` over TLS, asking for a server of this name."""
    host, _, port = at.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
    return context.wrap_socket(connection, server_hostname=name) if context else connection


def read_until(connection, mark):
    """Reads up to and with this mark, byte by byte so that nothing behind it is taken."""
    data = b""
    while not data.endswith(mark):
        piece = connection.recv(1)
        if not piece:
            raise AssertionError(f"ended after {data!r}, before {mark!r}")
        data += piece
    return data


def read_to_end(connection):
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


class Load:
    """Clients that ask again and again until they are told to stop, and count what they get.

    `ask(connection)` makes one exchange and returns whether all was well. Each client uses its
    connection for as long as the proxy lets it, as browsers do.
    """

    def __init__(self, at, clients, ask, context=None):
        self.at, self.ask, self.context = at, ask, context
        self.good, self.failures = 0, []
        self.lock = threading.Lock()
        self.ends = threading.Event()
        self.threads = [threading.Thread(target=self.client, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self):
        kind, more = http.client.HTTPConnection, {}
        if self.context is not None:
            kind, more = http.client.HTTPSConnection, {"context": self.context}
        connection = kind(self.at, timeout=PATIENCE, **more)
        while not self.ends.is_set():
            try:
                failure = self.ask(connection)
            except (OSError, http.client.HTTPException) as error:
                failure = f"{type(error).__name__}: {error}"
                connection.close()
            with self.lock:
                if failure:
                    self.failures.append(failure)
                else:
                    self.good += 1
        connection.close()

    def stop(self):
        self.ends.set()
        for thread in self.threads:
            thread.join(PATIENCE)


def ask_for(target, expected, **fields):
    """An exchange that must bring this body; the `Load` shows what it brought instead."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}

    def ask(connection):
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200 and expected(body):
            return None
        return f"{answer.status} {body[:200]!r}"

    return ask
