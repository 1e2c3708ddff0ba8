#!/usr/bin/env python3
"""Tests of the extension with the real engine: `run.py ENGINE FOLDER [--short] [--capture FILE] [NAME…]`.

FOLDER holds `project` (the test project with the addon in it, as a game has it), `demo` and `documentation` (what the extension
tells the editor's help). Every test runs two engine processes over
loopback, without a window, and ends when both say PASS and have written no error, no warning, and no word of a leak.
Games are played for a minute (--short: eight seconds) while the other tests run. --capture writes down what the demo's two
windows say and what nodes they have.
"""

import argparse
import concurrent.futures
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
    def __init__(self, engine, folder, seconds, capture):
        """`seconds`: how long a game lasts; `capture`: the file that the demo is written down in, or None."""
        self.engine, self.folder = engine, pathlib.Path(folder).resolve()
        self.seconds, self.capture = seconds, capture
        self.project = self.folder / "project"

    def all(self):
        """Names and what to run."""
        return {
            "library": self.library,
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
            "play_2": lambda: self.play(2),
            "play_8": lambda: self.play(8),
            "play_32": lambda: self.play(32),
        }

    def start(self, home, **options):
        arguments = [f"{name}={value}" for name, value in options.items()]
        return Engine(self.engine, self.project, home, ["--", *arguments])

    def pair(self, scenario, **options):
        """Runs a server's and a client's process until both are content; gives the client's."""
        patience = PATIENCE + 4 * options.get("seconds", 0)
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
                return client
            except Failed as failed:
                others = [("server", server), ("client", client)]
                logs = "\n".join(f"--- {name}\n{one.text()}" for name, one in others if one)
                raise Failed(f"{failed}\n{logs}") from None
            finally:
                server.kill()
                if client:
                    client.kill()

    def play(self, clients):
        """A game whose server plays the ticks that 60 Hz have in the time, and its clients as many as the machine lets them."""
        client = self.pair("play", clients=clients, seconds=self.seconds)
        played = re.match(r"(\d+) clients, ticks (\d+), states (\d+),", client.line("PLAYED "))
        if not played or int(played[1]) != clients or int(played[3]) < 30 * self.seconds:
            raise Failed(f"it was not played:\n{client.text()}")
        print(f"play_{clients}: {client.line('PLAYED ')}", flush=True)

    def library(self):
        """What the engine loads stays loaded: a thread may still be inside of it when the engine lets it go."""
        found = list((self.project / "addons/gamekeeper/bin").glob("linux.*/*.so"))
        for file in found:
            flags = subprocess.run(["readelf", "-d", file], capture_output=True, text=True, check=True).stdout
            if "NODELETE" not in flags:
                raise Failed(f"{file} can be unloaded:\n{flags}")
        if not found and sys.platform == "linux":
            raise Failed("there is no library")

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
        # The engine reads this file after the project's own.
        shutil.copy(pathlib.Path(__file__).parent / "demo_tree.gd", project)
        (project / "override.cfg").write_text('[autoload]\nPrintsThisTree="*res://demo_tree.gd"\n')
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
                for one in engines:
                    one.line("END OF TREE")
                    tree = one.text().split("\nTREE\n")[1]
                    for node in ["Spawner", "Players", "Menu", f"┖╴{own}\n", f"player {own} stands at", "player 1 stands at"]:
                        if node not in tree:
                            raise Failed(f"no {node.strip()} in\n{one.text()}")
                # A joined one whose host is gone says so.
                engines[0].kill()
                engines[1].line("the server ")
                for one in engines:
                    one.quiet()
                if self.capture:
                    names = ["$ godot --headless -- --host 0", "$ godot --headless -- --join 127.0.0.1 KEY PORT"]
                    texts = [f"{name}\n{one.text()}\n" for name, one in zip(names, engines)]
                    self.capture.write_text("\n".join(texts))
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


def run(name, test):
    """Runs one test and says how it went; whether it passed."""
    start = time.monotonic()
    try:
        test()
    except Failed as error:
        print(f"{name}: FAILED after {time.monotonic() - start:.1f} s: {error}", flush=True)
        return False
    print(f"{name}: passed after {time.monotonic() - start:.1f} s", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine")
    parser.add_argument("folder")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--capture", type=pathlib.Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_intermixed_args()
    tests = Tests(asked.engine, asked.folder, 8 if asked.short else 60, asked.capture).all()
    names = asked.names or list(tests)
    # Games take their time and little else, so that the others run beside them.
    games = [name for name in names if name.startswith("play_")]
    others = [name for name in names if name not in games]
    with concurrent.futures.ThreadPoolExecutor(max(1, len(games))) as beside:
        playing = {name: beside.submit(run, name, tests[name]) for name in games}
        failed = [name for name in others if not run(name, tests[name])]
        failed += [name for name in games if not playing[name].result()]
    print(f"godot: {len(names) - len(failed)} passed, {len(failed)} failed {' '.join(failed)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
