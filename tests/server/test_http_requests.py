"""Requests that few clients send, over real sockets."""

import json
import select
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.patience import CEILING
from tests.serving import GENERATE, Server, small


def status(server, *lines, body=b""):
    """The status of the answer to a request of these lines."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=CEILING) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("target", ["http://somewhere.example/ping", "HTTP://h:1/ping?x=1", "https://h/ping"])
def test_a_target_in_absolute_form_is_its_path(server, target):
    assert status(server, f"GET {target} HTTP/1.1", "Host: h", "Connection: close") == 200


def test_a_target_of_a_host_alone_is_the_root(server):
    as_usual = status(server, "GET / HTTP/1.1", "Host: h", "Connection: close")
    assert status(server, "GET http://h HTTP/1.1", "Host: h", "Connection: close") == as_usual


@pytest.mark.parametrize("lengths", [("2", "2"), ("2", "40"), ("2,2",), ("-1",), ("two",)])
def test_a_body_of_two_lengths_is_refused(server, lengths):
    head = ["POST /v1/engine/control HTTP/1.1", "Host: h", *(f"Content-Length: {length}" for length in lengths)]
    assert status(server, *head, body=b"{}") == 400


def test_a_deliverys_number_of_any_length_leads_nowhere(server):
    for digits in (9, 10, 19, 400, 4400):
        assert server.ask("POST", f"/tasks/none/deliveries/{'9' * digits}/replay").status == 404


@pytest.mark.parametrize("members", [{"stream_output": True}, {}])
def test_an_old_client_that_would_stay_hears_the_end_of_its_answer(server, members):
    body = json.dumps(small(**members)).encode()
    head = [f"POST {GENERATE} HTTP/1.0", "Connection: keep-alive", f"Content-Length: {len(body)}"]
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=CEILING) as connection,
        connection.makefile("rb") as answer,
    ):
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        told = dict(line.decode().rstrip().lower().split(": ", 1) for line in [*iter(answer.readline, b"\r\n")][1:])
        if members:
            assert told["connection"] == "close" and b"Finished" in answer.read()
        else:
            assert told["connection"] == "keep-alive"
            assert json.loads(answer.read(int(told["content-length"])))["task_status"] == "finished"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory, models, database):
    """A server that closes connections on which nothing comes for a second; its engine may still be starting."""
    server = Server(tmp_path_factory.mktemp("impatient"), models, FOOOCUS_KEEPALIVE_SECONDS="1")
    yield server
    server.stop()


HEAD = b"POST /v1/engine/control HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /pi", b"GET /ping HTTP/1.1\r\nHost: h\r\nX: ", HEAD + b"\r\n", HEAD + b'\r\n{"action": '],
    ids=["nothing", "half a line", "half a head", "no body", "half a body"],
)
def test_a_connection_on_which_nothing_more_comes_is_closed(impatient, sent):
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=CEILING) as connection:
        connection.sendall(sent)
        while connection.recv(65536):
            pass


def test_a_connection_is_closed_after_its_last_request(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=CEILING) as connection:
        for _ in range(2):
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")
            while not (answer := connection.recv(65536)).endswith(b'"pong"\n'):
                assert answer
        while connection.recv(65536):
            pass


def test_a_head_that_trickles_is_no_sign_of_life(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=CEILING) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\n")
        with suppress(ConnectionError):
            while not select.select([connection], [], [], 0.1)[0]:
                connection.sendall(b"X: y\r\n")
            assert connection.recv(65536) == b""


def test_who_waits_for_an_answer_is_not_idle(impatient):
    """Others are closed meanwhile, which have waited for less long."""
    impatient.ask("POST", "/v1/engine/queue/pause")
    with ThreadPoolExecutor() as pool:
        stream, drawn = impatient.follow(), pool.submit(impatient.draw)
        while impatient.get("/v1/engine/queue").json["pending"] < 2:
            assert not drawn.done()
        with socket.create_connection(("127.0.0.1", impatient.port), timeout=CEILING) as idle:
            assert idle.recv(65536) == b""
        impatient.ask("POST", "/v1/engine/queue/resume")
        assert drawn.result().status == 200
    assert stream.events()[-1]["message"] == "Finished"


def test_what_is_no_request_is_answered_and_told_in_a_short_line(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=CEILING) as connection:
        connection.sendall(b"\x1b[31m" + b"a" * 5000 + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
    line = impatient.said("no HTTP request").string
    assert len(line) < 200 and "aaaa" not in line
    assert not any("Traceback" in line or "\x1b" in line for line in impatient.lines)
