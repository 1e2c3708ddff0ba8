"""A client of the wire written from PROTOCOL.md alone, which holds everything that a server sends against it.

It shares no code with the library or the package. What a server must not do raises `Broken`, which names the
chapter.
"""

import os
import socket
import struct
import time
import zlib

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HEADER = struct.Struct(">4sIHHBHBI")
TO_SERVER, TO_CLIENT = b"FSOS", b"FSOC"
CLIENT_HELLO, SERVER_HELLO, CHALLENGE_RESP, KEEP_ALIVE, DISCONNECT, APP, APP_FRAGMENT = range(1, 8)
SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
INFO = b"01-secp256r1-sha256-aesgcm128-server-client"
RING = 65535
LARGEST_DATAGRAM, LARGEST_BODY, FRAGMENT, LAST_FRAGMENT, HELLO = 1472, 1434, 1024, 1427, 1438


class Broken(AssertionError):
    """The server did what the standard forbids."""


def must(chapter, condition, what):
    if not condition:
        raise Broken(f"chapter {chapter}: {what}")


def put_int(n):
    for tag, form, most in ((3, ">b", 0x7F), (4, ">h", 0x7FFF), (5, ">i", 0x7FFFFFFF), (6, ">q", 1 << 62)):
        if abs(n) <= most:
            return struct.pack(">H", tag) + struct.pack(form, n)
    raise ValueError(n)


def put_bytes(data):
    return struct.pack(">H", 14) + put_int(len(data)) + data


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, n):
        must(6, 0 <= n <= len(self.data), "a value breaks off")
        head, self.data = self.data[:n], self.data[n:]
        return head

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def int(self):
        form = {3: ">b", 4: ">h", 5: ">i", 6: ">q"}[self.u16()]
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def bytes(self):
        must(6, self.u16() == 14, "bytes have tag 14")
        return self.take(self.int())

    def key(self):
        der = self.bytes()
        must(6, len(der) == 91 and der.startswith(SPKI_PREFIX + b"\4"), "a key is 91 bytes of P-256")
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), der[26:])


def spki(key):
    return SPKI_PREFIX + key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def widen(wire, newest):
    """Chapter 2.1."""
    if newest == 0:
        return wire
    d = wire - ((newest - 1) % RING + 1)
    return newest + (d - RING if d > 32767 else d + RING if d < -32767 else d)


def on_wire(n):
    return 0 if n == 0 else (n - 1) % RING + 1


