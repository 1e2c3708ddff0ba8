"""Writes golden vectors of the native handshake, from the protocol's description alone.

    pip install cryptography
    python tests/vectors/make_native_handshake.py [output, default tests/vectors/native/handshake.json]

Noise is written out here step by step, over X25519 and ChaCha20-Poly1305 of the `cryptography` package and HMAC of
the standard library: nothing is shared with the library that the vectors test. Two runs write the same file.
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

VERSION = 1
HELLO_BYTES = 1200
PATTERNS = {"NK": 0, "NX": 1}

ROOT = bytes(range(1, 33))
COOKIE_KEY = bytes(range(0x40, 0x60))
CLIENT_EPHEMERAL = bytes(range(0x60, 0x80))
SERVER_EPHEMERAL = bytes(range(0x80, 0xA0))
SECONDS = 1_700_000_000
CONNECTION_ID = 0xC0FFEE01


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(salt, ikm, info):
    """RFC 5869, one block."""
    return mac(mac(salt, ikm), info + b"\x01")


def public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private, peer):
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(peer))


class Symmetric:
    """The SymmetricState of the Noise specification, revision 34, section 5.2."""

    def __init__(self, name, prologue):
        self.h = name.ljust(32, b"\x00") if len(name) <= 32 else hashlib.sha256(name).digest()
        self.ck = self.h
        self.key = None
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def two_keys(self, material):
        temporary = mac(self.ck, material)
        first = mac(temporary, b"\x01")
        return first, mac(temporary, first + b"\x02")

    def mix_key(self, material):
        self.ck, self.key = self.two_keys(material)
        self.nonce = 0

    def seal(self, plaintext):
        sealed = plaintext
        if self.key is not None:
            nonce = bytes(4) + struct.pack("<Q", self.nonce)
            sealed = ChaCha20Poly1305(self.key).encrypt(nonce, plaintext, self.h)
            self.nonce += 1
        self.mix_hash(sealed)
        return sealed


def handshake(pattern, static, payload):
    """Both messages and both traffic secrets, as the server and the client have them."""
    prologue = b"gamekeeper 1" + struct.pack(">IB", VERSION, PATTERNS[pattern])
    state = Symmetric(f"Noise_{pattern}_25519_ChaChaPoly_SHA256".encode(), prologue)
    if pattern == "NK":
        state.mix_hash(public(static))
    hello = public(CLIENT_EPHEMERAL)
    state.mix_hash(hello)
    if pattern == "NK":
        state.mix_key(agree(CLIENT_EPHEMERAL, public(static)))
    hello += state.seal(b"")
    welcome = public(SERVER_EPHEMERAL)
    state.mix_hash(welcome)
    state.mix_key(agree(SERVER_EPHEMERAL, public(CLIENT_EPHEMERAL)))
    if pattern == "NX":
        welcome += state.seal(public(static))
        state.mix_key(agree(static, public(CLIENT_EPHEMERAL)))
    welcome += state.seal(payload)
    return hello, welcome, state.two_keys(b"")


def hello_packet(pattern, message, cookie):
    head = struct.pack(">BIBB", 0xC0, VERSION, PATTERNS[pattern], len(cookie))
    return (head + cookie + message).ljust(HELLO_BYTES, b"\x00")


def cookie_for(pattern, message, address):
    time = struct.pack(">I", SECONDS)
    data = address + time + struct.pack(">IB", VERSION, PATTERNS[pattern]) + message
    return time + mac(COOKIE_KEY, data)[:16]


def main(output):
    static = hkdf(b"gamekeeper x25519", ROOT, b"native 1")
    reset_key = hkdf(b"gamekeeper x25519", ROOT, b"reset 1")
    reset_token = mac(reset_key, struct.pack(">I", CONNECTION_ID))[:16]
    welcome = {
        "connection_id": CONNECTION_ID,
        "token": 0x41424344,
        "tick_interval_us": 16_667,
        "tick": 123_456_789_012,
        "clock_us": 2_057_613_150_200,
        "timeout_ms": 5000,
        "max_message": 8 << 20,
        "max_join": 1024,
        "wants_password": True,
    }
    values = list(welcome.values())
    payload = struct.pack(">II", *values[:2]) + reset_token + struct.pack(">IQQIIHB", *values[2:])
    addresses = {
        "192.0.2.1:1474": bytes([4, 192, 0, 2, 1]) + struct.pack(">H", 1474),
        "[2001:db8::7]:2021": bytes([6]) + bytes.fromhex("20010db8000000000000000000000007") + struct.pack(">H", 2021),
    }
    patterns = {}
    for pattern, address in zip(PATTERNS, addresses):
        message, answer, (to_server, to_client) = handshake(pattern, static, payload)
        echo = public(CLIENT_EPHEMERAL)[:8]
        cookie = cookie_for(pattern, message, addresses[address])
        patterns[pattern] = {
            "address": address,
            "hello": hello_packet(pattern, message, b"").rstrip(b"\x00").hex(),
            "cookie": (struct.pack(">BI", 0xC1, VERSION) + echo + cookie).hex(),
            "hello_with_cookie": hello_packet(pattern, message, cookie).rstrip(b"\x00").hex(),
            "welcome": (struct.pack(">BI", 0xC2, VERSION) + echo + answer).hex(),
            "to_server": to_server.hex(),
            "to_client": to_client.hex(),
        }
    other = bytearray(hello_packet("NX", public(CLIENT_EPHEMERAL), b""))
    other[4] = 2
    vectors = {
        "root": ROOT.hex(),
        "cookie_key": COOKIE_KEY.hex(),
        "client_ephemeral": CLIENT_EPHEMERAL.hex(),
        "server_ephemeral": SERVER_EPHEMERAL.hex(),
        "seconds": SECONDS,
        "server_key": public(static).hex(),
        "reset_token": reset_token.hex(),
        "reset": (b"\xc4" + reset_token).hex(),
        "hello_of_version_2": bytes(other).rstrip(b"\x00").hex(),
        "versions": (b"\xc3" + bytes(other[7:15]) + struct.pack(">I", VERSION)).hex(),
        "welcome": welcome,
        "welcome_payload": payload.hex(),
        "patterns": patterns,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    default = pathlib.Path(__file__).parent / "native" / "handshake.json"
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default)
