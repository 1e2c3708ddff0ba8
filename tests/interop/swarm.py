"""Many clients of the real package in one process; the task comes as JSON, the result goes out as JSON.

Task: address, pem (the server's public key), clients, messages (each is sent guaranteed and must come
back once), size, first (number of the first message), linger (seconds to stay afterwards, sending
nothing), seconds (all of it at most).
"""

import json
import logging
import sys
import time
from collections import Counter

import mpgameserver

from players import Player, payload, pump, run_for

#: A hello is sent once; a client that got no answer starts again, as a player would.
ATTEMPTS = 3


def connect(players, address, key, deadline):
    """Connects all; gives back how many attempts were needed beyond the first."""
    again = 0
    for player in players:
        player.connect()
    attempts = Counter()
    while time.monotonic() < deadline:
        pump(players, lambda: all(p.connected or p.answers for p in players), 1.0, 1 / 120)
        if all(p.connected for p in players):
            break
        for index, player in enumerate(players):
            if False in player.answers and not player.connected and attempts[index] < ATTEMPTS:
                attempts[index] += 1
                again += 1
                player.forget()
                players[index] = Player(address, key).connect()
    return again


def main():
    task = json.loads(sys.argv[1])
    logging.getLogger("mpgameserver").setLevel(logging.CRITICAL)
    deadline = time.monotonic() + task.get("seconds", 100)
    address = tuple(task["address"])
    key = mpgameserver.EllipticCurvePublicKey.fromPEM(task["pem"])
    players = [Player(address, key) for _ in range(task["clients"])]
    again = connect(players, address, key, deadline)
    connected = sum(p.connected for p in players)

    count, size, first = task.get("messages", 0), task.get("size", 32), task.get("first", 0)
    wanted = [
        [payload(first + index * count + number, size) for number in range(count)] for index in range(len(players))
    ]
    for number in range(count):
        for player, bodies in zip(players, wanted):
            player.send(bodies[number])
        run_for(players, 0.05, 1 / 120)
    complete = lambda: all(len(p.received) >= count for p in players)  # noqa: E731
    pump(players, complete, max(0.0, deadline - time.monotonic()), 1 / 120)
    run_for(players, task.get("linger", 0.5), 1 / 120)

    tokens = [p.token for p in players]
    still = sum(p.connected for p in players)
    right = sum(sorted(p.bodies) == sorted(bodies) for p, bodies in zip(players, wanted))
    for player in players:
        player.udp.disconnect()
    run_for(players, 0.3, 1 / 120)
    for player in players:
        player.forget()
    result = {
        "again": again,
        "connected": connected,
        "right": right,
        "still": still,
        "tokens": tokens,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
