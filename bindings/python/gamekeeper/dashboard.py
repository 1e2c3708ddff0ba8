"""A server that shows what it does in the browser."""

import html
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import weakref
import webbrowser
from typing import List, Optional
from urllib.parse import quote

from ._link import Link
from ._log import logger
from .context import ServerContext
from .server import Address, TwistedServer


#: How long the page lies there that takes the browser to the dashboard with its token, in seconds.
_PAGE_S = 60.0
#: The page. It says nothing to whoever it leads to of where it was.
_PAGE = """<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<title>gamekeeper</title><meta http-equiv="refresh" content="0;url={0}"><a href="{0}">The dashboard</a>
"""


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
        #: Removes the page and its folder.
        self._page: Optional[weakref.finalize] = None
        self._page_end: Optional[threading.Timer] = None

    def init(self) -> None:
        """Sets the dashboard; ``run`` does it where it was not done."""
        self.ctxt.setDashboard(self._dashboard, self._token)
        self._ready = True

    def run(self) -> None:
        """Runs the server until it is stopped, as ``TwistedServer.run`` does."""
        if not self._ready:
            self.init()
        try:
            super().run()
        finally:
            self._forget_page()

    def url(self) -> str:
        """Where the dashboard is. Raises StateError before the start."""
        host, port = self.dashboard_address()
        return "http://{}:{}/".format("[{}]".format(host) if ":" in host else host, port)

    def _open(self) -> Link:
        link = super()._open()
        url = self.url()
        if _has_display() if self._browser is None else self._browser:
            try:
                where = self._way_to(url)
            except OSError as error:
                logger.warning("the browser is not opened: %s", error)
                return link
            # Some browsers keep who opens them waiting until they end.
            threading.Thread(target=webbrowser.open, args=(where,), daemon=True).start()
        return link

    def _way_to(self, url: str) -> str:
        """What the browser is told to open. Everybody on the machine sees its command line, so the token is not in it but
        in a page that only this user can read, for a minute."""
        if self._token is None:
            return url
        folder = _own_folder()
        self._page = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = pathlib.Path(folder) / "dashboard.html"
        # What stands behind the # stays in the browser.
        text = _PAGE.format(html.escape("{}#token={}".format(url, quote(self._token, safe=""))))
        with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        self._page_end = threading.Timer(_PAGE_S, self._forget_page)
        self._page_end.daemon = True
        self._page_end.start()
        return path.as_uri()

    def _forget_page(self) -> None:
        page, end, self._page, self._page_end = self._page, self._page_end, None, None
        if end is not None:
            end.cancel()
        if page is not None:
            page()

    def _forked(self) -> None:
        super()._forked()
        # The page is the other process's, and so is the thread that would remove it.
        page, self._page, self._page_end = self._page, None, None
        if page is not None:
            page.detach()


def _own_folder() -> str:
    """A new folder that only this user can look into, best where a browser in a sandbox sees it: such a one has a /tmp of
    its own."""
    error: Optional[OSError] = None
    for place in _places():
        try:
            if place is not None:
                os.makedirs(place, mode=0o700, exist_ok=True)
            return tempfile.mkdtemp(prefix="gamekeeper-", dir=place)
        except OSError as failed:
            error = failed
    raise error or OSError("there is no place for the page")


def _places() -> List[Optional[str]]:
    """Where it may be, best first; None: where the system has such things."""
    if os.name != "posix" or sys.platform == "darwin":
        # There that place is the user's own.
        return [None]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    # The rules for these variables say that a relative path is none.
    places = [os.environ.get("XDG_RUNTIME_DIR"), cache]
    return [place for place in places if place and os.path.isabs(place)] + [None]


def _has_display() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
