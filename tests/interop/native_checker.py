"""Explains recorded sessions of the native protocol, written from PROTOCOL.md alone.

    python tests/interop/native_checker.py tests/vectors/native/session_*.json

A session is every datagram of two ends on a virtual clock, with the private keys, what the two hosts said and what
they got. All of it is followed as the page has it: each packet is opened, each frame read to its last byte, each
number, acknowledgement, timer and outcome compared with what must come of what came before. What is not so raises
`Unexplained`, which names the chapter. It shares no code with the library.

The page leaves much to a sender. Where it says what ours does, the checker holds the sessions against that.
"""

import functools
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

VERSION = 1
HELLO_LEN, COOKIE_LEN, WELCOME_LEN = 1200, 20, 55
HELLO, COOKIE, WELCOME, VERSIONS, RESET = range(0xC0, 0xC5)
PADDING, PING, PATH_CHALLENGE, PATH_RESPONSE, CLOSE, CLOSED, JOIN, ACCEPT, TIME = range(9)
UNRELIABLE, SEQUENCED, BEST_EFFORT, GUARANTEED, ORDERED = range(5)
TAG_LEN, LAST_NUMBER = 16, (1 << 62) - 1
#: Microseconds.
MS, S = 1000, 1_000_000


class Unexplained(AssertionError):
    """Something that the page does not explain."""


def must(chapter, condition, what):
    if not condition:
        raise Unexplained(f"chapter {chapter}: {what}")


# ---- keys (chapter 15)


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(secret, label, length):
    return mac(secret, label + b"\x01")[:length]


def hkdf(salt, ikm, info):
    return expand(mac(salt, ikm), info, 32)


@functools.lru_cache(maxsize=64)
def public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


@functools.lru_cache(maxsize=64)
def agree(private, peer):
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(peer))


class Noise:
    """The symmetric state of the Noise specification, revision 34."""

    def __init__(self, pattern):
        name = f"Noise_{('NK', 'NX')[pattern]}_25519_ChaChaPoly_SHA256".encode()
        self.h = self.ck = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self.key, self.nonce = None, 0
        self.mix_hash(b"gamekeeper 1" + struct.pack(">IB", VERSION, pattern))

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def split(self, material=b""):
        temporary = mac(self.ck, material)
        first = mac(temporary, b"\x01")
        return first, mac(temporary, first + b"\x02")

    def mix_key(self, material):
        (self.ck, self.key), self.nonce = self.split(material), 0

    def seal(self, plaintext):
        sealed = ChaCha20Poly1305(self.key).encrypt(self._nonce(), plaintext, self.h) if self.key else plaintext
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed):
        try:
            plain = ChaCha20Poly1305(self.key).decrypt(self._nonce(), sealed, self.h)
        except InvalidTag:
            raise Unexplained("chapter 15.1: message 2 does not open") from None
        self.mix_hash(sealed)
        return plain

    def _nonce(self):
        self.nonce += 1
        return bytes(4) + struct.pack("<Q", self.nonce - 1)


def message_1(pattern, ephemeral, server):
    noise = Noise(pattern)
    if pattern == 0:
        noise.mix_hash(server)
    noise.mix_hash(public(ephemeral))
    if pattern == 0:
        noise.mix_key(agree(ephemeral, server))
    return noise, public(ephemeral) + noise.seal(b"")


def message_2(noise, pattern, ephemeral, server, message):
    """The welcome and both traffic secrets."""
    theirs, rest = message[:32], message[32:]
    noise.mix_hash(theirs)
    noise.mix_key(agree(ephemeral, theirs))
    if pattern == 1:
        shown, rest = noise.open(rest[:48]), rest[48:]
        must(15.1, shown == server, "the server shows its key")
        noise.mix_key(agree(ephemeral, shown))
    return noise.open(rest), noise.split()


class Phase:
    """The keys of one direction in one phase (15.2)."""

    def __init__(self, secret):
        self.secret = secret
        self.aead, self.iv = AESGCM(expand(secret, b"key", 16)), expand(secret, b"iv", 12)

    def next(self):
        return Phase(expand(self.secret, b"next", 32))

    def nonce(self, number):
        return self.iv[:4] + (int.from_bytes(self.iv[4:], "big") ^ number).to_bytes(8, "big")


# ---- reading


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, n, chapter=19):
        must(chapter, n <= len(self.data), "a field breaks off")
        head, self.data = self.data[:n], self.data[n:]
        return head

    def number(self, n):
        return int.from_bytes(self.take(n), "big")

    def varint(self):
        must(14, self.data, "a varint breaks off")
        length = 1 << (self.data[0] >> 6)
        value = self.number(length) & ((1 << (8 * length - 2)) - 1)
        must(14, length == 1 or value >= 1 << (4 * length - 2), "a varint has its shortest form")
        return value

    def counted(self):
        return self.take(self.varint())


