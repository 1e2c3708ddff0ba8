"""HTTP and WebSockets beside the game: resources with routes, a router, requests and responses.

Make a subclass of :class:`Resource`, register it with a :class:`Router`, and give that to ``listenTCP`` of a server. All
functions are called on the server's thread, as the handler's methods are. The names and their meaning are mpgameserver's.
"""

import concurrent.futures
import copy
import ctypes
import enum
import gzip
import importlib
import io
import json
import os
import re
from collections import OrderedDict
from typing import IO, TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple, Union
from urllib.parse import unquote, unquote_plus

from . import _codes, _ffi, _fork
from ._log import logger
from .errors import GamekeeperError, StalePeerError, StateError

if TYPE_CHECKING:
    from ._link import Link
    from .client import Client
    from .context import ServerContext
    from .server import TwistedServer

#: Longest body of a request, in bytes, where a route does not say otherwise.
MAX_CONTENT_LENGTH = 5 * 1024 * 1024
#: WebSockets that were let in and whose peer has not connected yet; older ones are forgotten.
_MAX_OPENING = 4096
#: Shorter payloads are not worth compressing, in bytes.
_LEAST_COMPRESSED = 256

Address = Tuple[str, int]
Callback = Callable[..., Any]


class WebSocketOpCode(enum.IntEnum):
    """What a WebSocket's function is called for."""

    #: The WebSocket has opened. Not of the standard; the payload is empty.
    Open = 0xFF
    #: It has closed; the payload is empty.
    Close = 0x8
    #: Answered by the library.
    Ping = 0x9
    #: The answer to one.
    Pong = 0xA
    #: A text message: the payload is a str.
    Text = 0x1
    #: A binary message: the payload is bytes.
    Binary = 0x2


def path_join_safe(root_directory: str, filename: str) -> str:
    """Joins a directory and a relative path from outside; the result lies in the directory.

    :param root_directory: trusted
    :param filename: separated by slashes or backslashes
    :returns: the absolute path
    :raises ValueError: the result would lie elsewhere: by "." or "..", by an absolute path or a drive, by a symbolic link
    """
    parts = filename.replace("\\", "/").split("/")
    if any(part in (".", "..") or "\0" in part for part in parts) or os.path.isabs(filename) or not parts[0]:
        raise ValueError("invalid path")
    if os.path.splitdrive(filename)[0]:
        raise ValueError("invalid path")
    root = os.path.abspath(root_directory)
    path = os.path.abspath(os.path.join(root, *parts))
    real_root = os.path.realpath(root)
    real = os.path.realpath(path)
    if real != real_root and not real.startswith(real_root.rstrip(os.sep) + os.sep):
        raise ValueError("invalid path")
    return path


def read_serializable(data: bytes) -> Any:
    """A Serializable from its bytes; of the installed package mpgameserver."""
    # Only now: that module imports this one.
    dropin: Any = importlib.import_module(__name__.rpartition(".")[0] + ".mpgameserver")
    return dropin.Serializable.loadb(data)


class Headers(Dict[bytes, List[bytes]]):
    """The headers of a request: bytes to a list of values. Names are the same in any case."""

    def __setitem__(self, key: bytes, value: List[bytes]) -> None:
        super().__setitem__(key.upper(), value)

    def __getitem__(self, key: bytes) -> List[bytes]:
        return super().__getitem__(key.upper())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and super().__contains__(key.upper())

    def get(self, key: bytes, default: Any = None) -> Any:
        return super().get(key.upper(), default)


