"""Records golden vectors of mpgameserver's datagram format from the real package.

    pip install mpgameserver==0.2.4
    python tests/vectors/make_mpgameserver.py [output, default tests/vectors/mpgameserver/vectors.json]

Two of the package's own connection objects talk to each other in memory. Their keys, random bytes and
clock are replaced from outside, signatures are made deterministic (RFC 6979), and everything else, every
byte of every datagram, is what the package makes of it. Two runs write the same file.
"""

import json
import logging
import os
import pathlib
import struct
import sys
from io import BytesIO

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mpgameserver import connection, crypto, serializable
from mpgameserver.connection import (
    ClientServerConnection,
    Packet,
    PacketHeader,
    PacketType,
    PendingMessage,
    RetryMode,
    SeqNum,
    ServerClientConnection,
)
from mpgameserver.context import ServerContext
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.handler import EventHandler

ADDRESS = ("192.0.2.1", 1474)
START = 1_700_000_000.25

# Any number below the group's order is a private key.
SCALARS = {
    "root": int("11" * 4 + "c0ffee" * 9 + "01", 16),
    "server": int("22" * 4 + "5eed00" * 9 + "02", 16),
    "client": int("33" * 4 + "cafe77" * 9 + "03", 16),
}
SALT = bytes(range(0xA0, 0xB0))
# Bit 31 set and bit 30 clear, so that the vectors show what the package makes of both.
TOKEN_BYTES = bytes.fromhex("9eadbeef")


def private_key(name):
    return EllipticCurvePrivateKey(ec.derive_private_key(SCALARS[name], ec.SECP256R1()))


