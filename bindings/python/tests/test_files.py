"""Files between servers and clients of all kinds."""

import asyncio
import hashlib
import os
import threading
import time

import pytest

import gamekeeper
from gamekeeper import _codes, aio


def make(path, length):
    path.write_bytes(os.urandom(length))
    return path


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    return tmp_path / "out", tmp_path / "in"


def test_asyncio_both_ways(folders):
    out, into = folders
    up, down = make(out / "up.bin", 3_000_000), make(out / "down.bin", 2_000_000)

    async def play():
        async with aio.serve(("127.0.0.1", 0), files=True) as server:
            arrived = asyncio.get_running_loop().create_future()

            async def host():
                async for event in server:
                    if isinstance(event, aio.Connected):
                        asyncio.ensure_future(event.peer.send_file(down, name="../../down.bin"))
                    elif isinstance(event, aio.FileOffered):
                        assert event.offer.size == 3_000_000
                        assert event.offer.sha256 == hashlib.sha256(up.read_bytes()).digest()

                        async def take(event=event):
                            arrived.set_result(await event.receive(into, name="up here.bin"))

                        asyncio.ensure_future(take())

            hosting = asyncio.ensure_future(host())
            seen = []
            async with aio.connect(server.addr, trust_any=True, files=True) as client:
                sending = asyncio.ensure_future(client.send_file(up, progress=lambda *told: seen.append(told)))
                offered = await client.__anext__()
                path = await offered.receive(into)
                await asyncio.wait_for(sending, 60)
                up_path = await asyncio.wait_for(arrived, 60)
            hosting.cancel()
            return path, up_path, seen

    path, up_path, seen = asyncio.run(play())
    assert path == str(into / "down.bin") and (into / "down.bin").read_bytes() == down.read_bytes()
    assert up_path == str(into / "up here.bin") and (into / "up here.bin").read_bytes() == up.read_bytes()
    assert seen[-1] == (3_000_000, 3_000_000) and seen == sorted(seen)


def test_asyncio_errors(folders):
    out, _ = folders
    path = make(out / "a.bin", 10_000)

    async def play():
        async with aio.serve(("127.0.0.1", 0), files=True) as server:

            async def host():
                async for event in server:
                    if isinstance(event, aio.FileOffered):
                        event.offer.refuse("not today")

            hosting = asyncio.ensure_future(host())
            async with aio.connect(server.addr, trust_any=True, files=True) as client:
                with pytest.raises(gamekeeper.FileError, match="not today") as refused:
                    await client.send_file(path)
                assert refused.value.result == _codes.GK_FILE_REFUSED
                with pytest.raises(gamekeeper.FileError) as vanished:
                    await client.send_file(out / "none")
                assert vanished.value.result == _codes.GK_FILE_VANISHED
            async with aio.connect(server.addr, trust_any=True) as client:
                with pytest.raises(gamekeeper.StateError):
                    await client.send_file(path)
            hosting.cancel()

    asyncio.run(play())


def test_asyncio_both_ways_in_a_stream(folders):
    out, into = folders
    up, down = make(out / "up.bin", 600_000), make(out / "down.bin", 500_000)

    async def play():
        context = gamekeeper.ServerContext(gamekeeper.EventHandler())
        context.setFiles()
        context.listenStream("127.0.0.1:0", gamekeeper.Framing.LENGTH, files=True)
        async with aio.serve(("127.0.0.1", 0), context=context) as server:
            arrived = asyncio.get_running_loop().create_future()

            async def host():
                async for event in server:
                    if isinstance(event, aio.Connected):
                        asyncio.ensure_future(event.peer.send_file(down))
                    elif isinstance(event, aio.FileOffered):

                        async def take(event=event):
                            arrived.set_result(await event.receive(into))

                        asyncio.ensure_future(take())

            hosting = asyncio.ensure_future(host())
            address = dict(server.addresses())["tcp"]
            stream = aio.Stream(gamekeeper.Framing.LENGTH)
            async with aio.connect(address, trust_any=True, files=True, stream=stream) as client:
                sending = asyncio.ensure_future(client.send_file(up))
                async for event in client:
                    assert isinstance(event, aio.FileOffered), event
                    await event.receive(into)
                    break
                await sending
                await arrived
            hosting.cancel()

    asyncio.run(asyncio.wait_for(play(), 60))
    assert sorted(os.listdir(into)) == ["down.bin", "up.bin"]
    for path in (up, down):
        assert (into / path.name).read_bytes() == path.read_bytes()


def test_files_in_streams_of_other_framings_are_refused():
    for framing in (gamekeeper.Framing.RAW, gamekeeper.Framing.LINES, gamekeeper.Framing.JSON):
        with pytest.raises(ValueError, match="LENGTH"):
            aio.connect(("127.0.0.1", 1), trust_any=True, files=True, stream=aio.Stream(framing))


class Host(gamekeeper.EventHandler):
    def __init__(self, into):
        self.into, self.ends, self.done = into, [], threading.Event()

    def file_offered(self, client, offer):
        assert offer.accept(self.into, callback=self.ended)

    def ended(self, end):
        self.ends.append(end)
        self.done.set()


def test_threaded_server_and_frame_client(folders):
    out, into = folders
    path = make(out / "a.bin", 1_000_000)
    host = Host(into)
    context = gamekeeper.ServerContext(host)
    context.setFiles(max_file_bytes=1_500_000)
    server = gamekeeper.ThreadedServer(context, ("127.0.0.1", 0))
    server.start()
    try:
        client = gamekeeper.UdpClient(wire="native", trust_any=True)
        client.setFiles()
        client.connect(server.bound_address())
        update_until(client, client.connected)
        ends = []
        client.send_file(path, name="b.bin", callback=ends.append)
        update_until(client, lambda: ends)
        assert ends[0].ok and host.done.wait(60) and host.ends[0].path == str(into / "b.bin")
        assert (into / "b.bin").read_bytes() == path.read_bytes()
        client.send_file(make(out / "long.bin", 1_500_001), callback=ends.append)
        update_until(client, lambda: len(ends) == 2)
        assert ends[1].result == _codes.GK_FILE_TOO_LARGE and not ends[1].ok
        client.forceDisconnect()
    finally:
        server.stop()
    assert sorted(os.listdir(into)) == ["b.bin"]


def update_until(client, done):
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        client.update()
        time.sleep(0.005)


def test_quotas_out_of_range():
    context = gamekeeper.ServerContext(gamekeeper.EventHandler())
    with pytest.raises(ValueError):
        context.setFiles(files_per_peer=-1)
    with pytest.raises(ValueError):
        context.setFiles(files_total=2**32)