class Request:
    """What a client asks for."""

    def __init__(
        self,
        addr: Address,
        method: str,
        path: str,
        params: Optional[Dict[str, List[Optional[str]]]],
        fragment: Optional[str],
        headers: Optional[Dict[bytes, List[bytes]]],
        stream: Optional[IO[bytes]],
    ) -> None:
        """
        :param addr: (host, port) of the client
        :param method: the HTTP method
        :param path: the path, without query and fragment
        :param params: the decoded parameters of the query
        :param stream: a file-like object with the body
        """
        #: (host, port) of the client.
        self.client_address = addr
        #: The HTTP method.
        self.method = method
        #: The path as it was sent.
        self.path = path
        #: Query parameters: name to list of values; None is one without a value.
        self.params: Dict[str, List[Optional[str]]] = {} if params is None else params
        #: The fragment; clients do not send it.
        self.fragment = fragment or ""
        #: Headers: bytes to list of bytes.
        self.headers: Dict[bytes, List[bytes]] = Headers()
        for name, values in (headers or {}).items():
            self.headers[name] = values
        #: The body, a file-like object.
        self.stream: IO[bytes] = io.BytesIO() if stream is None else stream
        #: What the names of the route's pattern stand for; None where one stands for nothing.
        self.matches: Dict[str, Optional[str]] = {}

    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.stream.read().decode("utf-8"))

    def message(self) -> Any:
        """The body, which is a Serializable."""
        return read_serializable(self.stream.read())

    def __repr__(self) -> str:
        return "<{} {} {}>".format(type(self).__name__, self.method, self.path)


class WebSocket(Request):
    """An open WebSocket, and the request that opened it. It is a client of the server like any other."""

    def __init__(self, request: Request) -> None:
        super().__init__(
            request.client_address,
            request.method,
            request.path,
            request.params,
            request.fragment,
            request.headers,
            request.stream,
        )
        self.matches = request.matches
        #: The client that it is: one of ``server.clients()``.
        self.client: "Client"
        #: A number of its own.
        self.uid = 0
        #: Whether it has closed.
        self.closed = False

    def send(self, message: Union[str, bytes]) -> bool:
        """Queues a text or binary message; on any thread. False where it has closed.

        :raises WouldBlock: its queue is full
        """
        channel = 1 if isinstance(message, str) else 0
        data = message.encode("utf-8") if isinstance(message, str) else message
        if not isinstance(data, bytes):
            raise TypeError("the message is {}, not str or bytes".format(type(message).__name__))
        link, peer = self.client._link, self.client._peer
        return link.send(self.client, peer, data, -1, None, (channel, _codes.GK_PRIORITY_NORMAL, 0))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes it, once what is queued has left.

        :param code: 1000, or 3000 to 4999 for a meaning of the program's own
        """
        info = _ffi.gk_disconnect_info()
        size = ctypes.sizeof(info)
        _ffi.check(_ffi.lib.gk_disconnect_info_init(ctypes.byref(info), size))
        info.app_code, info.after_delivery, info.text = code, 1, _ffi.c_text(reason)
        link, peer = self.client._link, self.client._peer
        result = _ffi.lib.gk_server_disconnect(link.pointer, peer, ctypes.byref(info))
        if result not in (_codes.GK_OK, _codes.GK_ERR_STALE, _codes.GK_ERR_STATE):
            raise _ffi.error(result)


class Response:
    """What a route's function returns."""

    def __init__(
        self,
        payload: Any = None,
        status_code: int = 200,
        headers: Optional[Dict[str, str]] = None,
        compress: bool = False,
    ) -> None:
        """
        :param payload: str, bytes, a file-like object, or None
        :param status_code: 200 to 599
        :param headers: ``Content-Length`` and the like are the library's to set
        :param compress: compress it where the client accepts that, whatever its type. Texts, JSON and the like are
            compressed in any case.
        """
        self.status_code = status_code
        # A copy: further headers are those of this response alone.
        self.headers: Dict[str, str] = {} if headers is None else dict(headers)
        self.payload: Any = b"" if payload is None else payload
        self.compress = compress
        if isinstance(self.payload, str):
            self.payload = self.payload.encode("utf-8")

    def _get_payload(self, request: Optional[Request]) -> bytes:
        """The bytes that are sent; it may set headers."""
        payload = self.payload
        if hasattr(payload, "read"):
            try:
                payload = payload.read()
            finally:
                if hasattr(self.payload, "close"):
                    self.payload.close()
        return self._packed(bytes(payload), request)

    def _packed(self, payload: bytes, request: Optional[Request]) -> bytes:
        if not self.compress or request is None or len(payload) < _LEAST_COMPRESSED:
            return payload
        accepted = b",".join(request.headers.get(b"Accept-Encoding") or []).lower()
        if not re.search(rb"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", accepted):
            return payload
        self.headers["Vary"] = "Accept-Encoding"
        self.headers["Content-Encoding"] = "gzip"
        return gzip.compress(payload)

    def __repr__(self) -> str:
        return "<{}({})>".format(type(self).__name__, self.status_code)


