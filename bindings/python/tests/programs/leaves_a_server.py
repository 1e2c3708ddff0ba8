"""Ends while a server still runs in a background thread: in the way that its argument names.

Usage: leaves_a_server.py return | exit | error | hang
"""

import sys
import time

import gamekeeper


class Game(gamekeeper.EventHandler):
    def shutdown(self):
        print("shutdown", flush=True)

    def connect(self, client):
        client.send_guaranteed(b"hello")

    def disconnect(self, client):
        print("disconnect", flush=True)

    def handle_message(self, client, seqnum, msg=b""):
        global end
        end = True
        if sys.argv[1] == "hang":
            time.sleep(60)


end = False
server = gamekeeper.ThreadedServer(gamekeeper.ServerContext(Game()), (sys.argv[2], 0))
server.start()
print("listening", *server.addr, flush=True)
while not end:
    time.sleep(0.01)
if sys.argv[1] == "exit":
    sys.exit(3)
elif sys.argv[1] == "error":
    raise RuntimeError("on purpose")
