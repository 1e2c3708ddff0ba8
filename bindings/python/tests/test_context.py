"""The configuration."""

import logging

import pytest

import gamekeeper
from gamekeeper import EllipticCurvePrivateKey, EventHandler, ServerContext

TIMES = {
    "setKeepAliveInterval": ("keep_alive_interval", 0.1, 0.01, 60),
    "setConnectionTimeout": ("connection_timeout", 5.0, 0.1, 3600),
    "setTempConnectionTimeout": ("temp_connection_timeout", 2.0, 0.1, 60),
    "setMessageTimeout": ("outgoing_timeout", 1.0, 0.05, 60),
    "setInterval": ("interval", 1 / 60, 0.0001, 1),
}


@pytest.mark.parametrize("setter", TIMES)
def test_times(setter):
    attribute, default, low, high = TIMES[setter]
    context = ServerContext(EventHandler())
    assert getattr(context, attribute) == default
    for value in (low, high, 1, 0.5):
        getattr(context, setter)(value)
        assert getattr(context, attribute) == value
    # Out of range: refused here or, at the latest, at the start; and the attribute tells what counts.
    for value in (low * 0.5, high * 2, 0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            getattr(context, setter)(value)
        assert getattr(context, attribute) == 0.5


def test_defaults():
    handler = EventHandler()
    context = ServerContext(handler)
    assert context.handler is handler and context.blocklist == set() and context.connections == {}
    assert context.log is logging.getLogger("gamekeeper") is gamekeeper.logger
    assert isinstance(context.server_root_key, EllipticCurvePrivateKey)


def test_a_new_key_is_said(caplog):
    with caplog.at_level(logging.INFO, logger="gamekeeper"):
        ServerContext(EventHandler(), root_key=EllipticCurvePrivateKey.new())
        assert not caplog.records
        ServerContext(EventHandler())
    assert "root key" in caplog.text


def test_block_list_is_copied():
    context = ServerContext(EventHandler())
    mine = {"192.0.2.1", "2001:db8::/32"}
    context.setBlockList(mine)
    mine.add("192.0.2.2")
    assert context.blocklist == {"192.0.2.1", "2001:db8::/32"}


def test_paths():
    context = ServerContext(EventHandler())
    with pytest.raises(ValueError):
        context.enableAccessLogs("with\0nul")
    for nothing in (None, ""):
        context.enableAccessLogs(nothing)


def test_many_contexts_are_freed():
    # Freed twice or not at all would show under a checker of memory; here it must only not crash.
    for _ in range(200):
        ServerContext(EventHandler())
    with pytest.raises(AttributeError):
        ServerContext(EventHandler(), root_key="no key")