class ErrorResponse(Response):
    """A response that tells of an error."""

    def __init__(self, obj: Any, status_code: int = 400, headers: Optional[Dict[str, str]] = None) -> None:
        super().__init__(obj, status_code, headers)


class JsonResponse(Response):
    """A response whose payload is written as JSON."""

    def __init__(self, obj: Any, status_code: int = 200, headers: Optional[Dict[str, str]] = None) -> None:
        super().__init__(None, status_code, headers)
        self.payload = obj

    def _get_payload(self, request: Optional[Request]) -> bytes:
        self.headers["Content-Type"] = "application/json"
        return self._packed(json.dumps(self.payload).encode("utf-8") + b"\n", request)


class SerializableResponse(Response):
    """A response whose payload is a Serializable."""

    def __init__(self, obj: Any, status_code: int = 200, headers: Optional[Dict[str, str]] = None) -> None:
        super().__init__(None, status_code, headers)
        self.payload = obj

    def _get_payload(self, request: Optional[Request]) -> bytes:
        self.headers["Content-Type"] = "application/x-serializable"
        encoded: bytes = self.payload.dumpb()
        return self._packed(encoded, request)


def _route(method: str, path: str, **options: Any) -> Callable[[Callback], Callback]:
    def decorator(function: Callback) -> Callback:
        function._route = path  # type: ignore[attr-defined]
        function._methods = [method]  # type: ignore[attr-defined]
        function._options = options  # type: ignore[attr-defined]
        return function

    return decorator


def get(path: str) -> Callable[[Callback], Callback]:
    """Registers a method of a :class:`Resource` for GET: ``method(self, request)`` returns a :class:`Response`, or a
    ``concurrent.futures.Future`` that has one later."""
    return _route("GET", path)


def put(path: str, max_content_length: int = MAX_CONTENT_LENGTH) -> Callable[[Callback], Callback]:
    """The same for PUT. A longer body is answered with 413."""
    return _route("PUT", path, max_content_length=max_content_length)


def post(path: str, max_content_length: int = MAX_CONTENT_LENGTH) -> Callable[[Callback], Callback]:
    """The same for POST. A longer body is answered with 413."""
    return _route("POST", path, max_content_length=max_content_length)


def delete(path: str) -> Callable[[Callback], Callback]:
    """The same for DELETE."""
    return _route("DELETE", path)


def websocket(path: str) -> Callable[[Callback], Callback]:
    """Registers a method of a :class:`Resource` for WebSockets: ``method(self, request, opcode, payload)``. It is called
    when one has opened, with each message, and when it has closed; ``request`` is the same :class:`WebSocket` each time.
    One that is open is a client too: the handler's ``connect`` and ``disconnect`` are called, its messages come here."""

    def decorator(function: Callback) -> Callback:
        function._websocket = True  # type: ignore[attr-defined]
        return _route("GET", path)(function)

    return decorator


def header(name: str) -> Callable[[Callback], Callback]:
    """Says that a function expects a header, for its readers."""

    def decorator(function: Callback) -> Callback:
        function._header = [*getattr(function, "_header", []), name]  # type: ignore[attr-defined]
        return function

    return decorator


def param(name: str) -> Callable[[Callback], Callback]:
    """Says that a function expects a parameter of the query, for its readers."""

    def decorator(function: Callback) -> Callback:
        function._param = [*getattr(function, "_param", []), name]  # type: ignore[attr-defined]
        return function

    return decorator


#: What may follow a pattern's name, and how many components the name then stands for: at least, at most.
_WILDCARDS: Dict[str, Tuple[int, Optional[int]]] = {"?": (0, 1), "+": (1, None), "*": (0, None)}


