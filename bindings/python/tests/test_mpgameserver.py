"""The drop-in module: the names that the package's documentation has, where each comes from, and a game under them."""

import ast
import logging
import subprocess
import sys

import mpgameserver as package
import pytest

import gamekeeper
import gamekeeper.mpgameserver as dropin
from playing import PATIENCE, loopback, wait_until

#: The names of the package's pages "Server", "Client" and "HTTP/TCP Protocol", with their methods and attributes.
DOCUMENTED = {
    "EventHandler": "connect disconnect handle_message shutdown starting update Client",
    "ServerContext": "enableAccessLogs setBlockList setConnectionTimeout setInterval setKeepAliveInterval "
    "setMessageTimeout setTempConnectionTimeout shutdown",
    "TwistedServer": "listenTCP run stop",
    "GuiServer": "init listenTCP run",
    "ThreadedServer": "start run stop",
    "ConnectionStatus": "CONNECTING CONNECTED DISCONNECTING DISCONNECTED DROPPED",
    "RetryMode": "RETRY_ON_TIMEOUT NONE BEST_EFFORT",
    "UdpClient": "connect connected disconnect forceDisconnect getMessage getMessages hasMessages latency send "
    "send_guaranteed setConnectionTimeout setKeepAliveInterval setMessageTimeout stats status token update "
    "waitForDisconnect",
    "ConnectionStats": "pkts_sent pkts_recv bytes_sent bytes_recv latency",
    "EllipticCurvePrivateKey": "new fromPEM fromBytes getBytes getPrivateKeyPEM getPublicKey savePEM sign",
    "EllipticCurvePublicKey": "fromPEM fromBytes getBytes getPublicKeyPEM savePEM verify InvalidSignature",
    "Timer": "reset setInterval update",
    "Resource": "routes",
    "Request": "json message",
    "Router": "dispatch registerRoutes",
    "Response": "",
    "ErrorResponse": "",
    "JsonResponse": "",
    "SerializableResponse": "",
    "HTTPServer": "registerRoutes routes run",
    "HTTPClient": "delete get getResponses pending post put start stop update",
    "WebSocketOpCode": "Text Binary Close Ping Pong Open",
    **{name: "" for name in "path_join_safe get put post delete websocket header param".split()},
}
#: Beside those: of the client object.
CLIENT = "addr latency log stats token disconnect send send_guaranteed"


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_documented_names_are_our_own(name):
    found = getattr(dropin, name)
    assert found.__module__.startswith("gamekeeper"), found
    assert [one for one in DOCUMENTED[name].split() if not hasattr(found, one)] == []
    assert name in dropin.__all__


def test_the_client_object_has_what_is_documented():
    declared = set(dir(dropin.EventHandler.Client)) | set(dropin.EventHandler.Client.__annotations__)
    assert set(CLIENT.split()) <= declared


