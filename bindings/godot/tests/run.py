#!/usr/bin/env python3
"""Tests of the extension with the real engine: `run.py ENGINE FOLDER [--long] [NAME…]`.

FOLDER holds `project` (the test project with the addon in it, as a game has it), `demo` and `documentation` (what the extension
tells the editor's help). Every test runs two engine processes over
loopback, without a window, and ends when both say PASS and have written no error, no warning, and no word of a leak.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

# Seconds that an engine may take from its start to its READY or its end: a bound for machines that are busy.
PATIENCE = 120
# Words in an engine's output that no test may cause. SCRIPT ERROR and USER ERROR are among them.
BAD = re.compile(r"ERROR|WARNING|leaked|still in use|panicked|Orphan", re.IGNORECASE)
CLASSES = ["Client", "Conditions", "Key", "MultiplayerPeer", "Server"]


class Failed(Exception):
    """A test failed; the text says how."""


class Engine:
    """One engine process, whose lines are collected as they come."""

    def __init__(self, engine, project, home, arguments):
        environment = dict(os.environ, HOME=str(home), XDG_DATA_HOME=str(home / "share"))
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        self.process = subprocess.Popen(
            [engine, "--headless", "--path", str(project), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", env=environment,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def line(self, start):
        """What stands behind the first line with this start, when it comes."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                for line in self.lines:
                    if line.startswith(start):
                        return line[len(start):].strip()
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    raise Failed(f"no line {start}:\n{self.text()}")
                self.changed.wait(left)

    def finish(self, patience):
        """Waits for the end, which must be a good one."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Failed(f"it does not end:\n{self.text()}") from None
        self.reader.join(PATIENCE)
        if code != 0 or "PASS" not in self.lines:
            raise Failed(f"it ended with {code}:\n{self.text()}")

    def quiet(self):
        """Fails if it wrote what a good game does not cause."""
        bad = [line for line in self.lines if BAD.search(line)]
        if bad:
            raise Failed("it wrote\n" + "\n".join(bad) + f"\nin\n{self.text()}")

    def text(self):
        return "\n".join(self.lines)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Tests:
    def __init__(self, engine, folder, long):
        self.engine, self.folder, self.long = engine, pathlib.Path(folder).resolve(), long
        self.project = self.folder / "project"

    def all(self):
        """Names and what to run."""
        seconds = 60 if self.long else 8
        return {
            "documentation": self.documentation,
            "errors": self.errors,
            "rpc_2": lambda: self.pair("rpc", clients=2),
            "rpc_8": lambda: self.pair("rpc", clients=8),
            "rpc_32": lambda: self.pair("rpc", clients=32),
            "spawn_2": lambda: self.pair("spawn", clients=2),
            "spawn_8": lambda: self.pair("spawn", clients=8),
            "server_closes": lambda: self.pair("loss", clients=8, how="close"),
            "server_vanishes": self.vanishes,
            "refusal": lambda: self.pair("refuse"),
            "nodes": lambda: self.pair("nodes"),
            "demo": self.demo,
            "play": lambda: self.pair("play", clients=8, seconds=seconds),
        }

    def start(self, home, **options):
        arguments = [f"{name}={value}" for name, value in options.items()]
        return Engine(self.engine, self.project, home, ["--", *arguments])

    def pair(self, scenario, **options):
        patience = PATIENCE + 2 * options.get("seconds", 0)
        with tempfile.TemporaryDirectory() as home:
            home = pathlib.Path(home)
            server = self.start(home, scenario=scenario, role="server", **options)
            client = None
            try:
                known = json.loads(server.line("READY "))
                client = self.start(home, scenario=scenario, role="client", **options, **known)
                client.finish(patience)
                server.finish(patience)
                client.quiet()
                server.quiet()
            except Failed as failed:
                others = [("server", server), ("client", client)]
                logs = "\n".join(f"--- {name}\n{one.text()}" for name, one in others if one)
                raise Failed(f"{failed}\n{logs}") from None
            finally:
                server.kill()
                if client:
                    client.kill()

    def vanishes(self):
        """The server's process is killed while its clients play."""
        with tempfile.TemporaryDirectory() as home:
            home = pathlib.Path(home)
            server = self.start(home, scenario="loss", role="server", how="vanish", clients=2)
            client = None
            try:
                known = json.loads(server.line("READY "))
                client = self.start(home, scenario="loss", role="client", clients=2, **known)
                client.line("CONNECTED")
                server.kill()
                client.finish(PATIENCE)
                client.quiet()
            finally:
                server.kill()
                if client:
                    client.kill()

    def errors(self):
        """What is wrong is reported, and does not leak either."""
        with tempfile.TemporaryDirectory() as home:
            one = self.start(pathlib.Path(home), scenario="errors", role="alone")
            try:
                one.finish(PATIENCE)
            finally:
                one.kill()
            reported = [line for line in one.lines if "gamekeeper: " in line]
            if len(reported) < 12:
                raise Failed(f"only {len(reported)} errors were reported:\n{one.text()}")
            bad = re.compile(r"SCRIPT ERROR|leaked|still in use|panicked", re.IGNORECASE)
            if bad.search(one.text()):
                raise Failed(one.text())

    def documentation(self):
        """Everything that a game can call has its text in the editor's help."""
        with tempfile.TemporaryDirectory() as home:
            # The engine merges what it knows of the classes with what the extension tells the editor.
            merged = pathlib.Path(home) / "merged"
            shutil.copytree(self.folder / "documentation", merged / "doc_classes")
            one = Engine(
                self.engine, self.project, pathlib.Path(home),
                ["--doctool", str(merged), "--gdextension-docs"],
            )
            try:
                one.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise Failed(f"no documentation in time:\n{one.text()}") from None
            finally:
                one.kill()
            one.reader.join(PATIENCE)
            one.quiet()
            seen = 0
            for name in CLASSES:
                file = merged / "doc_classes" / f"Gamekeeper{name}.xml"
                if not file.exists():
                    raise Failed(f"Gamekeeper{name} is not documented:\n{one.text()}")
                seen += self.documented(xml.etree.ElementTree.parse(file).getroot())
            if seen < 100:
                raise Failed(f"only {seen} texts")

    def demo(self):
        """The demo, played by two."""
        project = self.folder / "demo"
        with tempfile.TemporaryDirectory() as home:
            home = pathlib.Path(home)
            engines = [Engine(self.engine, project, home, ["--", "--host", "0"])]
            try:
                port, key = engines[0].line("port ").split(", key ")
                engines.append(Engine(self.engine, project, home, ["--", "--join", "127.0.0.1", key, port]))
                own = engines[1].line("connected as ")
                # Its host's square and its own appear at the one who joins.
                engines[1].line("player 1 is here")
                engines[1].line(f"player {own} is here")
                engines[0].line("2 players")
                # A joined one whose host is gone says so.
                engines[0].kill()
                engines[1].line("the server ")
                for one in engines:
                    one.quiet()
            except Failed as failed:
                raise Failed(f"{failed}\n" + "\n---\n".join(one.text() for one in engines)) from None
            finally:
                for one in engines:
                    one.kill()

    @staticmethod
    def documented(of):
        """How many texts a class has; one that is missing is a failure. The engine's virtual methods have theirs there."""
        name, seen = of.get("name"), 0
        texts = [("brief description", of.findtext("brief_description"))]
        for kind in ["methods/method", "members/member", "signals/signal", "constants/constant"]:
            for item in of.findall(kind):
                if not item.get("name").startswith("_"):
                    texts.append((item.get("name"), item.findtext("description") or item.text))
        for what, text in texts:
            if not (text or "").strip():
                raise Failed(f"{name}: no text for {what}")
            seen += 1
        return seen


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--long"]
    if len(arguments) < 2:
        sys.exit(__doc__)
    tests = Tests(arguments[0], arguments[1], "--long" in sys.argv).all()
    names = arguments[2:] or list(tests)
    failed = []
    for name in names:
        start = time.monotonic()
        try:
            tests[name]()
            print(f"{name}: passed after {time.monotonic() - start:.1f} s", flush=True)
        except Failed as error:
            failed.append(name)
            print(f"{name}: FAILED after {time.monotonic() - start:.1f} s: {error}", flush=True)
    print(f"godot: {len(names) - len(failed)} passed, {len(failed)} failed {' '.join(failed)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
