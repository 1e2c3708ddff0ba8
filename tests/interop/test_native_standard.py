"""PROTOCOL.md is enough to explain every byte of recorded native sessions; and the checker that does it can fail."""

import copy
import functools
import json
import pathlib
import random

import pytest

import native_checker
from native_checker import Unexplained, check, read_frames, widen

SESSIONS = sorted((pathlib.Path(__file__).parents[1] / "vectors" / "native").glob("session_*.json"))
NAMES = [path.stem for path in SESSIONS]
#: Changes tried per session; each is a whole run of the checker.
TRIES = 60

every_session = pytest.mark.parametrize("path", SESSIONS, ids=NAMES)


@functools.lru_cache(maxsize=None)
def recorded(path):
    session = json.loads(path.read_text())
    return session, check(session)


def bytes_of(session, i):
    return bytes.fromhex(session["datagrams"][i]["bytes"])


def with_datagram(session, i, data):
    changed = dict(session, datagrams=list(session["datagrams"]))
    changed["datagrams"][i] = dict(session["datagrams"][i], bytes=data.hex())
    return changed


def resealed(path, i, payload):
    """The session with other frames in one packet, sealed as its sender would have sealed them."""
    session, checker = recorded(path)
    phase, number, header, _ = checker.opened[i]
    return with_datagram(session, i, header + phase.aead.encrypt(phase.nonce(number), payload, header))


def is_noticed(session):
    try:
        check(session)
    except Unexplained:
        return True
    return False


def unnoticed(path, seed, change):
    """Which of some random changes of a payload go unnoticed; `change` gets the payload, a place, and randomness."""
    checker = recorded(path)[1]
    places = [(i, j) for i, (_, _, _, payload) in checker.opened.items() for j in range(len(payload))]
    dice = random.Random(seed)
    found = []
    for i, j in dice.sample(places, min(TRIES, len(places))):
        payload = change(checker.opened[i][3], j, dice)
        if payload != checker.opened[i][3] and not is_noticed(resealed(path, i, payload)):
            found.append((i, j, checker.opened[i][3][:40].hex(), payload[:40].hex()))
    return found


def test_there_are_sessions():
    assert NAMES == ["session_" + n for n in ("losses", "modes", "moved", "phases", "refused", "reset")]


@every_session
def test_every_byte_is_explained(path):
    session, checker = recorded(path)
    sealed = sum(bytes.fromhex(d["bytes"])[0] & 0xC0 == 0x80 for d in session["datagrams"])
    assert len(checker.opened) == sealed > 0


def test_the_sessions_show_everything_that_the_page_has():
    kinds, modes, clear, parities, parts, channels, ranges, reasons = set(), set(), set(), set(), 0, set(), 0, set()
    for path in SESSIONS:
        session, checker = recorded(path)
        clear |= {bytes_of(session, i)[0] for i in range(len(session["datagrams"]))} & set(range(0xC0, 0xD0))
        for _, p, frames in checker.parsed.values():
            parities.add(p)
            for frame in frames:
                kinds.add(frame[0])
                if frame[0] == 0x40:
                    modes.add(frame[1].mode)
                    channels.add(frame[1].channel)
                    parts += frame[1].part is not None
                elif frame[0] == 0x20:
                    ranges = max(ranges, len(frame[4]))
                elif frame[0] == native_checker.CLOSE:
                    reasons.add(frame[1])
    assert kinds == {*range(9), 0x20, 0x40}
    assert modes == set(range(5)) and parities == {0, 1} and parts > 10 and ranges >= 3
    assert clear == {0xC0, 0xC1, 0xC2, 0xC3, 0xC4} and len(channels) > 5 and len(reasons) >= 4
    assert {recorded(path)[0]["pinned"] for path in SESSIONS} == {False, True}


@every_session
def test_a_changed_byte_in_a_frame_is_noticed(path):
    def flip(payload, j, dice):
        return payload[:j] + bytes([payload[j] ^ 1 << dice.randrange(8)]) + payload[j + 1 :]

    assert unnoticed(path, 1, flip) == []


@every_session
def test_a_missing_byte_in_a_frame_is_noticed(path):
    assert unnoticed(path, 2, lambda payload, j, dice: payload[:j] + payload[j + 1 :]) == []