def _components(path: str) -> Optional[List[str]]:
    """The components of a path, decoded one by one: a slash that is encoded tells none apart. None: nothing is routed so."""
    if not path.startswith("/"):
        return None
    rest = path[1:-1] if len(path) > 1 and path.endswith("/") else path[1:]
    try:
        found = [unquote(part, errors="strict") for part in rest.split("/")] if rest else []
    except UnicodeDecodeError:
        return None
    return None if any("\0" in part for part in found) else found


class Route:
    """A pattern, a method, and the function for them."""

    def __init__(self, name: str, method: str, pattern: str, callback: Callback, websocket: bool = False) -> None:
        self.name = name
        self.method = method
        self.pattern = pattern
        self.callback = callback
        self.websocket = websocket
        self.options: Dict[str, Any] = {}
        #: Literals, whose name is None, and names, with how many components they stand for.
        self._parts: List[Tuple[Optional[str], str, int, Optional[int]]] = []
        for part in (part for part in pattern.split("/") if part):
            if part.startswith(":"):
                least, most = _WILDCARDS.get(part[-1], (1, 1))
                name = part[1:-1] if part[-1] in _WILDCARDS else part[1:]
                self._parts.append((name, "", least, most))
            else:
                self._parts.append((None, part, 1, 1))
        names = [name for name, *_ in self._parts if name is not None]
        if "" in names or len(set(names)) < len(names):
            raise ValueError("the pattern {!r} has a name without characters, or one twice".format(pattern))
        if sum((least, most) != (1, 1) for _, _, least, most in self._parts) > 1:
            raise ValueError("the pattern {!r} has two names with ?, + or *".format(pattern))

    def match(self, path: str) -> Optional[Dict[str, Optional[str]]]:
        """What the pattern's names stand for in a path; None where it does not match."""
        rest = _components(path)
        if rest is None:
            return None
        # What the one name of a variable number takes is what the others leave.
        spare = len(rest) - sum((least, most) == (1, 1) for _, _, least, most in self._parts)
        matches: Dict[str, Optional[str]] = {}
        for name, literal, least, most in self._parts:
            width = 1 if (least, most) == (1, 1) else spare
            taken, rest = rest[: max(width, 0)], rest[max(width, 0) :]
            if len(taken) != width or width < least or (most is not None and width > most):
                return None
            if name is None:
                if taken != [literal]:
                    return None
            elif "" in taken:
                # "/a//b" names nothing between its slashes.
                return None
            else:
                matches[name] = "/".join(taken) if taken else None
        return None if rest else matches

    def __repr__(self) -> str:
        return "<Route {}>".format(self.name)


class Resource:
    """Routes that belong together: methods with the decorators :func:`get`, :func:`put`, :func:`post`, :func:`delete` and
    :func:`websocket`. Register an instance with a :class:`Router`.

    A pattern has literal components and names: ``/:abc`` is exactly one component, ``/:abc?`` none or one, ``/:abc+`` one
    or more, ``/:abc*`` any number; ``request.matches`` has them.
    """

    def __init__(self) -> None:
        self._routes: List[Route] = []
        seen = set()
        prefix = type(self).__name__.replace("Resource", "").lower()
        for owner in reversed(type(self).__mro__):
            for name in vars(owner):
                function = getattr(self, name, None)
                if name.startswith("_") or name in seen or not hasattr(function, "_route"):
                    continue
                assert function is not None
                seen.add(name)
                is_socket = getattr(function, "_websocket", False)
                route = Route(prefix + "." + name, function._methods[0], function._route, function, is_socket)
                route.options = function._options
                self._routes.append(route)

    def routes(self) -> List[Route]:
        """Its routes, in the order in which they are defined."""
        return self._routes