def test_every_name_of_the_package_is_here():
    """All that `from mpgameserver import …` gives; what needs pygame or Pillow is missing there too, except what is here."""
    with open(package.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    names = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert len(names) > 40
    missing = [name for name in sorted(names) if name not in dir(dropin)]
    assert missing == []
    for name in names:
        if hasattr(package, name) or name == "GuiServer":
            assert getattr(dropin, name) is not None
        else:
            with pytest.raises(ImportError, match="does not have it either"):
                getattr(dropin, name)


def test_outside_names_are_the_packages():
    from gamekeeper.mpgameserver import Serializable, ServerMessageDispatcher

    assert Serializable is package.Serializable and ServerMessageDispatcher is package.ServerMessageDispatcher
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        dropin.Nonsense
    with pytest.raises(ImportError):
        exec("from gamekeeper.mpgameserver import Nonsense")


def test_without_the_package_only_the_outside_names_fail_and_say_why():
    script = """
import sys
sys.modules["mpgameserver"] = None
from gamekeeper.mpgameserver import *
from gamekeeper.mpgameserver import EventHandler, ServerContext, Timer
try:
    from gamekeeper.mpgameserver import Serializable
except ImportError as error:
    print(error)
import gamekeeper.mpgameserver
print("mpgameserver" in dir(gamekeeper), "Serializable" in dir(gamekeeper.mpgameserver))
"""
    said = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout
    first, second = said.splitlines()
    assert first.startswith("Serializable is not part of gamekeeper; it comes from the package mpgameserver")
    assert first.endswith("pip install mpgameserver") and second == "True True"


def test_importing_it_imports_neither_the_package_nor_twisted():
    script = "import sys, gamekeeper.mpgameserver; print(sorted({'mpgameserver', 'twisted'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert said.strip() == "[]"


def test_a_game_under_its_names():
    """As the package's first pages have it: a handler that echoes, a threaded server, a client in a loop."""
    told = []

    class Echo(dropin.EventHandler):
        def connect(self, client):
            told.append(("connect", client.token))

        def handle_message(self, client, seqnum, msg=b""):
            client.send(msg, retry=dropin.RetryMode.RETRY_ON_TIMEOUT)

        def disconnect(self, client):
            told.append(("disconnect", client.token))

    key = dropin.EllipticCurvePrivateKey.new()
    context = dropin.ServerContext(Echo(), key)
    context.setConnectionTimeout(120)
    server = dropin.ThreadedServer(context, (loopback(), 0))
    server.start()
    try:
        answers, stranger = [], dropin.UdpClient(dropin.EllipticCurvePrivateKey.new().getPublicKey())
        client = dropin.UdpClient(key.getPublicKey())
        for each, answer in ((client, answers.append), (stranger, answers.append)):
            each.setConnectionTimeout(30 if each is client else 1)
            each.connect(server.addr, answer)
        wait_until(lambda: (client.update(), stranger.update(), len(answers) == 2)[2], "both answers", PATIENCE)
        # Who pinned another key does not come in.
        assert sorted(answers) == [False, True] and client.connected() and not stranger.connected()
        payload = bytes(range(256)) * 40
        for message in (b"hello1", b"hello2", payload):
            client.send(message)
        received = []
        wait_until(lambda: (client.update(), received.extend(client.getMessages()), len(received) == 3)[2])
        assert sorted(message for _, message in received) == sorted([b"hello1", b"hello2", payload])
        assert all(isinstance(number, dropin.SeqNum) for number, _ in received)
        token = client.token()
        client.disconnect()
        client.waitForDisconnect()
        wait_until(lambda: ("disconnect", token) in told)
        assert ("connect", token) in told and client.status() == dropin.ConnectionStatus.DISCONNECTED
    finally:
        server.stop()


class TestTimer:
    @pytest.fixture
    def fired(self):
        return []

    def timer(self, fired, duration=0.5):
        return dropin.Timer(duration, lambda: fired.append(1))

    def test_it_fires_when_its_time_has_come(self, fired):
        timer = self.timer(fired)
        timer.update(0.3)
        assert fired == []
        timer.update(0.3)
        assert fired == [1]
        # What was too much counts for the next.
        timer.update(0.4)
        assert fired == [1, 1]

    def test_it_does_not_make_up_for_a_long_pause(self, fired):
        timer = self.timer(fired)
        timer.update(10)
        timer.update(0.3)
        assert fired == [1]

    def test_half_a_frame_early_is_in_time(self, fired):
        timer = self.timer(fired)
        timer.update(0.5 - 1 / 240)
        assert fired == [1]

    def test_reset_and_another_interval(self, fired):
        timer = self.timer(fired)
        timer.update(0.4)
        timer.reset()
        timer.update(0.4)
        assert fired == []
        timer.setInterval(1.0, lambda: fired.append(2))
        timer.update(0.3)
        assert fired == []
        timer.update(0.3)
        assert fired == [2]

    def test_it_does_what_the_packages_does(self):
        steps = [0.1, 0.45, 0.02, 0.003, 2.0, 0.49, 0.01, 0.5, 1.01, 0.2] * 20
        counts = []
        for module in (dropin, package):
            seen, timer = [], None
            timer = module.Timer(0.5, lambda: seen.append(1))
            sums = []
            for step in steps:
                timer.update(step)
                sums.append(len(seen))
            counts.append(sums)
        assert counts[0] == counts[1]


def test_a_log_file_in_a_new_folder(tmp_path):
    path = tmp_path / "new" / "game.log"
    logger = dropin.setupLogger("gamekeeper.test_dropin", path)
    try:
        logger.info("kept")
        logger.debug("not kept")
        text = path.read_text()
        assert "INFO" in text and text.rstrip().endswith(": kept") and "not kept" not in text
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
    assert isinstance(logger, logging.Logger) and issubclass(dropin.ProtocolError, gamekeeper.GamekeeperError)
