"""A server that shows what it does in the browser."""

import os
import sys
import threading
import webbrowser
from typing import Optional

from ._link import Link
from .context import ServerContext
from .server import Address, TwistedServer


class GuiServer(TwistedServer):
    """A server on the thread that calls :meth:`run`, with a dashboard: packets, where the time goes, ticks, traffic,
    latency, loss, clients and log of the last five minutes, in a browser.

    The name is mpgameserver's, whose window this takes the place of. It needs no display: where there is one the browser
    opens by itself, elsewhere the log tells the address.
    """

    def __init__(
        self,
        ctxt: ServerContext,
        addr: Address,
        dashboard: Address = ("127.0.0.1", 0),
        token: Optional[str] = None,
        browser: Optional[bool] = None,
    ) -> None:
        """
        :param ctxt: the configuration. Its dashboard is set to the next two, for servers started after this one, too.
        :param addr: (host, port) where clients are listened to
        :param dashboard: (host, port) of the dashboard. Port 0: a free one
        :param token: what who looks must know, 16 to 256 characters. Needed where ``dashboard`` is not of the loopback
        :param browser: whether a browser opens; None: where there is a display
        """
        super().__init__(ctxt, addr)
        self._dashboard = dashboard
        self._token = token
        self._browser = browser
        self._ready = False

    def init(self) -> None:
        """Sets the dashboard; ``run`` does it where it was not done."""
        self.ctxt.setDashboard(self._dashboard, self._token)
        self._ready = True

    def run(self) -> None:
        """Runs the server until it is stopped, as ``TwistedServer.run`` does."""
        if not self._ready:
            self.init()
        super().run()

    def url(self) -> str:
        """Where the dashboard is. Raises StateError before the start."""
        host, port = self.dashboard_address()
        return "http://{}:{}/".format("[{}]".format(host) if ":" in host else host, port)

    def _open(self) -> Link:
        link = super()._open()
        url = self.url()
        if _has_display() if self._browser is None else self._browser:
            # What stands behind the # stays in the browser.
            where = url if self._token is None else "{}#token={}".format(url, self._token)
            # Some browsers keep who opens them waiting until they end.
            threading.Thread(target=webbrowser.open, args=(where,), daemon=True).start()
        return link


def _has_display() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
