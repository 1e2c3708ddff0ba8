"""A process that was forked from a server's or a client's leaves it alone."""

import os
import subprocess
import sys

import pytest

if not hasattr(os, "fork"):
    pytest.skip("no forks here", allow_module_level=True)

#: What the parent says in the end, after the child has tried everything.
SCRIPT = """
import gc, os, sys, threading, time
import gamekeeper

class Game(gamekeeper.EventHandler):
    def __init__(self):
        self.clients, self.told, self.at = [], [], "parent"
    def connect(self, client):
        self.clients.append(client)
    def disconnect(self, client):
        self.told.append(self.at)
    def shutdown(self):
        self.told.append(self.at)
    def handle_message(self, client, seqnum, msg):
        client.send_guaranteed(msg)

game = Game()
context = gamekeeper.ServerContext(game)
context.setConnectionTimeout(120)
server = gamekeeper.ThreadedServer(context, ("127.0.0.1", 0))
router = gamekeeper.Router()
server.listenTCP(router, ("127.0.0.1", 0))
server.start()
player = gamekeeper.UdpClient()
player.setConnectionTimeout(60)
player.connect(server.addr)

def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        player.update()
        time.sleep(0.005)

until(lambda: player.connected() and game.clients)
link = game.clients[0]._link
held, leave = threading.Event(), threading.Event()

def hold():
    # All at once, as threads of the game's may have them while another one forks.
    with context._lock, link._lock, link.files.lock, server.server._lock:
        held.set()
        leave.wait(60)

holding = threading.Thread(target=hold)
holding.start()
held.wait(60)
child = os.fork()
leave.set()
if child == 0:
    game.at = "child"
    refused = 0
    for call in (
        lambda: game.clients[0].send(b"from the child", gamekeeper.RetryMode.RETRY_ON_TIMEOUT),
        lambda: game.clients[0].disconnect(),
        lambda: server.server.broadcast(b"from the child"),
        lambda: server.server.send_many([(game.clients[0], b"from the child")]),
        lambda: server.bound_address(),
        lambda: player.send(b"from the child"),
        lambda: player.update(),
    ):
        try:
            call()
        except gamekeeper.StateError as error:
            assert "forked" in str(error), error
            refused += 1
    server.stop()
    context.setBlockList({"127.0.0.1"})
    assert context.connections == {} and not context._servers
    link.refuse(game.clients[0], lambda delivered: None)
    router.registerRoutes([("GET", "/of/the/child", lambda request: None)])
    context.shutdown()
    own = gamekeeper.ThreadedServer(gamekeeper.ServerContext(Game()), ("127.0.0.1", 0))
    own.start()
    own.stop()
    assert server.server.clients() == []
    del player
    gc.collect()
    print("child", refused, game.told, flush=True)
    END
pid, status = os.waitpid(child, 0)
assert status == 0, status
holding.join()
try:
    router.registerRoutes([])
    raise AssertionError("the parent's server runs with these routes")
except gamekeeper.StateError:
    pass
# The server lives, the client is connected, and nothing of the child's has arrived.
player.send(b"hello")
received = []
until(lambda: (received.extend(player.getMessages()), received)[1])
print("parent", [message for _, message in received], player.connected(), flush=True)
server.stop()
print("parent", game.told)
"""


@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)"])
def test_a_child_can_do_nothing_to_its_parents_server(end):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("END", end)], stdout=subprocess.PIPE, text=True, timeout=120
    )
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "child 7 []",
        "parent [b'hello'] True",
        "parent ['parent', 'parent']",
    ]


IN_A_CALLBACK = """
import os
import gamekeeper

class Game(gamekeeper.EventHandler):
    at = "parent"
    def update(self, delta_t):
        if self.at == "parent" and not hasattr(self, "child"):
            self.child = os.fork()
            if self.child == 0:
                self.at = "child"
        elif self.at == "parent":
            pid, status = os.waitpid(self.child, 0)
            print("the child ended with", status, flush=True)
            server.stop()
        else:
            print("a tick in the child", flush=True)
    def shutdown(self):
        print("shutdown in the", self.at, flush=True)

game = Game()
server = gamekeeper.TwistedServer(gamekeeper.ServerContext(game), ("127.0.0.1", 0))
try:
    server.run()
except gamekeeper.StateError as error:
    print(game.at, "forked" in str(error), flush=True)
"""


def test_a_child_of_a_handlers_method_leaves_run():
    done = subprocess.run([sys.executable, "-c", IN_A_CALLBACK], stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.stdout.splitlines() == ["child True", "the child ended with 0", "shutdown in the parent"]
