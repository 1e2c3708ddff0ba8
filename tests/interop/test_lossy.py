"""Messages through the bad relay."""

import pytest

import hosting
from players import PATIENCE, payload, pump, run_for
from relay import APP, APP_FRAGMENT, TO_CLIENT, TO_SERVER, Link
from test_messages import check

#: Worse than a phone on a train.
BAD = dict(loss=0.08, duplicate=0.05, reorder=0.1, delay=0.01, jitter=0.02, corrupt=0.05)
WORSE = dict(loss=0.25, duplicate=0.1, reorder=0.2, delay=0.02, jitter=0.03, corrupt=0.05)


@pytest.fixture
def join_badly(relay_to, join):
    """Players who have connected, and the relay between them and the host, which has gone bad since."""

    def make(host, seed, profile=BAD, count=1):
        relay = relay_to(host, seed=seed)
        players = join(host, count, relay=relay)
        relay.set_links(Link(**profile), Link(**profile))
        return relay, players

    return make


def assert_bad(relay, *directions):
    """The network did what it is for; else the test proves nothing."""
    for direction in directions:
        counts = relay.counts[direction]
        assert min(counts.lost, counts.duplicated, counts.reordered, counts.corrupted) > 0, counts


@pytest.mark.parametrize("seed", [1, 2])
def test_guaranteed_to_server(host, join_badly, seed):
    """Up to 1432 bytes: the package's long messages do not survive loss, whatever the server does."""
    relay, (player,) = join_badly(host, seed)
    bodies = [payload(number, (0, 1, 40, 400, 1432)[number % 5]) for number in range(200)]
    for start in range(0, len(bodies), 5):
        for body in bodies[start : start + 5]:
            player.send(body)
        run_for([player], 0.05)
    pump([player], lambda: host.handler.received_count(player.token) >= len(bodies), 2 * PATIENCE)
    run_for([player], 2.0)  # its copies go on for a second after the acknowledgement
    check(host.handler.received(player.token), bodies)
    assert_bad(relay, TO_SERVER)
    assert player.connected


@pytest.mark.ours_only("a completion per datagram, and long messages lost")
@pytest.mark.parametrize("seed", [3, 4])
def test_guaranteed_to_client(host, join_badly, seed):
    relay, (player,) = join_badly(host, seed)
    outcomes = hosting.Outcomes()
    sizes = (0, 1, 40, 400, 1432, 1433, 1434, 1435, 5000, 30_000)
    bodies = [payload(number, sizes[number % len(sizes)]) for number in range(60)]
    messages = [(player.token, b, "RETRY_ON_TIMEOUT", outcomes.callback(n)) for n, b in enumerate(bodies)]
    host.send_all(messages)
    done = lambda: len(player.received) >= len(bodies) and outcomes.all_reported()  # noqa: E731
    pump([player], done, 2 * PATIENCE)
    run_for([player], 2.0)
    check(player.bodies, bodies)
    assert outcomes.only_once()
    assert outcomes.total() == {True: len(bodies)}
    assert_bad(relay, TO_CLIENT)


@pytest.mark.slow
@pytest.mark.ours_only("long messages lost")
def test_megabyte_to_client(host, join_badly):
    relay, (player,) = join_badly(host, 5)
    body = payload(1, 1_000_000)
    host.send(player.token, body, "RETRY_ON_TIMEOUT")
    pump([player], lambda: player.received, 3 * PATIENCE)
    check(player.bodies, [body])
    assert_bad(relay, TO_CLIENT)


@pytest.mark.slow
@pytest.mark.ours_only("takes copies as new messages")
def test_both_ways_on_a_worse_network(host, join_badly):
    """Several clients; a quarter of everything is lost."""
    relay, players = join_badly(host, 6, WORSE, 5)
    for number in range(60):
        batch = []
        for index, player in enumerate(players):
            player.send(payload(10_000 * index + number, 100))
            batch.append((player.token, payload(10_000 * index + 5000 + number, 100), "RETRY_ON_TIMEOUT", None))
        host.send_all(batch)
        run_for(players, 0.02)
    done = lambda: all(  # noqa: E731
        len(p.received) >= 60 and host.handler.received_count(p.token) >= 60 for p in players
    )
    pump(players, done, 2 * PATIENCE)
    run_for(players, 1.5)
    for index, player in enumerate(players):
        check(host.handler.received(player.token), [payload(10_000 * index + n, 100) for n in range(60)])
        check(player.bodies, [payload(10_000 * index + 5000 + n, 100) for n in range(60)])
    assert host.handler.tokens("disconnect") == []
    assert_bad(relay, TO_SERVER, TO_CLIENT)


