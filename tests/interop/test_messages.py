"""Messages of all sizes and modes, on a good network."""

from collections import Counter

import pytest

import hosting
from players import MODES, PATIENCE, payload, pump, run_for

SMALL = (0, 1, 3, 64, 1432, 1435, 100_000)
#: The package's own sender keeps these in its queue for ever.
ONLY_OURS_SENDS = (1433, 1434)


def check(got, wanted):
    """Exactly these, once each, in any order; the difference is told by size."""
    missing, surplus = Counter(wanted) - Counter(got), Counter(got) - Counter(wanted)
    sizes = lambda counter: sorted(len(body) for body in counter.elements())  # noqa: E731
    assert not missing and not surplus, f"missing sizes {sizes(missing)}, surplus sizes {sizes(surplus)}"


@pytest.mark.parametrize("mode", MODES)
def test_to_server(host, join, mode):
    (player,) = join(host)
    bodies = [payload(number, size) for number, size in enumerate(SMALL * 2)]
    for body in bodies:
        player.send(body, MODES[mode])
    pump([player], lambda: host.handler.received_count(player.token) >= len(bodies))
    run_for([player], 0.5)  # copies are sent for a while
    check(host.handler.received(player.token), bodies)


@pytest.mark.parametrize("mode", MODES)
def test_to_client(host, join, mode):
    sizes = SMALL + ONLY_OURS_SENDS if hosting.OURS else SMALL
    (player,) = join(host)
    bodies = [payload(number, size) for number, size in enumerate(sizes * 2)]
    host.send_all([(player.token, body, mode, None) for body in bodies])
    pump([player], lambda: len(player.received) >= len(bodies))
    run_for([player], 0.5)
    check(player.bodies, bodies)


@pytest.mark.slow
def test_megabyte_to_server(host, join):
    """In each mode at once. The client sends sixty fragments a second."""
    players = join(host, len(MODES))
    bodies = [payload(number, 1_000_000) for number in range(len(MODES))]
    for player, body, mode in zip(players, bodies, MODES.values()):
        player.send(body, mode)
    pump(players, lambda: all(host.handler.received_count(p.token) for p in players), 2 * PATIENCE)
    for player, body in zip(players, bodies):
        check(host.handler.received(player.token), [body])


@pytest.mark.slow
@pytest.mark.ours_only("sends thirty fragments a second, too few for this test's time")
def test_megabyte_to_client(host, join):
    players = join(host, len(MODES))
    bodies = [payload(number, 1_000_000) for number in range(len(MODES))]
    host.send_all([(player.token, body, mode, None) for player, body, mode in zip(players, bodies, MODES)])
    pump(players, lambda: all(p.received for p in players), 2 * PATIENCE)
    for player, body in zip(players, bodies):
        check(player.bodies, [body])


def test_echo_from_the_handler(host, join):
    """Sending from inside the message callback, to all players at once."""
    host.handler.on_message = lambda client, number, body: client.send_guaranteed(body)
    players = join(host, 8)
    for index, player in enumerate(players):
        for number in range(25):
            player.send(payload(1000 * index + number, 200))
    pump(players, lambda: all(len(p.received) >= 25 for p in players))
    run_for(players, 0.3)
    for index, player in enumerate(players):
        check(player.bodies, [payload(1000 * index + number, 200) for number in range(25)])


def test_order_is_kept_without_loss(host, join):
    """The package's server hands messages on in the order of the packets; so does this one."""
    (player,) = join(host)
    bodies = [payload(number, 30) for number in range(500)]
    for start in range(0, len(bodies), 100):
        for body in bodies[start : start + 100]:
            player.send(body, MODES["NONE"])
        pump([player], lambda: host.handler.received_count(player.token) >= start + 100)
    assert host.handler.received(player.token) == bodies


def test_acknowledgements_reach_the_client(host, join):
    """The package's own callbacks report success: it understands the acknowledgements."""
    (player,) = join(host)
    results = []
    for number in range(60):
        player.send(payload(number, 500), MODES["NONE"], results.append)
    assert pump([player], lambda: len(results) >= 60)
    assert results == [True] * 60
    assert player.udp.latency() > 0


@pytest.mark.ours_only("reports once per datagram, and of a long message never")
@pytest.mark.parametrize("mode", MODES)
def test_every_completion_is_reported_once(host_with, join, mode):
    # So long that a stall of the machine is not taken for a loss.
    host = host_with(lambda ctxt: ctxt.setMessageTimeout(20.0))
    (player,) = join(host)
    outcomes = hosting.Outcomes()
    bodies = [payload(number, size) for number, size in enumerate(SMALL * 3)]
    host.send_all([(player.token, body, mode, outcomes.callback(n)) for n, body in enumerate(bodies)])
    pump([player], lambda: len(player.received) >= len(bodies) and outcomes.all_reported())
    run_for([player], 1.0)  # time for a second report, where there were one
    check(player.bodies, bodies)
    assert outcomes.only_once()
    assert outcomes.total() == {True: len(bodies)}


def test_latency_and_counts(host, join):
    (player,) = join(host)
    player.send(b"hello")
    run_for([player], 1.0)
    client = host.client(player.token)
    assert 0 < client.latency < 2.0
    assert client.stats.received >= 2 and client.stats.assembled >= 2
    assert host.handler.received(player.token) == [b"hello"]


def test_callbacks_come_from_one_thread(host, join):
    players = join(host, 4)
    for player in players:
        player.send(b"here")
    assert pump(players, lambda: all(host.handler.received(p.token) for p in players))
    host.stop()
    assert host.handler.names()[0] == "starting"
    assert host.handler.names()[-1] == "shutdown"
    assert len(host.handler.threads) == 1
