"""End to end: the real mpgameserver client on a gamekeeper server."""

import gc
import itertools
import logging
import socket
import threading
import time
import weakref

import mpgameserver
import pytest

import gamekeeper
from gamekeeper import ConnectionStatus, EllipticCurvePrivateKey, RetryMode, SeqNum, ServerContext
from playing import Game, Player, echo, loopback, wait_until


def test_a_visit(echoing):
    game, server, player, client = echoing
    # A datagram of the package's client holds 1432 bytes; what is longer travels in pieces.
    for size in (0, 1, 1432, 5000, 100_000):
        message = bytes(i % 251 for i in range(size))
        assert player.ask(message) == message
    assert client.token == player.udp.token()
    assert client.addr == player.address and isinstance(client.addr, tuple)
    assert client.status is ConnectionStatus.CONNECTED
    assert server.server.ctxt.connections == {client.addr: client}
    player.leave()
    wait_until(lambda: game.count("disconnect"), "the disconnect")
    assert client.status is ConnectionStatus.DISCONNECTED
    assert server.server.clients() == []
    server.stop()
    assert game.events == ["starting", "connect"] + 5 * ["message"] + ["disconnect", "shutdown"]
    # All of it on the server's thread.
    assert game.threads == {server.ident}
    numbers = [number for number, _ in game.messages]
    assert all(isinstance(number, SeqNum) for number in numbers) and numbers == sorted(set(numbers))


def test_every_retry_mode(echoing):
    game, _, player, client = echoing
    for mode in (RetryMode.NONE, RetryMode.BEST_EFFORT, RetryMode.RETRY_ON_TIMEOUT, 0, 1, -1):
        message = repr(mode).encode() + b" " + bytes(2000)
        client.send(message, retry=mode)
        player.play_until(lambda: message in player.received, repr(mode))
    assert len(player.received) == 6


def test_sent_away(echoing):
    game, server, player, client = echoing
    told = []
    client.disconnect()
    client.disconnect()
    client.send(b"too late")
    client.send_guaranteed(b"too late", callback=lambda ok: told.append((ok, threading.get_ident())))
    assert client.status is ConnectionStatus.DISCONNECTED
    wait_until(lambda: game.count("disconnect"), "the disconnect")
    player.play_until(lambda: not player.udp.connected(), "the goodbye")
    wait_until(lambda: told, "the callback")
    client.send(b"too late", callback=lambda ok: told.append((ok, threading.get_ident())))
    wait_until(lambda: len(told) == 2, "the second callback")
    server.stop()
    assert told == 2 * [(False, server.ident)]
    # With the server gone there is no thread but the caller's.
    client.send(b"too late", callback=lambda ok: told.append((ok, threading.get_ident())))
    assert told[2:] == [(False, threading.get_ident())]
    client.disconnect()
    assert game.count("disconnect") == 1 and player.received == []


def test_no_message_after_the_disconnect(serve, play):
    game = Game(message=lambda client, message: client.disconnect())
    player = play(serve(game)).join()
    for number in range(20):
        player.send(b"%d" % number)
    player.play_until(lambda: game.count("disconnect"), "the disconnect")
    assert game.events == ["starting", "connect", "message", "disconnect"]


def test_a_client_that_falls_silent(serve, play):
    game = Game()
    server = serve(game, lambda context: context.setConnectionTimeout(0.3))
    player = play(server).join(game)
    told = []
    game.clients[0].send_guaranteed(b"anybody?", told.append)
    player.vanish()
    wait_until(lambda: game.count("disconnect"), "the disconnect")
    assert game.clients[0].status is ConnectionStatus.DROPPED
    wait_until(lambda: told, "the callback")
    assert told == [False]


