"""The program under test: the real binary, as a process."""

import json
import os
import signal
from pathlib import Path

from .programs import Program, built, wait_until


def binary():
    """The binary under test."""
    given = os.environ.get("BOTHWAYS")
    return Path(given).resolve() if given else built("bothways")


class Bothways(Program):
    """`bothways run` with a file; its logs go to files beside that, both as JSON."""

    def __init__(self, config, arguments=()):
        command = [binary(), "run", "--config", config.name, *arguments]
        super().__init__("bothways", command, config.parent)
        self.config = config
        self.listening = {}

    def wait_until_ready(self):
        self.wait_for_event("ready")
        for event in self.events():
            if "written" in event:
                self.listening[event["written"]] = event["address"]

    def events(self):
        """Everything in the error log; it is JSON unless the access log is not."""
        lines = whole_lines(self.err)
        return [json.loads(line) if line.startswith("{") else {"msg": line} for line in lines]

    def wait_for_event(self, words, after=0):
        """Waits for an event with these words in its message, beyond the first `after` events."""

        def found():
            return next((event for event in self.events()[after:] if words in event.get("msg", "")), None)

        return wait_until(found, f"the error log says {words!r}", program=self)

    def records(self):
        """Everything in the access log, which must be JSON line by line."""
        return json_lines(self.out)

    def wait_for_record(self, patience=20, **expected):
        """Waits for a record in which these keys have these values, and returns it."""

        def found():
            return next(
                (
                    record
                    for record in self.records()
                    if all(record.get(key) == value for key, value in expected.items())
                ),
                None,
            )

        return wait_until(found, f"the access log has {expected}", patience)

    def reload(self):
        """Reloads by signal, and returns the event that tells the outcome."""
        before = len(self.events())
        self.send(signal.SIGHUP)
        return self.wait_for_event("reloaded", after=before)

    def rewrite(self, config):
        """Puts another text in the place of the file, at once, as editors and deployments do."""
        new = self.config.with_suffix(".new")
        new.write_text(config)
        new.rename(self.config)

    def memory_reset(self):
        """Lets the peak of the memory begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def memory(self):
        """The memory of the process, and its peak since the last reset, in KiB."""
        fields = {}
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            fields[name] = value.split()
        return int(fields["VmRSS"][0]), int(fields["VmHWM"][0])


def json_lines(path):
    """The whole lines of a file, each a JSON object."""
    return [json.loads(line) for line in whole_lines(path)]


def whole_lines(path):
    """The lines of a file that is being written, without one that has no end yet."""
    text = path.read_bytes()
    return text[: text.rfind(b"\n") + 1].decode().splitlines()
