"""What a library that fails leads to: a scripted one stands in for it, behind the same declarations."""

import ctypes

import pytest

import gamekeeper
from gamekeeper import _codes, _ffi
from playing import Game


class Scripted:
    """Answers GK_OK to everything, but plays a script of polls: each a list of events to give at the next
    call of next_events, or a number to fail with, or an exception to raise."""

    def __init__(self, script):
        self.script = list(script)
        self.events = []
        self.calls = []
        self.send_result = _codes.GK_OK
        self.tags = []

    def __getattr__(self, name):
        assert name in _ffi.DECLARATIONS, name

        def function(*arguments):
            self.calls.append(name)
            return _codes.GK_OK

        return function

    def gk_result_str(self, result):
        return b"scripted %d" % result

    def gk_last_error(self, buffer, capacity):
        return 0

    def gk_server_open(self, context, address, out):
        out._obj.value = 1
        return _codes.GK_OK

    def gk_server_address(self, server, buffer, capacity, length):
        text = b"127.0.0.1:1474"
        ctypes.memmove(buffer, text, len(text))
        length._obj.value = len(text)
        return _codes.GK_OK

    def gk_server_poll(self, server, timeout):
        assert self.script, "the server goes on after the end of the script"
        step = self.script.pop(0)
        if isinstance(step, int):
            return step
        if isinstance(step, list):
            self.events = step
            return _codes.GK_OK
        raise step

    def gk_server_next_events(self, server, events, size, capacity, count):
        assert size == ctypes.sizeof(_ffi.gk_event) and len(self.events) <= capacity
        for position, fields in enumerate(self.events):
            events[position] = _ffi.gk_event(**fields)
        count._obj.value = len(self.events)
        self.events = []
        return _codes.GK_OK

    def gk_server_send(self, server, peer, data, length, options):
        if options is not None and options.notify:
            self.tags.append(options.user_data)
        return self.send_result

    def gk_server_stop(self, server):
        self.calls.append("gk_server_stop")
        return _codes.GK_ERR_PANIC


@pytest.fixture
def run(monkeypatch):
    def play(script, game):
        library = Scripted(script)
        monkeypatch.setattr(_ffi, "lib", library)
        game.library = library
        context = gamekeeper.ServerContext(game)
        server = gamekeeper.TwistedServer(context, ("127.0.0.1", 1474), install_signals=False)
        try:
            server.run()
        finally:
            game.connections = context.connections
        return server

    return play


STARTING = dict(type=_codes.GK_EVENT_STARTING)
CONNECT = dict(type=_codes.GK_EVENT_CONNECT, peer=7, token=5, text=b"[fe80::1%2]:999")
SHUTDOWN = dict(type=_codes.GK_EVENT_SHUTDOWN)


def message(text):
    buffer = ctypes.create_string_buffer(text, len(text))
    # The structure keeps an address only: somebody must keep the bytes.
    message.kept = getattr(message, "kept", []) + [buffer]
    return dict(type=_codes.GK_EVENT_MESSAGE, peer=7, sequence=1, data=ctypes.addressof(buffer), len=len(text))


def test_a_library_that_breaks(run, caplog):
    """run() raises; the game is told of every client's end and of the shutdown, callbacks of False."""
    told = []
    game = Game(connect=lambda client: client.send_guaranteed(b"x", told.append))
    with pytest.raises(gamekeeper.ServerPanic) as caught:
        run([[STARTING, CONNECT], _codes.GK_ERR_PANIC], game)
    assert caught.value.code == _codes.GK_ERR_PANIC and "scripted -17" in str(caught.value)
    assert game.events == ["starting", "connect", "disconnect", "shutdown"]
    assert told == [False] and game.connections == {}
    assert game.clients[0].addr == ("fe80::1%2", 999)
    game.clients[0].log.warning("scope %s", "left out")
    assert "[fe80::1]:999 scope left out" in caplog.text


def test_an_interrupt_between_two_polls(run):
    game = Game()
    with pytest.raises(KeyboardInterrupt):
        run([[STARTING, CONNECT], KeyboardInterrupt()], game)
    assert game.events == ["starting", "connect", "disconnect", "shutdown"]


def test_an_interrupt_within_a_batch(run):
    """What comes behind it in the batch is told all the same, and the first exception leaves."""
    seen = []

    def interrupt(client, text):
        seen.append(text)
        if text == b"2":
            raise KeyboardInterrupt("first")
        if text == b"3":
            raise SystemExit("second")

    game = Game(message=interrupt)
    with pytest.raises(KeyboardInterrupt, match="first"):
        run([[STARTING, CONNECT] + [message(b"%d" % n) for n in range(1, 6)] + [SHUTDOWN]], game)
    assert seen == [b"1", b"2", b"3", b"4", b"5"]
    assert game.count("shutdown") == 1 and game.count("disconnect") == 1


def test_a_refused_message(run):
    """With an error no callback is called: the exception tells. With the client gone it is, with False."""
    told, raised = [], []

    def send(client):
        for result in (_codes.GK_ERR_WOULD_BLOCK, _codes.GK_ERR_IO, _codes.GK_ERR_STALE, _codes.GK_ERR_STATE):
            game.library.send_result = result
            try:
                client.send(b"x", callback=lambda ok, result=result: told.append((result, ok)))
            except gamekeeper.GamekeeperError as error:
                raised.append(error.code)
            assert told == []

    game = Game(connect=send)
    with pytest.raises(gamekeeper.NetworkError):
        run([[STARTING, CONNECT], _codes.GK_ERR_IO], game)
    assert raised == [_codes.GK_ERR_WOULD_BLOCK, _codes.GK_ERR_IO]
    assert told == [(_codes.GK_ERR_STALE, False), (_codes.GK_ERR_STATE, False)]


def test_answers_by_tag(run):
    told = []

    def send(client):
        for name in ("a", "b", "c"):
            client.send_guaranteed(b"x", lambda ok, name=name: told.append((name, ok)))

    outcomes = (_codes.GK_SENT_CANCELLED, _codes.GK_SENT_DELIVERED, _codes.GK_SENT_EXPIRED)
    answers = []
    game = Game(connect=send, message=lambda client, text: answers.extend(
        dict(type=_codes.GK_EVENT_SENT, peer=7, user_data=tag, code=code)
        for tag, code in zip(reversed(game.library.tags), outcomes)
    ))
    # Each answer twice, and one that nobody waits for: exactly one call each.
    stray = dict(type=_codes.GK_EVENT_SENT, peer=7, user_data=999_999, code=1)
    with pytest.raises(KeyboardInterrupt):
        run([[STARTING, CONNECT, message(b"go")], answers, answers, [stray, dict(type=99)], KeyboardInterrupt()], game)
    assert told == [("c", False), ("b", True), ("a", False)]


def test_every_error_has_a_class():
    numbers = {name: value for name, value in vars(_codes).items() if name.startswith("GK_ERR_")}
    assert len(numbers) == 17
    for name, number in numbers.items():
        error = gamekeeper.errors.from_code(number, "a sentence")
        assert error.code == number and error.message == str(error) == "a sentence"
        assert isinstance(error, gamekeeper.GamekeeperError)
    assert type(gamekeeper.errors.from_code(-999, None)) is gamekeeper.GamekeeperError