def test_callbacks(echoing):
    game, server, player, client = echoing
    told = []
    threads = set()

    def note(name):
        def callback(ok):
            threads.add(threading.get_ident())
            told.append((name, ok))

        return callback

    for name, mode, size in (("none", 0, 10), ("best", 1, 10), ("sure", -1, 10), ("long", -1, 50_000)):
        client.send(bytes(size), retry=mode, callback=note(name))
    client.send_guaranteed(b"x", note("guaranteed"))
    player.play_until(lambda: len(told) >= 5, "five callbacks")
    # A few more frames, in which a second call would come.
    acked = client.stats.acked
    player.play_until(lambda: client.stats.acked > acked + 3, "further acknowledgements")
    assert sorted(told) == [(name, True) for name in ("best", "guaranteed", "long", "none", "sure")]
    assert threads == {server.ident}


def test_callbacks_of_what_is_lost(serve, play):
    game = Game()
    server = serve(game, lambda context: context.setMessageTimeout(0.1))
    play(server).join(game)
    client, told = game.clients[0], []
    # The client reads nothing from here on.
    client.send(b"once", RetryMode.NONE, lambda ok: told.append(("none", ok)))
    client.send(b"some", RetryMode.BEST_EFFORT, lambda ok: told.append(("best", ok)))
    client.send(b"sure", RetryMode.RETRY_ON_TIMEOUT, lambda ok: told.append(("sure", ok)))
    wait_until(lambda: len(told) >= 2, "the message timeout")
    assert sorted(told) == [("best", False), ("none", False)]
    client.disconnect()
    wait_until(lambda: len(told) == 3, "the third")
    assert told[2] == ("sure", False)


def test_a_callback_may_send_and_may_fail(echoing, caplog):
    _, _, player, client = echoing

    def again(ok):
        client.send(b"second")
        raise RuntimeError("on purpose")

    client.send_guaranteed(b"first", again)
    player.play_until(lambda: b"second" in player.received, "the second message")
    record = next(r for r in caplog.records if r.exc_info)
    assert "on purpose" in str(record.exc_info[1]) and "{}:{}".format(*client.addr) in record.getMessage()


def test_what_cannot_be_sent(echoing):
    _, _, _, client = echoing
    told = []
    for payload in ("text", bytearray(b"x"), None, 5):
        with pytest.raises(TypeError):
            client.send(payload, callback=told.append)
    for mode in (2, -2, "NONE"):
        with pytest.raises(ValueError):
            client.send(b"x", retry=mode, callback=told.append)
    with pytest.raises(gamekeeper.MessageTooLarge) as caught:
        client.send(bytes((8 << 20) + 1), callback=told.append)
    assert isinstance(caught.value, ValueError) and caught.value.code == -9
    client.disconnect()
    with pytest.raises(TypeError):
        client.send("text")
    assert told == []


def test_a_full_queue(echoing):
    game, _, player, client = echoing
    told, sent = [], 0
    with pytest.raises(gamekeeper.WouldBlock) as caught:
        for sent in range(1_000_000):
            client.send_guaranteed(b"%d" % sent, told.append)
    assert caught.value.code == -8 and str(caught.value)
    assert not isinstance(caught.value, (ValueError, OSError))
    assert told.count(False) == 0
    player.play_until(lambda: game.count("writable"), "room in the queue")
    client.send_guaranteed(b"again")
    player.play_until(lambda: b"again" in player.received, "the message after the wait")
    # What was queued before is neither lost nor doubled by the refusal.
    player.play_until(lambda: len(player.received) > sent, "all messages")
    assert sorted(player.received) == sorted([b"%d" % number for number in range(sent)] + [b"again"])
    player.play_until(lambda: len(told) == sent, "all callbacks")
    assert set(told) == {True}


