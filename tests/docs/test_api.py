"""`docs/api.md` tells, in both languages, every route and member of the OpenAPI document."""

import json
import re

import pytest

from engine.prompt.prompt_size import ROOM, prompt_size
from fooocus_flask.server.openapi import document
from schemas.control import QueueSchema
from schemas.tasks import DeliverySchema, DownloadSchema
from schemas.tools import MetadataSchema, PromptSizeSchema
from schemas.workers import WorkerSchema, WorkersSchema
from tests.serving import ROOT

PAGES = ["docs/api.md", "docs/api.zh-CN.md"]
NEVER_SENT = {"PaginationMetadata"}
"""flask-smorest puts it into every document."""
TRANSLATED = {"legacy"}
"""Groups of endpoints that speak another program's API."""
UNLISTED = {"GET /docs", "GET /redoc", "GET /openapi.json"}
"""Routes that the OpenAPI document does not list, because they show it."""
HEADERS = {"X-Total-Count", "X-Request-Id", "X-Webhook-Event", "webhook-id", "webhook-timestamp", "webhook-signature"}
"""Headers of answers that all routes or none in the document have."""

each_page = pytest.mark.parametrize("page", PAGES)


def text_of(page: str) -> str:
    """The page."""
    return (ROOT / page).read_text("utf-8")


def code_of(page: str) -> list[str]:
    """The page's blocks and spans of code."""
    blocks = re.findall(r"```\w*\n(.*?)```", text_of(page), flags=re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL))
    return blocks + spans


def examples(page: str) -> list:
    """The page's JSON, in its order."""
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text_of(page), flags=re.DOTALL)]


def event_of(page: str) -> dict:
    """The page's example of a stream's event."""
    return json.loads(re.search(r"^data: (\{.*\})$", text_of(page), re.MULTILINE).group(1))


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def own_shapes(spec) -> dict:
    """The shapes that our own operations use; another program's members are told by that program."""
    found, waiting = {}, [operation for _, operation in operations(spec) if TRANSLATED.isdisjoint(operation["tags"])]
    while waiting:
        names = re.findall(r"#/components/schemas/([\w-]+)", json.dumps(waiting.pop()))
        for name in set(names) - found.keys():
            found[name] = spec["components"]["schemas"][name]
            waiting.append(found[name])
    return found


@pytest.fixture
def spec(make_app):
    app = make_app()
    with app.test_request_context():
        return document(app)


def operations(spec):
    """Each route, as the pages write it, and what the document says of it."""
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict):
                yield f"{method.upper()} {path}", operation


@each_page
def test_every_route_is_told(spec, page):
    spans = set(code_of(page))
    assert {route for route, _ in operations(spec)} - spans == set()
    assert spans >= UNLISTED


@each_page
def test_no_route_is_told_that_there_is_not(spec, page):
    told = {span for span in code_of(page) if re.fullmatch(r"(GET|POST|DELETE|PUT|PATCH) /\S*", span)}
    assert told - {route for route, _ in operations(spec)} - UNLISTED == set()


@each_page
def test_every_member_of_requests_and_answers_is_told(spec, page):
    words = set(re.findall(r"[\w-]+", "\n".join(code_of(page))))
    shapes = {name: shape for name, shape in own_shapes(spec).items() if name not in NEVER_SENT}
    assert {"Submission", "Lora", "TaskRecord"} <= shapes.keys()
    members = {f"{name}.{member}" for name, shape in shapes.items() for member in shape.get("properties", ())}
    assert {member for member in members if member.split(".")[1] not in words} == set()


