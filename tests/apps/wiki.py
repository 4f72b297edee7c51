"""A WSGI application behind a real SCGI server (flup), which serves it on the socket that its argument names."""

import hashlib
import json
import sys

from flup.server.scgi import WSGIServer


def app(environ, start):
    path = environ["PATH_INFO"]
    if path == "/moved":
        start("302 Found", [("Location", "/environ")])
        return []
    if path == "/pieces":
        start("200 OK", [("Content-Type", "text/plain")])
        return (b"%d\n" % piece * 1000 for piece in range(1000))
    if path == "/digest":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        start("201 Created", [("Content-Type", "application/json")])
        return [json.dumps({"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}).encode()]
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()]


at = sys.argv[1]
address = at.removeprefix("unix:") if at.startswith("unix:") else (at.split(":")[0], int(at.split(":")[1]))
WSGIServer(app, bindAddress=address).run()