def pattern(length, first=0):
    """Bytes that differ from their neighbours and from a copy at another offset."""
    return bytes((first + 7 * i + i // 256) % 256 for i in range(length))


class World:
    """The clock, keys and random bytes that the package sees."""

    def __init__(self):
        self.now = START
        self.keys = []

    def install(self):
        real_urandom = os.urandom

        def urandom(n):
            if n == crypto.ENCRYPTION_SALT_LENGTH:
                return SALT
            if n == 4:
                return TOKEN_BYTES
            if n > 1000:
                return pattern(n, 0x55)
            return real_urandom(n)

        os.urandom = urandom
        EllipticCurvePrivateKey.new = staticmethod(lambda: private_key(self.keys.pop(0)))
        EllipticCurvePrivateKey.sign = lambda self, data: self.key.sign(
            data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        )

    def clock(self):
        return self.now


WORLD = World()


class Pair:
    """A client and a server end of the package, connected up to the step asked for."""

    def __init__(self, steps=3):
        WORLD.now = START
        WORLD.keys = ["client", "server"]
        self.client = ClientServerConnection(ADDRESS)
        context = ServerContext(EventHandler(), private_key("root"))
        self.server = ServerClientConnection(context, ADDRESS)
        context.temp_connections[ADDRESS] = self.server
        for end in (self.client, self.server):
            end.clock = WORLD.clock
        self.client.setServerPublicKey(private_key("root").getPublicKey())
        self.client._sendClientHello()
        self.handshake = []
        for step in range(steps):
            sender = self.server if step == 1 else self.client
            packet, datagram = self.emit(sender)
            self.handshake.append((packet, datagram))
            self.deliver(sender, datagram)

    def other(self, end):
        return self.server if end is self.client else self.client

    def emit(self, end):
        """What `end` sends now, a twentieth of a second after the last time; the packet and its bytes."""
        WORLD.now += 0.05
        if end is self.client:
            end._check_timeout(WORLD.now)
            packet = end._build_packet()
            assert packet is not None, "nothing to send"
            return packet, end._encode_packet(packet)
        built = end.update()
        assert built is not None, "nothing to send"
        packet, key, _ = built
        return packet, packet.to_bytes(key)

    def deliver(self, sender, datagram):
        receiver = self.other(sender)
        header = PacketHeader.from_bytes(receiver is self.server, datagram)
        assert receiver._recv_datagram(header, datagram), "not accepted"


def header_of(packet):
    hdr = packet.hdr
    return {
        "ack": int(hdr.ack),
        "ack_bits": hdr.ack_bits,
        "count": hdr.count,
        "length": hdr.length,
        "seq": int(hdr.seq),
        "time": hdr.ctime,
        "type": hdr.pkt_type.value,
    }


def describe(name, packet, datagram, key, note=None, **more):
    """One datagram, taken apart. `key` None: it travels in clear with a CRC."""
    out = {
        "datagram": datagram.hex(),
        "direction": "to_client" if packet.hdr.isServer else "to_server",
        "header": header_of(packet),
        "key": key.hex() if key else None,
        "messages": [
            {"body": m.payload.hex(), "msgseq": int(m.seq), "type": m.type.value} for m in packet.msgs
        ],
        "name": name,
        "payload": packet.msg.hex(),
    }
    if note:
        out["note"] = note
    out.update(more)
    return out


def seal(is_server, key, seq, messages, ack=1, ack_bits=0, ctime=int(START)):
    """A datagram from the package's packet class, for what its connection class never sends."""
    first = messages[0].type if messages else PacketType.KEEP_ALIVE
    hdr = PacketHeader.create(is_server, ctime, first, SeqNum(seq), SeqNum(ack), ack_bits)
    packet = Packet.create(hdr, messages)
    return packet, packet.to_bytes(key)


def message(msgseq, kind, body):
    return PendingMessage(SeqNum(msgseq), kind, body, None, RetryMode.NONE)


# ---------------------------------------------------------------------------------------------------


def sealed_vectors():
    out = []
    for side in ("client", "server"):
        out += messages_of(side)
        out += fragments_of(side)
        out += acks_of(side)
    out += retries()
    out += challenge_with_messages()
    out += built_only()
    return out


def messages_of(side):
    out = []

    def record(name, prepare, note=None):
        pair = Pair()
        end = getattr(pair, side)
        WORLD.now += 0.2  # past the keep-alive interval
        prepare(pair, end)
        packet, datagram = pair.emit(end)
        pair.deliver(end, datagram)
        out.append(describe(f"{side} {name}", packet, datagram, end.session_key_bytes, note))

    record("keep-alive", lambda pair, end: None)
    for size in (0, 1, 64, 1432):
        record(f"app {size}", lambda pair, end: end.send(pattern(size)))

    def three(pair, end):
        for body in (b"first", b"", pattern(200)):
            end.send(body)

    record("app x3, one empty", three)

    def many(pair, end):
        for _ in range(255):
            end.send(b"")

    record("app x255, all empty", many)

    def wrap(pair, end):
        end.seq_message = SeqNum(65533)
        for body in (b"a", b"b", b"c", b"d"):
            end.send(body)

    record("app x4, msgseq wraps", wrap)
    record("disconnect", lambda pair, end: end.disconnect())

    def disconnect_late(pair, end):
        end.send(b"still unacknowledged", RetryMode.BEST_EFFORT)
        pair.emit(end)
        WORLD.now += 0.2
        end.disconnect()

    record("disconnect behind a repeated app", disconnect_late)
    return out


def fragments_of(side):
    out = []
    pair = Pair()
    end = getattr(pair, side)
    end.send(pattern(2500))
    for index in (1, 2):
        packet, datagram = pair.emit(end)
        note = "the message is pattern(2500): fragments of 1024 bytes and of what is left"
        out.append(describe(f"{side} fragment {index} of 2", packet, datagram, end.session_key_bytes, note))

    pair = Pair()
    end = getattr(pair, side)
    end.send(pattern(1435, 1))
    end.send(pattern(1435, 2))
    # Both last fragments fit beside each other and overtake the first one of the second message.
    for name in ("first of the first", "last of both", "first of the second"):
        packet, datagram = pair.emit(end)
        out.append(describe(f"{side} two of 1435 bytes, {name}", packet, datagram, end.session_key_bytes))

    for name, order in (("app before a fragment", (0, 1)), ("a fragment before app", (1, 0))):
        pair = Pair()
        end = getattr(pair, side)
        for which in order:
            end.send((b"small", pattern(3000, 3))[which])
        packet, datagram = pair.emit(end)
        out.append(describe(f"{side} {name}", packet, datagram, end.session_key_bytes))
    return out


ACK_PATTERNS = {
    "nothing received": [],
    "one": [1],
    "two in order": [1, 2],
    "two, swapped": [2, 1],
    "gap of one": [1, 3],
    "all of 33": list(range(1, 34)),
    "all of 34": list(range(1, 35)),
    "distance 31": [10, 41],
    "distance 32": [10, 42],
    "distance 33": [10, 43],
    "every third": list(range(100, 160, 3)),
    "a late one fills its bit": [50, 52, 53, 60, 51],
    "newest is 65535": [65533, 65535],
    "across the wrap": [65533, 65534, 65535, 1, 2],
    "across the wrap, gaps": [65520, 65530, 65534, 3, 1],
    "late one from before the wrap": [65535, 4, 65530],
    "32 across the wrap": [65530, 27],
    "33 across the wrap": [65530, 28],
}


def acks_of(side):
    out = []
    for name, received in ACK_PATTERNS.items():
        pair = Pair()
        end = getattr(pair, side)
        end.bitfield_pkt = connection.BitField(32)
        for seq in received:
            end.bitfield_pkt.insert(SeqNum(seq))
        end.send(b"ack")
        packet, datagram = pair.emit(end)
        out.append(describe(f"{side} acks: {name}", packet, datagram, end.session_key_bytes, received=received))

    pair = Pair()
    end = getattr(pair, side)
    end.seq_sending = SeqNum(65533)
    for _ in range(3):
        end.send(b"wrap")
        packet, datagram = pair.emit(end)
        out.append(describe(f"{side} seq {int(packet.hdr.seq)}", packet, datagram, end.session_key_bytes))
    return out


def retries():
    out = []
    pair = Pair()
    end = pair.client
    end.send(b"twice", RetryMode.RETRY_ON_TIMEOUT)
    pair.emit(end)
    WORLD.now += 0.15
    pair.emit(end)
    WORLD.now += 1.5
    packet, datagram = pair.emit(end)
    note = "two datagrams that carried it timed out together: the same msgseq stands twice in one datagram"
    out.append(describe("client one message twice in a datagram", packet, datagram, end.session_key_bytes, note))

    pair = Pair()
    end = pair.client
    end.send(pattern(1435, 4), RetryMode.RETRY_ON_TIMEOUT)
    pair.emit(end)
    pair.emit(end)
    WORLD.now += 1.5
    packet, datagram = pair.emit(end)
    note = "a repeated fragment has lost its 6-byte header: the body is user data, to be dropped and counted"
    out.append(describe("client fragment without its header", packet, datagram, end.session_key_bytes, note))
    return out


def challenge_with_messages():
    pair = Pair(steps=2)
    end = pair.client
    for body in (b"early", b"", pattern(300)):
        end.send(body)
    packet, datagram = pair.emit(end)
    pair.deliver(end, datagram)
    return [describe("client challenge response with app", packet, datagram, end.session_key_bytes)]


def built_only():
    """Right by the format and read by the package, but never sent by its connection class."""
    out = []
    key = Pair().client.session_key_bytes
    note = "made by the package's packet class; its connection class never sends this"
    for size in (1433, 1434):
        packet, datagram = seal(True, key, 7, [message(9, PacketType.APP, pattern(size))])
        reads(key, datagram)
        out.append(describe(f"server app {size}", packet, datagram, key, note))
    for size in (1427, 1428):
        body = struct.pack(">HHH", 3, 2, 2) + pattern(size)
        packet, datagram = seal(True, key, 8, [message(10, PacketType.APP_FRAGMENT, body)])
        reads(key, datagram)
        out.append(describe(f"server last fragment with {size}", packet, datagram, key, note))
    return out


def reads(key, datagram):
    hdr = PacketHeader.from_bytes(datagram[:4] == b"FSOS", datagram)
    return Packet.from_bytes(hdr, key, datagram)


# ---------------------------------------------------------------------------------------------------


def verdict(pair_steps, to_server, datagram):
    """What the package does with a datagram: delivered, dropped, or the name of the exception it raises."""
    pair = Pair(steps=pair_steps)
    receiver = pair.server if to_server else pair.client
    try:
        header = PacketHeader.from_bytes(to_server, datagram)
        return "delivered" if receiver._recv_datagram(header, datagram) else "dropped"
    except Exception as error:  # noqa: BLE001 (the name is what is recorded)
        return "struct.error" if isinstance(error, struct.error) else type(error).__name__


def flipped(datagram, index, bit=0):
    out = bytearray(datagram)
    out[index] ^= 1 << bit
    return bytes(out)


def negative_vectors():
    """Datagrams that must be refused. `package` tells what mpgameserver does with each."""
    out = []

    def add(name, datagram, steps, to_server, key):
        out.append(
            {
                "datagram": datagram.hex(),
                "direction": "to_server" if to_server else "to_client",
                "key": key.hex() if key else None,
                "name": name,
                "package": verdict(steps, to_server, datagram),
            }
        )

    pair = Pair()
    key = pair.client.session_key_bytes
    for name, steps, to_server, datagram in (
        ("client hello", 0, True, pair.handshake[0][1]),
        ("server hello", 1, False, pair.handshake[1][1]),
    ):
        assert verdict(steps, to_server, datagram) == "delivered"
        add(f"{name}, bad crc", flipped(datagram, -1), steps, to_server, None)
        add(f"{name}, flipped payload bit", flipped(datagram, 40, 3), steps, to_server, None)
        add(f"{name}, flipped time bit", flipped(datagram, 7), steps, to_server, None)
        add(f"{name}, truncated by one", datagram[:-1], steps, to_server, None)
        add(f"{name}, trailing byte", datagram + b"\0", steps, to_server, None)

    for side in ("client", "server"):
        pair = Pair()
        end = getattr(pair, side)
        end.send(b"sixteen bytes ..")
        _, good = pair.emit(end)
        to_server = side == "client"
        assert verdict(3, to_server, good) == "delivered"
        cases = {
            "bad tag": flipped(good, -1),
            "flipped ciphertext bit": flipped(good, 20, 7),
            "flipped time bit": flipped(good, 7),
            "flipped seq bit": flipped(good, 9),
            "flipped ack bit": flipped(good, 11),
            "type changed": good[:12] + b"\x07" + good[13:],
            "length minus one": good[:13] + struct.pack(">H", len(good) - 37) + good[15:],
            "length plus one": good[:13] + struct.pack(">H", len(good) - 35) + good[15:],
            "flipped ack_bits bit": flipped(good, 19),
            "count changed": good[:15] + b"\x02" + good[16:],
            "truncated by one": good[:-1],
            "trailing byte": good + b"\0",
            "header only": good[:20],
            "19 bytes": good[:19],
            "one byte": good[:1],
            "empty": b"",
            "wrong magic": b"FSOX" + good[4:],
            "other direction": (b"FSOC" if to_server else b"FSOS") + good[4:],
            "type 8": good[:12] + b"\x08" + good[13:],
        }
        for name, datagram in cases.items():
            add(f"{side} app, {name}", datagram, 3, to_server, key)
    return out


def malformed_vectors():
    """Sealed rightly, but what is inside does not fit: only an authenticated peer can send these."""
    out = []
    key = Pair().client.session_key_bytes
    app = PacketType.APP.value

    def add(name, kind, count, payload):
        hdr = PacketHeader.create(False, int(START), PacketType(kind), SeqNum(5), SeqNum(1), 0)
        hdr.length = len(payload)
        hdr.count = count
        raw = hdr.to_bytes()
        datagram = raw + crypto.encrypt_gcm(key, raw[:12], raw, payload)
        out.append(
            {
                "count": count,
                "datagram": datagram.hex(),
                "direction": "to_server",
                "key": key.hex(),
                "name": name,
                "package": verdict(3, True, datagram),
                "payload": payload.hex(),
                "type": kind,
            }
        )

    one = struct.pack(">HHB", 3, 40, app) + b"abc"
    add("count 0 with a payload", PacketType.KEEP_ALIVE.value, 0, b"\0\1")
    add("count 1, no room for the msgseq", app, 1, b"\0")
    add("count 1, empty payload", app, 1, b"")
    add("count 1, msgseq 0", app, 1, b"\0\0abc")
    add("count 2, one message", app, 2, one)
    add("count 2, second header cut", app, 2, one + b"\0\1\0")
    add("count 2, second body cut", app, 2, one + struct.pack(">HHB", 3, 41, app) + b"ab")
    add("count 2, bytes behind the last", app, 2, one + struct.pack(">HHB", 1, 41, app) + b"a" + b"rest")
    add("count 2, inner type 8", app, 2, one + struct.pack(">HHB", 1, 41, 8) + b"a")
    add("count 2, inner type 0", app, 2, one + struct.pack(">HHB", 1, 41, 0) + b"a")
    add("count 2, inner msgseq 0", app, 2, one + struct.pack(">HHB", 1, 0, app) + b"a")
    add("count 2, header type is not the first's", PacketType.KEEP_ALIVE.value, 2, one + one)
    add("fragment of 5 bytes", PacketType.APP_FRAGMENT.value, 1, b"\0\x30" + b"\0\1\0\1\0")
    add("fragment without data", PacketType.APP_FRAGMENT.value, 1, b"\0\x30" + struct.pack(">HHH", 1, 1, 2))
    add("fragment, count 0", PacketType.APP_FRAGMENT.value, 1, b"\0\x30" + struct.pack(">HHH", 1, 1, 0) + b"x")
    add("fragment, index 0", PacketType.APP_FRAGMENT.value, 1, b"\0\x30" + struct.pack(">HHH", 1, 0, 2) + b"x")
    add("fragment, index 3 of 2", PacketType.APP_FRAGMENT.value, 1, b"\0\x30" + struct.pack(">HHH", 1, 3, 2) + b"x")
    add("fragment, count 0x2001", PacketType.APP_FRAGMENT.value, 1, b"\0\x30" + struct.pack(">HHH", 1, 1, 0x2001) + b"x")
    return out


# ---------------------------------------------------------------------------------------------------


def encode(value):
    stream = BytesIO()
    serializable.serialize_value(stream, value)
    return stream.getvalue()


def value_tables():
    borders = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1)
    numbers = sorted({sign * n for n in borders for sign in (1, -1)} | {-(2**63)})
    ints = [{"encoded": encode(n).hex(), "value": str(n)} for n in numbers]
    blobs = []
    for length in (0, 1, 16, 91, 127, 128, 255, 0x7FFF, 0x8000, 2**20):
        encoded = encode(pattern(length))
        assert encoded[-length:] == pattern(length) or not length
        blobs.append({"length": length, "prefix": encoded[: len(encoded) - length].hex()})
    return {"bytes": blobs, "int": ints}


def ring_tables():
    edges = [1, 2, 3, 100, 32766, 32767, 32768, 32769, 40000, 65533, 65534, 65535]
    pairs = [(a, b) for a in edges for b in edges]
    diff = [[a, b, SeqNum(a).diff(SeqNum(b))] for a, b in pairs]
    for base in (1, 2, 32768, 65535):
        for distance in (32765, 32766, 32767, 32768, 32769):
            other = SeqNum(base) + distance
            diff.append([base, int(other), SeqNum(base).diff(other)])
            diff.append([int(other), base, other.diff(SeqNum(base))])
    add = [[a, n, int(SeqNum(a) + n)] for a in (0, 1, 65533, 65534, 65535) for n in (1, 2, 3, 255)]
    return {"add": add, "diff": diff}


def handshake():
    pair = Pair()
    client_hello, server_hello, challenge = (packet for packet, _ in pair.handshake)
    key = pair.client.session_key_bytes
    assert key == pair.server.session_key_bytes

    shared = private_key("client").key.exchange(ec.ECDH(), private_key("server").key.public_key())
    info = b"01-secp256r1-sha256-aesgcm128-server-client"
    assert HKDF(algorithm=hashes.SHA256(), length=16, salt=SALT, info=info).derive(shared) == key

    body = BytesIO(server_hello.msgs[0].payload)
    assert body.read(2) == struct.pack(">H", 131)
    root, signed, signature = (serializable.deserialize_value(body) for _ in range(3))
    assert body.read() == b""
    private_key("root").getPublicKey().verify(signature, signed)

    hello_body = client_hello.msgs[0].payload
    stream = BytesIO(hello_body)
    stream.read(2)
    public = serializable.deserialize_value(stream)
    version = serializable.deserialize_value(stream)

    return {
        "challenge_response": describe("challenge response", challenge, pair.handshake[2][1], key),
        "client_hello": describe("client hello", client_hello, pair.handshake[0][1], None),
        "client_hello_fields": {
            "padding": hello_body[stream.tell() :].hex(),
            "public_key": public.hex(),
            "version": version,
        },
        "keys": {
            name: {
                "pkcs8": private_key(name).getBytes().hex(),
                "scalar": SCALARS[name].to_bytes(32, "big").hex(),
                "spki": private_key(name).getPublicKey().getBytes().hex(),
            }
            for name in SCALARS
        },
        "salt": SALT.hex(),
        "server_hello": describe("server hello", server_hello, pair.handshake[1][1], None),
        "server_hello_fields": {"root_key": root.hex(), "signature": signature.hex(), "signed": signed.hex()},
        "session_key": key.hex(),
        "shared_x": shared.hex(),
        "token": pair.client.token,
    }


def main():
    logging.disable(logging.CRITICAL)
    WORLD.install()
    vectors = {
        "about": "Recorded from the PyPI package mpgameserver 0.2.4 by tests/vectors/make_mpgameserver.py",
        "handshake": handshake(),
        "malformed": malformed_vectors(),
        "negative": negative_vectors(),
        "ring": ring_tables(),
        "sealed": sealed_vectors(),
        "values": value_tables(),
    }
    default = pathlib.Path(__file__).parent / "mpgameserver" / "vectors.json"
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    path.write_text(json.dumps(vectors, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
