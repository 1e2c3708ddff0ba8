"""The dashboard: GuiServer, and setDashboard of any server."""

import html
import json
import os
import pathlib
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
import webbrowser

import pytest

import gamekeeper
from gamekeeper import GuiServer, ServerContext
from playing import Game, echo, loopback, wait_until

TOKEN = "correct-horse-battery"


def fetch(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def test_a_gui_server_shows_what_it_does_and_opens_the_browser(monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    game = Game()
    server = GuiServer(ServerContext(game), (loopback(), 0), browser=True)
    with pytest.raises(gamekeeper.StateError):
        server.url()
    server.init()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: opened, "the browser")
    assert opened == [server.url()]
    assert "<title>gamekeeper</title>" in fetch(server.url())
    stats = json.loads(fetch(server.url() + "stats.json"))
    assert stats["server"]["peers"] == 0 and stats["address"].endswith(":{}".format(server.addr[1]))
    assert "gamekeeper_peers 0\n" in fetch(server.url() + "metrics")
    server.stop()
    thread.join(60)
    assert not thread.is_alive()


def test_without_a_display_no_browser_opens(monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    server = GuiServer(ServerContext(Game()), (loopback(), 0), token=TOKEN)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server._link is not None, "the start")
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(server.url() + "stats.json")
    assert refused.value.code == 401
    assert json.loads(fetch(server.url() + "stats.json", Authorization="Bearer " + TOKEN))["rate_hz"] == 60
    server.stop()
    thread.join(60)
    assert opened == []


def test_the_browser_gets_the_token_in_no_command_line(monkeypatch):
    """But in a page that only this user can read, and that is gone in the end."""
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    token = "Zw&+%#\"'<=>?longer"
    server = GuiServer(ServerContext(Game()), (loopback(), 0), token=token, browser=True)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: opened, "the browser")
    assert token not in opened[0] and "token" not in opened[0] and opened[0].startswith("file:")
    path = pathlib.Path(urllib.request.url2pathname(urllib.parse.urlsplit(opened[0]).path))
    if os.name == "posix":
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    where = html.unescape(re.search('content="0;url=([^"]*)"', path.read_text(encoding="utf-8")).group(1))
    page, _, fragment = where.partition("#")
    # As the dashboard's own script reads it.
    assert (page, urllib.parse.parse_qs(fragment)) == (server.url(), {"token": [token]})
    server.stop()
    thread.join(60)
    assert not thread.is_alive() and not path.parent.exists()


def test_a_page_that_cannot_be_written_keeps_no_server_from_running(monkeypatch, caplog):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr("tempfile.TemporaryDirectory", lambda **_: open("/nowhere/at/all"))
    game = Game()
    server = GuiServer(ServerContext(game), (loopback(), 0), token=TOKEN, browser=True)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: game.ticks, "the server")
    server.stop()
    thread.join(60)
    assert opened == [] and "the browser is not opened" in caplog.text


def test_any_server_can_have_one(serve, play):
    game = Game(message=echo)
    server = serve(game, lambda context: context.setDashboard(("127.0.0.1", 0)))
    host, port = server.dashboard_address()
    url = "http://{}:{}/".format(host, port)
    player = play(server).join(game)
    assert player.ask(b"hello") == b"hello"
    wait_until(lambda: len(json.loads(fetch(url + "peers.json"))["peers"]) == 1, "the player")
    peers = json.loads(fetch(url + "peers.json"))
    row = dict(zip(peers["columns"], peers["peers"][0]))
    assert row["address"] == "{}:{}".format(*player.address[:2]) and row["wire"] == "mpgameserver"


def test_what_cannot_be_is_refused(serve):
    context = ServerContext(Game())
    for token in ("short", "with blanks in it, and long", "ü" * 20):
        with pytest.raises(ValueError):
            context.setDashboard(("127.0.0.1", 0), token)
    with pytest.raises(gamekeeper.AddressError):
        context.setDashboard(("no such place", 0))
    context.setDashboard(("0.0.0.0", 0))
    with pytest.raises(ValueError):
        serve(None, context=context)
    context.setDashboard(None)
    with pytest.raises(gamekeeper.StateError):
        serve(None, context=context).dashboard_address()
