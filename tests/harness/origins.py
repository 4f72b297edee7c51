"""Servers that stand behind the proxy, or out in the world."""

import contextlib
import logging
import os
import re
import socket
import socketserver
import struct
import sys
import threading
from pathlib import Path

import websockets.sync.server

from .programs import Program, environment, find, free_port, wait_until
from .story import once

# Connections that end without a goodbye are what some stories are about.
logging.getLogger("websockets").setLevel(logging.CRITICAL)

APPS = Path(__file__).resolve().parent.parent / "apps"


class Nginx(Program):
    """A real nginx that serves the folder `www` of its directory; `more` goes into its server.

    With `tls` (a certificate and key) it is also served over TLS; with `http2` in HTTP/2: over TLS beside
    HTTP/1.1, and on a third port in clear, where it speaks nothing else.
    """

    def __init__(self, directory, more="", port=None, tls=None, http2=False):
        self.port = port or free_port()
        self.www = directory / "www"
        self.www.mkdir(exist_ok=True)
        (self.www / "index.html").write_text("<h1>nginx</h1>\n")
        secure = ""
        if tls is not None:
            self.tls_port = free_port()
            secure = f"""
        listen 127.0.0.1:{self.tls_port} ssl{" http2" if http2 else ""};
        ssl_certificate {tls.certificate};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate_key {tls.key};"""
        if http2:
            self.h2c_port = free_port()
            secure += f"""
        listen 127.0.0.1:{self.h2c_port} http2;"""
        (directory / "nginx.conf").write_text(f"""
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
worker_processes 1;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_max_body_size 0;
    default_type text/plain;
    types {{ text/html html; text/css css; application/javascript js; }}
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{self.port};{secure}
        root {self.www};
        location = /seen-by-nginx {{ return 200 "$request_method $request_uri $host\\n"; }}
        location = /hello {{ return 200 "hello\\n"; }}
        location = /protocol {{ return 200 "$server_protocol $ssl_protocol $ssl_server_name $connection\\n"; }}
        location /slowly/ {{ alias {self.www}/; limit_rate 200k; }}
        {more}
    }}
}}
""")
        command = [find("nginx"), "-p", directory, "-c", directory / "nginx.conf", "-e", "stderr"]
        super().__init__("nginx", command, directory)
        self.wait_for_port(self.port)

    @property
    def at(self):
        return f"127.0.0.1:{self.port}"


@once
def nginx(directory):
    """An nginx for all."""
    return Nginx(directory)


class Flask(Program):
    """The application in `apps/shop.py`, run by gunicorn."""

    def __init__(self, directory, port=None):
        self.port = port or free_port()
        self.repositories = directory / "repositories"
        self.repositories.mkdir(exist_ok=True)
        command = [
            *(sys.executable, "-m", "gunicorn", "--chdir", APPS, "--bind", self.at),
            *("--workers", "1", "--threads", "16", "--worker-tmp-dir", directory),
            *("--graceful-timeout", "1", "--keep-alive", "5", "--no-control-socket", "shop:app"),
        ]
        home = environment(directory, SHOP_REPOSITORIES=self.repositories, PYTHONDONTWRITEBYTECODE=1)
        super().__init__("flask", command, directory, env=home)
        self.wait_for_port(self.port)

    @property
    def at(self):
        return f"127.0.0.1:{self.port}"


@once
def flask(directory):
    """A Flask application for all."""
    return Flask(directory)


class Portal(Program):
    """The application in `apps/portal.py`, run by gunicorn; what it `knows` are its environment variables."""

    def __init__(self, directory, name="portal", **knows):
        self.port = free_port()
        command = [
            *(sys.executable, "-m", "gunicorn", "--chdir", APPS, "--bind", self.at),
            *("--workers", "1", "--threads", "4", "--worker-tmp-dir", directory),
            *("--graceful-timeout", "1", "--no-control-socket", "portal:app"),
        ]
        home = environment(directory, PYTHONDONTWRITEBYTECODE=1, **knows)
        super().__init__(name, command, directory, env=home)
        self.wait_for_port(self.port)

    @property
    def at(self):
        return f"127.0.0.1:{self.port}"