def test_exceptions_in_the_handler(serve, play, caplog):
    def fail(*_):
        raise RuntimeError("on purpose")

    game = Game(starting=fail, connect=fail, disconnect=fail, message=fail, shutdown=fail, update=fail)
    server = serve(game)
    player = play(server).join()
    player.send(b"one")
    player.send(b"two")
    player.play_until(lambda: len(game.messages) == 2, "two messages")
    player.leave()
    wait_until(lambda: game.count("disconnect"), "the disconnect")
    server.stop()
    assert game.events == ["starting", "connect", "message", "message", "disconnect", "shutdown"]
    failed = [record for record in caplog.records if record.exc_info]
    assert all(record.name == "gamekeeper" and record.levelno == logging.ERROR for record in failed)
    for where in ("starting", "connect", "handle_message", "update", "disconnect", "shutdown"):
        assert any(record.getMessage().endswith("error in " + where) for record in failed), where


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_the_handler(play, kind):
    """It leaves run() when everybody has been told."""
    told = []

    def exit_now(client, message):
        client.send_guaranteed(b"never read", told.append)
        raise kind("on purpose")

    game = Game(message=exit_now)
    server = gamekeeper.TwistedServer(ServerContext(game), (loopback(), 0), install_signals=False)
    left = []

    def run():
        try:
            server.run()
        except BaseException as error:
            left.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_until(lambda: game.count("starting"), "the start")
    player = play(server).join()
    for number in range(5):
        player.send(b"%d" % number)
    player.play_until(lambda: not player.udp.connected(), "the goodbye")
    thread.join(30)
    assert [type(error) for error in left] == [kind]
    assert game.events[:3] == ["starting", "connect", "message"]
    assert game.events[-2:] == ["disconnect", "shutdown"] and game.count("shutdown") == 1
    assert told and set(told) == {False} and len(told) == game.count("message")


def test_stats(echoing):
    game, server, player, client = echoing
    for number in range(5):
        player.ask(bytes(100))
    stats = client.stats
    # The running second is in it, and it is last: what is older than the connection is empty.
    assert sum(stats.pkts_recv[-100:]) == sum(stats.pkts_recv) > 0
    assert stats.assembled > 0 and stats.received > 0 and stats.acked > 0
    assert stats.sent >= 5 and stats.dropped == 0
    series = (stats.pkts_sent, stats.pkts_recv, stats.bytes_sent, stats.bytes_recv, stats.latency)
    assert all(isinstance(one, list) and len(one) == 300 for one in series)
    assert all(isinstance(one[-1], int) for one in series[:4]) and isinstance(stats.latency[-1], float)
    assert not any(any(one[:200]) for one in series)
    assert sum(stats.pkts_recv) <= client.stats.received
    assert sum(stats.bytes_recv) >= 20 * sum(stats.pkts_recv)
    wait_until(lambda: player.frame() or client.latency > 0, "the latency")
    assert client.latency < 30 and max(client.stats.latency) < 30
    # A snapshot: it stays as it was read.
    assert stats.sent <= client.stats.sent and stats is not client.stats
    player.leave()
    wait_until(lambda: game.count("disconnect"), "the disconnect")
    last, latency = client.stats, client.latency
    assert last.received >= stats.received and latency > 0
    server.stop()
    assert client.stats is last and client.latency == latency and len(last.bytes_sent) == 300
    assert "received={}".format(last.received) in repr(last)


def test_a_clients_log(echoing, caplog):
    _, _, _, client = echoing
    prefix = "{}:{} ".format(*client.addr)
    with caplog.at_level(1, logger="gamekeeper"):
        caplog.clear()
        client.log.trace("at %d", 9)
        client.log.debug("at %s", "debug")
        client.log.info("at info")
        client.log.warning("at %s", "warning")
        client.log.error("at error")
        try:
            raise RuntimeError("on purpose")
        except RuntimeError:
            client.log.exception("with %s", "traceback")
        records = [record for record in caplog.records if record.name == "gamekeeper"]
    assert [record.getMessage() for record in records] == [
        prefix + text for text in ("at 9", "at debug", "at info", "at warning", "at error", "with traceback")
    ]
    assert [record.levelno for record in records] == [9, 10, 20, 30, 40, 40]
    # The line names the place that logged, not the package.
    assert {record.filename for record in records} == {"test_server.py"}
    assert records[-1].exc_info


