"""Prints what the binding's calls cost on this machine, as a table.

    target/venv/bin/python bindings/python/tests/costs.py
"""

import ctypes
import time
import timeit

import gamekeeper
from gamekeeper import _codes, _ffi
from playing import Game, Player, echo, loopback


def cost(name, call, number, calls=1):
    """The best of five, in microseconds."""
    best = min(timeit.repeat(call, number=number, repeat=5)) / number / calls
    print("| {} | {:.1f} |".format(name, best * 1e6))


def main():
    game = Game(message=echo)
    server = gamekeeper.ThreadedServer(gamekeeper.ServerContext(game), (loopback(), 0))
    server.start()
    player = Player(server.addr).join(game)
    client = game.clients[0]
    end = time.monotonic() + 2
    while time.monotonic() < end:
        player.frame()
        time.sleep(1 / 60)

    print("| call | microseconds |\n| --- | --- |")
    cost("`client.send(32 bytes)`", lambda: client.send(bytes(32)), 300)
    cost("`client.latency`", lambda: client.latency, 5000)
    cost("`client.stats`", lambda: client.stats, 5000)
    stats = client.stats
    cost("`client.stats.pkts_sent`, or another list of whole numbers", lambda: stats.pkts_sent, 5000)
    cost("`client.stats.latency`", lambda: stats.latency, 5000)
    server.stop()

    # A full batch of messages of 32 bytes, told to a handler that does nothing.
    idle = gamekeeper.TwistedServer(gamekeeper.ServerContext(gamekeeper.EventHandler()), (loopback(), 0))
    idle._clients[7] = client
    client._sent_away = False
    message = ctypes.create_string_buffer(32)
    count = len(idle._events)
    for event in idle._events:
        event.type, event.peer, event.sequence = _codes.GK_EVENT_MESSAGE, 7, 1
        event.data, event.len = ctypes.addressof(message), 32

    def batch():
        idle._next, idle._count = 0, count
        idle._dispatch()

    cost("one message on its way to `handle_message`", batch, 100, count)
    print("\nlibrary: {}".format(_ffi.find_library()))


if __name__ == "__main__":
    main()
