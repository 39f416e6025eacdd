"""Requests that few clients send, over real sockets."""

import json
import socket

import pytest

from tests.serving import GENERATE, small


def status(server, *lines, body=b""):
    """The status of the answer to a request of these lines."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
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
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection,
        connection.makefile("rb") as answer,
    ):
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        told = dict(line.decode().rstrip().lower().split(": ", 1) for line in [*iter(answer.readline, b"\r\n")][1:])
        if members:
            assert told["connection"] == "close" and b"Finished" in answer.read()
        else:
            assert told["connection"] == "keep-alive"
            assert json.loads(answer.read(int(told["content-length"])))["task_status"] == "finished"
