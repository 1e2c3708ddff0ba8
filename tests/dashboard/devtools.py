"""Drives a headless Chromium by its DevTools protocol, through a pair of pipes."""

import base64
import collections
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

# A deadline for a browser on a busy machine, not an expectation.
PATIENCE_S = 90


class Browser:
    def __init__(self, program="chromium"):
        self.folder = tempfile.mkdtemp(prefix="gamekeeper-chromium-")
        to_browser, self.write = self._pipe()
        self.read, from_browser = self._pipe()

        def wire():
            os.dup2(to_browser, 3)
            os.dup2(from_browser, 4)

        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
            "--remote-debugging-pipe", "--user-data-dir=" + self.folder, "about:blank",
        ]
        self.process = subprocess.Popen(
            [program, *options], preexec_fn=wire, close_fds=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.number = 0
        self.events = collections.deque(maxlen=10000)

    @staticmethod
    def _pipe():
        ends = os.pipe()
        # Above 3 and 4, which are the browser's.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
        for end in ends:
            os.close(end)
        return high

    def _message(self, deadline):
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.read], [], [], left)[0]:
                raise TimeoutError("the browser says nothing")
            more = os.read(self.read, 1 << 20)
            if not more:
                raise ConnectionError("the browser has ended")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if session:
            request["sessionId"] = session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data):]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            message = self._message(deadline)
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def next_event(self, deadline):
        return self.events.popleft() if self.events else self._message(deadline)

    def page(self, url, width=1440, height=900, scheme="light", mobile=False, scale=1):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, target, session, url, width, height, scheme, mobile, scale)

    def close(self):
        try:
            self.call("Browser.close")
        except (OSError, TimeoutError, ConnectionError, RuntimeError):
            self.process.kill()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.read)
        os.close(self.write)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Page:
    def __init__(self, browser, target, session, url, width, height, scheme, mobile, scale):
        self.browser, self.target, self.session = browser, target, session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def run(self, script):
        """The value of an expression, promises waited for."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:2000])
        return result["result"].get("value")

    def wait(self, script):
        """Until an expression is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not (value := self.run(script)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"never true: {script}\n{self.complaints()}")
            time.sleep(0.05)
        return value

    def key(self, name, code=None, text=None):
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code or 0, **more)

    def traced(self, script, categories):
        """The value of an expression, and the events of those categories while it ran."""
        self.browser.call("Tracing.start", transferMode="ReportEvents",
                          traceConfig={"includedCategories": categories, "excludedCategories": ["*"]})
        value = self.run(script)
        self.browser.events.clear()
        self.browser.traced = []
        self.browser.call("Tracing.end")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            message = self.browser.next_event(deadline)
            if message["method"] == "Tracing.dataCollected":
                self.browser.traced += message["params"]["value"]
            if message["method"] == "Tracing.tracingComplete":
                return value, self.browser.traced

    def complaints(self):
        """What the browser found fault with: exceptions, refused resources, requests to elsewhere."""
        self.run("1")
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            parameters = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters["exceptionDetails"])[:600])
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"] + " " + parameters["entry"].get("url", ""))
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
                found.append(json.dumps(parameters["args"])[:600])
        return found

    def requests(self):
        self.run("1")
        return [
            event["params"]["request"]["url"] for event in self.browser.events
            if event.get("sessionId") == self.session and event["method"] == "Network.requestWillBeSent"
        ]

    def shot(self, path, full=False, height=None):
        more = {}
        if full:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip_height = min(size["height"], height or 20000)
            more = {"captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "width": size["width"], "height": clip_height, "scale": 1}}
        data = self.call("Page.captureScreenshot", format="png", **more)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
