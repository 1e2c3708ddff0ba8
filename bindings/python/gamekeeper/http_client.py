"""A client of HTTP for a game's main loop: requests run in the background, their responses are taken once per frame."""

import io
import itertools
import json
import queue
import socket
import ssl
import threading
import time
from collections import deque
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import IO, Any, Callable, Deque, Dict, Iterable, Iterator, Optional, Tuple, Union, cast
from urllib.parse import quote

from . import _codes
from .errors import StateError
from .http import ErrorResponse, JsonResponse, Response, SerializableResponse, read_serializable

Address = Tuple[str, int]
#: What stands behind the path's ``?``: names to a value or several.
Query = Dict[str, Union[str, Iterable[str]]]
#: The body of a request: bytes, text, what is written as JSON, a Serializable, or a file-like object.
Payload = Any
Callback = Callable[[Response], Any]

#: Seconds in which a server must begin to answer, and in which more of its answer must come.
TIMEOUT_S = 30.0
#: Seconds in which a request must be sent and answered as a whole; one that takes longer is an ErrorResponse.
DEADLINE_S = 300.0
#: The longest body of a response, in bytes; a longer one is an ErrorResponse.
MAX_RESPONSE_BYTES = 256 * 1024 * 1024
#: Bytes that are sent, and read, between two looks at the clock.
_PIECE = 64 * 1024
#: Seconds between two looks at whether a response that comes is still wanted.
_LOOK_S = 0.1
#: The status of the ErrorResponse that stands for a server which gave no answer; mpgameserver's.
NO_ANSWER = 418


class RequestHandle:
    """A request that was asked for. Once ``ready`` is True, ``response`` has what came of it."""

    _numbers = itertools.count(1)

    def __init__(self, run: "Callable[[Callable[[], bool]], Response]", callback: Optional[Callback]) -> None:
        """For the client's own use."""
        #: A number of its own.
        self.hid = next(self._numbers)
        #: Called with the response when that is taken; None: nothing is.
        self.callback = callback
        #: The response; an ErrorResponse where the server refused, or gave no answer.
        self.response: Optional[Response] = None
        #: Whether the response is there.
        self.ready = False
        self._run = run
        self._cancelled = False

    def cancel(self) -> None:
        """Gives the request up: if it has not been sent it will not be, what has begun to come of its response is not read
        to the end, and it is never handed out."""
        self._cancelled = True

    def cancelled(self) -> bool:
        """Whether it was given up."""
        return self._cancelled

    def __repr__(self) -> str:
        return "<RequestHandle {}{}>".format(self.hid, " ready" if self.ready else "")

    def _do(self) -> None:
        if not self._cancelled:
            try:
                self.response = self._run(self.cancelled)
            except Exception as error:
                self.response = ErrorResponse(str(error), NO_ANSWER)
        self.ready = True


