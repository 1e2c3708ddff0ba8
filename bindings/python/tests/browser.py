"""Headless Chromium over its DevTools protocol: as much of it as two pages need."""

import asyncio
import itertools
import json
import shutil
import subprocess
import tempfile
import urllib.request

import websockets

from playing import PATIENCE

#: Debian's name, and that of others.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def program():
    """The browser's path, or None."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


class Page:
    """One tab."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = itertools.count(1)

    async def call(self, method, **parameters):
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await asyncio.wait_for(self._socket.recv(), PATIENCE))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def run(self, script):
        """The value of an expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script):
        """Waits until an expression is true."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while not await self.run(script):
            assert asyncio.get_running_loop().time() < end, "{} is still false: {}".format(
                script, await self.run("document.body.innerText")
            )
            await asyncio.sleep(0.05)


class Browser:
    """A browser of its own, with a profile that goes with it."""

    def __init__(self, path):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                path,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--ignore-certificate-errors",
                "--remote-debugging-port=0",
                "--user-data-dir=" + self._profile.name,
                "about:blank",
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            universal_newlines=True,
        )
        # "DevTools listening on ws://127.0.0.1:PORT/…"
        for line in self._process.stderr:
            if "DevTools listening on ws://" in line:
                self._host = line.split("ws://")[1].split("/")[0]
                break
        else:
            raise AssertionError("the browser ended before it listened")

    async def page(self, address):
        """Opens an address in a new tab."""
        request = urllib.request.Request("http://{}/json/new?about:blank".format(self._host), method="PUT")
        answer = await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=PATIENCE).read())
        socket = await websockets.connect(json.loads(answer)["webSocketDebuggerUrl"], max_size=None)
        page = Page(socket)
        await page.call("Page.enable")
        await page.call("Page.navigate", url=address)
        return page

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stderr.close()
        self._profile.cleanup()
