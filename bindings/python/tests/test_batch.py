"""Many messages with one crossing: what is read is what ctypes would read, and what is sent arrives."""

import ctypes
import random

import gamekeeper
import pytest
from gamekeeper import _batch, _codes, _ffi
from playing import Game

needs_wide = pytest.mark.skipif(not _batch.WIDE, reason="pointers have another size here")


def events_of(messages, spread):
    """Message events over memory of this process, one behind the other or each somewhere."""
    block = ctypes.create_string_buffer(b"".join(messages) or b"x")
    events, kept, at = (_ffi.gk_event * (len(messages) + 2))(), [block], ctypes.addressof(block)
    for index, message in enumerate(messages):
        address = at
        if spread:
            kept.append(ctypes.create_string_buffer(message or b"x"))
            address = ctypes.addressof(kept[-1])
        events[index + 1] = _ffi.gk_event(
            type=_codes.GK_EVENT_MESSAGE, peer=index * 2**33, data=address, len=len(message), sequence=index * 40_000
        )
        at += len(message)
    return events, kept


@needs_wide
@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("sizes", [[5], [0], [3, 0, 7], [0, 0, 4, 1], [2048] * 9, range(200)])
def test_columns_are_what_the_structures_hold(sizes, spread):
    chance = random.Random(1)
    messages = [bytes(chance.randrange(256) for _ in range(size)) for size in sizes]
    events, kept = events_of(messages, spread)
    columns = _batch.Columns(events)
    count = len(messages)
    types = columns.types(count + 2)
    assert list(types) == [0] + [_codes.GK_EVENT_MESSAGE] * count + [0]
    assert _batch.run_of(types, _codes.GK_EVENT_MESSAGE, 1) == count + 1
    peers, numbers, payloads = columns.messages(1, count + 1)
    assert peers == [event.peer for event in events[1 : count + 1]]
    assert payloads == messages
    ring = [(n - 1) % 65535 + 1 if n else 0 for n in (index * 40_000 for index in range(count))]
    assert numbers == ring and all(type(number) is gamekeeper.SeqNum for number in numbers)
    assert kept


@needs_wide
def test_messages_of_one_length_that_lie_elsewhere_are_read_there():
    """The first and the last where they would be one behind the other, and one in between not."""
    events, kept = events_of([b"aaaa", b"bbbb", b"cccc", b"dddd"], False)
    events[2].data, events[3].data = events[3].data, events[2].data
    assert _batch.Columns(events).messages(1, 5)[2] == [b"aaaa", b"cccc", b"bbbb", b"dddd"] and kept


def test_runs_end_where_another_kind_is():
    types = bytearray([3, 3, 1, 3, 255, 3, 3])
    assert [_batch.run_of(types, 3, start) for start in (0, 1, 3, 5, 6)] == [2, 2, 4, 7, 7]
    # One byte each, and one number that is none of theirs.
    kinds = [value for name, value in vars(_codes).items() if name.startswith("GK_EVENT_")]
    assert len(kinds) > 10 and max(kinds) < gamekeeper.server._WEBSOCKET_MESSAGE == 255


@pytest.mark.parametrize("wide", [pytest.param(True, marks=needs_wide), False])
def test_many_messages_arrive(serve, play, monkeypatch, wide):
    monkeypatch.setattr(_batch, "WIDE", wide)
    game = Game()
    server = serve(game)
    player = play(server).join(game)
    client = game.clients[0]
    sent = [b"", b"x" * 3000] + [b"%d" % number for number in range(300)]
    mode = gamekeeper.RetryMode.RETRY_ON_TIMEOUT
    assert server.server.send_many([(client, message) for message in sent], mode) == []
    player.play_until(lambda: len(player.received) == len(sent), "all messages")
    assert sorted(player.received) == sorted(sent)
    assert server.server.send_many([]) == []


def test_what_is_refused_is_told(serve, play):
    game, others = Game(), Game()
    server = serve(game)
    play(server).join(game)
    client, many = game.clients[0], server.server.send_many
    with pytest.raises(TypeError):
        many([(client, b"a"), (client, bytearray(b"b"))])
    with pytest.raises(ValueError):
        many([(client, b"a")], 7)
    with pytest.raises(ValueError):
        many([(client, b"a")], channel=256)
    with pytest.raises(gamekeeper.MessageTooLarge):
        many([(client, b"a"), (client, bytes(9 * 2**20))])
    with pytest.raises(ValueError):
        # The wire of mpgameserver orders nothing.
        many([(client, b"a")], gamekeeper.RetryMode.ORDERED)
    with pytest.raises(ValueError):
        serve(others).server.send_many([(client, b"a")])
    with pytest.raises(gamekeeper.StateError):
        gamekeeper.TwistedServer(gamekeeper.ServerContext(game), ("127.0.0.1", 0)).send_many([(client, b"a")])
    # More than a queue holds: those behind are named.
    refused = many([(client, bytes(1000))] * 20_000, gamekeeper.RetryMode.RETRY_ON_TIMEOUT)
    assert refused == list(range(20_000 - len(refused), 20_000)) and refused
    client.disconnect()
    assert many([(client, b"to nobody")]) == []


class Batches(Game):
    def __init__(self):
        super().__init__()
        self.batches, self.fail = [], False

    def handle_messages(self, messages):
        self.batches.append(list(messages))
        if self.fail:
            raise RuntimeError("on purpose")


def test_a_handler_of_many_gets_all_of_them_there(serve, play, caplog):
    game = Batches()
    player = play(serve(game)).join(game)
    sent = [b"%d" % number for number in range(300)]
    for message in sent:
        player.send(message)
    player.play_until(lambda: sum(map(len, game.batches)) == len(sent), "all messages")
    told = [told for batch in game.batches for told in batch]
    assert sorted(message for _, _, message in told) == sorted(sent) and game.messages == []
    assert all(client is game.clients[0] for client, _, _ in told)
    assert all(game.batches), "a batch of nothing was told"
    game.fail = True
    player.send(b"one more")
    player.play_until(lambda: "error in handle_messages" in caplog.text, "the log")
    game.fail = False
    player.send(b"and another")
    player.play_until(lambda: game.batches[-1][-1][2] == b"and another", "the server to go on")


def test_the_base_class_hands_them_on_one_by_one():
    game, number = Game(), gamekeeper.SeqNum(1)
    game.handle_messages([(None, number, b"a"), (None, number, b"b")])
    assert game.messages == [(1, b"a"), (1, b"b")]


def test_one_that_fails_does_not_hide_those_that_found_no_room(serve, play):
    game = Game()
    server = serve(game)
    play(server).join(game)
    client, many = game.clients[0], server.server.send_many
    # Twice as much as a queue holds, and in the middle and at the end what no queue takes.
    batch = [(client, bytes(1000))] * 40_000
    batch[10], batch[-1] = (client, bytes(9 * 2**20)), (client, bytes(9 * 2**20))
    with pytest.raises(gamekeeper.MessageTooLarge) as told:
        many(batch, gamekeeper.RetryMode.RETRY_ON_TIMEOUT)
    assert list(told.value.failed) == [10, 39_999] and str(told.value).startswith("message 10: ")
    refused = list(told.value.refused)
    assert refused and refused[-1] == 39_998 and 10 not in refused
    assert list(gamekeeper.StateError(1, "another").refused) == []
