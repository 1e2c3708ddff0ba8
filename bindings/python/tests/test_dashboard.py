"""The dashboard: GuiServer, and setDashboard of any server."""

import html
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import webbrowser

import pytest

import gamekeeper
from gamekeeper import GuiServer, ServerContext, dashboard
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


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="elsewhere it is the system's place")
def test_the_page_lies_where_browsers_in_a_sandbox_see_it(monkeypatch, tmp_path):
    runtime, home = tmp_path / "runtime", tmp_path / "home"
    runtime.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert pathlib.Path(dashboard._own_folder()).parent == runtime
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert pathlib.Path(dashboard._own_folder()).parent == home / ".cache"
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert pathlib.Path(dashboard._own_folder()).parent == tmp_path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_the_end_of_a_forked_child_leaves_the_page(tmp_path):
    script = """
import gamekeeper, os, sys
server = gamekeeper.GuiServer(gamekeeper.ServerContext(gamekeeper.EventHandler()), ("127.0.0.1", 0), token="x" * 16)
page = server._way_to("http://127.0.0.1/")
path = page[len("file://"):]
child = os.fork()
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert os.path.exists(path)
print(path)
"""
    environment = dict(os.environ, XDG_RUNTIME_DIR=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0
    # With its own process it goes.
    assert done.stdout and not os.path.exists(done.stdout.strip())


def test_the_browser_gets_the_token_in_no_command_line(monkeypatch, caplog):
    """But in a page that only this user can read, and that is gone in the end."""
    opened = []
    caplog.set_level("INFO", "gamekeeper")
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
    # Who finds no browser reads in the log where the dashboard is.
    wait_until(lambda: "the dashboard is at " + page in caplog.text, "the log")
    # As the dashboard's own script reads it.
    assert (page, urllib.parse.parse_qs(fragment)) == (server.url(), {"token": [token]})
    server.stop()
    thread.join(60)
    assert not thread.is_alive() and not path.parent.exists()
    assert token not in caplog.text


def test_a_page_that_cannot_be_written_keeps_no_server_from_running(monkeypatch, caplog):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: open("/nowhere/at/all"))
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