class Router:
    """Finds the route of a request; the first that matches counts."""

    def __init__(self) -> None:
        self.routes: List[Route] = []
        #: How many servers that run have these routes, and would not see further ones.
        self._serving = 0
        _fork.renew(self)

    def _forked(self) -> None:
        """In a process that was forked: the servers run in the other one."""
        self._serving = 0

    def registerRoutes(self, routes: Union[Resource, Iterable[Any]]) -> None:
        """Adds routes; also to servers that were told of the router but have not started.

        :param routes: a :class:`Resource`, or a list of routes or of (method, pattern, function)
        :raises ValueError: a method that routes cannot have, or a pattern that is none
        :raises StateError: a server runs with these routes
        """
        if self._serving:
            raise StateError(_codes.GK_ERR_STATE, "a server runs with the routes of this router, which stay as they are")
        added = routes.routes() if isinstance(routes, Resource) else list(routes)
        for route in added:
            if not isinstance(route, Route):
                method, pattern, callback = route
                route = Route(getattr(callback, "__name__", pattern), method, pattern, callback)
            if route.method not in ("DELETE", "GET", "POST", "PUT"):
                raise ValueError("Unsupported method: {}".format(route.method))
            self.routes.append(route)

    def getRoute(self, method: str, path: str) -> Optional[Tuple[Route, Dict[str, Optional[str]]]]:
        """The first route for a method and a path, and what its names stand for."""
        for route in self.routes:
            if route.method == ("GET" if method == "HEAD" else method):
                matches = route.match(path)
                if matches is not None:
                    return route, matches
        return None

    def dispatch(self, request: Request) -> Any:
        """The response to a request."""
        found = self.getRoute(request.method, request.path)
        if found is None:
            return JsonResponse({"error": "path not found"}, 404)
        route, request.matches = found
        if route.websocket:
            return JsonResponse({"error": "here WebSockets are opened"}, 426)
        return _respond(route, request)


def _no_response() -> Response:
    return JsonResponse({"error": "route failed to return a response"}, 500)


def _respond(route: Route, request: Request) -> Any:
    """Calls a route's function; whatever it does, there is a response."""
    try:
        response = route.callback(request)
    except Exception:
        logger.exception("error in %s", route.name)
        response = None
    return _no_response() if response is None else response


