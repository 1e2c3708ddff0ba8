"""The wheel, built by one command, in an environment that has nothing else."""

import os
import pathlib
import shutil
import subprocess
import sys
import venv

import pytest

import gamekeeper
from gamekeeper import _ffi

SOURCES = pathlib.Path(__file__).resolve().parents[1]

HOST = """
import gamekeeper, os, sys
from gamekeeper import EventHandler, RetryMode, ServerContext, ThreadedServer, UdpClient

class Echo(EventHandler):
    def handle_message(self, client, seqnum, msg=b""):
        client.send_guaranteed(msg)

server = ThreadedServer(ServerContext(Echo()), ("127.0.0.1", 0))
server.start()
client = UdpClient()
client.setConnectionTimeout(30)
client.connect(server.addr, lambda connected: client.send(b"here"))
while not client.hasMessages():
    client.update()
server.stop()
folder = os.path.dirname(gamekeeper.__file__)
assert gamekeeper._ffi.find_library().startswith(folder) and folder.startswith(sys.prefix), folder
assert os.path.exists(os.path.join(folder, "py.typed"))
print(client.getMessage()[1].decode(), gamekeeper.__version__)
try:
    from gamekeeper.mpgameserver import Serializable
except ImportError as error:
    print(error)
"""


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, **options
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # A copy: building leaves files beside the sources.
    sources = folder / "python"
    sources.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(str(SOURCES / name), str(sources))
    shutil.copytree(
        str(SOURCES / "gamekeeper"), str(sources / "gamekeeper"), ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    # The command of the README, but that the build tool is here already and the library built.
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-build-isolation"]
    run(*pip, "--no-deps", sources, "--wheel-dir", folder, env=dict(os.environ, GAMEKEEPER_LIBRARY=_ffi.find_library()))
    built = list(folder.glob("*.whl"))
    assert len(built) == 1
    return built[0]


def test_its_name_is_of_every_python_3_on_this_kind_of_machine(wheel):
    name, version, python, abi, platform = wheel.stem.split("-")
    assert (name, version, python, abi) == ("gamekeeper", gamekeeper.__version__, "py3", "none")
    assert platform not in ("any", "none") and platform


def test_a_clean_environment_hosts_at_once(wheel, tmp_path):
    clean = tmp_path / "venv"
    venv.create(str(clean), with_pip=False, symlinks=os.name != "nt")
    python = clean / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    left_out = ("PYTHONPATH", "GAMEKEEPER_LIBRARY")
    options = dict(cwd=str(tmp_path), env={name: value for name, value in os.environ.items() if name not in left_out})
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, **options)
    said = run(python, "-c", HOST, **options).splitlines()
    assert said[0] == "here " + gamekeeper.__version__
    assert len(said) == 2 and said[1].startswith("Serializable is not part of gamekeeper"), said