def widen(low, bits, expected):
    """Chapter 18.1."""
    span = 1 << bits
    c = expected & ~(span - 1) | low
    if c + span // 2 <= expected:
        return c + span
    return c - span if c > expected + span // 2 and c >= span else c


def read_frames(payload):
    """All frames of a packet, as (name, fields...)."""
    r, frames = Reader(payload), []
    must(18, payload, "a packet has frames")
    while r.data:
        kind = r.number(1)
        if kind in (PADDING, PING, CLOSED, ACCEPT):
            frames.append((kind,))
        elif kind in (PATH_CHALLENGE, PATH_RESPONSE):
            frames.append((kind, r.take(8)))
        elif kind == CLOSE:
            reason, code, text = r.number(1), r.varint(), r.counted()
            must(24, reason <= 7, f"reason {reason}")
            must(19, code < 1 << 32 and len(text) <= 256, "code and text of a CLOSE are within their bounds")
            try:
                frames.append((kind, reason, code, text.decode()))
            except UnicodeDecodeError:
                raise Unexplained("chapter 19: a CLOSE's text is UTF-8") from None
        elif kind == JOIN:
            given = r.number(1)
            must(19, given <= 1, "a JOIN has a password or none")
            password = r.counted() if given else None
            data = r.counted()
            must(22, len(password or b"") + len(data) <= 1024, "a JOIN's bytes are within their bound")
            frames.append((kind, password, data))
        elif kind == TIME:
            frames.append((kind, r.varint(), r.varint(), r.varint()))
        elif 0x20 <= kind <= 0x3F:
            largest, delay, first = r.number(2), r.varint(), r.varint()
            frames.append((0x20, largest, delay, first, [(r.varint(), r.varint()) for _ in range(kind & 31)]))
        elif 0x40 <= kind <= 0x7F:
            frames.append((0x40, read_message(r, kind)))
        else:
            raise Unexplained(f"chapter 19: no frame has type {kind:#x}")
    return frames


class Message:
    """A MESSAGE frame."""

    number = channel = sequence = 0
    part = None

    def whole_key(self):
        return self.mode, self.channel, self.sequence

    def __eq__(self, other):
        return vars(self) == vars(other)


def read_message(r, kind):
    m = Message()
    m.mode = kind >> 3 & 7
    must(21, m.mode <= ORDERED, f"mode {m.mode}")
    length = r.varint() if kind & 4 else None
    if m.mode >= BEST_EFFORT:
        m.number = r.number(2)
    if kind & 1:
        m.channel = r.number(1)
        must(21.1, m.channel, "channel 0 is not written")
    if m.mode == ORDERED:
        m.sequence = r.number(2)
    if kind & 2:
        ident, index, count = r.number(2), r.varint(), r.varint()
        must(21.1, ident and 2 <= count <= 8192 and index < count, f"fragment {ident} {index} {count}")
        m.part = ident, index, count
    m.data = r.take(len(r.data) if length is None else length)
    must(21.1, m.data or not m.part, "a fragment has data")
    m.is_last = length is None
    return m


def promptness(frames):
    """Chapter 19's last column: 0, 1 lazily, 2 promptly."""
    def of(f):
        if f[0] == 0x40:
            return 2 if f[1].mode >= BEST_EFFORT else 1
        return 2 if f[0] in (PING, PATH_CHALLENGE, JOIN, ACCEPT) else 0
    return max(map(of, frames))


# ---- acknowledging (chapter 20)


