"""A small Flask application, such as one has behind a proxy; gunicorn runs it with threads."""

import hashlib
import os
import queue
import subprocess
import threading

from flask import Flask, Response, jsonify, redirect, request, session

app = Flask(__name__)
app.secret_key = "only for stories"

# The page that a browser loads: it uses what pages use, and reports what came of it.
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Shop</title>
<link rel="stylesheet" href="/assets/style.css">
<h1>Apples and pears</h1>
<script>
const done = {};
async function all() {
    done.json = await (await fetch("/seen")).json();
    const body = new Uint8Array(300000).fill(65);
    done.upload = await (await fetch("/digest", {method: "POST", body})).json();
    done.stream = (await (await fetch("/stream?pieces=20")).text()).length;
    done.style = getComputedStyle(document.querySelector("h1")).color;
    done.event = await new Promise((resolve, reject) => {
        const source = new EventSource("/events/browser?greet=1");
        source.onmessage = event => { source.close(); resolve(event.data); };
        source.onerror = reject;
    });
    const echo = new URLSearchParams(location.search).get("echo");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    done.protocols = [...new Set(performance.getEntriesByType("resource").map(entry => entry.nextHopProtocol))];
    if (echo) done.echo = await new Promise((resolve, reject) => {
        const socket = new WebSocket(echo.startsWith("/") ? `${scheme}://${location.host}${echo}` : echo);
        socket.onopen = () => socket.send("h\\u00e9llo");
        socket.onmessage = event => { socket.close(); resolve(event.data); };
        socket.onerror = () => reject(new Error("WebSocket failed"));
    });
}
all().catch(error => { done.error = String(error); })
    .then(() => fetch("/report", {method: "POST", headers: {"Content-Type": "application/json"},
        body: JSON.stringify(done)}));
</script>
"""

# A page of many parts, which says how they came.
OBJECTS = 100
ALBUM = """<!doctype html>
<meta charset="utf-8">
<title>Album</title>
<script>
const got = new Set();
addEventListener("load", () => {
    const entries = performance.getEntriesByType("resource");
    const own = performance.getEntriesByType("navigation")[0].nextHopProtocol;
    const protocols = [...new Set([own, ...entries.map(entry => entry.nextHopProtocol)])];
    fetch("/report", {method: "POST", headers: {"Content-Type": "application/json"},
        body: JSON.stringify({objects: got.size, protocols})});
});
</script>
""" + "".join(f'<script async src="/object/{number}.js"></script>\n' for number in range(OBJECTS))

reports = queue.Queue()
channels = {}
channels_lock = threading.Lock()


def channel(name):
    with channels_lock:
        return channels.setdefault(name, queue.Queue())


@app.get("/")
def page():
    return PAGE


@app.get("/album")
def album():
    return ALBUM


@app.get("/object/<int:number>.js")
def part(number):
    """A part of the album; some are small, some not."""
    padding = "/" * 10 + "x" * (number * 500)
    return Response(f"got.add({number});\n{padding}\n", mimetype="application/javascript")


@app.get("/assets/style.css")
def style():
    return Response("h1 { color: rgb(1, 2, 3) }", mimetype="text/css")


@app.route("/seen", defaults={"rest": ""}, methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
@app.route("/seen/<path:rest>", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
def seen(rest):
    """What arrived here."""
    return jsonify(
        method=request.method,
        path=request.environ["RAW_URI"],
        host=request.host,
        fields=[[name, value] for name, value in request.headers.items()],
        body=request.get_data(as_text=True),
    )


@app.route("/digest", methods=["POST", "PUT"])
def digest():
    """The length and digest of a body that is read as it comes."""
    sha, length = hashlib.sha256(), 0
    while piece := request.stream.read(65536):
        sha.update(piece)
        length += len(piece)
    return jsonify(length=length, sha256=sha.hexdigest())


@app.get("/stream")
def stream():
    """A body of unknown length, in pieces: chunked."""
    pieces = int(request.args.get("pieces", "10"))
    size = int(request.args.get("size", "1000"))

    def body():
        for number in range(pieces):
            yield bytes([65 + number % 26]) * size

    return Response(body(), mimetype="application/octet-stream")


@app.get("/forever")
def forever():
    """A body that does not end, with or without a length."""

    def body():
        for _ in range(100_000):
            yield b"x" * 10_000
            threading.Event().wait(0.01)

    response = Response(body(), mimetype="application/octet-stream")
    if "length" in request.args:
        response.headers["Content-Length"] = str(10_000 * 100_000)
    return response


@app.get("/events/<name>")
def events(name):
    """Server-sent events: each goes out when somebody posts it, and not before."""

    greets = "greet" in request.args

    def body():
        if greets:
            yield "data: welcome\n\n"
        while (text := channel(name).get()) is not None:
            yield f"data: {text}\n\n"

    return Response(body(), mimetype="text/event-stream", headers={"Cache-Control": "no-cache"})


@app.post("/events/<name>")
def post_event(name):
    channel(name).put(request.get_data(as_text=True) or None)
    return "", 204


@app.get("/slow/<name>")
def slow(name):
    """An answer that comes once somebody posts an event of this name."""
    return f"late {channel(name).get()}"


@app.post("/login")
def login():
    session["user"] = request.form["user"]
    return redirect("/account")


@app.get("/account")
def account():
    return f"hello {session.get('user', 'nobody')}"


@app.post("/report")
def report():
    reports.put(request.get_json())
    return "", 204


@app.get("/report")
def take_report():
    """What a page reported, once."""
    try:
        return jsonify(reports.get(timeout=1))
    except queue.Empty:
        return "", 204


@app.route("/git/<path:path>", methods=["GET", "POST"])
def git(path):
    """Git's own server program, as a web server would run it."""
    environ = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": os.environ["SHOP_REPOSITORIES"],
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": "/" + path,
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query_string.decode(),
        "CONTENT_TYPE": request.content_type or "",
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "REMOTE_ADDR": request.remote_addr or "",
    }
    done = subprocess.run(
        ["git", "http-backend"], input=request.get_data(), env=environ, capture_output=True
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    fields = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
    status = next((value for name, value in fields if name == "Status"), "200 OK")
    return Response(body, status=status, headers=[f for f in fields if f[0] != "Status"])
