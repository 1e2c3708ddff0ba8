"""Interoperation with the Python package mpgameserver 0.2.4: its real client against this server.

    pip install -r bindings/python/tests/requirements.txt, and ./bindings/python
    python -m pytest tests/interop

`cargo test --test interop` does all of this.

`-m "not slow"` leaves out the long ones. See hosting.py for running the same tests against the
package's own server; those that its known defects fail are then expected to.
"""

import faulthandler
import logging

import pytest

from hosting import MODE, OURS, Host
from players import Player, connect_all
from relay import Relay

#: No test takes this long; one that does hangs. Its stacks are printed and the run ends.
SECONDS_PER_TEST = 150


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: among the longest or the hardest on the machine")
    config.addinivalue_line(
        "markers", "ours_only(reason, run=True): what in the package's server fails it; run=False: do not try"
    )


def pytest_report_header(config):
    return f"server under test: {MODE}"


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("ours_only")
        if mark and not OURS:
            run = mark.kwargs.get("run", True)
            item.add_marker(pytest.mark.xfail(reason=mark.args[0], run=run, strict=False))


@pytest.fixture(autouse=True)
def _time_limit():
    faulthandler.dump_traceback_later(SECONDS_PER_TEST, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True, scope="session")
def _quiet():
    # Its client logs late acknowledgements as errors; they are none.
    logging.getLogger("mpgameserver").setLevel(logging.CRITICAL)


@pytest.fixture
def host_with():
    """Makes servers; all are stopped at the end."""
    hosts = []

    def make(configure=None, **options):
        host = Host(configure, **options)
        hosts.append(host)
        return host.__enter__()

    yield make
    for host in hosts:
        host.stop()


@pytest.fixture
def host(host_with):
    return host_with()


@pytest.fixture
def relay_to():
    """Makes relays to a host; all are closed at the end."""
    relays = []

    def make(host, **options):
        relay = Relay(host.address, **options)
        relays.append(relay)
        return relay.__enter__()

    yield make
    for relay in relays:
        relay.__exit__()


@pytest.fixture
def join():
    """Connects a number of players to a host, through a relay if there is one; all are gone at the end."""
    everyone = []

    def make(host, count=1, relay=None):
        players = [Player((relay or host).address, host.public_key) for _ in range(count)]
        everyone.extend(players)
        connect_all(players, host.handler)
        return players

    yield make
    for player in everyone:
        player.forget()
