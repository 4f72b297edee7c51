"""A Flask application with a login, as one puts it under a path; with `PORTAL_KNOWS=1` it reads `X-Forwarded-*`."""

import os

from flask import Flask, jsonify, redirect, request, session, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.secret_key = "only for stories"
# Flask leaves URLs relative to the host unless it is told not to; older ones wrote them whole.
app.response_class.autocorrect_location_header = os.environ.get("PORTAL_ABSOLUTE") == "1"
if os.environ.get("PORTAL_KNOWS") == "1":
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)


@app.get("/")
def home():
    if "user" not in session:
        return redirect(url_for("login", next="/"))
    return f"hello {session['user']}, {request.script_root}\n"


@app.route("/login", methods=["GET", "POST"])
def login():
    if request.method == "POST":
        session["user"] = request.form["user"]
        return redirect(url_for("home"))
    return "who are you?\n"


@app.get("/logout")
def logout():
    session.clear()
    answer = redirect("../login")
    answer.delete_cookie("hint", path="/hints")
    return answer


@app.get("/links")
def links():
    return jsonify(inside=url_for("login"), outside=url_for("login", _external=True), prefix=request.script_root)
