"""Members and parameters that no shape has: told with the nearest name, and refused where nothing else was sent."""

import pytest
from flask import g

from fooocus_flask.submission import request_notes
from schemas.spelling import SpellChecked, nearest, unknown_members
from schemas.submission import SubmissionSchema
from tests.serving import small

GENERATE = "/v1/engine/generate/"
TINY = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


def submitted(client, **members):
    """A task's notes, and the header that tells them as well."""
    reply = client.post(GENERATE, json=small(async_process=True, **members))
    assert reply.status_code == 200, reply.json
    return reply.json["notes"], reply.headers["X-Notes"]


def test_a_misspelt_member_is_noted_with_the_nearest(client):
    notes, header = submitted(client, aspect_ratios_selections="1024*1024", input_mask="None")
    assert "'aspect_ratios_selections'" in notes[0] and "the nearest is aspect_ratios_selection" in notes[0]
    assert "'input_mask'" in notes[1] and "the nearest is inpaint_mask_image_upload" in notes[1]
    assert header == "; ".join(notes[:2])


def test_what_a_wrapper_holds_is_noted(client):
    notes, _ = submitted(client, input=small(prompt="a cat"))
    assert "'input'" in notes[0] and "it holds" in notes[0] and "prompt" in notes[0]


def test_members_of_lists_are_looked_at(client):
    notes, _ = submitted(client, controlnet_image=[{"image": "None", "cn_type": "CPDS"}])
    assert "'controlnet_image[0].image'" in notes[0] and "the nearest is cn_img" in notes[0]


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (GENERATE, {"input": {"prompt": "a cat"}}, ("'input'", "it holds prompt", '{"prompt": ')),
        (GENERATE, {"text": "a cat", "foo": 1}, ("'text'", "the nearest is prompt", '{"prompt": ')),
        ("/v1/tools/generate_mask", {"picture": TINY}, ("'picture'", "the nearest is image", '{"image": ')),
        ("/v1/tools/describe-image", {"img": TINY}, ("'img'", "the nearest is image", '{"image": ')),
        ("/v1/tools/read-metadata", {"url": TINY}, ("'url'", "the nearest is image", '{"image": ')),
    ],
)
def test_a_body_without_a_known_member_is_refused_with_one_that_works(client, path, body, told):
    reply = client.post(path, json=body)
    assert reply.status_code == 422
    fault = reply.json["detail"][0]
    assert fault["type"] == "unknown" and fault["loc"] == ["body", next(iter(body))]
    assert all(text in fault["msg"] for text in told)


def test_a_form_without_a_known_part_is_refused_too(client):
    reply = client.post(GENERATE, data={"text": "a cat"}, content_type="multipart/form-data")
    assert reply.status_code == 422 and reply.json["detail"][0]["loc"] == ["body", "text"]


def test_an_empty_body_is_all_defaults(client):
    places = [fault["loc"] for fault in client.post(GENERATE, json={}).json["detail"]]
    assert places == [["body", "base_model_name"]], "which is not on this server"


def test_tools_tell_in_a_header(client):
    reply = client.post("/v1/tools/read-metadata", json={"image": TINY, "\u8bed\r\nSet-Cookie: a": 1})
    assert reply.status_code == 200
    assert "\\u8bed\\r\\nSet-Cookie: a" in reply.headers["X-Notes"] and "Set-Cookie" not in reply.headers


def test_a_list_is_asked_for_by_pages(client):
    reply = client.get("/tasks?limit=50&offset=50")
    assert reply.status_code == 422
    told = {tuple(fault["loc"]): fault["msg"] for fault in reply.json["detail"]}
    assert "the nearest is page_size" in told["query", "limit"] and "the nearest is page" in told["query", "offset"]
    reply = client.get("/tasks?page=0&limit=50&_=1720085748199")
    assert reply.status_code == 200
    assert "'limit'" in reply.headers["X-Notes"] and "'_'" not in reply.headers["X-Notes"]
    assert client.get("/tasks?_=1720085748199").status_code == 200
    assert client.get("/tasks?colour=red").headers["X-Notes"].startswith("There is no parameter 'colour'")


@pytest.mark.parametrize("ask", ["delete", "get"])
def test_nothing_is_deleted_where_a_parameter_is_not_known(client, add, ask):
    task = add(hours_ago=1)
    action = "&action=delete" if ask == "get" else ""
    reply = getattr(client, ask)(f"/tasks?start_at=2024-01-01&endat=2024-01-02{action}")
    assert reply.status_code == 422 and "the nearest is end_at" in reply.json["detail"][0]["msg"]
    assert client.get(f"/tasks/{task}").status_code == 200


def test_a_member_in_the_query_is_noted(client):
    reply = client.post(GENERATE + "?image_number=2", json=small(async_process=True))
    assert "The query's image_number is left out" in reply.json["notes"][0]


def test_a_misspelt_task_is_told(client):
    reply = client.post("/v1/engine/control", json={"action": "stop", "taskid": "x"})
    assert "the nearest is task_id" in reply.headers["X-Notes"]


def test_few_are_told_of_many_and_the_rest_counted(client):
    notes, header = submitted(client, **{f"member_{number}" + "x" * 500: 1 for number in range(300)})
    assert len([note for note in notes if note.startswith("There is no member")]) == 8
    assert any(note.startswith("292 more members") for note in notes)
    assert len(header) <= 2048


def test_any_name_can_be_told(app):
    sent = {"\ud800": 1, "": 1, "a\0b": 1, "__": {}}
    with app.test_request_context():
        for unknown in unknown_members(SubmissionSchema(), sent):
            request_notes.add(f"{unknown.name}: {unknown.advice}")
        assert len(g.request_notes) == 4
        app.process_response(app.make_response("")).headers["X-Notes"].encode("ascii")


def shapes(base=SpellChecked):
    """All shapes whose unknown members are told."""
    return [shape for below in base.__subclasses__() for shape in (below, *shapes(below))]


@pytest.mark.parametrize("shape", [shape for shape in shapes() if "synonyms" in vars(shape)])
def test_what_other_programs_call_a_member_is_none_of_its_own(shape):
    fields = set(shape().fields)
    assert set(shape.synonyms.values()) <= fields and not set(shape.synonyms) & fields


def test_the_nearest_name_is_found():
    schema = SubmissionSchema()
    assert [nearest(schema, name) for name in ("steps", "negativePrompt", "zzz")] == [
        "overwrite_step",
        "negative_prompt",
        None,
    ]
