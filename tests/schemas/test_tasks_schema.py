"""Asking for tasks, and what is told about one."""

import datetime as dt

import pytest
from marshmallow import ValidationError

from schemas.faults import flat
from schemas.tasks import TaskRecordSchema, TasksQuerySchema


def faults(**members):
    """The faults of these parameters: (type, place) pairs."""
    with pytest.raises(ValidationError) as caught:
        TasksQuerySchema().load(members)
    return [(fault.type, fault.loc) for fault in flat(caught.value.messages, ())]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("query", "everything", "enum"),
        ("page", "-1", "greater_than_equal"),
        ("page", "two", "int_parsing"),
        ("page_size", "0", "greater_than_equal"),
        ("page_size", "-1", "greater_than_equal"),
        ("page_size", "501", "less_than_equal"),
        ("start_at", "yesterday", "datetime_parsing"),
        ("end_at", "2024-13-01", "datetime_parsing"),
        ("end_at", "1720085748", "datetime_parsing"),
        ("action", "destroy", "enum"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(name, value, word):
    assert faults(**{name: value}) == [(word, (name,))]


@pytest.mark.parametrize(
    "text", ["2024-07-05T09:31:25+02:00", "2024-07-05T09:31:25 02:00", "2024-07-05T07:31:25Z", "20240705T073125Z"]
)
def test_a_moment_with_a_zone_is_that_moment(text):
    moment = TasksQuerySchema().load({"start_at": text})["start_at"]
    assert moment == dt.datetime(2024, 7, 5, 7, 31, 25, tzinfo=dt.UTC)


def test_a_moment_keeps_its_fraction():
    assert TasksQuerySchema().load({"start_at": "2024-07-05T07:31:25.5Z"})["start_at"].microsecond == 500_000


@pytest.mark.parametrize("text", ["2024-07-05T09:31:25", "2024-07-05"])
def test_a_moment_without_a_zone_is_the_servers(text):
    moment = TasksQuerySchema().load({"start_at": text})["start_at"]
    assert moment == dt.datetime.fromisoformat(text).astimezone()


def test_a_range_is_not_backwards():
    assert faults(start_at="2024-07-05", end_at="2024-07-04") == [("range", ("end_at",))]


def test_a_deletion_names_a_range():
    assert faults(action="DELETE") == [("missing", ("start_at",))]
    assert TasksQuerySchema().load({"action": "DELETE", "start_at": "2024-07-05"})["action"] == "delete"


def test_an_empty_parameter_counts_as_absent():
    assert TasksQuerySchema().load({"start_at": "", "action": "", "query": ""}) == {
        "query": "all",
        "page": 0,
        "page_size": 10,
        "start_at": None,
        "end_at": None,
        "status": None,
        "prompt": None,
        "after": None,
        "brief": False,
        "action": None,
    }


BAD_CURSORS = ["nonsense", "n", "n1.2", "o1", "t1", "o1.2.3", f"n{2**63}", "n" + "9" * 300, "n１", "n1\0"]


@pytest.mark.parametrize("text", BAD_CURSORS)
def test_what_is_no_cursor_is_refused(text):
    kinds = [kind for kind, _ in faults(query="history", after=text)]
    assert kinds in (["cursor"], ["string_too_long"], ["string_unicode"])


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"after": "n5"}, "after"),
        ({"after": "n5", "query": "current"}, "after"),
        ({"after": "n5", "query": "pending"}, "after"),
        ({"after": "n5", "query": "history", "start_at": "2024-07-05"}, "after"),
        ({"after": "o5.5", "query": "history"}, "after"),
        ({"after": "n5", "query": "history", "page": 1}, "page"),
    ],
)
def test_a_cursor_goes_on_in_its_own_list_alone(members, place):
    assert faults(**members) == [("cursor", (place,))]


@pytest.mark.parametrize("text", ["n5", "o1720085748199.5", "t-30.5"])
def test_a_cursor_is_written_as_it_was_read(text):
    query = {"n": {"query": "history"}, "o": {"query": "history", "start_at": "2024-07-05"}, "t": {"query": "pending"}}
    assert str(TasksQuerySchema().load({"after": text, **query[text[0]]})["after"]) == text


def test_a_record_shows_an_empty_text_where_there_is_no_picture():
    params = {"uov_input_image": None, "controlnet_image": [{"cn_img": None, "cn_type": "CPDS"}]}
    told = TaskRecordSchema().dump({"task_id": "5", "req_params": params})["req_params"]
    assert told["uov_input_image"] == told["inpaint_input_image"] == ""
    assert told["controlnet_image"] == [{"cn_img": "", "cn_type": "CPDS"}]
    assert params["uov_input_image"] is None


def test_every_member_of_a_record_is_described():
    assert [name for name, field in TaskRecordSchema().fields.items() if not field.metadata.get("description")] == []