def test_the_block_list(serve, play):
    game = Game(message=echo)
    host = "127.0.0.1"  # where players come from
    server = serve(game, lambda context: context.setBlockList({host}))
    context = server.server.ctxt
    stranger = play(server)
    # The handshake of a client that is heard takes less than its two seconds.
    stranger.play_until(lambda: stranger.answers, "the end of the client's patience")
    assert stranger.answers == [False] and game.events == ["starting"]

    context.setBlockList(set())
    player = play(server).join()
    assert player.ask(b"hello") == b"hello"
    context.setBlockList(["192.0.2.0/24", "127.0.0.0/24"])
    wait_until(lambda: game.count("disconnect"), "the end of the client that is now on the list")
    assert game.clients[0].status is ConnectionStatus.DISCONNECTED

    with pytest.raises(ValueError, match="nonsense"):
        context.setBlockList({"nonsense"})
    assert context.blocklist == {"192.0.2.0/24", "127.0.0.0/24"}
    with pytest.raises(TypeError):
        context.setBlockList("192.0.2.1")


def test_the_access_log(serve, play, tmp_path):
    path = tmp_path / "logs" / "access.log"
    game = Game()
    server = serve(game, lambda context: context.enableAccessLogs(str(path)))
    player = play(server).join(game)
    address = "{}:{}".format(*player.address)
    token = player.udp.token()
    player.leave()
    wait_until(lambda: game.count("disconnect"), "the disconnect")
    server.stop()
    lines = [line for line in path.read_text().splitlines() if address in line]
    assert len(lines) == 2 and all(str(token) in line or "{:x}".format(token) in line.lower() for line in lines)


def test_no_access_log(serve, play, tmp_path):
    path = tmp_path / "access.log"
    context = ServerContext(Game())
    context.enableAccessLogs(path)
    context.enableAccessLogs(None)
    server = serve(None, context=context)
    play(server).join()
    server.stop()
    assert not path.exists()


def test_pinned_keys(serve, play):
    key = EllipticCurvePrivateKey.new()
    server = serve(Game(message=echo), key=key)
    assert play(server, key=key).join().ask(b"hello") == b"hello"
    wrong = play(server, key=EllipticCurvePrivateKey.new())
    with pytest.raises(mpgameserver.EllipticCurvePublicKey.InvalidSignature):
        wrong.play_until(wrong.udp.connected)


def test_a_key_of_its_own(serve, play):
    server = serve(Game(message=echo))
    key = server.server.ctxt.server_root_key
    assert play(server, key=key).join().ask(b"hello") == b"hello"


def test_ticks_without_clients(serve):
    game = Game()
    began = time.monotonic()
    server = serve(game, lambda context: context.setInterval(0.005))
    wait_until(lambda: game.ticks >= 20, "twenty ticks")
    server.stop()
    # The ticks share out the time that passed: none is counted twice.
    assert 0 < game.seconds <= time.monotonic() - began


def test_ipv6(serve, play):
    game = Game(message=echo)
    server = serve(game, host="::1")
    assert server.addr[0] == "::1" and server.addr[1] > 0
    player = play(server).join()
    assert player.ask(b"hello") == b"hello"
    assert game.clients[0].addr == player.address
    server.stop()


def test_every_interface(serve, play):
    """An empty host takes clients of both families, "0.0.0.0" those of one."""
    game = Game(message=echo)
    server = serve(game, host="0.0.0.0")
    assert server.addr[0] == "0.0.0.0"
    context = ServerContext(game)
    both = gamekeeper.ThreadedServer(context, ("", 0))
    both.start()
    try:
        for host, port in (("127.0.0.1", server.addr[1]), ("127.0.0.1", both.addr[1]), ("::1", both.addr[1])):
            player = Player((host, port)).join()
            assert player.ask(b"hello") == b"hello"
            player.leave()
    finally:
        both.stop()
    assert [client.addr[0] for client in game.clients] == ["127.0.0.1", "127.0.0.1", "::1"]