@each_page
def test_every_parameter_header_and_refusal_is_told(spec, page):
    words = set(re.findall(r"[\w-]+", "\n".join(code_of(page))))
    parameters, headers, statuses = set(), set(HEADERS), set()
    for _, operation in operations(spec):
        parameters |= {parameter["name"] for parameter in operation.get("parameters", ())}
        statuses |= {status for status in operation["responses"] if status[0] in "45"}
        headers |= {header for answer in operation["responses"].values() for header in answer.get("headers", ())}
    assert {"Idempotency-Key", "start_at"} <= parameters and "Idempotency-Replayed" in headers
    assert (parameters | headers) - words == set()
    assert {status for status in statuses if f"\n| {status} | " not in text_of(page)} == set()


@each_page
def test_the_table_of_contents_leads_to_every_heading(page):
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    headings = [slug(heading) for heading in re.findall(r"^##+ (.+)$", text, re.MULTILINE)]
    contents = re.findall(r"\]\(#([^)]+)\)", text.partition("\n## ")[0])
    assert contents == headings
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(headings)


def test_both_languages_have_the_same_headings_rows_and_examples():
    english, chinese = map(text_of, PAGES)
    for mark in (r"^#+ ", r"^\| ", r"^- "):
        lines = [len(re.findall(mark, text, re.MULTILINE)) for text in (english, chinese)]
        assert lines[0] == lines[1], mark
    blocks = [re.findall(r"```(\w*\n.*?)```", text, flags=re.DOTALL) for text in (english, chinese)]
    assert blocks[0] == blocks[1]


def test_both_languages_mark_the_same_members_as_without_effect():
    rows = re.compile(r"^\| (`.+?) \| \*(?:no effect|无作用)\*", re.MULTILINE)
    english, chinese = ([re.findall(r"`(\w+)`", row) for row in rows.findall(text_of(page))] for page in PAGES)
    assert english == chinese != []


@each_page
def test_the_members_marked_as_without_effect_are_those_that_say_so(spec, page):
    marked = re.findall(r"^\| (`.+?) \| \*(?:no effect|无作用)\*", text_of(page), re.MULTILINE)
    shapes = spec["components"]["schemas"]
    silent = {
        member
        for name in ("Submission", "EnhanceStep", "Mask")
        for member, field in shapes[name]["properties"].items()
        if field["description"].startswith("No effect")
    }
    assert {member for row in marked for member in re.findall(r"`(\w+)`", row)} == silent


def test_the_record_on_the_page_has_the_members_of_a_real_one(server):
    shown = next(example for example in examples(PAGES[0]) if "task_id" in example)
    prompt = shown["req_params"]["prompt"]
    real = server.draw({"base_model_name": "fooocus_mini.safetensors", "prompt": prompt}).json
    assert list(shown) == list(real)
    assert shown["drawn_with"] == real["drawn_with"]
    assert set(shown["req_params"]) <= set(real["req_params"])
    assert [type(value) for value in shown.values()] == [type(value) for value in real.values()]


def test_the_event_on_the_page_has_the_members_of_a_real_one(server):
    assert {tuple(event) for event in server.follow().events()} == {tuple(event_of(PAGES[0]))}


def test_the_other_examples_have_the_members_of_their_shapes():
    waiting, _, delivery, queue, workers, metadata, size, _ = examples(PAGES[0])
    assert list(waiting["downloads"][0]) == list(DownloadSchema().fields)
    assert list(delivery[0]) == list(DeliverySchema().fields)
    assert list(queue) == list(QueueSchema().fields)
    assert list(workers) == list(WorkersSchema().fields)
    assert list(workers["workers"][0]) == list(WorkerSchema().fields)
    assert list(metadata) == list(MetadataSchema().fields)
    assert list(size) == list(PromptSizeSchema().fields)


def test_the_length_on_the_page_is_that_of_the_prompt_on_it():
    page = text_of(PAGES[0])
    sent, told = re.search(r"-d '(\{\"prompt\".*?\})' \S+/count-tokens\n```\n\n```json\n(.*?)\n```", page).groups()
    size = prompt_size(json.loads(sent)["prompt"], [])
    assert json.loads(told) == {"tokens": size.tokens, "chunks": size.chunks, "room": ROOM}