@every_session
def test_one_byte_more_in_a_frame_is_noticed(path):
    def insert(payload, j, dice):
        return payload[:j] + bytes([dice.randrange(256)]) + payload[j:]

    assert unnoticed(path, 3, insert) == []


@every_session
def test_changed_datagrams_are_noticed(path):
    session = recorded(path)[0]
    dice = random.Random(4)
    for i, d in enumerate(session["datagrams"]):
        data = bytes_of(session, i)
        is_other_version = data[:5] == bytes.fromhex("c000000002")
        # Of a hello of another version the page explains nothing but what VERSIONS repeats.
        places = range(7, 15) if is_other_version else range(len(data))
        for j in dice.sample(places, min(4, len(places))):
            changed = data[:j] + bytes([data[j] ^ 1 << dice.randrange(8)]) + data[j + 1 :]
            assert is_noticed(with_datagram(session, i, changed)), (i, j, d["at"])
        if not is_other_version:
            assert is_noticed(with_datagram(session, i, data + b"\0")), (i, "longer")
            assert is_noticed(with_datagram(session, i, data[:-1])), (i, "shorter")


@every_session
def test_datagrams_that_are_missing_or_come_twice_are_noticed(path):
    session = recorded(path)[0]
    last = {d["from"]: i for i, d in enumerate(session["datagrams"])}
    for i in range(len(session["datagrams"])):
        twice = dict(session, datagrams=list(session["datagrams"]))
        twice["datagrams"].insert(i, session["datagrams"][i])
        assert is_noticed(twice), (i, "twice")
        if i not in last.values():
            without = dict(session, datagrams=session["datagrams"][:i] + session["datagrams"][i + 1 :])
            assert is_noticed(without), (i, "missing")


@every_session
def test_other_outcomes_are_noticed(path):
    session = recorded(path)[0]
    for list_name in ("delivered", "ends"):
        for i in range(len(session[list_name])):
            changed = copy.deepcopy(session)
            del changed[list_name][i]
            assert is_noticed(changed), (list_name, i)
    for i in range(len(session["delivered"]) - 1):
        changed = copy.deepcopy(session)
        a, b = changed["delivered"][i], changed["delivered"][i + 1]
        if (a["at"], a["to"]) == (b["at"], b["to"]) and a != b:
            changed["delivered"][i : i + 2] = [b, a]
            assert is_noticed(changed), i


@every_session
def test_acknowledgements_of_what_did_not_come_are_noticed(path):
    session = recorded(path)[0]
    sealed = [i for i, d in enumerate(session["datagrams"]) if d["arrives"] and bytes_of(session, i)[0] & 0xC0 == 0x80]
    # All but the last packets are acknowledged, and after the end none is.
    end = min(e["at"] for e in session["ends"])
    acknowledged = [i for i in sealed if session["datagrams"][i]["arrives"] < end - 300_000]
    for i in random.Random(5).sample(acknowledged, min(20, len(acknowledged))):
        changed = dict(session, datagrams=list(session["datagrams"]))
        changed["datagrams"][i] = dict(session["datagrams"][i], arrives=None)
        assert is_noticed(changed), i


@pytest.mark.parametrize(
    "payload",
    [
        "09", "1f", "80", "ff", "", "0201", "04000009", "040840", "0500 04", "0602", "060105aa", "4401", "4209 00 01",
        "460a0001 00 02", "4601 0001 00 01 aa", "4601 0001 02 02 aa", "4601 0000 00 02 aa", "45010061", "6800", "7800",
        "4c4000", "20000140", "210001000000", "0840010000", "0400 c000000100000000 00", "0400 00 01 ff", "4100 aa",
    ],
)
def test_frames_that_the_page_does_not_have_are_noticed(payload):
    with pytest.raises(Unexplained):
        read_frames(bytes.fromhex(payload))


def test_numbers_are_widened_as_the_page_says():
    assert widen(0x9B32, 16, 0xA82F30EA + 1) == 0xA82F9B32
    for bits, expected in ((8, 1), (8, 1000), (16, 1 << 40), (24, 1 << 61), (32, (1 << 62) - 1)):
        half = 1 << (bits - 1)
        for number in {max(1, expected - half + 1), expected, expected + half - 1}:
            assert widen(number & ((1 << bits) - 1), bits, expected) == number
