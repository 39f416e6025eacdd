"""The document and its pages: complete, and served without any other host."""

import re

import pytest

from fooocus_flask.server.openapi import document

ROUTES = {
    ("post", "/v1/engine/generate/"),
    ("post", "/v1/engine/control"),
    ("post", "/v1/tools/generate_mask"),
    ("post", "/v1/tools/describe-image"),
    ("get", "/tasks"),
    ("get", "/tasks/{task_id}"),
    ("get", "/v1/engines/all-models"),
    ("get", "/v1/engines/styles"),
    ("get", "/outputs/{date}/{file_name}"),
    ("get", "/inputs/{file_name}"),
    ("get", "/"),
}
OPEN = {"/", "/health", "/ping", "/ready", "/inputs/{file_name}"}
OPEN |= {f"/{folder}/{{date}}/{{file_name}}" for folder in ("outputs", "files")}
ENDLESS = "/tasks/events"
PAGES = ["/docs", "/redoc", "/openapi.json"]
OUTSIDE = re.compile(r"""(?:src|href|url)\s*[=(:]\s*["']?(?:https?:)?//""")


@pytest.fixture
def app(make_app):
    return make_app(API_KEY="secret")


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def spec(app):
    with app.test_request_context():
        return document(app)


def operations(spec):
    """(method, path, operation) of each."""
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict):
                yield method, path, operation


def test_every_route_of_the_contract_is_in_the_document(spec):
    assert {(method, path) for method, path, _ in operations(spec)} >= ROUTES


def test_drawing_stands_first_then_what_follows_it(spec):
    groups = [tag["name"] for tag in spec["tags"]]
    assert groups[:5] == ["generate", "tasks", "control", "tools", "listings"]
    of_paths = list(dict.fromkeys(operation["tags"][0] for _, _, operation in operations(spec)))
    assert of_paths[:5] == groups[:5] and set(of_paths) == set(groups)


def test_the_document_is_openapi_3_1(spec):
    assert spec["openapi"].startswith("3.1.")


def test_every_operation_has_a_summary_of_its_own(spec):
    summaries = [operation.get("summary") for _, _, operation in operations(spec)]
    assert all(summaries) and len(set(summaries)) == len(summaries)


def test_the_key_is_asked_for_on_every_route_but_the_open_ones(spec):
    assert spec["components"]["securitySchemes"]["apiKey"] == {"type": "apiKey", "in": "header", "name": "X-API-KEY"}
    without = {path for _, path, operation in operations(spec) if "security" not in operation}
    assert without == OPEN


def test_every_member_of_every_shape_is_described(spec):
    shapes = spec["components"]["schemas"]
    bare = [
        f"{shape}.{member}"
        for shape, content in shapes.items()
        if shape != "PaginationMetadata"
        for member, field in content.get("properties", {}).items()
        if not field.get("description") and "$ref" not in field
    ]
    assert bare == []


def test_every_query_parameter_is_described(spec):
    bare = [
        (path, parameter["name"])
        for _, path, operation in operations(spec)
        for parameter in operation.get("parameters", ())
        if parameter.get("in") == "query" and not parameter.get("description")
    ]
    assert bare == []


def test_every_reference_leads_somewhere(spec):
    shapes = spec["components"]
    for reference in re.findall(r"#/components/(\w+)/(\w+)", str(spec)):
        assert reference[1] in shapes[reference[0]]


def test_the_generation_request_shows_kinds_bounds_defaults_and_words(spec):
    told = spec["components"]["schemas"]["Submission"]["properties"]
    members = {
        name: {word: value for word, value in member.items() if not word.startswith("x-")}
        for name, member in told.items()
    }
    assert len(members) == 89
    assert members["image_number"] | {"description": "", "pattern": ""} == {
        "type": ["integer", "string"],
        "default": 1,
        "minimum": 1,
        "maximum": 32,
        "description": "",
        "pattern": "",
    }
    assert members["freeu_enabled"] | {"description": ""} == {
        "$ref": "#/components/schemas/Flag",
        "default": False,
        "description": "",
    }
    assert members["performance_selection"]["enum"][:2] == ["Quality", "Speed"]
    assert members["loras"]["items"] == {"$ref": "#/components/schemas/Lora"}


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_pages_answer_without_a_key(client, path, slash):
    assert client.get(path + slash).status_code == 200