class Acks:
    """What one end has to acknowledge, and by when."""

    def __init__(self):
        self.ranges = []  # [low, high, told], newest first
        self.newest_at = 0
        self.prompt = self.lazy = 0
        self.due = None

    def newest(self):
        return self.ranges[0][1] if self.ranges else 0

    def received(self, now, number, promptness_):
        in_line = number == self.newest() + 1
        if number > self.newest():
            self.newest_at = now
        self._insert(number)
        if promptness_ == 0:
            return
        if promptness_ == 1:
            self.lazy += 1
            wait = 0 if self.lazy >= 32 else 200 * MS if in_line else 25 * MS
        else:
            self.prompt += 1
            wait = 25 * MS if in_line and self.prompt < 2 else 0
        self.due = now + wait if self.due is None else min(self.due, now + wait)

    def _insert(self, number):
        low = high = number
        kept = []
        for r in self.ranges:
            if r[0] == number + 1:
                high = r[1]
            elif r[1] == number - 1:
                low = r[0]
            else:
                kept.append(r)
        kept.append([low, high, 0])
        self.ranges = sorted(kept, reverse=True)[:32]

    def told(self, now, delay, told, is_cut):
        """An ACK leaves with these ranges."""
        must(20, self.due is not None, "an acknowledgement leaves that nobody waits for")
        worth = [r for i, r in enumerate(self.ranges) if i == 0 or r[2] < 8]
        expected = [(low, high) for low, high, _ in worth]
        must(20, told == expected[: len(told)], f"{told} is acknowledged, what came is {expected}")
        must(20, is_cut or len(told) == len(expected), "ranges are left out without need")
        must(20, delay == (now - self.newest_at) // 16, f"a delay of {delay}")
        for r in worth[: len(told)]:
            r[2] += 1
        self.prompt = self.lazy = 0
        self.due = None


# ---- delivery (chapter 21.3)


class Inbox:
    """What one end makes of the messages that it gets."""

    def __init__(self):
        self.newest, self.taken = 0, set()
        self.newest_id, self.partials = 0, {}
        self.next, self.held, self.sequenced = {}, {}, {}

    def take(self, packet, m):
        """The messages that can be delivered now."""
        if m.mode >= BEST_EFFORT:
            number = widen(m.number, 16, self.newest + 1)
            must(21.3, number > 0, "a message has a number")
            if number in self.taken:
                return []
            self.taken.add(number)
            self.newest = max(self.newest, number)
        place = 0
        if m.mode == ORDERED:
            at = self.next.setdefault(m.channel, 1)
            place = widen(m.sequence, 16, at)
            must(21.3, place >= at, "a place that was delivered is given again")
        data = m.data
        if m.part:
            ident, index, count = m.part
            order = widen(ident, 16, max(self.newest_id, 1))
            self.newest_id = max(self.newest_id, order)
            parts = self.partials.setdefault(order, {})
            must(21.3, index not in parts, "a fragment is there already")
            parts[index] = m, packet
            if len(parts) < count:
                return []
            del self.partials[order]
            must(21.1, len({(p.whole_key(), p.part[2]) for p, _ in parts.values()}) == 1, "fragments agree")
            data = b"".join(parts[i][0].data for i in range(count))
            packet = max(number for _, number in parts.values())
        return self._whole(packet, m, place, data)

    def _whole(self, packet, m, place, data):
        if m.mode == SEQUENCED:
            if packet < self.sequenced.get(m.channel, 0):
                return []
            self.sequenced[m.channel] = packet
        if m.mode != ORDERED:
            return [(m.channel, data)]
        held = self.held.setdefault(m.channel, {})
        held[place] = data
        free = []
        while self.next[m.channel] in held:
            free.append((m.channel, held.pop(self.next[m.channel])))
            self.next[m.channel] += 1
        return free


# ---- the two ends


class End:
    """One end, as sender and as receiver."""

    def __init__(self, name):
        self.name = name
        self.to_server = name == "client"
        # What it sends.
        self.phase, self.p, self.phase_first, self.sent = None, 0, 1, 0
        self.sealed = {}  # number: frames
        self.sizes = {}
        self.acked, self.newest_acked = set(), 0
        self.pieces, self.next_piece = {}, 1
        self.fragments, self.next_id = {}, 1
        self.whole = []  # (mode, channel, data) that left
        self.places = {}
        self.proven_size = 1200
        self.asked_at = self.received_at = 0
        # What it gets.
        self.opened, self.newest = set(), 0
        self.in_keys, self.in_p, self.in_first = [], 0, 0
        self.acks, self.inbox = Acks(), Inbox()
        # Where it stands.
        self.connected_at = None
        self.ended_at = self.closed_at = None
        self.close, self.closes, self.is_heard = None, [], False
        self.owes_closed, self.answers = False, 0
        self.owes_response = None
        self.joins, self.join_data = [], None
        self.owes_accept = False
        self.times = []

    def is_live(self):
        return self.ended_at is None


class Checker:
    def __init__(self, session):
        self.session = session
        root = bytes.fromhex(session["root"])
        salt = b"gamekeeper x25519"
        self.server_private = hkdf(salt, root, b"native 1")
        self.server_public = public(self.server_private)
        self.reset_key = hkdf(salt, root, b"reset 1")
        self.cookie_key = bytes.fromhex(session["cookie_key"])
        self.ephemeral = bytes.fromhex(session["client_ephemeral"])
        self.pattern = 0 if session["pinned"] else 1
        self.client, self.server = End("client"), End("server")
        self.client.other, self.server.other = self.server, self.client
        self.noise, self.message_1 = message_1(self.pattern, self.ephemeral, self.server_public)
        self.hellos, self.pause, self.cookie, self.prompt = [], 0, b"", 0
        self.next_hello = 0
        self.cookies, self.welcomes, self.answers, self.hellos_read = set(), [], 0, {}
        self.strangers = []
        self.welcome = self.welcomed_at = self.welcome_read_at = None
        self.proven = self.candidate = None
        self.delivered, self.ends = [], []
        self.reset_due = []
        #: by the datagram's place: number, phase's parity and frames; and key, number, header and payload
        self.parsed, self.opened = {}, {}
        self.now = 0

    # ---- the run

    def run(self):
        datagrams = [(d, bytes.fromhex(d["bytes"])) for d in self.session["datagrams"]]
        events = [(d["at"], 1, i) for i, (d, _) in enumerate(datagrams)]
        events += [(d["arrives"], 0, i) for i, (d, _) in enumerate(datagrams) if d["arrives"] is not None]
        must(32, all(a[0]["at"] <= b[0]["at"] for a, b in zip(datagrams, datagrams[1:])), "times do not go back")
        for at, is_sent, i in sorted(events):
            self.advance(at)
            d, data = datagrams[i]
            if is_sent:
                (self.client_sends if d["from"] == "client" else self.server_sends)(i, d["client"], data)
            elif d["from"] == "client":
                self.arrives_at_server(i, d["client"], data)
            else:
                self.arrives_at_client(i, d["client"], data)
        self.advance(self.now + 1)
        self.finish()

    def forgotten(self):
        return self.session["forgotten"] is not None and self.now > self.session["forgotten"]

    def advance(self, now):
        """Nothing that was due before `now` may be missing."""
        for end in (self.client, self.server):
            if end is self.server and self.session["forgotten"] is not None and now > self.session["forgotten"]:
                continue
            late = now - MS
            if end.is_live():
                must(20, end.acks.due is None or end.acks.due >= late, f"the {end.name} acknowledges too late")
            if self.now < now:
                must(24, not end.owes_closed, f"the {end.name} does not answer a CLOSE")
                must(25, end.owes_response is None, "a PATH_CHALLENGE is not answered at once")
                must(22, not end.owes_accept, "a JOIN of who is let in is not answered")
        if self.now < now:
            must(17.4, not self.reset_due, "data for nobody is not answered")
            must(17.2, not self.strangers, "a hello of another version is not answered")
            must(17.2, self.answers == sum(self.hellos_read.values()), "a hello is not answered")
            client = self.client
            if client.connected_at is not None and client.is_live():
                interval = min(self.welcome["timeout_ms"] * MS // 5, S)
                must(23, client.asked_at + interval >= now - MS, "the client is silent for too long")
        self.now = now

    # ---- packets outside a connection

    def client_sends(self, i, address, data):
        must(14, data, "a datagram has a first byte")
        if data[0] & 0xC0 == 0x80:
            return self.sends_data(self.client, i, address, data)
        must(16, data[0] == HELLO, f"a client sends no packet {data[0]:#x}")
        must(16, len(data) >= HELLO_LEN, "a hello has 1200 bytes")
        version, pattern, c = struct.unpack(">IBB", data[1:7])
        if version != VERSION:
            return
        must(16, len(data) == HELLO_LEN, "a hello has 1200 bytes")
        cookie, rest = data[7 : 7 + c], data[7 + c :]
        must(16, pattern == self.pattern, "the pattern is that of what the client knows")
        must(17.1, cookie == self.cookie, "a hello has the newest cookie")
        must(17.1, rest[: len(self.message_1)] == self.message_1, "message 1 stays the same")
        must(16, not any(rest[len(self.message_1) :]), "behind message 1 are zeros")
        must(17.1, self.welcome_read_at is None, "who is welcome says hello no more")
        must(17.1, self.now == self.next_hello, f"a hello is due at {self.next_hello}")
        self.pause = min(self.pause * 3 // 2, 2 * S) if self.pause else 250 * MS
        self.next_hello = self.now + self.pause
        self.hellos.append(data)

    def cookie_for(self, address, time):
        ip, port = address.rsplit(":", 1)
        place = b"\x04" + bytes(map(int, ip.split("."))) + struct.pack(">H", int(port))
        data = place + time + struct.pack(">IB", VERSION, self.pattern) + self.message_1
        return time + mac(self.cookie_key, data)[:16]

    def server_sends(self, i, address, data):
        must(14, data, "a datagram has a first byte")
        if data[0] & 0xC0 == 0x80:
            return self.sends_data(self.server, i, address, data)
        if data[0] == RESET:
            must(16, len(data) == 17, "a reset has 17 bytes")
            must(17.4, self.reset_due, "a reset answers data of nobody")
            ident = self.reset_due.pop()
            return must(15, data[1:] == mac(self.reset_key, ident)[:16], "a reset has its connection's token")
        if data[0] == VERSIONS:
            must(17.2, self.strangers, "VERSIONS answers a hello of another version")
            hello = self.strangers.pop()
            return must(16, data[1:] == hello[7:15] + struct.pack(">I", VERSION), "the echo, and the versions")
        self.answers += 1
        must(17.2, self.answers <= self.hellos_read.get(address, 0), "one answer to each hello")
        head = struct.pack(">I", VERSION) + self.message_1[:8]
        must(16, data[1:13] == head, "an answer begins with version and echo")
        if data[0] == COOKIE:
            time = struct.pack(">I", (self.session["unix_micros"] + self.now) // S)
            must(17.2, data[13:] == self.cookie_for(address, time), "the cookie is that of the address and the time")
            return self.cookies.add(data[13:])
        must(16, data[0] == WELCOME, f"a server sends no packet {data[0]:#x}")
        must(17.2, not self.cookies or self.last_hello_had_cookie, "a hello without the cookie gets another")
        if self.welcome is not None:
            return must(17.2, data == self.welcome_datagram, "a WELCOME is repeated byte for byte")
        self.welcome_datagram, self.welcomed_at, self.welcomed_address = data, self.now, address
        self.read_welcome(data[13:])

    def read_welcome(self, message):
        must(17, len(message) == WELCOME_LEN + (48, 96)[self.pattern], "a welcome has its length")
        payload, secrets = message_2(self.noise, self.pattern, self.ephemeral, self.server_public, message)
        must(17, message[:32] == public(bytes.fromhex(self.session["server_ephemeral"])), "the server's key is its own")
        names = ["connection_id", "token", "reset_token", "tick_interval_us", "tick", "clock_us"]
        names += ["timeout_ms", "max_message", "max_join", "wants_password"]
        w = dict(zip(names, struct.unpack(">II16sIQQIIHB", payload)))
        must(15, w["reset_token"] == mac(self.reset_key, payload[:4])[:16], "the reset token is that of the id")
        must(17.3, w["token"] >> 30 == 1, "bit 31 of a token is clear, bit 30 set")
        must(17.3, w["wants_password"] <= 1, "flags have a meaning")
        said = dict(self.session["welcome"], reset_token=bytes.fromhex(self.session["welcome"]["reset_token"]))
        must(17.3, {**w, "wants_password": bool(w["wants_password"])} == said, "the welcome says what the host says")
        self.welcome = w
        for end, secret in zip((self.client, self.server), secrets):
            end.phase = Phase(secret)
            end.other.in_keys = [None, end.phase, end.phase.next()]

    # ---- data packets leave (chapter 18)

    def sends_data(self, end, i, address, data):
        must(17, self.welcome is not None, "no data before the welcome")
        if end.to_server:
            must(17.1, self.welcome_read_at is not None, "a client that is not welcome sends no data")
        else:
            must(17.2, self.proven is not None and not self.forgotten(), "a server without a connection sends no data")
        must(14, not data[0] & 0x38, "reserved bits are clear")
        at = 5 if end.to_server else 1
        length = (data[0] & 3) + 1
        must(18, len(data) > at + length + TAG_LEN, "a packet has frames and a tag")
        if end.to_server:
            must(18, data[1:5] == struct.pack(">I", self.welcome["connection_id"]), "it names its connection")
        number = end.sent + 1
        low = int.from_bytes(data[at : at + length], "big")
        must(18.1, low == number & ((1 << 8 * length) - 1), f"packet {number} follows {end.sent}, not {low}")
        must(18.1, number <= LAST_NUMBER, "numbers end")
        d = number - end.newest_acked
        must(18.1, d < 1 << 8 * length - 1, f"{length} bytes do not tell packet {number}")
        p = data[0] >> 2 & 1
        if p != end.p:
            in_phase = any(end.phase_first <= n for n in end.acked)
            must(18.3, in_phase, "a phase begins only when a packet of the one before was acknowledged")
            end.phase, end.p, end.phase_first = end.phase.next(), p, number
        header, sealed = data[: at + length], data[at + length :]
        try:
            payload = end.phase.aead.decrypt(end.phase.nonce(number), sealed, header)
        except InvalidTag:
            raise Unexplained(f"chapter 18: packet {number} of the {end.name} does not open") from None
        end.sent = number
        end.sizes[number] = len(data)
        frames = end.sealed[number] = read_frames(payload)
        self.parsed[i] = number, p, frames
        self.opened[i] = end.phase, number, header, payload
        self.left(end, address, number, len(data), frames)

    def left(self, end, address, number, size, frames):
        kinds = [f[0] for f in frames]
        alone = len(frames) == 1 and kinds[0] in (PATH_CHALLENGE, CLOSE, CLOSED)
        probe = PADDING in kinds
        if probe:
            must(26, kinds == [PING] + [PADDING] * (len(kinds) - 1), "padding fills probes alone")
            must(26, end.proven_size < size and size in (1280, 1392, 1452, 1472), f"a probe of {size} bytes")
        else:
            must(26, size <= end.proven_size, f"{size} bytes are more than the path has proven")
        if not end.is_live():
            must(24, alone and kinds[0] != PATH_CHALLENGE, "after the end there are only goodbyes")
        elif kinds == [CLOSE]:
            self.local_end(end, frames[0])
        if not alone and not probe:
            must(20, end.acks.due is None or 0x20 in kinds, "an acknowledgement goes along")
        must(20, kinds.count(0x20) <= 1, "one ACK in a packet")
        if end is self.server:
            target = self.candidate["address"] if kinds == [PATH_CHALLENGE] and self.candidate else self.proven
            must(25, address == target, "only a challenge goes to an address that is not proven")
        if PING in kinds and not probe:
            interval = min(self.welcome["timeout_ms"] * MS // 5, S)
            since = end.asked_at if end.to_server else max(end.asked_at, end.received_at)
            must(23, self.now >= since + interval * (1 if end.to_server else 2), "a PING is sent without need")
        if promptness(frames) and not alone and not probe:
            end.asked_at = self.now
        for f in frames:
            self.frame_left(end, number, size, f, kinds)
        if end.to_server and number == 1:
            must(22, JOIN in kinds, "a client's first packet asks to be let in")

    def local_end(self, end, frame):
        end.ended_at = self.now
        self.ends.append((self.now, end.name, False, False) + frame[1:])

    def frame_left(self, end, number, size, f, kinds):
        kind = f[0]
        if kind == 0x20:
            self.ack_left(end, f, 0x40 in kinds)
        elif kind == 0x40:
            self.message_left(end, number, f[1])
        elif kind == PATH_CHALLENGE:
            self.challenge_left(end, size, f[1], kinds)
        elif kind == PATH_RESPONSE:
            must(25, end.owes_response == f[1], "a response repeats the newest challenge")
            end.owes_response = None
        elif kind == CLOSE:
            self.close_left(end, f, kinds)
        elif kind == CLOSED:
            must(24, kinds == [CLOSED] and end.owes_closed, "CLOSED answers a CLOSE, alone")
            end.owes_closed = False
        elif kind == JOIN:
            self.join_left(end, f)
        elif kind == ACCEPT:
            must(22, not end.to_server and end.owes_accept, "ACCEPT answers a JOIN")
            end.owes_accept = False
            end.connected_at = self.now if end.connected_at is None else end.connected_at
        elif kind == TIME:
            self.time_left(end, f)

    def ack_left(self, end, f, has_messages):
        _, largest, delay, first, further = f
        high = end.acks.newest()
        must(20, largest == high & 0xFFFF, f"the newest packet is {high}, not {largest}")
        ranges = [(high - first, high)]
        for gap, length in further:
            high = ranges[-1][0] - gap - 2
            ranges.append((high - length, high))
        must(20, ranges[-1][0] >= 1, "packets begin with 1")
        for low, high in ranges:
            must(20, all(n in end.opened for n in range(low, high + 1)), f"{low} to {high} did not come")
        end.acks.told(self.now, delay, ranges, has_messages)

    def message_left(self, end, number, m):
        must(22, end.connected_at is not None, "no messages before the client is in")
        must(24, end.is_live(), "no messages after the end")
        m.packet = None
        is_copy = False
        if m.mode >= BEST_EFFORT:
            newest = end.next_piece - 1
            n = widen(m.number, 16, newest + 1)
            must(21.1, 1 <= n <= end.next_piece, f"message {n} does not follow {newest}")
            is_copy = n in end.pieces
            if is_copy:
                old = end.pieces[n]
                must(21.1, (old.whole_key(), old.part, old.data) == (m.whole_key(), m.part, m.data), "copies are equal")
                return
            end.pieces[n] = m
            end.next_piece += 1
        if not m.part:
            must(21.2, len(m.data) <= end.proven_size - 33, "a message travels whole only if it fits")
            return self.whole_left(end, m, m.data)
        ident, index, count = m.part
        must(21.1, ident <= end.next_id, f"fragmented message {ident} does not follow {end.next_id - 1}")
        end.next_id = max(end.next_id, ident + 1)
        parts = end.fragments.setdefault(ident, {})
        must(21.1, index not in parts, "a fragment is sent again under another number")
        parts[index] = m
        if len(parts) == count:
            must(21.1, len({(p.whole_key(), p.part[2]) for p in parts.values()}) == 1, "fragments agree")
            lengths = [len(parts[i].data) for i in range(count)]
            alike = [len(set(lengths[start:-1:2])) <= 1 for start in (0, 1)]
            must(21.2, all(alike) and lengths[-1] <= lengths[0], f"fragments of {lengths}")
            self.whole_left(end, m, b"".join(parts[i].data for i in range(count)))

    def whole_left(self, end, m, data):
        end.whole.append((m.mode, m.channel, data.hex()))
        if m.mode == ORDERED:
            places = end.places.setdefault(m.channel, {})
            must(21.1, m.sequence not in places, "a place is given once")
            places[m.sequence] = data.hex()

    def challenge_left(self, end, size, data, kinds):
        must(25, end is self.server and kinds == [PATH_CHALLENGE], "a server challenges, alone in a packet")
        c = self.candidate
        must(25, c is not None, "an address is challenged that nobody came from")
        must(25, c["data"] in (None, data), "a candidate has one challenge")
        must(25, self.now == c["next"], f"a challenge is due at {c['next']}")
        c["pause"] = min(c["pause"] * 3 // 2, S) if c["data"] is not None else 100 * MS
        c["data"], c["next"] = data, self.now + c["pause"]
        c["out"] += size
        must(25, c["out"] <= 3 * c["in"], "more goes to an unproven address than three times what came")

    def close_left(self, end, f, kinds):
        must(24, kinds == [CLOSE], "a CLOSE is alone in its packet")
        must(24, end.close in (None, f) and not end.is_heard, "a CLOSE is said again as it was, until it is heard")
        end.close = f
        first = end.closes[0] if end.closes else self.now
        offsets = (0, 50, 150, 350, 750, 1550)
        must(24, len(end.closes) < len(offsets), "a CLOSE is said six times")
        must(24, self.now - first == offsets[len(end.closes)] * MS, f"a CLOSE after {self.now - first} us")
        end.closes.append(self.now)

    def join_left(self, end, f):
        must(22, end.to_server and end.connected_at is None, "a client asks until it is in")
        said = self.session["join"]
        password = None if said["password"] is None else bytes.fromhex(said["password"])
        must(22, f[1:] == (password, bytes.fromhex(said["data"])), "a JOIN says what the client's host says")
        must(22, password is None or self.session["pinned"], "a password goes to a pinned server only")
        if end.joins:
            pause = min(100 * MS << (len(end.joins) - 1), S)
            must(22, self.now == end.joins[-1] + pause, f"a JOIN after {self.now - end.joins[-1]} us")
        else:
            must(22, self.now == self.welcome_read_at, "the first JOIN leaves at once")
        end.joins.append(self.now)

    def time_left(self, end, f):
        _, tick, since, clock = f
        must(28, not end.to_server and end.connected_at is not None, "a server tells its time to who is in")
        must(28, not end.times or self.now >= end.times[-1] + S, "once a second")
        end.times.append(self.now)
        must(28, clock - self.now == self.welcome["clock_us"] - self.welcomed_at, "the clock runs evenly")
        interval = self.welcome["tick_interval_us"]
        must(28, since < interval and tick * interval + since == clock, "the tick is that of the clock")

    # ---- data packets arrive

    def arrives_at_server(self, i, address, data):
        if data[0] & 0xC0 != 0x80:
            if struct.unpack(">I", data[1:5])[0] != VERSION:
                return self.strangers.append(data)
            self.hellos_read[address] = self.hellos_read.get(address, 0) + 1
            self.last_hello_had_cookie = data[6] == COOKIE_LEN and data[7:27] in self.cookies
            return
        if self.forgotten():
            must(17.4, len(data) >= 23, "data packets to the server have at least 23 bytes")
            return self.reset_due.append(data[1:5])
        number, p, frames = self.parsed[i]
        if not self.open(self.server, number, p):
            return
        if self.proven is None:
            self.proven = self.welcomed_address
        is_newest = number == self.server.newest
        self.path(address, len(data), is_newest)
        self.takes(self.server, number, frames, address)

    def arrives_at_client(self, i, address, data):
        client = self.client
        if data[0] & 0xC0 == 0x80:
            number, p, frames = self.parsed[i]
            if self.open(client, number, p):
                self.takes(client, number, frames, address)
        elif data[0] == COOKIE and self.welcome_read_at is None:
            if data[13:] != self.cookie:
                self.cookie, self.prompt = data[13:], self.prompt + 1
                if self.prompt <= 4:
                    self.next_hello, self.pause = self.now, 0
        elif data[0] == WELCOME and self.welcome_read_at is None:
            self.welcome_read_at = self.now
        elif data[0] == RESET and client.is_live():
            client.ended_at = client.closed_at = self.now
            self.ends.append((self.now, "client", False, True, 0, 0, ""))

    def open(self, end, number, p):
        """Whether the packet is taken (18.2, 18.3); its sender's phases were followed when it left."""
        if end.closed_at is not None or (end.ended_at is not None and self.now >= end.ended_at + 3 * S):
            return False
        must(18.1, number not in end.opened, "no packet comes twice in these sessions")
        if p == end.in_p:
            end.in_first = min(end.in_first or number, number)
        elif number > end.in_first:
            end.in_p, end.in_first = p, number
        end.opened.add(number)
        end.received_at = self.now
        end.newest = max(end.newest, number)
        return True

    def path(self, address, size, is_newest):
        c = self.candidate
        if address == self.proven:
            if is_newest:
                self.candidate = None
        elif c and c["address"] == address:
            c["in"] += size
        elif is_newest and (not c or self.now >= c["since"] + 100 * MS):
            self.candidate = {"address": address, "data": None, "since": self.now, "next": self.now}
            self.candidate.update({"pause": 0, "in": size, "out": 0})

    def takes(self, end, number, frames, address):
        was_live = end.is_live()
        refused = False
        for f in frames:
            if not end.is_live():
                self.takes_after_end(end, f)
            elif f[0] == 0x40:
                refused |= not self.takes_message(end, number, f[1])
            else:
                self.takes_control(end, f, address)
        if was_live and end.is_live() and not refused:
            end.acks.received(self.now, number, promptness(frames))

    def takes_after_end(self, end, f):
        if f[0] == CLOSE and end.answers < 8:
            end.owes_closed, end.is_heard = True, True
            end.answers += 1
        elif f[0] == CLOSED:
            end.closed_at, end.is_heard = self.now, True
            end.owes_closed = False

    def takes_message(self, end, number, m):
        if end.connected_at is None:
            if not end.to_server:
                return False
            end.connected_at = self.now
        for channel, data in end.inbox.take(number, m):
            self.delivered.append((self.now, end.name, channel, data.hex()))
        return True

    def takes_control(self, end, f, address):
        kind = f[0]
        if kind == 0x20:
            self.takes_ack(end, f)
        elif kind == PATH_CHALLENGE:
            end.owes_response = f[1]
        elif kind == PATH_RESPONSE and end is self.server:
            c = self.candidate
            if c and c["address"] == address and c["data"] == f[1]:
                self.proven, self.candidate = address, None
                end.proven_size = 1200
        elif kind == CLOSE:
            end.ended_at, end.owes_closed, end.is_heard = self.now, True, True
            self.ends.append((self.now, end.name, True, False) + f[1:])
        elif kind == JOIN and end is self.server:
            refuses = any(e["end"] == "server" and not e["remote"] and e["reason"] == 1 for e in self.session["ends"])
            end.owes_accept = not refuses
        elif kind == ACCEPT and end.to_server and end.connected_at is None:
            end.connected_at = self.now

    def takes_ack(self, end, f):
        _, largest, _, first, further = f
        high = widen(largest, 16, end.sent + 1)
        low = high - first
        covered = set(range(low, high + 1))
        for gap, length in further:
            high = low - gap - 2
            low = high - length
            covered.update(range(low, high + 1))
        must(20, max(covered) <= end.sent, "a packet is acknowledged that was never sent")
        for n in covered - end.acked:
            if (PADDING,) in end.sealed[n]:
                end.proven_size = max(end.proven_size, end.sizes[n])
        end.acked |= covered
        end.newest_acked = max(end.newest_acked, max(covered))

    # ---- the end of the record

    def finish(self):
        said = self.session
        delivered = [(d["at"], d["to"], d["channel"], d["data"]) for d in said["delivered"]]
        must(21.3, sorted(delivered) == sorted(self.delivered), "what was delivered is not what the packets bring")
        for name in ("client", "server"):
            mine = [d for d in self.delivered if d[1] == name]
            must(21.3, mine == [d for d in delivered if d[1] == name], "messages were delivered in another order")
        names = ("at", "end", "remote", "restarted", "reason", "code", "text")
        ends = sorted(tuple(e[n] for n in names) for e in said["ends"])
        must(24, ends == sorted(self.ends), f"{ends} is not {sorted(self.ends)}")
        for end in (self.client, self.server):
            sent = [(s["mode"], s["channel"], s["data"]) for s in said["sent"] if s["from"] == end.name]
            left = list(end.whole)
            for message in left:
                must(21, message in sent, f"the {end.name}'s host never sent {message[:2]}")
            must(21, all(left.count(m) <= sent.count(m) for m in left), "a message is new twice")
            if said["forgotten"] is None:
                missing = [m for m in sent if left.count(m) < sent.count(m)]
                must(21, not missing, f"{len(missing)} messages never left whole")
            for channel, places in end.places.items():
                must(21.1, sorted(places) == list(range(1, len(places) + 1)), "places have no gap")
                order = [d for mode, c, d in sent if (mode, c) == (ORDERED, channel)]
                must(21.1, [places[p] for p in sorted(places)] == order[: len(places)], "places are those of sending")


def check(session):
    """Raises `Unexplained` unless every byte of the session is explained; the checker then knows all frames."""
    checker = Checker(session)
    checker.run()
    return checker


def main(paths):
    for path in paths:
        session = json.loads(pathlib.Path(path).read_text())
        check(session)
        print(f"{path}: {len(session['datagrams'])} datagrams explained: {session['what']}")


if __name__ == "__main__":
    main(sys.argv[1:])
