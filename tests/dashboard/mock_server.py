"""A server's dashboard without a server: the page, and figures of as many peers as wanted, strangers' worst texts among them."""

import base64
import hashlib
import http.server
import json
import math
import pathlib
import random
import re
import threading
import time

PAGE = pathlib.Path(__file__).resolve().parents[2] / "src/server/dashboard/page.html"
SECONDS = 300
NASTY = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"

COLUMNS = ["id", "address", "door", "wire", "status", "token", "latency_us", "loss", "queued_messages", "queued_bytes",
           "age_s", "assembled", "acked", "timeouts", "received"]
DROPS = ["blocked", "malformed", "unknown", "forged", "duplicate", "old", "hello", "hello_budget", "full", "clear",
         "send_failed", "raw_budget"]


class Game:
    """Figures that look like those of a server with so many peers, the same in every run but for the time."""

    def __init__(self, peers, token=None, nasty=False, uptime=4000.0):
        self.random = random.Random(7)
        self.token, self.nasty, self.uptime = token, nasty, uptime
        self.actions, self.refused, self.broken = [], [], False
        self.peers = [self.peer(number) for number in range(peers)]
        self.lock = threading.Lock()

    def peer(self, number):
        chance = self.random
        address = (f"203.0.{number // 250 % 250}.{number % 250 + 1}:{chance.randrange(1024, 65536)}" if number % 5
                   else f"[2001:db8::{number:x}]:{chance.randrange(1024, 65536)}")
        assembled = chance.randrange(1000, 100000)
        lost = int(assembled * chance.choice([0, 0, 0, 0.001, 0.01, 0.05]))
        queued = chance.choice([0, 0, 0, 1, 3, 40])
        # Beyond 2^53, where numbers of scripts lose their last digits.
        return [str((1 << 60) + number), address, "udp", chance.choice(["native", "native", "mpgameserver"]), "connected",
                chance.randrange(1, 1 << 32), int(chance.lognormvariate(math.log(28000), 0.6)), lost / assembled, queued,
                queued * chance.randrange(20, 1200), chance.randrange(1, 90000), assembled, assembled - lost - queued, lost,
                chance.randrange(1000, 100000)]

    def stats(self):
        now, peers = int(time.time()), len(self.peers)
        seconds = range(now - SECONDS + 1, now + 1)
        wave = lambda s, period, noise: 1 + 0.25 * math.sin(s / period) + noise * (s * 7919 % 97 / 97 - 0.5)
        sent = [int(peers * 30 * wave(s, 40, 0.1)) for s in seconds]
        received = [int(peers * 31 * wave(s, 37, 0.12)) for s in seconds]
        ticks = [58 if s % 71 == 0 else 60 for s in seconds]
        messages = [0.16 * wave(s, 40, 0.15) for s in seconds]
        update = [0.11 * wave(s, 25, 0.2) for s in seconds]
        network = [0.2 * wave(s, 40, 0.1) for s in seconds]
        p50 = [int(27000 * wave(s, 90, 0.04)) for s in seconds]
        drops = dict.fromkeys(DROPS, 0) | {"unknown": 1834, "duplicate": 412, "hello_budget": 96011, "malformed": 29, "blocked": 7}
        log = [[now - 90 + i, kind, text] for i, (kind, text) in enumerate([
            ("info", "listening on 0.0.0.0:1474"), ("info", "the dashboard is at http://127.0.0.1:8080/"),
            ("connect", "203.0.113.9:40112 2291035518 -"), ("refuse", "198.51.100.23:5511 - the password is wrong"),
            ("refuse", "31 more, left out"), ("disconnect", "203.0.113.9:40112 2291035518 the peer left"),
            ("warn", "no root key is set: one was made for this run, which clients cannot pin"),
            ("move", "203.0.113.77:9021 1177 from 192.0.2.4:771")])]
        if self.nasty:
            log.append([now, "info", NASTY])
        return {
            "version": "0.1.0", "address": "0.0.0.0:1474", "now_s": now, "uptime_s": self.uptime, "rate_hz": 60.0, "max_peers": 8192,
            "server": {"peers": peers, "handshakes": 12, "joining": 3, "connects": 20417, "disconnects": 15417, "refusals": 391,
                       "handshake_timeouts": 77, "migrations": 58, "packets_sent": 1234567890, "packets_received": 1187654321,
                       "bytes_sent": 234567890123, "bytes_received": 98765432109, "ticks": 240000, "ticks_missed": 31,
                       "log_lines_suppressed": 4, "queued_messages": sum(p[8] for p in self.peers),
                       "queued_bytes": sum(p[9] for p in self.peers)},
            "packets": {"assembled": 1230000000, "acked": 1224400000, "timeouts": 5510000, "pending": 90000, "received": 1187000000,
                        "dropped": sum(drops.values()), "messages_sent": 1500000123, "messages_resent": 5400321,
                        "messages_received": 1480000456, "messages_duplicate": 321654, "messages_malformed": 0,
                        "messages_refused": 17, "loss": 0.004480},
            "drops": drops,
            "now": {"tick_rate_hz": 60.0, "messages_s": messages[-2], "update_s": update[-2], "network_s": network[-2],
                    "idle_s": 1 - messages[-2] - update[-2] - network[-2], "latency_p50_us": p50[-1],
                    "latency_p90_us": int(p50[-1] * 2.1), "latency_p99_us": int(p50[-1] * 4.2), "latency_max_us": 512345, "loss": 0.0041},
            "series": {"packets_sent": sent, "packets_received": received, "bytes_sent": [n * 190 for n in sent],
                       "bytes_received": [n * 84 for n in received], "latency_us": p50, "ticks": ticks, "messages_s": messages,
                       "update_s": update, "network_s": network,
                       "idle_s": [1 - a - b - c for a, b, c in zip(messages, update, network)], "p50_us": p50,
                       "p90_us": [int(n * 2.1) for n in p50], "p99_us": [int(n * 4.2 * wave(n, 3, 0.2)) for n in p50],
                       "loss": [0.004 * wave(s, 20, 0.5) for s in seconds]},
            "log": log,
        }

    def rows(self):
        with self.lock:
            for peer in self.peers[:: 3]:
                peer[6] = max(1000, int(peer[6] * self.random.uniform(0.9, 1.1)))
                peer[10] += 2
            rows = [list(peer) for peer in self.peers]
        if self.nasty and rows:
            rows[0][1] = NASTY
        return {"columns": COLUMNS, "peers": rows}

    def act(self, verb, number):
        with self.lock:
            before = len(self.peers)
            self.actions.append((verb, number))
            self.peers = [peer for peer in self.peers if peer[0] != number]
            return before != len(self.peers)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, kind, body, headers=()):
        data = body.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def known(self):
        token = self.server.game.token
        if token and self.headers.get("authorization") != "Bearer " + token:
            self.answer(401, "text/plain", "the token is missing or wrong\n")
            return False
        return True

    def do_GET(self):
        if self.path == "/":
            text = PAGE.read_text()
            digest = lambda tag: base64.b64encode(hashlib.sha256(
                re.search(f"<{tag}>(.*?)</{tag}>", text, re.S).group(1).encode()).digest()).decode()
            policy = (f"default-src 'none'; script-src 'sha256-{digest('script')}'; style-src 'sha256-{digest('style')}'; "
                      "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
            return self.answer(200, "text/html; charset=utf-8", text, [("content-security-policy", policy)])
        if self.server.game.broken:
            return self.answer(500, "text/plain", "broken\n")
        if self.path in ("/stats.json", "/peers.json"):
            if self.known():
                value = self.server.game.stats() if self.path == "/stats.json" else self.server.game.rows()
                self.answer(200, "application/json", json.dumps(value))
            return None
        return self.answer(404, "text/plain", "nothing here is called so\n")

    def do_POST(self):
        found = re.fullmatch(r"/peers/(\d+)/(disconnect|block)", self.path)
        if not found:
            return self.answer(404, "text/plain", "nothing here is called so\n")
        if not self.known():
            return None
        origin = self.headers.get("origin")
        own = [None, "http://" + self.headers["host"], "https://" + self.headers["host"]]
        if not self.headers.get("x-gamekeeper-action") or origin not in own:
            self.server.game.refused.append(self.path)
            return self.answer(403, "text/plain", "an action comes from this page or from no page\n")
        gone = self.server.game.act(found[2], found[1])
        return self.answer(200 if gone else 404, "text/plain", "done\n" if gone else "this peer is gone\n")

    def log_message(self, *_):
        pass


class Mock:
    """Serves a game on a free port of the loopback, as long as the `with` lasts."""

    def __init__(self, *arguments, **named):
        self.game = Game(*arguments, **named)

    def __enter__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.game = self.game
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    import sys
    with Mock(int(sys.argv[1]) if len(sys.argv) > 1 else 500) as mock:
        print(mock.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