def test_addresses_that_cannot_be(serve):
    server = serve(Game())
    context = ServerContext(Game())
    with pytest.raises(gamekeeper.AddressError) as caught:
        gamekeeper.TwistedServer(context, server.addr).run()
    assert isinstance(caught.value, OSError) and caught.value.code == -11
    # 192.0.2.1 is nobody's: it exists for documentation.
    for address in (("192.0.2.1", 0), ("no such host", 0), ("127.0.0.1", 65536)):
        with pytest.raises((gamekeeper.AddressError, gamekeeper.NetworkError)):
            gamekeeper.ThreadedServer(context, address).start()
    named = gamekeeper.ThreadedServer(context, ("localhost", 0))
    named.start()
    assert named.addr[0] in ("127.0.0.1", "::1")
    named.stop()


def test_the_bound_address(serve):
    server = gamekeeper.ThreadedServer(ServerContext(Game()), (loopback(), 0))
    with pytest.raises(gamekeeper.StateError):
        server.bound_address()
    assert server.addr[1] == 0
    server.start()
    host, port = server.addr
    assert server.bound_address() == (host, port) and host == loopback() and port > 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        with pytest.raises(OSError):
            other.bind((host, port))
    server.stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((host, port))


def test_several_servers(serve, play):
    games = [Game(message=echo) for _ in range(3)]
    servers = [serve(game) for game in games]
    shared = Game(message=echo)
    context = ServerContext(shared)
    servers += [serve(None, context=context) for _ in range(2)]
    players = [play(server).join() for server in servers]
    for number, player in enumerate(players):
        assert player.ask(b"%d" % number) == b"%d" % number
    assert len({client.token for game in games + [shared] for client in game.clients}) == 5
    assert len(context.connections) == 2
    servers[0].stop()
    for player in players[1:]:
        assert player.ask(b"still here") == b"still here"
    # The context stops its own servers only.
    context.shutdown()
    servers[3].join(30)
    servers[4].join(30)
    assert players[2].ask(b"and me") == b"and me"
    assert shared.count("shutdown") == 2 and [game.count("shutdown") for game in games] == [1, 0, 0]


def test_a_stop_says_goodbye(echoing):
    game, server, player, client = echoing
    thread = threading.Thread(target=server.stop)
    thread.start()
    player.play_until(lambda: not player.udp.connected(), "the goodbye")
    thread.join(30)
    server.stop()
    assert game.events == ["starting", "connect", "disconnect", "shutdown"]
    assert client.status is ConnectionStatus.DISCONNECTED and not server.is_alive()


def test_a_stop_from_inside(serve, play):
    game = Game()
    server = serve(game)
    game.todo["message"] = lambda client, message: server.stop()
    player = play(server).join()
    player.send(b"stop")
    player.play_until(lambda: not server.is_alive(), "the end")
    assert game.events == ["starting", "connect", "message", "disconnect", "shutdown"]


def test_a_stop_before_the_start():
    for stop in ("server", "context"):
        game = Game()
        context = ServerContext(game)
        server = gamekeeper.TwistedServer(context, (loopback(), 0), install_signals=False)
        if stop == "server":
            server.stop()
        else:
            context.shutdown()
        server.run()
        assert game.events[-1] == "shutdown" and game.count("shutdown") == 1
        with pytest.raises(gamekeeper.StateError):
            server.run()


def test_a_thread_runs_once(serve):
    server = serve(Game())
    with pytest.raises(RuntimeError):
        server.start()
    server.stop()
    with pytest.raises(RuntimeError):
        server.start()


def test_sending_from_many_threads(echoing):
    _, _, player, client = echoing
    told = []

    def send(number):
        for count in range(100):
            client.send_guaranteed(b"%d %d" % (number, count), told.append)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    player.play_until(lambda: len(player.received) >= 400, "all messages")
    for thread in threads:
        thread.join()
    assert sorted(player.received) == sorted(b"%d %d" % (n, c) for n in range(4) for c in range(100))
    player.play_until(lambda: len(told) == 400, "all callbacks")
    assert set(told) == {True}


def test_a_client_object_outlives_its_server(echoing):
    _, server, _, client = echoing
    server.stop()
    context_gone = server.server
    del server, context_gone
    for _ in range(3):
        client.send(b"nobody")
        client.disconnect()
        assert client.stats.received > 0 and client.latency >= 0
        assert "DISCONNECTED" in repr(client)


