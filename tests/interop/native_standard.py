"""A client of the native protocol written from PROTOCOL.md alone, which holds what a server sends against it.

It reads frames and keeps the books of what came with `native_checker`, which was written from the same page, and
shares no code with the library. What a server must not do raises `Unexplained`, which names the chapter.
"""

import os
import random
import select
import socket
import struct
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from native_checker import (
    ACCEPT, BEST_EFFORT, CLOSE, CLOSED, COOKIE, HELLO, HELLO_LEN, JOIN, MS, ORDERED, PADDING, PATH_CHALLENGE,
    PATH_RESPONSE, PING, RESET, S, TAG_LEN, TIME, VERSION, VERSIONS, WELCOME, WELCOME_LEN,
    Acks, Inbox, Phase, Unexplained, agree, hkdf, mac, message_1, must, promptness, public, read_frames, widen,
)

#: Chapter 21.2 for datagrams of 1200 bytes, which this client never exceeds.
FRAMES, WHOLE, FRAGMENT = 1175, 1167, 1137
#: Datagrams with messages under way at most (chapter 27.3 allows ten before the first acknowledgement).
WINDOW = 8
RESEND = 250 * MS


def derived(pem, info):
    """A key made from a root key's PEM (chapter 15)."""
    number = load_pem_private_key(pem, None).private_numbers().private_value
    return hkdf(b"gamekeeper x25519", number.to_bytes(32, "big"), info)


def native_public(pem):
    return public(derived(pem, b"native 1"))


def reset_token(pem, connection_id):
    return mac(derived(pem, b"reset 1"), connection_id)[:16]


def varint(value):
    for length, most in ((1, 1 << 6), (2, 1 << 14), (4, 1 << 30), (8, 1 << 62)):
        if value < most:
            return (value | (length.bit_length() - 1) << 8 * length - 2).to_bytes(length, "big")
    raise ValueError(value)


def counted(data):
    return varint(len(data)) + data


class Piece:
    """A message, or a fragment of one, on its way out."""

    def __init__(self, mode, channel, sequence, part, data):
        self.mode, self.channel, self.sequence, self.part, self.data = mode, channel, sequence, part, data
        self.number, self.packet, self.is_acked = None, None, False

    def frame(self, is_last):
        kind = 0x40 | self.mode << 3 | (0 if is_last else 4) | (2 if self.part else 0) | (1 if self.channel else 0)
        out = bytes([kind]) + (b"" if is_last else varint(len(self.data)))
        if self.mode >= BEST_EFFORT:
            out += struct.pack(">H", self.number & 0xFFFF)
        if self.channel:
            out += bytes([self.channel])
        if self.mode == ORDERED:
            out += struct.pack(">H", self.sequence & 0xFFFF)
        if self.part:
            ident, index, count = self.part
            out += struct.pack(">H", ident) + varint(index) + varint(count)
        return out + self.data