class Doors:
    """The HTTP doors of one server: what stands behind ``listenTCP``."""

    def __init__(self) -> None:
        self._doors: List[Tuple[Router, str, Optional[str], Optional[str], bool]] = []
        self._open_routers: List[Router] = []
        #: The routes of all doors, as the library counts them.
        self._routes: List[Route] = []
        self._opening: "OrderedDict[int, Tuple[Route, Request]]" = OrderedDict()
        self._sockets: Dict[int, Tuple[Route, WebSocket]] = {}
        _fork.renew(self)

    def _forked(self) -> None:
        self._open_routers = []

    def listen(
        self,
        router: Router,
        address: str,
        privkey: Optional[str],
        cert: Optional[str],
        password_in_clear: bool = False,
    ) -> None:
        if (privkey is None) != (cert is None):
            raise ValueError("privkey and cert: both or none")
        self._doors.append((router, address, privkey, cert, password_in_clear))

    def configure(self, context: Any) -> None:
        """Says it all to the library, of which the context is."""
        lib = _ffi.lib
        _ffi.check(lib.gk_context_clear_http(context))
        self._routes = []
        for door, (router, address, privkey, cert, in_clear) in enumerate(self._doors):
            _ffi.check(lib.gk_context_set_http_password_in_clear(context, 1 if in_clear else 0))
            files = [None if path is None else _ffi.c_path(path) for path in (cert, privkey)]
            _ffi.check(lib.gk_context_listen_http(context, _ffi.c_text(address), *files))
            _ffi.check(lib.gk_context_set_http_route_door(context, door))
            for route in router.routes:
                self._routes.append(route)
                self._add(context, route, len(self._routes))

    @staticmethod
    def _add(context: Any, route: Route, tag: int) -> None:
        lib = _ffi.lib
        pattern = _ffi.c_text("/" + "/".join(part for part in route.pattern.split("/") if part))
        if route.websocket:
            _ffi.check(lib.gk_context_route_websocket(context, pattern, None, tag))
            return
        limit = route.options.get("max_content_length", MAX_CONTENT_LENGTH)
        _ffi.check(lib.gk_context_set_http_max_body(context, limit))
        _ffi.check(lib.gk_context_route(context, _ffi.c_text(route.method), pattern, None, tag))

    def opened(self) -> None:
        """The server of these doors runs: the routes stay as they are."""
        self._open_routers = [router for router, *_ in self._doors]
        for router in self._open_routers:
            router._serving += 1

    def closed(self) -> None:
        """It does not any more; once is enough."""
        routers, self._open_routers = self._open_routers, []
        for router in routers:
            router._serving -= 1

    def addresses(self, link: "Link") -> List[str]:
        """Where the doors are, as the library writes it."""
        return [
            _ffi.read_text(_ffi.lib.gk_server_http_address, link.pointer, at) for at in range(len(self._doors))
        ]

    # On the server's thread.

    def request(self, link: "Link", number: int, tag: int) -> None:
        """A request came."""
        route = self._routes[tag - 1]
        try:
            request = _read(link, number)
        except StalePeerError:
            # Whoever asked has left.
            return
        request.matches = route.match(request.path) or {}
        if route.websocket:
            self._open(link, number, route, request)
            return
        response = _respond(route, request)
        if isinstance(response, concurrent.futures.Future):
            response.add_done_callback(lambda done: _send_later(link, number, route, request, done))
        else:
            _send(link, number, route, request, response)

    def _open(self, link: "Link", number: int, route: Route, request: Request) -> None:
        self._opening[number] = (route, request)
        while len(self._opening) > _MAX_OPENING:
            self._opening.popitem(last=False)
        protocols = request.headers.get(b"Sec-WebSocket-Protocol")
        try:
            if protocols:
                # A client that offers some gives up where none is chosen.
                first = protocols[0].split(b",")[0].strip().decode("ascii", "replace")
                _header(link, number, "Sec-WebSocket-Protocol", first)
            _ffi.check(_ffi.lib.gk_response_upgrade(link.pointer, number))
        except GamekeeperError:
            self._opening.pop(number, None)

    def connected(self, link: "Link", client: "Client") -> None:
        """A peer connected that is a WebSocket."""
        number = ctypes.c_uint64()
        _ffi.check(_ffi.lib.gk_peer_request(link.pointer, client._peer, ctypes.byref(number)))
        opened = self._opening.pop(number.value, None)
        if opened is None:
            return
        route, request = opened
        socket = WebSocket(request)
        socket.client, socket.uid = client, number.value
        self._sockets[client._peer] = (route, socket)
        _tell(route, socket, WebSocketOpCode.Open, b"")

    def message(self, peer: int, channel: int, data: bytes) -> bool:
        """A message of a peer; False where it is no WebSocket of a route."""
        found = self._sockets.get(peer)
        if found is None:
            return False
        if channel == 1:
            _tell(*found, WebSocketOpCode.Text, data.decode("utf-8"))
        else:
            _tell(*found, WebSocketOpCode.Binary, data)
        return True

    def disconnected(self, peer: int) -> None:
        """A peer left."""
        found = self._sockets.pop(peer, None)
        if found is not None:
            found[1].closed = True
            _tell(*found, WebSocketOpCode.Close, b"")


def _tell(route: Route, socket: WebSocket, opcode: WebSocketOpCode, payload: Union[str, bytes]) -> None:
    try:
        route.callback(socket, opcode, payload)
    except Exception:
        logger.exception("error in %s", route.name)


def _parameters(query: str) -> Dict[str, List[Optional[str]]]:
    parameters: Dict[str, List[Optional[str]]] = {}
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if part:
            parameters.setdefault(unquote_plus(name), []).append(unquote_plus(value) if equals else None)
    return parameters


def _header_lines(lines: bytes) -> Iterator[Tuple[bytes, bytes]]:
    for line in lines.split(b"\n"):
        name, colon, value = line.partition(b": ")
        if colon:
            yield name, value