@pytest.mark.parametrize("mode", ["NONE", "BEST_EFFORT"])
@pytest.mark.ours_only("a completion per datagram, and replays taken again")
def test_not_guaranteed_is_at_most_once(host, join_badly, mode):
    """And its completion tells the truth: what is reported as delivered has arrived."""
    relay, (player,) = join_badly(host, 7, dict(WORSE, corrupt=0.0))
    outcomes = hosting.Outcomes()
    bodies = [payload(number, (4, 200, 1432, 3000)[number % 4]) for number in range(120)]
    for start in range(0, len(bodies), 10):
        numbers = range(start, start + 10)
        host.send_all([(player.token, bodies[n], mode, outcomes.callback(n)) for n in numbers])
        run_for([player], 0.1)
    pump([player], outcomes.all_reported)
    run_for([player], 2.0)
    assert outcomes.all_reported() and outcomes.only_once()
    assert len(player.bodies) == len(set(player.bodies)), "a message arrived twice"
    assert set(player.bodies) <= set(bodies)
    delivered = {bodies[number] for number in range(len(bodies)) if outcomes.of(number) == [True]}
    assert delivered <= set(player.bodies), "reported as delivered, but it has not arrived"
    assert 0 < len(delivered)
    if mode == "NONE":
        assert len(delivered) < len(bodies), "a quarter of the datagrams was lost"


@pytest.mark.ours_only("a completion per datagram, and none for long messages")
@pytest.mark.parametrize(
    "mode, size, kind, nth, arrives",
    [
        ("NONE", 100, APP, 1, False),
        ("BEST_EFFORT", 100, APP, 1, True),
        ("RETRY_ON_TIMEOUT", 100, APP, 1, True),
        ("NONE", 5000, APP_FRAGMENT, 2, False),
        ("BEST_EFFORT", 5000, APP_FRAGMENT, 2, True),
        ("RETRY_ON_TIMEOUT", 5000, APP_FRAGMENT, 5, True),
    ],
)
def test_one_lost_datagram(host, relay_to, join, mode, size, kind, nth, arrives):
    """What one loss does to one message, and what its completion says of it."""
    relay = relay_to(host)
    (player,) = join(host, relay=relay)
    relay.drop(TO_CLIENT, kind, nth)
    outcomes = hosting.Outcomes()
    body = payload(1, size)
    host.send(player.token, body, mode, outcomes.callback("it"))
    assert pump([player], outcomes.all_reported)
    run_for([player], 0.5)
    assert outcomes.of("it") == [arrives]
    assert player.bodies == [body] * arrives
    assert relay.counts[TO_CLIENT].dropped_on_order == 1


@pytest.mark.ours_only("a completion per datagram")
def test_silence_beyond_the_message_timeout(host, relay_to, join):
    """Nothing gets through for two message timeouts: only what is guaranteed arrives."""
    relay = relay_to(host)
    (player,) = join(host, relay=relay)
    relay.silence(TO_CLIENT)
    outcomes = hosting.Outcomes()
    modes = ("NONE", "BEST_EFFORT", "RETRY_ON_TIMEOUT")
    bodies = {mode: payload(number, 100) for number, mode in enumerate(modes)}
    host.send_all([(player.token, bodies[mode], mode, outcomes.callback(mode)) for mode in modes])
    run_for([player], 2.2)  # well under the five seconds after which the client gives up
    relay.silence(TO_CLIENT, False)
    assert pump([player], outcomes.all_reported)
    run_for([player], 1.0)
    assert player.bodies == [bodies["RETRY_ON_TIMEOUT"]]
    assert [outcomes.of(mode) for mode in modes] == [[False], [False], [True]]


@pytest.mark.ours_only("takes old packets again")
def test_everything_twice_and_late(host, relay_to, join):
    """Copies arrive long after the original, behind many newer packets: nothing is handed on twice."""
    relay = relay_to(host, seed=8, to_server=Link(duplicate=1.0, reorder_by=1.5))
    (player,) = join(host, relay=relay)
    player.udp.setKeepAliveInterval(0.0)
    bodies = [payload(number, 60) for number in range(600)]
    for start in range(0, len(bodies), 10):
        for body in bodies[start : start + 10]:
            player.send(body, 0)
        run_for([player], 0.02)
    run_for([player], 2.5)
    got = host.handler.received(player.token)
    assert len(got) == len(set(got)), "a message was handed on twice"
    check(got, bodies)
    assert host.handler.tokens("disconnect") == []