class Wiki(Program):
    """The application in `apps/wiki.py`, which flup serves over SCGI at a Unix socket or a port."""

    def __init__(self, directory, at=None):
        self.at = at or f"127.0.0.1:{free_port()}"
        command = [sys.executable, APPS / "wiki.py", self.at]
        super().__init__("wiki", command, directory, env=environment(directory, PYTHONDONTWRITEBYTECODE=1))
        if self.at.startswith("unix:"):
            wait_until(Path(self.at.removeprefix("unix:")).exists, "the socket is there", program=self)
        else:
            self.wait_for_port(int(self.at.split(":")[1]))


class WebSocketEcho:
    """Says back what it is told."""

    def __init__(self, _directory):
        def echo(connection):
            for message in connection:
                connection.send(message)

        self.server = websockets.sync.server.serve(echo, "127.0.0.1", 0, max_size=None)
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def at(self):
        return f"127.0.0.1:{self.port}"

    def stop(self):
        self.server.shutdown()


@once
def websocket_echo(directory):
    """A WebSocket echo for all."""
    return WebSocketEcho(directory)


class Scripted:
    """An origin that does as `serve(connection)` says, a thread for each connection."""

    def __init__(self, serve, host="127.0.0.1", port=0):
        self.accepted = 0
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                outer.accepted += 1
                try:
                    serve(self.request)
                except OSError:
                    pass  # The proxy left; what that means, the story judges.

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 1024

        self.server = Server((host, port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def at(self):
        return f"127.0.0.1:{self.port}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def read_head(connection):
    """The next head that arrives, and what came after it; None if the connection ends."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode("latin-1"), rest


def says(text):
    """An origin whose every answer is this."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)

    def serve(connection):
        while read_head(connection) is not None:
            connection.sendall(answer)

    return serve


def content_length(head):
    found = re.search(r"(?im)^content-length: *(\d+)", head)
    return int(found.group(1)) if found else None


def sink(connection):
    """Takes bodies of a known length, throws them away inside the kernel, and says how many bytes it was."""
    while (request := read_head(connection)) is not None:
        head, rest = request
        if "100-continue" in head.lower():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = content_length(head) - len(rest)
        while left > 0:
            # With MSG_TRUNC, TCP counts bytes and copies none.
            taken = connection.recv_into(SCRATCH, min(left, len(SCRATCH)), socket.MSG_TRUNC)
            if taken == 0:
                return
            left -= taken
        text = str(content_length(head)).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


SCRATCH = bytearray(1 << 20)


class Dns:
    """A name server that knows these names and no others. A name whose address is None fails; one may
    have a list of addresses, or, by `services`, SRV records: (priority, weight, port, target)."""

    def __init__(self, names, ttl=30, services=None):
        self.names, self.ttl, self.services = names, ttl, services or {}
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def at(self):
        return f"127.0.0.1:{self.port}"

    def serve(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(4096)
                if not question:
                    return
                self.socket.sendto(self.answer(question), peer)
            except OSError:
                return

    def answer(self, query):
        labels, at = [], 12
        while (length := query[at]) != 0:
            labels.append(query[at + 1 : at + 1 + length].decode().lower())
            at += 1 + length
        name, kind = ".".join(labels), struct.unpack_from(">H", query, at + 1)[0]
        self.asked.append((name, kind))
        question = query[12 : at + 5]
        addresses, services = self.names.get(name), self.services.get(name)
        code = 0 if addresses or services else (2 if name in self.names else 3)
        records = []
        if addresses and kind == 1:
            several = [addresses] if isinstance(addresses, str) else addresses
            records = [socket.inet_aton(address) for address in several]
        elif services and kind == 33:
            records = [self.service(*service) for service in services]
        answers = b"".join(
            struct.pack(">HHHIH", 0xC00C, kind, 1, self.ttl, len(record)) + record for record in records
        )
        return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0) + question + answers

    @staticmethod
    def service(priority, weight, port, target):
        """RFC 2782."""
        labels = b"".join(bytes([len(label)]) + label.encode() for label in target.split("."))
        return struct.pack(">HHH", priority, weight, port) + labels + b"\0"

    def stop(self):
        # The thread must be gone before the number of its socket is another's, whose bytes it would take.
        with contextlib.suppress(OSError):  # it is not connected, but a waiting thread wakes
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()