def test_a_handler_of_another_class(serve, play):
    """A handler need not be an EventHandler: what counts is its methods."""

    class Handler:
        def __init__(self):
            self.got = []

        def starting(self): ...

        def shutdown(self): ...

        def connect(self, client): ...

        def disconnect(self, client): ...

        def update(self, delta_t): ...

        def handle_message(self, client, seqnum, msg):
            self.got.append(msg)
            client.send(msg)

    handler = Handler()
    player = play(serve(handler)).join()
    assert player.ask(b"hello") == b"hello" and handler.got == [b"hello"]


def test_a_server_that_nobody_holds_is_gone_at_once():
    """Its socket closes then; a cycle would keep it until the collector comes by."""
    gc.disable()
    try:
        context = ServerContext(Game())
        servers = [gamekeeper.TwistedServer(context, (loopback(), 0)), gamekeeper.ThreadedServer(context, (loopback(), 0))]
        gone = [weakref.ref(servers[0]), weakref.ref(servers[1].server)]
        servers[1].start()
        servers[1].stop()
        servers.clear()
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


def test_a_server_is_known_to_the_end_of_the_process_before_its_thread_runs(monkeypatch):
    known, start = [], threading.Thread.start

    def look(thread):
        known.append(thread.server in gamekeeper.server._running)
        start(thread)

    server = gamekeeper.ThreadedServer(ServerContext(Game()), (loopback(), 0))
    monkeypatch.setattr(threading.Thread, "start", look)
    server.start()
    server.stop()
    assert known == [True] and server.server not in gamekeeper.server._running
    monkeypatch.setattr(threading.Thread, "start", lambda thread: 1 / 0)
    failing = gamekeeper.ThreadedServer(ServerContext(Game()), (loopback(), 0))
    with pytest.raises(ZeroDivisionError):
        failing.start()
    assert failing.server not in gamekeeper.server._running


def test_servers_may_come_and_go_while_the_process_ends():
    class Ended:
        def __init__(self):
            self._done = threading.Event()
            self._done.set()

        def _request_stop(self): ...

    end = threading.Event()

    def come_and_go():
        while not end.is_set():
            few = [Ended() for _ in range(50)]
            for one in few:
                gamekeeper.server._remember(one)
            for one in few:
                gamekeeper.server._forget(one)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            gamekeeper.server._stop_all()
    finally:
        end.set()
        for thread in threads:
            thread.join()


def test_messages_of_all_lengths_go_the_short_way_and_the_other(echoing):
    game, server, player, client = echoing
    sent = [bytes([size % 256]) * size for size in (0, 1, 255, 1023, 1024, 1025, 1432, 3000)]
    for message in sent:
        # A busy machine may lose one: it is sent again until it is there.
        def arrived(again=itertools.count()):
            if next(again) % 200 == 0:
                client.send(message)
            return message in player.received

        player.play_until(arrived, "the message")
    assert set(player.received) == set(sent)
    for bad in (bytearray(b"a"), "a", None):
        with pytest.raises(TypeError):
            client.send(bad)


def test_what_ends_the_server_in_the_middle_of_a_batch_leaves_the_rest_to_be_told(play):
    """Each message once, in order, whatever comes between."""
    raised = []

    def stop(client, message):
        if message == b"2":
            raise SystemExit(7)

    game = Game(message=stop)
    context = ServerContext(game)
    context.setConnectionTimeout(120)
    server = gamekeeper.TwistedServer(context, (loopback(), 0), install_signals=False)

    def run():
        try:
            server.run()
        except SystemExit as error:
            raised.append(error.code)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: server.addr[1], "the start")
    player = play(server).join(game)
    for number in range(5):
        player.send(b"%d" % number)
    player.play_until(lambda: not thread.is_alive(), "the end")
    told = [message for _, message in game.messages]
    assert raised == [7] and told[:3] == [b"0", b"1", b"2"] and told == [b"%d" % n for n in range(len(told))]