def _read(link: "Link", number: int) -> Request:
    """A request of the library's, whole."""
    lib, server = _ffi.lib, link.pointer
    host, _, port = _ffi.read_text(lib.gk_request_address, server, number).rpartition(":")
    headers: Dict[bytes, List[bytes]] = {}
    for name, value in _header_lines(_ffi.read_bytes(lib.gk_request_headers, server, number)):
        headers.setdefault(name, []).append(value)
    return Request(
        (host.strip("[]"), int(port)),
        _ffi.read_text(lib.gk_request_method, server, number),
        _ffi.read_text(lib.gk_request_path, server, number),
        _parameters(_ffi.read_text(lib.gk_request_query_string, server, number)),
        "",
        headers,
        io.BytesIO(_ffi.read_bytes(lib.gk_request_body, server, number)),
    )


def _header(link: "Link", number: int, name: str, value: str) -> None:
    _ffi.check(_ffi.lib.gk_response_header(link.pointer, number, _ffi.c_text(name), _ffi.c_text(value)))


#: Headers that the library sets.
_OWN = {"connection", "content-length", "date", "keep-alive", "trailer", "transfer-encoding", "upgrade"}


def _send(link: "Link", number: int, route: Route, request: Request, response: Any) -> None:
    """Sends a response, on any thread; one that cannot be sent becomes an error of the server's."""
    try:
        if not isinstance(response, Response):
            raise TypeError("{} returned {}, not a Response".format(route.name, type(response).__name__))
        # The same response may answer other requests, of which each has headers of its own.
        response = copy.copy(response)
        response.headers = dict(response.headers)
        body = response._get_payload(request)
        for name, value in response.headers.items():
            if name.lower() not in _OWN:
                _header(link, number, name, str(value))
        result = _ffi.lib.gk_response_send(link.pointer, number, response.status_code, body, len(body))
        # Who asked may have left.
        if result not in (_codes.GK_OK, _codes.GK_ERR_STALE):
            raise _ffi.error(result)
    except StalePeerError:
        pass
    except Exception:
        logger.exception("error in the response of %s", route.name)
        text = b"the response cannot be sent\n"
        # Those that were taken belong to the response that was not.
        _ffi.lib.gk_response_clear(link.pointer, number)
        _ffi.lib.gk_response_send(link.pointer, number, 500, text, len(text))


def _send_later(
    link: "Link", number: int, route: Route, request: Request, done: "concurrent.futures.Future[Any]"
) -> None:
    try:
        response = done.result()
    except BaseException:
        # Also what would end a program: this is a thread of a pool, and somebody waits for an answer.
        logger.exception("error in %s", route.name)
        response = None
    _send(link, number, route, request, _no_response() if response is None else response)


class HTTPServer:
    """A server for HTTP alone."""

    def __init__(self, addr: Address, privkey: Optional[str] = None, cert: Optional[str] = None) -> None:
        """
        :param addr: (host, port)
        :param privkey: file with the private key, PEM
        :param cert: file with the certificate and those that it is signed with, PEM
        """
        self.addr = addr
        self.router = Router()
        self.privatekey_path = privkey
        self.certificate_path = cert
        self._server: "Optional[TwistedServer]" = None

    def registerRoutes(self, routes: Union[Resource, Iterable[Any]]) -> None:
        """Adds routes, as :meth:`Router.registerRoutes`."""
        self.router.registerRoutes(routes)

    def routes(self) -> List[Route]:
        """All routes."""
        return self.router.routes

    def run(self) -> None:
        """Runs until it is stopped. The game that comes with it is one of nobody, on a port of the loopback interface."""
        from .context import ServerContext
        from .handler import EventHandler
        from .server import TwistedServer

        context: "ServerContext" = ServerContext(EventHandler())
        server = self._server = TwistedServer(context, ("127.0.0.1", 0))
        server.listenTCP(self.router, self.addr, self.privatekey_path, self.certificate_path)
        server.run()

    def stop(self) -> None:
        """Stops it; on any thread."""
        if self._server is None:
            raise StateError(_codes.GK_ERR_STATE, "the server has not started")
        self._server.stop()

    def http_addresses(self) -> List[Address]:
        """(host, port) of its sockets, with the real ports; empty before the start."""
        return [] if self._server is None else self._server.http_addresses()