class NativeClient:
    """Connects, speaks in all modes, acknowledges in time, repeats what is lost, and believes nothing."""

    def __init__(self, address, server_key=None, password=None, data=b"", loss=0.0, phase_every=1 << 20):
        """`server_key` pins the server; `loss` is the part of the datagrams thrown away, in both directions."""
        self.address, self.server_key, self.password, self.join_data = address, server_key, password, data
        self.loss, self.dice, self.phase_every = loss, random.Random(7), phase_every
        self.socket = self._open()
        self.old_sockets = []
        self.ephemeral = os.urandom(32)
        self.pattern = 0 if server_key else 1
        self.message_1 = message_1(self.pattern, self.ephemeral, server_key)[1]
        self.cookie, self.cookies, self.versions = b"", 0, []
        self.hello_at, self.hello_pause, self.hellos, self.answers = 0, 250 * MS, 0, 0
        self.welcome = None
        self.join_at, self.join_pause, self.is_in = 0, 100 * MS, False
        self.sent = self.newest_acked = 0
        self.phase_first, self.p = 1, 0
        self.under_way, self.acked = {}, set()
        self.queue, self.next_number, self.next_id, self.sequences = [], 1, 1, {}
        self.opened, self.newest, self.in_p, self.in_first = set(), 0, 0, 0
        self.acks, self.inbox = Acks(), Inbox()
        self.numbers = {}  # of the server's messages: what they are
        self.responses = []
        self.asked_at = 0
        self.probes = {}  # the server's, by number: their sizes
        #: (mode, channel, data) in the order of delivery; and what else came
        self.received, self.times, self.goodbyes, self.was_reset = [], [], [], False
        self.closed_heard, self.answers_goodbyes = False, True
        self.challenges = self.copies = 0

    def _open(self):
        opened = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        return opened

    # ---- the host's side

    def send(self, mode, data, channel=0):
        sequence = 0
        if mode == ORDERED:
            sequence = self.sequences[channel] = self.sequences.get(channel, 0) + 1
        if len(data) <= WHOLE:
            return self.queue.append(Piece(mode, channel, sequence, None, data))
        parts = [data[i : i + FRAGMENT] for i in range(0, len(data), FRAGMENT)]
        for index, part in enumerate(parts):
            self.queue.append(Piece(mode, channel, sequence, (self.next_id, index, len(parts)), part))
        self.next_id = self.next_id % 65535 + 1

    def is_idle(self):
        return not self.queue and not any(self.under_way.values())

    def move(self):
        """Goes on from another address."""
        self.old_sockets.append(self.socket)
        self.socket = self._open()

    def pump(self, until=lambda: False, seconds=20.0):
        """Reads and writes until it is so; whether it came to be."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                return False
            self._write(self._now())
            if select.select([self.socket], [], [], 0.005)[0]:
                for _ in range(64):
                    try:
                        datagram = self.socket.recv(4096)
                    except BlockingIOError:
                        break
                    if self.dice.random() >= self.loss:
                        self._take(self._now(), datagram)
        return True

    def connect(self, seconds=20.0):
        return self.pump(lambda: self.is_in or bool(self.goodbyes), seconds) and self.is_in

    def leave(self, reason=0, code=0, text=b"", seconds=5.0):
        """Says CLOSE until it is heard; whether it was."""
        frame = bytes([CLOSE, reason]) + varint(code) + counted(text)
        for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.5):
            self._seal(frame)
            end = time.monotonic() + pause
            while time.monotonic() < end and not self.closed_heard:
                if select.select([self.socket], [], [], 0.005)[0]:
                    try:
                        self._take(self._now(), self.socket.recv(4096))
                    except BlockingIOError:
                        pass
            if self.closed_heard:
                return True
        return False

    def close(self):
        for opened in (self.socket, *self.old_sockets):
            opened.close()

    @staticmethod
    def _now():
        return time.monotonic_ns() // 1000

    def send_raw(self, datagram):
        if self.dice.random() >= self.loss:
            self.socket.sendto(datagram, self.address)

    # ---- the handshake (chapters 16 and 17)

    def hello(self, version=VERSION):
        head = struct.pack(">BIBB", HELLO, version, self.pattern, len(self.cookie))
        return (head + self.cookie + self.message_1).ljust(HELLO_LEN, b"\0")

    def _take_clear(self, now, data):
        must(16, len(data) < HELLO_LEN, "no answer is as long as a hello")
        if data[0] == RESET:
            must(16, len(data) == 17, "a reset has 17 bytes")
            if self.welcome:
                must(17.4, data[1:] == self.welcome["reset_token"], "a reset has the connection's token")
                self.was_reset = True
            return
        if data[0] == VERSIONS:
            must(16, (len(data) - 9) % 4 == 0 and len(data) > 9, "whole versions")
            must(16, data[1:9] == self.hello()[7:15], "VERSIONS repeats the hello")
            self.versions = [v for (v,) in struct.iter_unpack(">I", data[9:])]
            return
        must(16, data[1:13] == struct.pack(">I", VERSION) + self.message_1[:8], "version and echo")
        if data[0] == COOKIE:
            must(16, len(data) == 33, "a cookie packet has 33 bytes")
            if data[13:] != self.cookie:
                self.cookie, self.cookies = data[13:], self.cookies + 1
                self.hello_at = now if self.cookies <= 4 else self.hello_at
            return
        must(16, data[0] == WELCOME, f"packet {data[0]:#x}")
        self.answers += 1
        must(17.2, self.answers <= self.hellos, "one WELCOME to a hello")
        if self.welcome is None:
            self._welcome(now, data[13:])

    def _welcome(self, now, message):
        must(17.3, len(message) == (48, 96)[self.pattern] + WELCOME_LEN, f"a message 2 of {len(message)} bytes")
        # As chapter 15.1 has it; who the server is shows only here if no key is pinned.
        noise = message_1(self.pattern, self.ephemeral, self.server_key)[0]
        noise.mix_hash(message[:32])
        noise.mix_key(agree(self.ephemeral, message[:32]))
        rest = message[32:]
        if self.pattern == 1:
            self.server_key, rest = noise.open(rest[:48]), rest[48:]
            noise.mix_key(agree(self.ephemeral, self.server_key))
        payload = noise.open(rest)
        names = ["connection_id", "token", "reset_token", "tick_interval_us", "tick", "clock_us"]
        names += ["timeout_ms", "max_message", "max_join", "flags"]
        self.welcome = dict(zip(names, struct.unpack(">II16sIQQIIHB", payload)))
        must(17.3, self.welcome["token"] >> 30 == 1, "bit 31 of a token is clear, bit 30 set")
        to_server, to_client = noise.split()
        self.phase = Phase(to_server)
        self.in_previous, self.in_phase = None, Phase(to_client)
        self.in_next = self.in_phase.next()
        self.join_at = self.asked_at = now

    # ---- out

    def _write(self, now):
        if self.welcome is None:
            if now >= self.hello_at:
                self.hellos += 1
                self.send_raw(self.hello())
                self.hello_at, self.hello_pause = now + self.hello_pause, min(self.hello_pause * 3 // 2, 2 * S)
            return
        if self.goodbyes or self.was_reset:
            return
        control = b"".join(bytes([PATH_RESPONSE]) + data for data in self.responses[-1:])
        self.responses = []
        if not self.is_in and now >= self.join_at:
            given = b"\0" if self.password is None else b"\1" + counted(self.password)
            control += bytes([JOIN]) + given + counted(self.join_data)
            self.join_at, self.join_pause = now + self.join_pause, min(self.join_pause * 2, S)
        interval = min(self.welcome["timeout_ms"] * MS // 5, S)
        if self.is_in and now >= self.asked_at + interval * 3 // 4:
            control += bytes([PING])
            self.asked_at = now
        self._find_losses(now)
        while True:
            acks = b""
            if self.acks.due is not None and (self.acks.due <= now or control or self._may_send()):
                acks = self._acks(now)
            pieces = self._choose(FRAMES - len(acks) - len(control)) if self._may_send() else []
            frames = acks + control + b"".join(p.frame(p is pieces[-1]) for p in pieces)
            if not frames:
                return
            number = self._seal(frames)
            if pieces:
                self.under_way[number] = (now, pieces)
                self.asked_at = now
            control = b""

    def _may_send(self):
        return self.is_in and self.queue and len(self.under_way) < WINDOW

    def _choose(self, room):
        chosen = []
        while self.queue:
            piece = self.queue[0]
            if piece.is_acked:
                self.queue.pop(0)
                continue
            if piece.mode >= BEST_EFFORT and piece.number is None:
                piece.number, self.next_number = self.next_number, self.next_number + 1
            room -= len(piece.frame(False))
            if room < 0 and chosen:
                break
            chosen.append(self.queue.pop(0))
        return chosen

    def _find_losses(self, now):
        for number, (at, pieces) in list(self.under_way.items()):
            if number + 3 <= self.newest_acked or at + RESEND <= now:
                del self.under_way[number]
                self.queue[:0] = [p for p in pieces if p.mode >= BEST_EFFORT and not p.is_acked]

    def _acks(self, now):
        worth = [r for i, r in enumerate(self.acks.ranges) if i == 0 or r[2] < 8][:8]
        delay = (now - self.acks.newest_at) // 16
        frame = struct.pack(">BH", 0x20 + len(worth) - 1, worth[0][1] & 0xFFFF) + varint(delay)
        frame += varint(worth[0][1] - worth[0][0])
        for before, (low, high, _) in zip(worth, worth[1:]):
            frame += varint(before[0] - high - 2) + varint(high - low)
        for r in worth:
            r[2] += 1
        self.acks.prompt = self.acks.lazy = 0
        self.acks.due = None
        return frame

    def _seal(self, frames):
        number = self.sent + 1
        if number >= self.phase_first + self.phase_every and any(n >= self.phase_first for n in self.acked):
            self.phase, self.p, self.phase_first = self.phase.next(), self.p ^ 1, number
        d = number - self.newest_acked
        length = next(n for n in (1, 2, 3, 4) if d < 1 << 8 * n - 1)
        header = bytes([0x80 | self.p << 2 | length - 1]) + struct.pack(">I", self.welcome["connection_id"])
        header += (number & (1 << 8 * length) - 1).to_bytes(length, "big")
        self.send_raw(header + self.phase.aead.encrypt(self.phase.nonce(number), frames, header))
        self.sent = number
        return number

    # ---- in

    def _take(self, now, data):
        must(14, data and data[0] & 0x80, "a native server sends native datagrams")
        if data[0] & 0xC0 == 0xC0:
            return self._take_clear(now, data)
        must(17.2, self.welcome is not None or self.hellos, "no data before a hello")
        if self.welcome is None:
            return  # its WELCOME was lost
        must(14, not data[0] & 0x38, "reserved bits are clear")
        length = (data[0] & 3) + 1
        must(18, len(data) > 1 + length + TAG_LEN, "a packet has frames and a tag")
        number = widen(int.from_bytes(data[1 : 1 + length], "big"), 8 * length, self.newest + 1)
        must(18.1, number > 0 and number not in self.opened, f"packet {number} is used once")
        payload = self._unseal(data[0] >> 2 & 1, number, data[: 1 + length], data[1 + length :])
        self.opened.add(number)
        self.newest = max(self.newest, number)
        frames = read_frames(payload)
        kinds = {f[0] for f in frames}
        is_probe = kinds == {PING, PADDING}
        must(26, len(data) <= 1200 or is_probe or self._is_proven(len(data)), f"{len(data)} bytes unproven")
        if is_probe:
            self.probes[number] = len(data)
        for frame in frames:
            self._frame(now, number, frame, kinds)
        if not self.goodbyes:
            self.acks.received(now, number, promptness(frames))

    def _is_proven(self, size):
        return any(size <= probe for probe in self.probes.values())

    def _unseal(self, p, number, header, sealed):
        is_old = p != self.in_p and number < self.in_first
        phase = self.in_phase if p == self.in_p else self.in_previous if is_old else self.in_next
        must(18.3, phase is not None, "there is no phase before the first")
        try:
            payload = phase.aead.decrypt(phase.nonce(number), sealed, header)
        except InvalidTag:
            raise Unexplained(f"chapter 18: packet {number} does not open") from None
        if p == self.in_p:
            self.in_first = min(self.in_first or number, number)
        elif not is_old:
            self.in_previous, self.in_phase, self.in_next = self.in_phase, self.in_next, self.in_next.next()
            self.in_p, self.in_first = p, number
        return payload

    def _frame(self, now, number, frame, kinds):
        kind = frame[0]
        if kind == 0x20:
            self._acked(frame)
        elif kind == 0x40:
            self._message(number, frame[1])
        elif kind == PATH_CHALLENGE:
            must(25, kinds == {PATH_CHALLENGE}, "a challenge is alone in its packet")
            self.challenges += 1
            self.responses.append(frame[1])
        elif kind == CLOSE:
            must(24, kinds == {CLOSE}, "a CLOSE is alone in its packet")
            must(24, not self.goodbyes or self.goodbyes[0] == frame[1:], "a CLOSE is said again as it was")
            self.goodbyes.append(frame[1:])
            if self.answers_goodbyes:
                self._seal(bytes([CLOSED]))
        elif kind == CLOSED:
            must(24, kinds == {CLOSED}, "a CLOSED is alone in its packet")
            self.closed_heard = True
        elif kind == ACCEPT:
            self.is_in = True
        elif kind == TIME:
            self.times.append((now, *frame[1:]))
        else:
            must(19, kind in (PING, PADDING), f"a server sends no frame {kind}")

    def _acked(self, frame):
        _, largest, _, first, further = frame
        high = widen(largest, 16, self.sent + 1)
        must(20, 1 <= high - first and high <= self.sent, f"acknowledges {high - first} to {high} of {self.sent}")
        covered = set(range(high - first, high + 1))
        low = high - first
        for gap, length in further:
            high = low - gap - 2
            low = high - length
            must(20, low >= 1, "packets begin with 1")
            covered.update(range(low, high + 1))
        for number in covered - self.acked:
            for piece in self.under_way.pop(number, (0, []))[1]:
                piece.is_acked = True
        self.acked |= covered
        self.newest_acked = max(self.newest_acked, max(covered))

    def _message(self, packet, m):
        must(22, bool(self.join_at), "no messages before a JOIN")
        self.is_in = True
        if m.mode >= BEST_EFFORT:
            number = widen(m.number, 16, self.inbox.newest + 1)
            what = (m.whole_key(), m.part, m.data)
            must(21.1, self.numbers.setdefault(number, what) == what, "copies are equal")
            self.copies += number in self.inbox.taken
        for channel, data in self.inbox.take(packet, m):
            self.received.append((m.mode, channel, data))
