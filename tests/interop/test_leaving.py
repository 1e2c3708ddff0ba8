"""Getting out: from either side, politely and not."""

import json
import pathlib
import subprocess
import sys
import time

import pytest
from mpgameserver import ConnectionStatus

import hosting
from players import PATIENCE, payload, pump, run_for
from relay import DISCONNECT, TO_CLIENT, TO_SERVER

SWARM = pathlib.Path(__file__).parent / "swarm.py"

#: So long that no disconnect in a test can be its doing.
LONG = 60.0


def gone(host, player):
    return player.token in host.handler.tokens("disconnect")


def test_client_leaves(host_with, join):
    host = host_with(lambda ctxt: ctxt.setConnectionTimeout(LONG))
    leaver, stayer = join(host, 2)
    token = leaver.token
    assert leaver.leave(), "no acknowledgement within the second that the client waits"
    assert pump([stayer], lambda: token in host.handler.tokens("disconnect"))
    stayer.send(b"still here")
    assert pump([stayer], lambda: host.handler.received(stayer.token) == [b"still here"])
    assert host.handler.tokens("disconnect") == [token]


def test_client_leaves_with_messages_unacknowledged(host_with, join):
    """Its goodbye is then a later message of an APP datagram."""
    host = host_with(lambda ctxt: ctxt.setConnectionTimeout(LONG))
    (player,) = join(host)
    for number in range(5):
        player.send(payload(number, 20), 1)
    time.sleep(0.05)
    player.update()  # sent, and not yet acknowledged
    token = player.token
    assert player.leave()
    deadline = time.monotonic() + PATIENCE
    while token not in host.handler.tokens("disconnect") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert host.handler.tokens("disconnect") == [token]


def test_server_disconnects(host_with, join):
    host = host_with(lambda ctxt: ctxt.setConnectionTimeout(LONG))
    kicked, stayer = join(host, 2)
    host.call(host.client(kicked.token).disconnect)
    both = [kicked, stayer]
    assert pump(both, lambda: kicked.status == ConnectionStatus.DISCONNECTING)
    assert pump(both, lambda: gone(host, kicked))
    assert pump(both, lambda: kicked.status == ConnectionStatus.DROPPED), "five seconds of silence are missing"
    assert stayer.connected
    assert host.handler.tokens("disconnect") == [kicked.token]


@pytest.mark.ours_only("says goodbye once, and forgets the connection at once")
def test_server_disconnects_and_the_goodbye_is_lost(host_with, join, relay_to):
    host = host_with(lambda ctxt: ctxt.setConnectionTimeout(LONG))
    relay = relay_to(host)
    relay.drop(TO_CLIENT, DISCONNECT)
    (player,) = join(host, relay=relay)
    host.call(host.client(player.token).disconnect)
    assert pump([player], lambda: player.status == ConnectionStatus.DISCONNECTING)
    assert relay.counts[TO_CLIENT].dropped_on_order == 1


@pytest.mark.ours_only("forgets the connection at once")
def test_late_goodbye_of_a_disconnected_client_is_acknowledged(host, join):
    (player,) = join(host)
    host.call(host.client(player.token).disconnect)
    assert pump([player], lambda: player.status == ConnectionStatus.DISCONNECTING)
    assert player.leave()


@pytest.mark.ours_only("does not tell its clients")
def test_server_stops(host_with, join):
    host = host_with(lambda ctxt: ctxt.setConnectionTimeout(LONG))
    players = join(host, 10)
    for player in players:
        player.send(b"before the end")
    assert pump(players, lambda: all(host.handler.received(p.token) for p in players))
    host.stop()
    assert pump(players, lambda: all(p.status == ConnectionStatus.DISCONNECTING for p in players))
    assert sorted(host.handler.tokens("disconnect")) == sorted(p.token for p in players)
    names = host.handler.names()
    assert names.count("shutdown") == 1 and names[-1] == "shutdown"


def test_killed_client_times_out(host_with, join):
    """kill -9: the end comes with the connection timeout, not before, and to nobody else."""
    host = host_with(lambda ctxt: ctxt.setConnectionTimeout(2.0))
    (stayer,) = join(host)
    task = {"address": host.address, "pem": host.public_key.getPublicKeyPEM(), "clients": 1, "linger": 60}
    victim = subprocess.Popen(
        [sys.executable, str(SWARM), json.dumps(task)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert pump([stayer], lambda: len(host.handler.tokens("connect")) == 2)
        token = host.handler.tokens("connect")[1]
        run_for([stayer], 1.0)
        assert host.handler.tokens("disconnect") == []
        victim.kill()
        killed = time.monotonic()
        assert pump([stayer], lambda: token in host.handler.tokens("disconnect"))
        assert time.monotonic() - killed > 1.0, "dropped before the timeout"
    finally:
        victim.kill()
        victim.wait(10)
        victim.stdout.close()
    assert stayer.connected
    assert host.handler.tokens("disconnect") == [token]


@pytest.mark.ours_only("reports per datagram, and never for what is left at the end")
def test_silent_client_ends_every_completion(host_with, join, relay_to):
    """A client that falls silent: each message is reported once, none as delivered."""
    host = host_with(lambda ctxt: ctxt.setConnectionTimeout(3.0))
    relay = relay_to(host)
    (player,) = join(host, relay=relay)
    relay.silence(TO_CLIENT)
    relay.silence(TO_SERVER)
    outcomes = hosting.Outcomes()
    messages = []
    for number, mode in enumerate(("NONE", "BEST_EFFORT", "RETRY_ON_TIMEOUT") * 5):
        body = payload(number, 5000 if number >= 12 else 100)
        messages.append((player.token, body, mode, outcomes.callback((mode, number))))
    host.send_all(messages)
    token = player.token
    deadline = time.monotonic() + PATIENCE
    while not outcomes.all_reported() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert outcomes.all_reported()
    assert token in host.handler.tokens("disconnect")
    time.sleep(1.0)
    assert outcomes.only_once()
    assert outcomes.total() == {False: 15}
    # What is not guaranteed is given up after the message timeout, well before the connection is.
    ends = {mode: [] for mode in ("NONE", "BEST_EFFORT", "RETRY_ON_TIMEOUT")}
    for (mode, _), reports in outcomes.reports.items():
        ends[mode].append(reports[0][1])
    assert max(ends["NONE"]) < min(ends["RETRY_ON_TIMEOUT"])