class HTTPClient:
    """Sends requests to one server, one after the other, on a thread of its own.

    All methods are to be called on one thread, on which the callbacks come too: from :meth:`update`, or while
    :meth:`getResponses` is iterated over.

    It goes straight to the server, whatever proxies the environment names, and follows no redirect, which would take the
    request's headers elsewhere: the response with the status 301, 302, … is handed out, and its header ``Location`` says
    where to. Headers of a response that have the same name are one, joined by ", "; those named ``Set-Cookie``, in which
    commas stand anyway, by a line break.
    """

    def __init__(
        self,
        addr: Address,
        protocol: str = "http",
        context: Optional[ssl.SSLContext] = None,
        timeout: float = TIMEOUT_S,
        deadline: float = DEADLINE_S,
    ) -> None:
        """
        :param addr: (host, port)
        :param protocol: "http" or "https"
        :param context: whom to believe, of "https"; None: whoever has a certificate that the system trusts.
            mpgameserver's client believes everybody.
        :param timeout: seconds in which the server must take the connection, in which its answer's head must be there, and in
            which more of the rest must come
        :param deadline: seconds in which a request must be sent and answered as a whole
        """
        if protocol not in ("http", "https"):
            raise ValueError("the protocol is {!r}, there are 'http' and 'https'".format(protocol))
        self.addr = addr
        self.protocol = protocol
        self._context, self._timeout, self._deadline = context, timeout, deadline
        self._handles: Deque[RequestHandle] = deque()
        self._work: "queue.SimpleQueue[Optional[RequestHandle]]" = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None
        self._stopped = False

    def start(self) -> None:
        """Begins to send; what was asked for before goes first.

        :raises StateError: it was started before
        """
        if self._thread is not None or self._stopped:
            raise StateError(_codes.GK_ERR_STATE, "a client starts once: make another one")
        self._thread = threading.Thread(target=_work, args=(self._work,), name="gamekeeper-http-client", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it: waits until the request that is being sent is sent and the server begins to answer it, and gives the
        others up. Responses that are there can still be taken."""
        self._stopped = True
        for handle in self._handles:
            if not handle.ready:
                handle.cancel()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._work.put(None)
            thread.join()

    def get(
        self,
        path: str,
        query: Optional[Query] = None,
        headers: Optional[Dict[str, str]] = None,
        callback: Optional[Callback] = None,
    ) -> RequestHandle:
        """Asks for what a path names.

        :param path: begins with a slash
        :param query: what stands behind its ``?``, not encoded
        :param callback: called with the response when that is taken
        """
        return self._ask("GET", path, None, query, headers, callback)

    def put(
        self,
        path: str,
        payload: Payload,
        query: Optional[Query] = None,
        headers: Optional[Dict[str, str]] = None,
        callback: Optional[Callback] = None,
    ) -> RequestHandle:
        """Puts something where a path says.

        :param payload: bytes, a str, a dict or list (sent as JSON), a Serializable, or a file-like object, which is read in
            the background and closed. Without a header ``Content-Type`` bytes are told to be "application/octet-stream", a
            str is "text/plain; charset=utf-8"
        """
        return self._ask("PUT", path, payload, query, headers, callback)

    def post(
        self,
        path: str,
        payload: Payload,
        query: Optional[Query] = None,
        headers: Optional[Dict[str, str]] = None,
        callback: Optional[Callback] = None,
    ) -> RequestHandle:
        """Hands something to what a path names; as :meth:`put`."""
        return self._ask("POST", path, payload, query, headers, callback)

    def delete(
        self,
        path: str,
        query: Optional[Query] = None,
        headers: Optional[Dict[str, str]] = None,
        callback: Optional[Callback] = None,
    ) -> RequestHandle:
        """Ends what a path names; as :meth:`get`."""
        return self._ask("DELETE", path, None, query, headers, callback)

    def pending(self) -> int:
        """How many requests there are whose response was not taken."""
        return sum(not handle.cancelled() for handle in self._handles)

    def getResponses(self) -> Iterator[RequestHandle]:
        """Takes the requests whose responses are there, one by one, each after its callback was called."""
        for _ in range(len(self._handles)):
            handle = self._handles.popleft()
            if handle.cancelled():
                continue
            if not handle.ready:
                self._handles.append(handle)
                continue
            if handle.callback is not None and handle.response is not None:
                handle.callback(handle.response)
            yield handle

    def update(self) -> None:
        """Takes all responses that are there, for their callbacks; to be called once per frame."""
        for _ in self.getResponses():
            pass

    def _ask(
        self,
        method: str,
        path: str,
        payload: Payload,
        query: Optional[Query],
        headers: Optional[Dict[str, str]],
        callback: Optional[Callback],
    ) -> RequestHandle:
        if self._stopped:
            raise StateError(_codes.GK_ERR_STATE, "the client has been stopped")
        if not path.startswith("/"):
            raise ValueError("the path {!r} does not begin with a slash".format(path))
        # What stands behind a # is the client's own.
        target = path.partition("#")[0]
        if query:
            target += "?" + _encoded(query)
        given = dict(headers or {})

        def run(given_up: Callable[[], bool]) -> Response:
            line = _Line(self._timeout, self._deadline, given_up)
            return _request(self._connection(), line, method, target, payload, given)

        handle = RequestHandle(run, callback)
        self._handles.append(handle)
        self._work.put(handle)
        return handle

    def _connection(self) -> HTTPConnection:
        host, port = self.addr
        if self.protocol == "http":
            return HTTPConnection(host, port, timeout=self._timeout)
        return HTTPSConnection(host, port, timeout=self._timeout, context=self._context)


class _Line:
    """What a request and its response go over: a socket that keeps to a deadline, however small the pieces in which
    the other side takes and gives. ``http.client`` has it in a socket's place."""

    def __init__(self, timeout: float, deadline: float, given_up: Callable[[], bool]) -> None:
        self._sock: Optional[socket.socket] = None
        self._timeout, self._given_up = timeout, given_up
        self._end = time.monotonic() + deadline
        #: When the head must be there; None: it is.
        self._head_end: Optional[float] = None
        #: Whether it matters that the response is wanted no more.
        self._in_body = False

    def take(self, sock: socket.socket) -> None:
        """The socket is connected."""
        self._sock = sock

    def await_head(self) -> None:
        """All is sent."""
        self._head_end = time.monotonic() + self._timeout

    def await_body(self) -> None:
        """The head is there."""
        self._head_end, self._in_body = None, True

    def hang_up(self) -> None:
        """Closes the socket."""
        if self._sock is not None:
            self._sock.close()

    def sendall(self, data: bytes) -> None:
        """As a socket's."""
        assert self._sock is not None
        for start in range(0, len(data), _PIECE):
            self._sock.settimeout(min(self._timeout, self._left(self._end)))
            self._sock.sendall(data[start : start + _PIECE])

    def makefile(self, mode: str) -> io.BufferedReader:
        """As a socket's."""
        return io.BufferedReader(_Incoming(self), _PIECE)

    def close(self) -> None:
        """As a socket's, which stays open while a file of it is read: :meth:`hang_up` closes it."""

    def recv_into(self, buffer: Any) -> int:
        """As a socket's."""
        assert self._sock is not None
        until = min(self._end, time.monotonic() + self._timeout)
        if self._head_end is not None:
            until = min(until, self._head_end)
        while True:
            if self._in_body and self._given_up():
                raise OSError("the request was given up")
            self._sock.settimeout(min(_LOOK_S, self._left(until)))
            try:
                return self._sock.recv_into(buffer)
            except socket.timeout:
                continue

    @staticmethod
    def _left(until: float) -> float:
        left = until - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return left


class _Incoming(io.RawIOBase):
    """What comes over a line, as a file."""

    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._line.recv_into(buffer)


def _work(handles: "queue.SimpleQueue[Optional[RequestHandle]]") -> None:
    while True:
        handle = handles.get()
        if handle is None:
            return
        handle._do()


def _encoded(query: Query) -> str:
    pairs = []
    for name, values in query.items():
        for value in [values] if isinstance(values, str) else values:
            if not isinstance(value, str):
                raise TypeError("a value of the query is {}, not str".format(type(value).__name__))
            pairs.append("{}={}".format(quote(name, safe=""), quote(value, safe="")))
    return "&".join(pairs)


def _body(payload: Payload, headers: Dict[str, str]) -> Optional[bytes]:
    """The bytes of a request's body; it may add what they are."""
    if hasattr(payload, "read"):
        file: IO[bytes] = payload
        with file:
            payload = file.read()
    if payload is None:
        return None
    if isinstance(payload, (bytes, bytearray, memoryview)):
        kind, body = "application/octet-stream", bytes(payload)
    elif isinstance(payload, str):
        kind, body = "text/plain; charset=utf-8", payload.encode("utf-8")
    elif hasattr(payload, "dumpb"):
        kind, body = "application/x-serializable", payload.dumpb()
    else:
        kind, body = "application/json", json.dumps(payload).encode("utf-8")
    if "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = kind
    return body


def _request(
    connection: HTTPConnection, line: _Line, method: str, target: str, payload: Payload, headers: Dict[str, str]
) -> Response:
    sent = _body(payload, headers)
    if "connection" not in {name.lower() for name in headers}:
        # Each request has a connection of its own.
        headers["Connection"] = "close"
    try:
        connection.connect()
        line.take(connection.sock)
        connection.sock = cast(Any, line)
        connection.request(method, target, sent, headers)
        line.await_head()
        answer = connection.getresponse()
        line.await_body()
        body = _read(answer)
    except (OSError, HTTPException, ValueError) as error:
        return ErrorResponse(str(error), NO_ANSWER)
    finally:
        connection.close()
        line.hang_up()
    told, kind = _joined(answer.headers), answer.headers.get_content_type()
    if answer.status >= 400:
        return ErrorResponse(_parsed(kind, body), answer.status, told)
    if kind == "application/json":
        return JsonResponse(json.loads(body.decode("utf-8")), answer.status, told)
    if kind == "application/x-serializable":
        return SerializableResponse(read_serializable(body), answer.status, told)
    return Response(body, answer.status, told)


def _read(answer: HTTPResponse) -> bytes:
    pieces, length = [], 0
    while True:
        piece = answer.read(_PIECE)
        if not piece:
            break
        pieces.append(piece)
        length += len(piece)
        if length > MAX_RESPONSE_BYTES:
            raise ValueError("the response is longer than {} bytes".format(MAX_RESPONSE_BYTES))
    if answer.length:
        raise ValueError("the response ended {} bytes before its end".format(answer.length))
    return b"".join(pieces)


def _joined(headers: Message) -> Dict[str, str]:
    """Headers by their names, as they are written first."""
    joined: Dict[str, str] = {}
    names: Dict[str, str] = {}
    for name, value in headers.items():
        first = names.setdefault(name.lower(), name)
        between = "\n" if name.lower() == "set-cookie" else ", "
        joined[first] = joined[first] + between + value if first in joined else value
    return joined


def _parsed(kind: str, body: bytes) -> Any:
    """What an error says: of JSON the value, where it is JSON."""
    if kind == "application/json":
        try:
            return json.loads(body.decode("utf-8"))
        except ValueError:
            pass
    return body
