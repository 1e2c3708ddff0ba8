"""An echo server for `cargo bench --bench python_echo`: prints its port, then echoes until its input ends.

    python echo_host.py <gamekeeper|batched|mpgameserver>

`gamekeeper` and `mpgameserver` are the same program under two imports; `batched` takes and sends many messages per call.
"""

import os
import socket
import sys
import threading
import time


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_with_input():
    sys.stdin.read()
    # The package's reactor ends in its own thread only; nothing here is worth a goodbye.
    os._exit(0)


def main(host):
    if host == "mpgameserver":
        import mpgameserver as package
    else:
        import gamekeeper as package

    class Echo(package.EventHandler):
        def handle_message(self, client, seqnum, msg=b""):
            client.send(msg)

    class Batched(package.EventHandler):
        def handle_messages(self, messages):
            server.send_many([(client, msg) for client, _, msg in messages])

    context = package.ServerContext(Batched() if host == "batched" else Echo())
    # Of the package: as often as it can, since it answers when it ticks.
    context.setInterval(0.001)
    port = free_port()
    server = package.TwistedServer(context, ("127.0.0.1", port), install_signals=False)
    threading.Thread(target=end_with_input, daemon=True).start()
    if host == "mpgameserver":
        # Its socket is bound a moment after it says that it starts.
        threading.Thread(target=lambda: (time.sleep(1.0), print(port, flush=True)), daemon=True).start()
    else:
        context.handler.starting = lambda: print(port, flush=True)
    server.run()


main(sys.argv[1])