def test_the_way_in_leads_to_the_documentation(client):
    reply = client.get("/")
    assert (reply.status_code, reply.headers["Location"]) == (307, "/docs")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_loads_nothing_from_another_host(client, path):
    page = client.get(path).text
    assert OUTSIDE.findall(page) == []
    for file in re.findall(r"""(?:src|href)="(/docs/[^"]+)""", page):
        with client.get(file) as reply:
            assert reply.status_code == 200, file


def test_the_interactive_page_asks_no_validator(client):
    assert '"validatorUrl": null' in client.get("/docs").text


def test_the_page_to_read_names_every_member(client):
    page = client.get("/redoc").text
    assert "<code>aspect_ratios_selection</code>" in page and '<code>"1152*896"</code>' in page


def test_the_page_to_read_tells_what_else_is_taken(client):
    page = client.get("/redoc").text
    assert "Unknown ones are left out" in page
    assert "integer or string" in page and '<a href="#Flag">Flag</a>' in page
    assert '<h3 id="Flag">Flag</h3>' in page and "boolean or integer or string" in page


def test_both_slash_forms_of_every_route_answer_directly(app):
    client = app.test_client()
    missing = []
    for rule in app.url_map.iter_rules():
        if "<path:" in rule.rule or rule.rule == ENDLESS:
            continue
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            forms = {path.rstrip("/") or "/", path.rstrip("/") + "/"}
            statuses = {client.open(form, method=method, headers={"X-API-KEY": "secret"}).status_code for form in forms}
            if len(statuses) != 1 or statuses & {301, 302, 308, 405}:
                missing.append((method, path, statuses))
    assert missing == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_both_slash_forms_of_the_endless_stream_answer(client, slash):
    assert client.head(ENDLESS + slash, headers={"X-API-KEY": "secret"}).status_code == 200


def test_an_operation_names_the_statuses_it_may_refuse_with(spec):
    told = {(method, path): set(operation["responses"]) for method, path, operation in operations(spec)}
    assert told["get", "/tasks/{task_id}"] == {"200", "403", "404", "default"}
    assert told["post", "/v1/engine/control"] == {"200", "403", "404", "413", "415", "422", "default"}
    assert told["get", "/inputs/{file_name}"] == {"200", "206", "302", "304", "403", "404", "416", "default"}
    assert told["get", "/ping"] == {"200", "default"}


def test_the_members_of_an_event_are_told(spec):
    answer = spec["paths"]["/v1/engine/generate/"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    data = answer["schema"]["properties"]["data"]
    assert set(data["contentSchema"]["properties"]) == {"progress", "preview", "message", "images", "error"}


def test_below_a_prefix_all_pages_stay_below_it(make_app):
    client = make_app(TRUSTED_PROXIES=1).test_client()

    def got(path):
        return client.get(path, headers={"X-Forwarded-Prefix": "/draw"})

    assert got("/").headers["Location"] == "/draw/docs"
    page = got("/docs").text
    assert '"url": "/draw/openapi.json"' in page
    links = re.findall(r"""(?:src|href)="([^"]+)""", page + got("/redoc").text)
    own = [link for link in links if not link.startswith("#")]
    assert len(own) > 5 and all(link.startswith("/draw/") for link in own)
    assert all(client.get(link.removeprefix("/draw")).status_code == 200 for link in own)
    assert got("/openapi.json").json["servers"] == [{"url": "/draw"}]


def test_a_prefix_is_no_way_into_the_pages(make_app):
    client = make_app(TRUSTED_PROXIES=1).test_client()
    for path in ("/docs", "/redoc"):
        assert (
            "<script>alert" not in client.get(path, headers={"X-Forwarded-Prefix": '/"></script><script>alert(1)'}).text
        )


def test_without_a_prefix_or_without_trusted_proxies_the_paths_are_plain(client):
    reply = client.get("/openapi.json", headers={"X-Forwarded-Prefix": "/draw"})
    assert reply.json["servers"] == [{"url": "/"}]
