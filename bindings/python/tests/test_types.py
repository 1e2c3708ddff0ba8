"""The package is typed, and uses only what Python 3.8 has."""

import ast
import pathlib
import shutil
import subprocess
import sys

import gamekeeper

PACKAGE = pathlib.Path(gamekeeper.__file__).parent

# What a game's author writes: it must fit the package's types too.
GAME = '''
from typing import Dict, List, Optional, Tuple
import gamekeeper.mpgameserver as dropin
from gamekeeper import (EllipticCurvePrivateKey, EventHandler, RetryMode, SeqNum, ServerContext, ThreadedServer,
    TwistedServer, WouldBlock)

class Game(EventHandler):
    def __init__(self) -> None:
        super().__init__()
        self.clients: Dict[int, EventHandler.Client] = {}

    def connect(self, client: EventHandler.Client) -> None:
        self.clients[client.token] = client
        client.log.info("joined from %s:%d", *client.addr)

    def disconnect(self, client: EventHandler.Client) -> None:
        del self.clients[client.token]

    def update(self, delta_t: float) -> None:
        for client in self.clients.values():
            if client.latency > 1 or client.stats.pkts_recv[-1] > 1000:
                client.disconnect()

    def handle_message(self, client: EventHandler.Client, seqnum: int, msg: bytes = b"") -> None:
        try:
            client.send(msg, retry=RetryMode.BEST_EFFORT, callback=lambda ok: None)
            client.send(msg, -1)
            client.send_guaranteed(msg, None)
        except WouldBlock as error:
            print(error.code, error.message)

class Batches(EventHandler):
    server: Optional[TwistedServer] = None

    def handle_messages(self, messages: List[Tuple[EventHandler.Client, SeqNum, bytes]]) -> None:
        if self.server is not None:
            full: List[int] = self.server.send_many([(client, msg) for client, _, msg in messages], RetryMode.NONE)

timer = dropin.Timer(0.5, lambda: None)
client: dropin.UdpClient = dropin.UdpClient()
key: Optional[EllipticCurvePrivateKey] = None
context = ServerContext(Game(), key)
context.setBlockList({"192.0.2.1"})
context.enableAccessLogs(None)
TwistedServer(context, ("0.0.0.0", 1474), install_signals=False)
ThreadedServer(context, ("::", 0)).start()
'''


def mypy(*arguments, cwd):
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.8", "--cache-dir", str(cwd / "cache")]
        + list(arguments),
        cwd=str(cwd),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    return run.returncode, run.stdout


def test_package(tmp_path):
    # A copy: where it is installed, it lies among packages that are none of mypy's business.
    shutil.copytree(str(PACKAGE), str(tmp_path / "gamekeeper"))
    code, output = mypy("gamekeeper", cwd=tmp_path)
    assert code == 0 and "no issues found in {} source files".format(len(list(PACKAGE.glob("*.py")))) in output, output


def test_game(tmp_path):
    assert (PACKAGE / "py.typed").exists()
    (tmp_path / "game.py").write_text(GAME)
    code, output = mypy("game.py", cwd=tmp_path)
    assert code == 0, output
    # The check can fail: text is no payload.
    (tmp_path / "wrong.py").write_text(GAME.replace("client.send(msg, -1)", "client.send('text')"))
    code, output = mypy("wrong.py", cwd=tmp_path)
    assert code == 1 and "expected \"bytes\"" in output, output


def test_syntax_of_python_3_8():
    files = sorted(PACKAGE.glob("*.py"))
    assert len(files) > 10
    for file in files:
        ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=(3, 8))
