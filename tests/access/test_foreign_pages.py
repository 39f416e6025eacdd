"""What a page of another site can have a browser do here: look, and change nothing."""

import pytest

from fooocus_flask.access import callers

PAGE = "http://page.example"
CROSS = {"Sec-Fetch-Site": "cross-site"}
LAST_YEAR = {"start_at": "2020-01-01"}
FOREIGN = {
    "fetch": {**CROSS, "Origin": PAGE},
    "img": {**CROSS, "Sec-Fetch-Dest": "image"},
    "form": {**CROSS, "Origin": "null", "Content-Type": "application/x-www-form-urlencoded"},
    "a browser that tells plain http no site": {"Origin": PAGE},
    "a name that begins like ours": {"Origin": "http://localhost.page.example"},
    "no URL": {"Origin": "http://["},
}
OURS = {
    "a program": {},
    "a page of ours": {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    "a page on another port": {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    "the address bar": {"Sec-Fetch-Site": "none"},
    "an old browser": {"Origin": "http://localhost:3000"},
}
CHANGES = (
    ("POST", "/v1/engine/generate/"),
    ("POST", "/v1/engine/control"),
    ("POST", "/v1/engine/queue/pause"),
    ("POST", "/v1/tools/describe-image"),
    ("DELETE", "/tasks?start_at=2020-01-01"),
    ("GET", "/tasks?action=delete&start_at=2020-01-01"),
    ("HEAD", "/tasks?action=delete&start_at=2020-01-01"),
)


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_no_page_of_another_site_changes_an_open_server(client, add, method, path):
    task_id = add("finished")
    for headers in FOREIGN.values():
        reply = client.open(path, method=method, headers=headers, data=b"{}")
        assert reply.status_code == 403
        assert method == "HEAD" or "CORS_ORIGINS" in reply.json["detail"]
    assert client.get(f"/tasks/{task_id}").status_code == 200
    assert client.get("/v1/engine/queue").json["paused"] is False


@pytest.mark.parametrize("headers", OURS.values(), ids=OURS)
def test_programs_and_pages_of_this_site_go_on(client, add, headers):
    add("finished")
    assert client.get("/tasks", query_string=LAST_YEAR | {"action": "delete"}, headers=headers).json["deleted"] == 1
    assert client.post("/v1/engine/queue/pause", headers=headers).json["paused"] is True


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_other_sites_may_look(client, headers):
    assert client.get("/tasks", headers=headers).status_code == 200


def test_a_page_is_allowed_by_its_name_in_cors_origins(make_app):
    client = make_app(CORS_ORIGINS=f"{PAGE}, *").test_client()
    for headers in ({**CROSS, "Origin": PAGE}, {"Origin": PAGE}):
        assert client.post("/v1/engine/queue/pause", headers=headers).status_code == 200
    for origin in ("http://other.example", "*", "null"):
        assert client.post("/v1/engine/queue/pause", headers={**CROSS, "Origin": origin}).status_code == 403


def test_a_page_that_shows_a_key_was_given_it(make_app):
    client = make_app(API_KEY="k").test_client()
    sent = {**CROSS, "Origin": PAGE}
    assert client.post("/v1/engine/queue/pause", headers=sent).status_code == 403
    assert client.post("/v1/engine/queue/pause", headers=sent | {"X-API-KEY": "k"}).status_code == 200
    listed = make_app(API_KEY="k", CORS_ORIGINS="http://other.example").test_client()
    assert listed.post("/v1/engine/queue/pause", headers=sent | {"X-API-KEY": "k"}).status_code == 403


def test_a_key_that_the_browser_sends_by_itself_is_not_the_page_s(make_app, monkeypatch):
    monkeypatch.setattr(callers, "BASIC_BLUEPRINTS", frozenset({"control"}))
    client = make_app(API_KEY="k").test_client()
    assert client.post("/v1/engine/queue/pause", auth=("anyone", "k")).status_code == 200
    sent = {**CROSS, "Origin": PAGE}
    assert client.post("/v1/engine/queue/resume", auth=("anyone", "k"), headers=sent).status_code == 403
    assert client.get("/v1/engine/queue", headers={"X-API-KEY": "k"}).json["paused"] is True


def test_a_refused_page_can_read_why(client):
    reply = client.post("/v1/engine/queue/pause", headers={**CROSS, "Origin": PAGE})
    assert (reply.status_code, reply.headers["Access-Control-Allow-Origin"]) == (403, "*")


def test_behind_a_proxy_that_passes_no_name_on_the_site_is_base_url_s(make_app):
    client = make_app(BASE_URL="https://draw.example/api").test_client()
    assert client.post("/v1/engine/queue/pause", headers={"Origin": "https://draw.example"}).status_code == 200
