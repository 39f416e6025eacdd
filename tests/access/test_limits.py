"""How often a key or an address may ask, and how many tasks of a key may wait."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fooocus_flask import create_app, database
from fooocus_flask.access import keys
from tests import postgresql
from tests.serving import GENERATE, small

speaks_sql = pytest.mark.sql("access/callers")

LATER = {"async_process": True}


@pytest.fixture
def made(app):
    """Makes a key with these limits: what a client with it sends."""

    def made(name, *scopes, **limits):
        with app.app_context():
            return {"X-API-KEY": keys.add(name, scopes or ("read", "draw"), **limits)}

    return made


def statuses(client, times, path="/v1/engine/queue", **request):
    """What so many requests are answered."""
    return [client.get(path, **request).status_code for _ in range(times)]


def submitted(client, headers):
    """The answer to a request for a picture later."""
    return client.post(GENERATE, json=small(**LATER), headers=headers)


def test_a_key_has_its_requests_a_minute(client, made):
    limited, other = made("limited", per_minute=3), made("other", per_minute=3)
    assert statuses(client, 4, headers=limited) == [200, 200, 200, 429]
    assert statuses(client, 4, headers=other) == [200, 200, 200, 429]
    assert statuses(client, 9, headers=made("free")) == [200] * 9


def test_one_request_too_many_is_told_the_limit_and_when_to_come_back(client, made):
    headers = made("limited", per_minute=1)
    client.get("/tasks", headers=headers)
    reply = client.get("/v1/engines/styles", headers=headers)  # whichever it is: all count together
    seconds = reply.headers["Retry-After"]
    assert reply.status_code == 429 and 1 <= int(seconds) <= 60
    text = f"The key limited may ask once a minute, and did; try again in {seconds} s"
    assert reply.json == {"detail": text}


def test_what_needs_no_key_is_not_counted(client, made):
    headers = made("limited", per_minute=1)
    for path in ("/ping", "/health", "/docs", "/openapi.json"):
        assert 429 not in statuses(client, 3, path, headers=headers)
    assert statuses(client, 3, "/outputs/2024-07-05/cat.png", headers=headers) == [404] * 3
    assert statuses(client, 2, headers=headers) == [200, 429]


@speaks_sql
def test_a_key_with_another_secret_keeps_its_count(app, client, made):
    headers = made("limited", per_minute=2)
    statuses(client, 2, headers=headers)
    with app.app_context():
        headers = {"X-API-KEY": keys.rotate("limited")}
    assert statuses(client, 1, headers=headers) == [429]


def test_requests_without_a_scope_count_too(client, made):
    headers = made("drawer", "draw", per_minute=2)
    assert statuses(client, 3, headers=headers) == [403, 403, 429]


def test_an_open_server_has_no_limit_unless_it_is_set(make_app):
    assert statuses(make_app().test_client(), 30) == [200] * 30
    limited = make_app(REQUESTS_PER_MINUTE=2).test_client()
    assert statuses(limited, 3) == [200, 200, 429]
    reply = limited.get("/tasks")
    assert reply.json["detail"].startswith("The address 127.0.0.1 may ask 2 times a minute")
    assert statuses(limited, 1, environ_base={"REMOTE_ADDR": "192.0.2.7"}) == [200]


def test_addresses_are_those_the_proxy_tells(make_app):
    client = make_app(REQUESTS_PER_MINUTE=1, TRUSTED_PROXIES=1).test_client()
    told = [statuses(client, 2, headers={"X-Forwarded-For": f"198.51.100.{host}"}) for host in (1, 2)]
    assert told == [[200, 429], [200, 429]]


def test_a_client_with_a_network_of_addresses_counts_as_one(make_app):
    client = make_app(REQUESTS_PER_MINUTE=1).test_client()
    addresses = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "")
    told = [statuses(client, 1, environ_base={"REMOTE_ADDR": address}) for address in addresses]
    assert told == [[200], [429], [200], [200]]


def test_addresses_that_no_proxy_is_trusted_with_are_not_believed(make_app):
    client = make_app(REQUESTS_PER_MINUTE=1).test_client()
    told = [statuses(client, 1, headers={"X-Forwarded-For": f"198.51.100.{host}"}) for host in (1, 2)]
    assert told == [[200], [429]]


def test_wrong_keys_count_for_their_address_and_right_ones_do_not(make_app):
    client = make_app(REQUESTS_PER_MINUTE=2, API_KEY="k").test_client()
    assert statuses(client, 5, headers={"X-API-KEY": "k"}) == [200] * 5
    assert statuses(client, 3, headers={"X-API-KEY": "guess"}) == [403, 403, 429]
    assert statuses(client, 1, headers={"X-API-KEY": "k"}) == [200]


def test_two_applications_count_apart(make_app):
    first, second = (make_app(REQUESTS_PER_MINUTE=1).test_client() for _ in range(2))
    assert statuses(first, 1) + statuses(second, 1) == [200, 200]


@speaks_sql
def test_a_key_has_its_waiting_tasks(client, made, add):
    limited, other = made("limited", queued=2), made("other", queued=2)
    add("running", key_name="limited")
    add("finished", key_name="limited")
    replies = [submitted(client, limited) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert replies[2].json == {"detail": "The key limited may have 2 tasks waiting, and has them; try again later"}
    assert int(replies[2].headers["Retry-After"]) > 0
    assert submitted(client, other).status_code == 200
    client.post(f"/tasks/{replies[0].json['task_id']}/cancel", headers=limited)
    assert submitted(client, limited).status_code == 200


@speaks_sql
def test_requests_at_the_same_time_do_not_exceed_a_key_s_tasks(make_server):
    server = make_server(FOOOCUS_API_KEY="k")
    server.ask("POST", "/v1/engine/queue/pause", X_API_KEY="k")
    app = create_app(INSTANCE=server.instance, **postgresql.settings(server.instance))
    with app.app_context():
        key = keys.add("limited", ["draw"], queued=3)
    database.close(app)
    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(lambda _: server.draw(LATER, X_API_KEY=key).status, range(12)))
    assert sorted(told) == [200] * 3 + [429] * 9
