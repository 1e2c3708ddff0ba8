"""Whole programs, each in a process of its own, played on by the real mpgameserver client."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from gamekeeper import EllipticCurvePrivateKey
from playing import PATIENCE, Player, free_port, loopback, wait_until

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
CHECKOUT = PROGRAMS.parents[3]

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def heed_interrupts():
    """Whoever runs the tests in the background has interrupts ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Program:
    """A running program, and the lines that it has written."""

    def __init__(self, path, *arguments):
        self.lines = []
        self.errors = []
        self.process = subprocess.Popen(
            [sys.executable, str(path)] + [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            preexec_fn=heed_interrupts if os.name == "posix" else None,
        )
        self.readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    def wait_for(self, start):
        """Waits for a line that begins so, and gives it."""
        found = lambda: [line for line in list(self.lines) if line.startswith(start)]
        wait_until(lambda: found() or self.process.poll() is not None, "the line {!r}".format(start))
        assert found(), "the program ended without {!r}: {}".format(start, self.errors)
        return found()[0]

    def address(self):
        """Where it says that it listens."""
        host, port = self.wait_for("listening").split()[-2:]
        return host, int(port)

    def end(self):
        """Waits for its end, and gives its exit code."""
        code = self.process.wait(PATIENCE)
        for reader in self.readers:
            reader.join(PATIENCE)
        return code


@pytest.fixture
def program():
    programs = []

    def start(path, *arguments):
        programs.append(Program(path, *arguments))
        return programs[-1]

    yield start
    for one in programs:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_example(program, number):
    """The example echoes, and a signal ends it in good order."""
    example = program(CHECKOUT / "examples" / "python" / "echo_server.py", loopback(), 0)
    player = Player(example.address()).join()
    for message in (b"", b"hello", bytes(10_000)):
        assert player.ask(message) == message
    example.process.send_signal(number)
    player.play_until(lambda: not player.udp.connected(), "the goodbye")
    assert example.end() == 0, example.errors
    assert example.lines[-1] == "stopped"
    assert not any("Traceback" in line for line in example.errors)
    player.vanish()


@posix_only
def test_an_interrupt_without_handlers(program):
    server = program(PROGRAMS / "interrupted_server.py", loopback())
    player = Player(server.address())
    player.play_until(lambda: "connect" in server.lines, "the connection")
    server.process.send_signal(signal.SIGINT)
    player.play_until(lambda: not player.udp.connected(), "the goodbye")
    assert server.end() == 0, server.errors
    assert server.lines[1:] == ["connect", "disconnect", "shutdown", "interrupted"]
    player.vanish()


@pytest.mark.parametrize("way, code", [("return", 0), ("exit", 3), ("error", 1), ("hang", 0)])
def test_the_end_of_a_process(program, way, code):
    """With a server still running in the background the process ends all the same, and says goodbye first."""
    server = program(PROGRAMS / "leaves_a_server.py", way, loopback())
    player = Player(server.address()).join()
    player.send(b"end")
    player.play_until(lambda: not player.udp.connected() or server.process.poll() is not None, "the end")
    assert server.end() == code, server.errors
    if way == "hang":
        # A handler that does not return keeps neither the process nor the rest from ending.
        assert server.lines[1:] == []
    else:
        assert server.lines[1:] == ["disconnect", "shutdown"]
    assert (server.errors[-1:] == ["RuntimeError: on purpose"]) == (way == "error"), server.errors
    assert way == "error" or not server.errors
    player.vanish()


@posix_only
def test_the_readme(program, tmp_path):
    """The two programs of the README's first page, as they stand there, but for the address."""
    text = (PROGRAMS.parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    host = loopback()
    port = str(free_port(host))
    files = []
    for name, block in (("server.py", blocks[0]), ("client.py", blocks[1])):
        assert block.count("1474") == 1
        file = tmp_path / name
        file.write_text(block.replace("1474", port).replace("0.0.0.0", host).replace("127.0.0.1", host))
        files.append(file)
    server = program(files[0])
    # It says nothing when it listens, but then the port is taken.
    wait_until(lambda: server.process.poll() is not None or taken(host, int(port)), "the server")
    client = program(files[1])
    assert client.end() == 0, client.errors
    assert "b'hello'" in client.lines[0]
    server.process.send_signal(signal.SIGINT)
    assert server.end() == 0, server.errors
    assert not server.errors
    # The key files of the third block.
    script = tmp_path / "keys.py"
    script.write_text("from gamekeeper import *\nclass Echo(EventHandler): pass\n" + blocks[2])
    subprocess.run([sys.executable, str(script)], cwd=str(tmp_path), check=True)
    assert EllipticCurvePrivateKey.fromPEM((tmp_path / "root.key").read_text()).getPublicKey().getPublicKeyPEM() == (
        tmp_path / "root.pub"
    ).read_text()


def taken(host, port):
    """Whether somebody listens on a UDP port: sending there is not refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        try:
            for _ in range(2):
                sock.send(b"anybody?")
                time.sleep(0.02)
        except ConnectionRefusedError:
            return False
    return True


def change_import(source):
    """The only change that moves a server over."""
    changed = source.replace("from mpgameserver import", "from gamekeeper import")
    assert changed.count("gamekeeper") == 1 + source.count("gamekeeper")
    return changed


def join_at_last(address, key):
    """Joins a server that may only be starting: a client says hello once, and the other package's server
    does not tell when it listens."""
    for _ in range(10):
        player = Player(address, key=key)
        player.play_until(lambda: player.udp.connected() or player.answers, "an answer or none")
        if player.udp.connected():
            return player
        player.vanish()
    raise AssertionError("nobody answers at {}".format(address))


def visit(address, key):
    """A game's worth of everything; gives what the players got."""
    got = []
    first = join_at_last(address, key)
    # The first tick may come after the first messages.
    assert any(first.ask(b"time ") == b"running" for _ in range(100))
    second = Player(address, key=key).join()
    first.friends, second.friends = [second], [first]
    first.play_until(lambda: first.received[-1:] == [b"joined"], "the news")
    for word in (b"echo", b"sure", b"once", b"number"):
        for size in (0, 1, 1000):
            got.append(second.ask(word + b" " + bytes(size)))
    got.append(second.ask(b"sure " + bytes(20_000)))
    for question in (b"stats", b"type"):
        got.append(second.ask(question))
    first.send(b"fail")
    got.append(first.ask(b"echo still there"))
    first.send(b"all news")
    for player in (first, second):
        player.play_until(lambda: player.received[-1:] == [b"news"], "the news")
    second.leave()
    first.friends.clear()
    first.send(b"kick")
    first.play_until(lambda: not first.udp.connected(), "the goodbye")
    first.vanish()
    return got


@posix_only
def test_only_the_import_changes(program, tmp_path):
    """A server written from mpgameserver's documentation does on gamekeeper what it does there."""
    key = EllipticCurvePrivateKey.new()
    key.savePEM(tmp_path / "root.key")
    original = (PROGRAMS / "documented_server.py").read_text(encoding="utf-8")
    results = {}
    for package, source in (("mpgameserver", original), ("gamekeeper", change_import(original))):
        file = tmp_path / (package + "_server.py")
        file.write_text(source, encoding="utf-8")
        log = tmp_path / package / "access.log"
        address = (loopback(), free_port(loopback()))
        server = program(file, address[0], address[1], tmp_path / "root.key", log)
        server.wait_for("starting")
        got = visit(address, key)
        wait_until(lambda: server.lines.count("disconnect 0") == 1, "the last to leave")
        server.process.send_signal(signal.SIGTERM)
        # The other package's server sees a signal that another of its threads got only when a datagram comes.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            wait_until(lambda: sock.sendto(b"wake", address) and server.process.poll() is not None, "the end")
        assert server.end() == 0, server.errors
        assert any("about to fail" in line and "127.0.0.1:" in line for line in server.errors)
        assert any("on purpose" in line for line in server.errors)
        assert log.exists()
        results[package] = (got, server.lines)
    theirs, ours = results["mpgameserver"], results["gamekeeper"]
    assert ours[0] == theirs[0]
    # Its callbacks come once per datagram and for long messages never; ours exactly once.
    assert [line for line in ours[1] if line.startswith("told")] == 4 * ["told True"]

    def rest(lines):
        return [line for line in lines if not line.startswith(("told", "message time"))]

    assert rest(ours[1]) == rest(theirs[1])