class StandardClient:
    """Sends what it is told, and acknowledges nothing by itself."""

    def __init__(self, address, root, proves=True):
        """`root` is the server's identity as 65 bytes; `proves` false never answers a SERVER_HELLO."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(0.02)
        self.address, self.root, self.proves = address, root, proves
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.aead = self.token = None
        self.packets = 0
        self.messages = 1
        #: packet numbers of the server that opened, and those of ours that it acknowledged
        self.taken, self.acked = set(), set()
        #: numbers of ours that were never sent
        self.skipped = set()
        self.newest = self.newest_message = 0
        self.nonces, self.times = set(), [0]
        #: (msgseq, type, body) without copies, every message by its number, partial messages by id
        self.received, self.bodies, self.fragments = [], {}, {}
        self.answers, self.hello_bytes, self.copies = [], 0, 0
        self.goodbyes = []
        self.empty = 0

    # ---- sending

    def _header(self, kind, length, count):
        self.packets += 1
        bits = sum(0x80000000 >> (d - 1) for d in range(1, 33) if self.newest - d in self.taken)
        return HEADER.pack(
            TO_SERVER, int(time.time()), on_wire(self.packets), on_wire(self.newest), kind, length, count, bits
        )

    def hello(self, size=HELLO, version=1, point=None):
        key = SPKI_PREFIX + point if point else spki(self.private.public_key())
        body = struct.pack(">H", 130) + put_bytes(key) + put_int(version)
        body += os.urandom(size - HEADER.size - 2 - len(body) - 4)
        clear = self._header(CLIENT_HELLO, len(body) + 2, 1) + struct.pack(">H", 1) + body
        datagram = clear + struct.pack(">I", zlib.crc32(clear))
        self.hello_bytes += len(datagram)
        self.socket.sendto(datagram, self.address)

    def seal(self, messages):
        """A datagram of (msgseq, type, body)."""
        if len(messages) == 1:
            payload = struct.pack(">H", messages[0][0]) + messages[0][2]
        else:
            payload = b"".join(struct.pack(">HHB", len(b), n, t) + b for n, t, b in messages)
        head = self._header(messages[0][1] if messages else KEEP_ALIVE, len(payload), len(messages))
        return head + self.aead.encrypt(head[:12], payload, head)

    def skip(self):
        """Leaves a packet number out."""
        self.packets += 1
        self.skipped.add(self.packets)

    def send_raw(self, datagram):
        self.socket.sendto(datagram, self.address)

    def send(self, *messages):
        """One datagram of (type, body), with numbers of their own; none is a keep-alive."""
        numbered = []
        for kind, body in messages:
            self.messages += 1
            numbered.append((on_wire(self.messages), kind, body))
        self.send_raw(self.seal(numbered))
        return self.packets

    # ---- receiving

    def pump(self, until=lambda: False, seconds=20.0, keep_alive=True):
        """Reads until it is so; whether it came to be."""
        end, last = time.monotonic() + seconds, time.monotonic()
        while not until():
            now = time.monotonic()
            if now > end:
                return False
            if keep_alive and self.aead and now - last > 0.05:
                last = now
                self.send()
            try:
                datagram = self.socket.recvfrom(4096)[0]
            except socket.timeout:
                continue
            self.take(datagram)
        return True

    def take(self, datagram):
        must(1, HEADER.size <= len(datagram) <= LARGEST_DATAGRAM, f"{len(datagram)} bytes")
        head, rest = datagram[: HEADER.size], datagram[HEADER.size :]
        magic, seconds, seq, ack, kind, length, count, bits = HEADER.unpack(head)
        must(2, magic == TO_CLIENT, "the magic is the server's")
        must(2, seq != 0, "a packet has a number")
        must(2, seconds >= self.times[-1], "time does not go back")
        self.times.append(seconds)
        if kind == SERVER_HELLO:
            must(2, len(rest) == length + 4 and count == 1, "a clear datagram has one message and a checksum")
            must(2, rest[length:] == struct.pack(">I", zlib.crc32(datagram[:-4])), "the checksum fits")
            return self._answer(len(datagram), rest[:length], ack)
        must(2, 3 <= kind <= 7, f"type {kind}")
        must(2, len(rest) == length + 16, "a sealed datagram has a tag")
        must(2, head[:12] not in self.nonces, "no nonce is used twice")
        self.nonces.add(head[:12])
        try:
            payload = self.aead.decrypt(head[:12], rest, head)
        except InvalidTag:
            raise Broken("chapter 2: the tag fits") from None
        number = widen(seq, self.newest)
        self.newest = max(self.newest, number)
        must(2, number not in self.taken, "no packet number is used twice")
        self.taken.add(number)
        self._acks(ack, bits)
        self._messages(kind, count, payload)

    def _acks(self, ack, bits):
        if ack:
            newest = widen(ack, self.packets)
            covered = [newest] + [newest - d for d in range(1, 33) if bits & (0x80000000 >> (d - 1))]
            must(4, all(1 <= n <= self.packets for n in covered), f"acknowledges {covered} of {self.packets}")
            must(4, not self.skipped.intersection(covered), "acknowledges what never came")
            self.acked.update(covered)

    def _answer(self, size, payload, ack):
        must(6, ack != 0, "an answer acknowledges the hello")
        self.answers.append((time.monotonic(), size))
        must(6, sum(s for _, s in self.answers) <= self.hello_bytes, "answers stay within the hello's bytes")
        reader = Reader(payload)
        must(6, reader.u16() == 1, "an answer is message 1")
        must(6, reader.u16() == 131, "a SERVER_HELLO's type")
        root, signed, signature = reader.key(), reader.bytes(), reader.bytes()
        must(6, not reader.data, "nothing stands behind the signature")
        must(6, spki(root)[26:] == self.root, "it is the server's identity")
        try:
            root.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise Broken("chapter 6: the signature fits") from None
        inner = Reader(signed)
        server, salt, token = inner.key(), inner.bytes(), inner.int()
        must(6, len(salt) == 16 and token >> 30 == 1 and not inner.data, "salt and token")
        shared = self.private.exchange(ec.ECDH(), server)
        key = HKDF(hashes.SHA256(), 16, salt, INFO).derive(shared)
        if self.aead is None and self.proves:
            self.newest = len(self.answers)
            self.taken.add(self.newest)
            self.aead, self.token = AESGCM(key), token
            self.newest_message = 1
            self.send((CHALLENGE_RESP, struct.pack(">H", 132) + put_int(1) + put_int(token)))
        must(6, self.token in (None, token), "copies of an answer are the same")

    def _messages(self, kind, count, payload):
        messages = []
        if count == 0:
            must(3, not payload and kind == KEEP_ALIVE, "count 0 is an empty keep-alive")
            self.empty += 1
        elif count == 1:
            must(3, len(payload) >= 2, "a message has a number")
            messages.append((struct.unpack(">H", payload[:2])[0], kind, payload[2:]))
        else:
            while payload:
                must(3, len(payload) >= 5, "a message has a header")
                size, number, message_kind = struct.unpack(">HHB", payload[:5])
                must(3, len(payload) >= 5 + size, "a message is whole")
                messages.append((number, message_kind, payload[5 : 5 + size]))
                payload = payload[5 + size :]
            must(3, len(messages) == count, "count counts")
            must(2, messages[0][1] == kind, "the header has the first message's type")
        for number, message_kind, body in messages:
            self._message(number, message_kind, body)

    def _message(self, wire, kind, body):
        must(3, wire != 0, "a message has a number")
        must(2, kind in (APP, APP_FRAGMENT, DISCONNECT), f"a server sends no type {kind}")
        must(1, len(body) <= LARGEST_BODY, "a body fits")
        number = widen(wire, self.newest_message)
        self.newest_message = max(self.newest_message, number)
        must(3, number >= 2, "message 1 is the SERVER_HELLO")
        must(7, number > self.newest_message - 256, "numbers in use stay within 256")
        if kind == DISCONNECT:
            must(9, not body, "a DISCONNECT is empty")
            self.goodbyes.append((time.monotonic(), number))
        if number in self.bodies:
            must(3, self.bodies[number] == (kind, body), "a number keeps its message")
            self.copies += 1
            return
        self.bodies[number] = (kind, body)
        if kind == APP_FRAGMENT:
            self._fragment(wire, body)
        else:
            self.received.append((wire, kind, body))

    def _fragment(self, wire, body):
        must(5, len(body) >= 7, "a fragment has data")
        ident, index, count = struct.unpack(">HHH", body[:6])
        data = body[6:]
        must(5, ident != 0 and 2 <= count <= 0x2000 and 1 <= index <= count, f"{ident} {index} {count}")
        full = len(data) == FRAGMENT if index < count else 1 <= len(data) <= LAST_FRAGMENT
        must(5, full, f"fragment {index} of {count} has {len(data)} bytes")
        parts = self.fragments.setdefault(ident, {})
        parts[index] = (wire, data, count)
        must(5, len({c for _, _, c in parts.values()}) == 1, "all fragments of a message have one count")
        if len(parts) == count:
            del self.fragments[ident]
            whole = b"".join(parts[i][1] for i in range(1, count + 1))
            must(5, count == 1 + -(-(len(whole) - LAST_FRAGMENT) // FRAGMENT), "count follows from the length")
            self.received.append((parts[1][0], APP, whole))

    def close(self):
        self.socket.close()
