#!/usr/bin/env python3
"""A game server with a chat page: players in the game and browsers talk to each other, in one process.

    python3 examples/python/chat/chat.py [host] [game port] [http port] [key.pem cert.pem]

Open the address that it prints in a browser, twice. What is said there is also a message to each player of the game, and
what players say (any message of theirs that is UTF-8) stands on the page. The package `gamekeeper` is in bindings/python.
"""

import json
import logging
import pathlib
import sys

from gamekeeper import (
    EventHandler,
    JsonResponse,
    Resource,
    Response,
    Router,
    ServerContext,
    TwistedServer,
    WebSocketOpCode,
    WouldBlock,
    get,
    path_join_safe,
    websocket,
)

PAGES = pathlib.Path(__file__).resolve().parent
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css"}
#: Longest name and longest saying, in characters.
MAX_NAME, MAX_SAYING = 24, 500


class Chat(EventHandler):
    """The game: it has nothing to play, but everybody in it is one of the peers, by whichever door they came."""

    def __init__(self):
        self.clients = []
        #: The WebSockets among them: client to socket and name.
        self.pages = {}

    def connect(self, client):
        self.clients.append(client)

    def disconnect(self, client):
        self.clients.remove(client)

    def handle_message(self, client, seqnum, msg=b""):
        self.say("player {}".format(client.token % 1000), msg.decode("utf-8", "replace"))

    def say(self, name, text):
        """Tells everybody."""
        name, text = name[:MAX_NAME], text[:MAX_SAYING]
        saying = json.dumps({"name": name, "text": text, "here": len(self.clients)})
        for client in list(self.clients):
            try:
                if client in self.pages:
                    self.pages[client][0].send(saying)
                else:
                    client.send("{}: {}".format(name, text).encode("utf-8"))
            except WouldBlock:
                # Whoever does not read misses what is said.
                pass


class ChatResource(Resource):
    """The page, its socket, and who is there."""

    def __init__(self, chat):
        super().__init__()
        self.chat = chat

    @get("/")
    def index(self, request):
        return self.file("chat.html")

    @get("/static/:name")
    def static(self, request):
        return self.file(request.matches["name"])

    @get("/who")
    def who(self, request):
        return JsonResponse({"here": len(self.chat.clients), "pages": sorted(n for _, n in self.chat.pages.values())})

    @websocket("/chat/:name")
    def socket(self, request, opcode, payload):
        chat, name = self.chat, (request.matches["name"] or "?")[:MAX_NAME]
        if opcode == WebSocketOpCode.Open:
            chat.pages[request.client] = (request, name)
            chat.say(name, "is here")
        elif opcode == WebSocketOpCode.Text:
            chat.say(name, payload)
        elif opcode == WebSocketOpCode.Close:
            chat.pages.pop(request.client, None)
            chat.say(name, "has left")

    def file(self, name):
        try:
            path = pathlib.Path(path_join_safe(str(PAGES), name))
            return Response(path.read_bytes(), headers={"Content-Type": TYPES[path.suffix]})
        except (ValueError, OSError, KeyError):
            return JsonResponse({"error": "no such file"}, 404)


def make(host="127.0.0.1", game_port=1474, http_port=8080, key=None, cert=None):
    """The server, ready to run."""
    chat = Chat()
    router = Router()
    router.registerRoutes(ChatResource(chat))
    server = TwistedServer(ServerContext(chat), (host, game_port))
    server.listenTCP(router, (host, http_port), key, cert)

    def starting():
        scheme = "https" if cert else "http"
        print("game", *server.bound_address(), flush=True)
        print("chat {}://{}:{}/".format(scheme, *server.http_addresses()[0]), flush=True)

    chat.starting = starting
    return server


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    arguments = sys.argv[1:] + [None] * 5
    make(
        arguments[0] or "127.0.0.1",
        int(arguments[1] or 1474),
        int(arguments[2] or 8080),
        arguments[3],
        arguments[4],
    ).run()
