"""The behaviour that mpgameserver's own tests of HTTP ask for, and what its documentation says of HTTP."""

import io
import json

import pytest

import gamekeeper.mpgameserver as dropin
from gamekeeper.mpgameserver import (
    ErrorResponse,
    JsonResponse,
    Request,
    Resource,
    Response,
    Router,
    SerializableResponse,
    delete,
    get,
    header,
    param,
    post,
    put,
    websocket,
)


class Sample(Resource):
    @get("/simple")
    def get_simple(self, request):
        return JsonResponse({"method": request.method})

    @put("/simple")
    def put_simple(self, request):
        return JsonResponse({"method": request.method, "body": request.stream.read().decode()})

    @post("/simple")
    def post_simple(self, request):
        return JsonResponse({"method": request.method, "json": request.json()})

    @delete("/simple")
    def delete_simple(self, request):
        return JsonResponse({"method": request.method})

    @get("/path/optone/:arg1?")
    def optone(self, request):
        return JsonResponse(request.matches)

    @get("/path/optplus/:arg1+")
    def optplus(self, request):
        return JsonResponse(request.matches)

    @get("/path/optmany/:arg1*")
    def optmany(self, request):
        return JsonResponse(request.matches)

    @get("/params")
    @header("X-One")
    @header("X-Two")
    @param("foo")
    def params(self, request):
        return JsonResponse({"params": request.params, "one": request.headers[b"x-one"][0].decode()})

    @websocket("/ws")
    def socket(self, request, opcode, payload):
        raise AssertionError("no WebSocket opens without a server")


@pytest.fixture
def ask():
    """Asks a router, as that package's own test client does: (status, value of the JSON)."""
    router = Router()
    router.registerRoutes(Sample())

    def ask(method, path, params=None, headers=None, body=b""):
        request = Request(("127.0.0.1", 54321), method, path, params, None, headers, io.BytesIO(body))
        response = router.dispatch(request)
        assert response.headers is not None and request.path == path
        return response.status_code, json.loads(response._get_payload(request).decode())

    return ask


def test_methods_have_their_own_functions(ask):
    assert ask("GET", "/simple") == (200, {"method": "GET"})
    assert ask("PUT", "/simple", body=b"bytes") == (200, {"method": "PUT", "body": "bytes"})
    assert ask("POST", "/simple", body=b"[1]") == (200, {"method": "POST", "json": [1]})
    assert ask("DELETE", "/simple") == (200, {"method": "DELETE"})
    assert ask("PATCH", "/simple") == (404, {"error": "path not found"})


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/path/optone/", None),
        ("/path/optone", None),
        ("/path/optone/1", "1"),
        ("/path/optplus/1", "1"),
        ("/path/optplus/1/2", "1/2"),
        ("/path/optmany/", None),
        ("/path/optmany/1/2/3", "1/2/3"),
    ],
)
def test_names_stand_for_as_many_components_as_they_say(ask, path, expected):
    assert ask("GET", path) == (200, {"arg1": expected})


@pytest.mark.parametrize("path", ["/path/optone/1/2", "/path/optplus", "/path/optplus/", "/path", "/"])
def test_other_paths_are_not_found(ask, path):
    assert ask("GET", path)[0] == 404


def test_parameters_and_headers(ask):
    status, value = ask("GET", "/params", {"foo": ["bar"]}, {b"X-One": [b"1"]})
    assert (status, value) == (200, {"params": {"foo": ["bar"]}, "one": "1"})
    function = Sample.params
    assert sorted(function._header) == ["X-One", "X-Two"] and function._param == ["foo"]


def test_where_websockets_open_nothing_else_is_answered(ask):
    assert ask("GET", "/ws")[0] == 426


def test_routes_are_registered_in_both_forms_and_bad_ones_refused():
    resource, router = Sample(), Router()
    assert [route.method for route in resource.routes()] == ["GET", "PUT", "POST", "DELETE"] + ["GET"] * 5
    assert [route.name for route in resource.routes()][:2] == ["sample.get_simple", "sample.put_simple"]
    router.registerRoutes(resource)
    router.registerRoutes([("GET", "/other", lambda request: Response("other"))])
    assert router.dispatch(Request(("::1", 1), "GET", "/other", {}, "", {}, None)).payload == b"other"
    for pattern in ("/:a/:a", "/:", "/:?", "/:a?/:b*", "/:a+/x/:b+"):
        with pytest.raises(ValueError):
            router.registerRoutes([("GET", pattern, lambda request: None)])


def test_responses_are_what_their_classes_say():
    assert Response("text").payload == b"text" and Response().payload == b""
    assert (ErrorResponse("no").status_code, ErrorResponse("no", 418).status_code) == (400, 418)
    response = JsonResponse({"a": 1}, 201, {"X-Own": "1"})
    assert response._get_payload(None) == b'{"a": 1}\n' and response.headers["X-Own"] == "1"
    assert response.headers["Content-Type"] == "application/json"

    class Answer(dropin.Serializable):
        value: int = 7

    response = SerializableResponse(Answer())
    encoded = response._get_payload(None)
    assert response.headers["Content-Type"] == "application/x-serializable"
    request = Request(("::1", 1), "POST", "/", {}, "", {}, io.BytesIO(encoded))
    assert request.message().value == 7
    assert repr(response) == "<SerializableResponse(200)>" and repr(request) == "<Request POST />"


def test_a_response_leaves_its_callers_headers_alone():
    headers = {"X-Own": "1"}
    for response in (Response(b"a" * 1000, headers=headers, compress=True), JsonResponse({}, headers=headers)):
        request = Request(("::1", 1), "GET", "/", {}, "", {b"Accept-Encoding": [b"gzip"]}, None)
        response._get_payload(request)
        assert len(response.headers) > 1
    assert headers == {"X-Own": "1"}


def test_paths_are_compared_decoded():
    router = Router()
    router.registerRoutes([("GET", "/grüße/a b/:x", lambda request: Response(request.matches["x"]))])
    for path, found in [
        ("/gr%C3%BC%C3%9Fe/a%20b/%61%2Fb", True),
        ("/gr%c3%bc%c3%9fe/%61%20b/c", True),
        ("/grüße/a b/c", True),
        ("/gr%C3%BC%C3%9Fe/a+b/c", False),
        ("/gr%C3%BC%C3%9Fe%2Fa%20b/c", False),
        ("/gr%FC%DFe/a%20b/c", False),
        ("/gr%C3%BC%C3%9Fe/a%20b/%00", False),
    ]:
        request = Request(("::1", 1), "GET", path, {}, "", {}, None)
        assert (router.dispatch(request).status_code == 200) == found, path
