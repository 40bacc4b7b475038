"""The nginx configuration of docs/hardening.md in front of a real TorchServe: callers, paths, limits, rates, CORS."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import grpc
import httpx
import pytest
import servers
from pages import ROOT, blocks
from proxies import CALLER, FIELDS, FORM, Gate, answering, raw
from servers import TINY

from genartisan.config import MAX_STEPS
from genartisan.serving.inference_grpc import METHOD, PACKAGE, decode_response, encode_request
from genartisan.serving.limits import Limits
from genartisan.serving.serve import Server

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
ORIGIN = "https://app.example.org"

(CONFIGURATION,) = blocks(ROOT / "docs" / "hardening.md", "nginx")


class Callers(BaseHTTPRequestHandler):
    """Authenticates one caller."""

    def do_GET(self) -> None:
        self.send_response(204 if self.headers["Authorization"] == CALLER["Authorization"] else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


class Full(BaseHTTPRequestHandler):
    """Answers like a TorchServe with a full queue."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"code": 503, "type": "ServiceUnavailableException", "message": "no worker"}'
        self.send_response(503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


Start = Callable[..., Gate]


@pytest.fixture
def start(server: Server, certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[Start]:
    """Starts nginx with the documented configuration, in which only names, ports and files are replaced."""
    with ExitStack() as stack:
        callers = stack.enter_context(answering(Callers))

        def start_(http: str | None = None, origin: bool = False, callers_have_keys: bool = False) -> Gate:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            replacements = {
                "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
                "server_name pictures.example.org": "server_name localhost",
                "/etc/ssl/pictures.pem": str(certificate[0]),
                "/etc/ssl/pictures.key": str(certificate[1]),
                "Bearer INFERENCE_KEY": servers.key(server)["Authorization"],
                "127.0.0.1:8080": http or server.url.removeprefix("http://"),
                "127.0.0.1:7070": server.grpc,
                "127.0.0.1:9000": callers,
            }
            if callers_have_keys:
                del replacements["Bearer INFERENCE_KEY"]
                replacements |= {'"Bearer INFERENCE_KEY"': "$http_authorization", "auth_request /callers;": ""}
            if origin:  # the page's example, uncommented
                replacements[f"# {ORIGIN}"] = ORIGIN
            text = CONFIGURATION
            for documented, actual in replacements.items():
                assert text.count(documented) == 1, documented
                text = text.replace(documented, actual)
            (tmp_path / "genartisan.conf").write_text(text)
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            folders = "\n".join(f"{kind}_temp_path {tmp_path / kind};" for kind in kinds)
            (tmp_path / "nginx.conf").write_text(
                f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr;\n"
                f"events {{}}\nhttp {{ access_log off; {folders}\ninclude {tmp_path}/genartisan.conf; }}\n"
            )
            log = stack.enter_context((tmp_path / "error.log").open("w+"))
            command = ["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
            process = stack.enter_context(subprocess.Popen(command, stderr=log))
            stack.callback(process.terminate)

            def listens() -> bool:
                assert process.poll() is None, (tmp_path / "error.log").read_text()
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            servers.eventually(listens, "nginx listens")
            gate = Gate(port, certificate[0])
            stack.callback(gate.http.close)
            return gate

        yield start_


def test_requests_streams_and_rpcs_reach_the_server_with_its_key(start: Start, server: Server) -> None:
    gate = start()
    expected = servers.post(server, FIELDS).content
    reply = gate.post({**CALLER, "X-Request-Start": "t=1000000000"})  # an expired deadline, which the gate must drop
    assert (reply.status_code, reply.content) == (200, expected)
    assert "retry-after" not in reply.headers
    assert gate.post(path="/explanations/genartisan?x=y").status_code == 200
    events = [json.loads(line) for line in gate.post({**CALLER, "Accept": "application/x-ndjson"}).iter_lines()]
    assert [events[0]["event"], events[-1]["event"]] == ["accepted", "result"]
    over_grpc = gate.rpc(METHOD, encode_request("genartisan", FIELDS))
    assert isinstance(over_grpc, bytes), over_grpc
    assert decode_response(over_grpc) == expected
    assert b"Healthy" in bytes(gate.rpc(f"/{PACKAGE}.InferenceAPIsService/Ping", b""))  # type: ignore[arg-type]


def test_unknown_callers_are_refused_even_with_the_servers_key(start: Start, server: Server) -> None:
    gate = start()
    for headers in ({}, servers.key(server), servers.key(server, "management")):
        assert gate.post(headers).status_code == 401
    assert gate.rpc(METHOD, encode_request("genartisan", FIELDS), None) is grpc.StatusCode.UNAUTHENTICATED


def test_without_caller_keys_the_servers_key_decides(start: Start, server: Server) -> None:
    gate, key = start(callers_have_keys=True), servers.key(server)
    assert gate.post(key).status_code == 200
    refused = gate.post()
    assert (refused.status_code, refused.json()["type"]) == (400, "InvalidKeyException")
    message = encode_request("genartisan", FIELDS)
    assert isinstance(gate.rpc(METHOD, message, key["Authorization"]), bytes)
    assert gate.rpc(METHOD, message) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "target",
    [
        "/", "/ping", "/models", "/models/genartisan", "/models/genartisan?customized=true", "/metrics", "/workflows",
        "/api-description", "/token?type=inference", "/wfpredict/genartisan", "/callers", "/predictions/other",
        "/predictions/genartisan/1.0", "/left", "/explanations/genartisan-control",
        "/predictions/genartisan-control/1.0", "/predictions/genartisan%0a", "/predictions/genartisan/../../models",
        "/predictions/genartisan%2f..%2f..%2fmodels", "/v1/models/genartisan:predict",
    ],
)  # fmt: skip
def test_no_other_path_is_reachable(target: str, start: Start) -> None:
    gate = start(http="127.0.0.1:1")  # a forwarded request would get 502
    assert [raw(gate, target, method) for method in ("GET", "POST", "PUT", "DELETE")] == [404] * 4


def test_only_post_a_fixed_path_and_two_rpcs_pass(start: Start) -> None:
    gate = start()
    assert [raw(gate, "/predictions/genartisan", method) for method in ("GET", "PUT", "OPTIONS")] == [405] * 3
    assert (
        raw(gate, "/models/../predictions/genartisan") == 400
    )  # from TorchServe: no photo; nginx had resolved the dots
    for method in (
        f"{PACKAGE}.InferenceAPIsService/StreamPredictions",
        f"{PACKAGE}.InferenceAPIsService/StreamPredictions2",
        "org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ):
        assert gate.rpc(f"/{method}", encode_request("genartisan", FIELDS)) is grpc.StatusCode.UNIMPLEMENTED


def test_rate_limited_callers_get_429_with_retry_after(start: Start) -> None:
    gate = start(http="127.0.0.1:1")
    replies = [gate.post({}, content=b"") for _ in range(12)]
    assert [reply.status_code for reply in replies] == [401] * 11 + [429]
    assert [reply.headers.get("retry-after") for reply in replies] == [None] * 11 + ["2"]
    assert gate.rpc(METHOD, b"") is grpc.StatusCode.UNAVAILABLE


def test_requests_about_requests_have_a_rate_of_their_own(start: Start, server: Server) -> None:
    gate, path = start(), "/predictions/genartisan-control"
    statuses = [gate.post(path=path, json={"status": "never-came"}).status_code for _ in range(13)]
    assert statuses == [404] * 13
    assert gate.post().status_code == 200
    for headers, body, status in (({}, {"status": "x"}, 401), (CALLER, {"stop": "x"}, 400)):
        assert gate.post(headers, path, json=body).status_code == status


@pytest.mark.parametrize("accept", ["application/x-ndjson", "image/png"])
@pytest.mark.parametrize("chosen", [{}, {"X-Request-Id": "chosen-by-the-caller"}])
def test_the_request_of_a_caller_who_leaves_is_cancelled(
    accept: str, chosen: dict[str, str], start: Start, server: Server
) -> None:
    """TorchServe itself would work to the end."""

    def working() -> bool:
        return any(path.suffix != ".cancel" for path in (Path(server.temporary) / "jobs").iterdir())

    gate = start()
    long = [*FORM[:2], ("params", ("params", json.dumps({**TINY, "steps": MAX_STEPS}).encode(), "text/plain"))]
    request = gate.http.build_request(
        "POST", "/predictions/genartisan", files=long, headers={**CALLER, **chosen, "Accept": accept}
    )
    context = ssl.create_default_context(cafile=str(gate.certificate))
    head = ["POST /predictions/genartisan HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
    with (
        socket.create_connection(("127.0.0.1", gate.port), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as caller,
    ):
        caller.sendall("\r\n".join([*head, "", ""]).encode() + request.read())
        servers.eventually(working, "the request came in")
        if accept == "application/x-ndjson":
            assert caller.recv(100).startswith(b"HTTP/1.1 200")
    servers.eventually(lambda: not working(), "the request ended", 30)


def test_a_full_queue_gets_503_with_retry_after(start: Start) -> None:
    with answering(Full) as full:
        reply = start(http=full).post()
    assert (reply.status_code, reply.headers["retry-after"], reply.json()["message"]) == (503, "10", "no worker")


def test_the_request_size_limit_is_that_of_the_server(start: Start) -> None:
    """It is checked by Content-Length, before the body arrives and before the caller is authenticated."""
    gate, limit = start(http="127.0.0.1:1"), Limits().request_bytes
    lengths = {
        bytes_: raw(gate, "/predictions/genartisan", caller="nobody", length=bytes_) for bytes_ in (limit, limit + 1)
    }
    assert lengths == {limit: 401, limit + 1: 413}


PREFLIGHT = {
    "Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization",
}  # fmt: skip


def allowed(reply: httpx.Response) -> dict[str, str]:
    """The CORS headers of a reply."""
    names = ("origin", "methods", "headers")
    return {name: reply.headers[full] for name in names if (full := f"access-control-allow-{name}") in reply.headers}


def test_cross_origin_requests_are_refused_by_default(start: Start) -> None:
    gate = start(http="127.0.0.1:1")
    reply = gate.http.options("/predictions/genartisan", headers=PREFLIGHT)
    assert (reply.status_code, allowed(reply)) == (405, {})
    assert allowed(gate.post({**CALLER, "Origin": ORIGIN})) == {}


def test_a_listed_origin_may_ask_and_read_every_answer(start: Start) -> None:
    with answering(Full) as full:
        gate = start(http=full, origin=True)
        reply = gate.http.options(
            "/predictions/genartisan", headers=PREFLIGHT
        )  # answered by nginx, without authentication
        headers = "Authorization, Cache-Control, Content-Type, X-Request-Id"
        assert (reply.status_code, reply.content) == (204, b"")
        assert allowed(reply) == {"origin": ORIGIN, "methods": "POST", "headers": headers}
        assert reply.headers.get_list("access-control-allow-origin") == [ORIGIN]
        other = {**PREFLIGHT, "Origin": f"{ORIGIN}.evil.example"}
        assert (gate.http.options("/predictions/genartisan", headers=other).status_code) == 405
        for key, status in ((CALLER, 503), ({}, 401)):
            reply = gate.post({**key, "Origin": ORIGIN})
            assert (reply.status_code, allowed(reply), reply.headers["vary"]) == (status, {"origin": ORIGIN}, "Origin")
            assert "Retry-After" in reply.headers["access-control-expose-headers"]
            assert allowed(gate.post({**key, "Origin": other["Origin"]})) == {}
