"""The base of every story: a directory of its own, programs that end with it, logs on failure."""

import functools
import json
import os
import shutil
import tempfile
import unittest
from pathlib import Path

from . import programs
from .bothways import Bothways, binary
from .programs import Program, find


class Story(unittest.TestCase):
    """A test with a directory; whatever it starts by these methods is ended at its end."""

    longMessage = True

    def setUp(self):
        self.directory = Path(tempfile.mkdtemp(prefix="bothways-e2e-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def write(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def start(self, name, command, **more):
        """Starts a program."""
        program = Program(name, command, self.directory, **more)
        self.addCleanup(program.stop)
        return program

    def bothways(self, config, arguments=(), name="bothways.kdl"):
        """Starts the proxy with this configuration, and waits until it is ready."""
        proxy = Bothways(self.write(name, config), arguments)
        self.addCleanup(proxy.stop)
        proxy.wait_until_ready()
        return proxy

    def run_command(self, *command, code=0, **more):
        """Runs a command to its end; `code` is what it must return, None: anything."""
        done = programs.run(command, self.directory, **more)
        if code is not None and done.code != code:
            self.fail(f"expected {code}\n{done}")
        return done

    def bothways_command(self, *arguments, code=0, **more):
        return self.run_command(binary(), *arguments, code=code, **more)

    def curl(self, *arguments, code=0, **more):
        """curl, silent, without any configuration of its own."""
        return self.run_command("curl", "-q", "-sS", "--max-time", "100", *arguments, code=code, **more)

    def curl_json(self, *arguments):
        return json.loads(self.curl(*arguments).out)

    def same_bytes(self, found, expected, what=""):
        """Like assertEqual, which would take minutes to show how large bodies differ."""
        self.assertTrue(found == expected, f"{what}: {len(found)} bytes, not those {len(expected)}")

    def logs(self):
        """The last lines of every log of this story, for the one who must find out."""
        texts = []
        for path in sorted(self.directory.rglob("*.log")) + sorted(self.directory.glob("*.kdl")):
            lines = path.read_text("utf-8", "replace").splitlines()
            if lines:
                cut = f" (last 40 of {len(lines)} lines)" if len(lines) > 40 else ""
                body = "\n".join("    " + line[:600] for line in lines[-40:])
                texts.append(f"  {path.name}{cut}\n{body}")
        return "\n".join(texts)


def needs(*commands):
    """Skips a story, or a class of them, where one of these programs is not installed."""
    missing = [command for command in commands if find(command) is None]
    return unittest.skipIf(missing, f"{NOT_INSTALLED}: {', '.join(missing)}")


NOT_INSTALLED = "not installed"


def once(start):
    """Something that is started by the first story that wants it and serves until the end of all."""

    @functools.cache
    def started():
        directory = Path(tempfile.mkdtemp(prefix="bothways-e2e-shared-"))
        LASTING.append((directory, thing := start(directory)))
        return thing

    return started


LASTING = []


def end_all():
    """Ends what lasted."""
    while LASTING:
        directory, thing = LASTING.pop()
        thing.stop()
        shutil.rmtree(directory, ignore_errors=True)


def is_full():
    """Whether the long forms are asked for."""
    return os.environ.get("E2E_FULL") == "1"
