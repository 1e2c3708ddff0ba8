"""A client of HTTP for a game's main loop: requests run in the background, their responses are taken once per frame."""

import itertools
import json
import queue
import ssl
import threading
import urllib.error
import urllib.request
from collections import deque
from http.client import HTTPException
from typing import IO, Any, Callable, Deque, Dict, Iterable, Iterator, Optional, Tuple, Union
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

#: Seconds in which something must come from the server.
TIMEOUT_S = 30.0
#: The longest body of a response, in bytes; a longer one is an ErrorResponse.
MAX_RESPONSE_BYTES = 256 * 1024 * 1024
#: The status of the ErrorResponse that stands for a server which gave no answer; mpgameserver's.
NO_ANSWER = 418


class RequestHandle:
    """A request that was asked for. Once ``ready`` is True, ``response`` has what came of it."""

    _numbers = itertools.count(1)

    def __init__(self, run: Callable[[], Response], callback: Optional[Callback]) -> None:
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
        """Gives the request up: if it has not been sent it will not be, and its response is never handed out."""
        self._cancelled = True

    def cancelled(self) -> bool:
        """Whether it was given up."""
        return self._cancelled

    def __repr__(self) -> str:
        return "<RequestHandle {}{}>".format(self.hid, " ready" if self.ready else "")

    def _do(self) -> None:
        if not self._cancelled:
            try:
                self.response = self._run()
            except Exception as error:
                self.response = ErrorResponse(str(error), NO_ANSWER)
        self.ready = True


class HTTPClient:
    """Sends requests to one server, one after the other, on a thread of its own.

    All methods are to be called on one thread, on which the callbacks come too: from :meth:`update`, or while
    :meth:`getResponses` is iterated over.
    """

    def __init__(
        self,
        addr: Address,
        protocol: str = "http",
        context: Optional[ssl.SSLContext] = None,
        timeout: float = TIMEOUT_S,
    ) -> None:
        """
        :param addr: (host, port)
        :param protocol: "http" or "https"
        :param context: whom to believe, of "https"; None: whoever has a certificate that the system trusts.
            mpgameserver's client believes everybody.
        :param timeout: seconds in which something must come from the server
        """
        if protocol not in ("http", "https"):
            raise ValueError("the protocol is {!r}, there are 'http' and 'https'".format(protocol))
        self.addr = addr
        self.protocol = protocol
        self._context, self._timeout = context, timeout
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
        """Ends it: waits for the request that is being sent, and gives the others up. Responses that are there can still be
        taken."""
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
            the background and closed
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
        host, port = self.addr
        url = "{}://{}:{}{}".format(self.protocol, "[{}]".format(host) if ":" in host else host, port, path)
        if query:
            url += "?" + _encoded(query)
        given = dict(headers or {})

        def run() -> Response:
            return _request(method, url, payload, given, self._context, self._timeout)

        handle = RequestHandle(run, callback)
        self._handles.append(handle)
        self._work.put(handle)
        return handle


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
    if payload is None or isinstance(payload, bytes):
        return payload
    if isinstance(payload, (bytearray, memoryview)):
        return bytes(payload)
    kinds = {name.lower() for name in headers}
    if isinstance(payload, str):
        return payload.encode("utf-8")
    if hasattr(payload, "dumpb"):
        if "content-type" not in kinds:
            headers["Content-Type"] = "application/x-serializable"
        encoded: bytes = payload.dumpb()
        return encoded
    if "content-type" not in kinds:
        headers["Content-Type"] = "application/json"
    return json.dumps(payload).encode("utf-8")


def _request(
    method: str,
    url: str,
    payload: Payload,
    headers: Dict[str, str],
    context: Optional[ssl.SSLContext],
    timeout: float,
) -> Response:
    request = urllib.request.Request(url, data=_body(payload, headers), headers=headers, method=method)
    try:
        try:
            answer = urllib.request.urlopen(request, timeout=timeout, context=context)
        except urllib.error.HTTPError as refused:
            with refused:
                body, told = _read(refused), dict(refused.headers)
            kind = refused.headers.get_content_type()
            return ErrorResponse(_parsed(kind, body), refused.code, told)
        with answer:
            body, told, kind = _read(answer), dict(answer.headers), answer.headers.get_content_type()
    except (OSError, HTTPException, ValueError) as error:
        return ErrorResponse(str(error), NO_ANSWER)
    if kind == "application/json":
        return JsonResponse(json.loads(body.decode("utf-8")), answer.status, told)
    if kind == "application/x-serializable":
        return SerializableResponse(read_serializable(body), answer.status, told)
    return Response(body, answer.status, told)


def _read(answer: Any) -> bytes:
    body: bytes = answer.read(MAX_RESPONSE_BYTES + 1)
    if len(body) > MAX_RESPONSE_BYTES:
        raise ValueError("the response is longer than {} bytes".format(MAX_RESPONSE_BYTES))
    return body


def _parsed(kind: str, body: bytes) -> Any:
    """What an error says: of JSON the value, where it is JSON."""
    if kind == "application/json":
        try:
            return json.loads(body.decode("utf-8"))
        except ValueError:
            pass
    return body
