"""JSON from clients: how many values, and how deep."""

import json
from functools import partial

import pytest

from fooocus_flask.submission import json_text

MOST = json_text.DEEPEST


@pytest.mark.parametrize("open_, close", ["[]", ('{"a":', "}")])
def test_nesting_has_a_bound_of_its_own(open_, close):
    inner = "" if open_ == "[" else "1"
    assert json_text.read(open_ * MOST + inner + close * MOST)
    for depth in (MOST + 1, 900, 90_000):
        with pytest.raises(ValueError, match="nested more than 32 levels deep"):
            json_text.read(open_ * depth + inner + close * depth)


BIG = "19933688932870350000"
"""Above 2**64: msgspec 0.18 read another number."""
strictly = partial(json.loads, parse_constant=json_text.refuse_constant)


def outcome(read, text):
    """What is read, or the fault."""
    try:
        return repr(read(text))
    except ValueError as error:
        return type(error), str(error)


@pytest.mark.parametrize(
    "text",
    [
        *('{"a": 1, "a": 2}', "null", "true"),
        *("1e400", "-1e400", "0.1e-400", "-0", "-0.0", "1E5", "1234567890123456789.5"),
        *(str(2**64 - 1), str(2**64), BIG, "-9223372036854775809", pytest.param("1" * 400, id="400 digits")),
        *('"\\ud800"', '"\\udc00"', '"\\ud83d\\ude00"', '"\x7f\\/"', '"\\u0000"', "\ufeff1", ' [1 , "é"]\n'),
        *("NaN", "[Infinity]", "-Infinity", "[1,]", "01", "1.", '"a\tb"', '"\0"', "[1] 2", "", "{a: 1}", "'a'"),
        pytest.param('"\ud800"', id="half a pair"),
        pytest.param("1" * 5000, id="5000 digits"),
        pytest.param("-" + "9" * 4300, id="4300 digits"),
    ],
)
def test_a_text_has_the_value_and_the_fault_that_the_standard_library_has(text):
    for kind in (text, text.encode("utf-8", "surrogatepass")):
        assert outcome(json_text.read, kind) == outcome(strictly, kind)


@pytest.mark.parametrize("data", ['{"a": "é"}'.encode("utf-16"), b'"\xff"', b'"\xed\xa0\x80"'])
def test_so_have_bytes_that_are_no_utf_8(data):
    assert outcome(json_text.read, data) == outcome(strictly, data)


def test_brackets_in_texts_are_no_nesting():
    assert json_text.read('{"prompt": "' + "[{" * 400 + '"}') == {"prompt": "[{" * 400}
    assert json_text.read("[" + ",".join(["[]"] * 10_000) + "]") == [[]] * 10_000
    commas = ["a," * 10_000] * 4
    assert json_text.read(json.dumps(commas)) == commas


def test_values_have_a_number():
    with pytest.raises(json_text.TooManyNodes, match="more than 100000 commas"):
        json_text.read("[" + ",".join("1" * 100_001) + "]")
    assert len(json_text.read("[" + ",".join("1" * 19_999) + "]")) == 19_999
    for text in ("[" + ",".join("1" * 20_000) + "]", json.dumps({"a": [{}] * 40_000})):
        with pytest.raises(json_text.TooManyNodes, match="more than 20000 values"):
            json_text.read(text)


@pytest.mark.parametrize("kind", [str, str.encode])
@pytest.mark.parametrize("marks", [0, 1, json_text.FEW - 1, json_text.FEW, json_text.FEW + 1, 3 * json_text.FEW])
def test_marks_are_counted_one_by_one_few_or_many_and_whatever_lies_between(kind, marks):
    text = "a" * 5000 + ("é" * 9).join("," * marks) + "[" * 7 + "\ud800{" + "a" * 5000
    text = text if kind is str else text.replace("\ud800", "")
    assert json_text.most_nodes(kind(text)) == 1 + marks + 7 + 1


def test_the_bounds_are_told_in_the_document_and_the_refusal(client):
    about = client.get("/openapi.json").json["info"]["description"]
    assert "20,000 values" in about and "32 lists and objects" in about
    reply = client.post("/v1/engine/generate/", data='{"loras": ' + "[" * 40 + "]" * 40 + "}")
    assert reply.status_code == 422
    assert reply.json["detail"][0]["ctx"] == {"error": "it is nested more than 32 levels deep"}


@pytest.mark.parametrize(("filling", "status"), [(21_000_000, 200), (30_000_000, 413)])
def test_a_part_of_json_that_is_a_file_is_not_cut(app, filling, status):
    app.config["MAX_FORM_MEMORY_SIZE"] = 25_000_000
    text = b'{"image": "' + b" " * filling + b'http://127.0.0.1/x.png", "image_type": "Anime"}'
    head = b'--x\r\nContent-Disposition: form-data; name="json"; filename="a.json"\r\n\r\n'
    reply = app.test_client().post(
        "/v1/tools/describe-image",
        data=head + text + b"\r\n--x--\r\n",
        content_type="multipart/form-data; boundary=x",
    )
    told = str(reply.json["detail"])
    assert (reply.status_code == 413) == (status == 413)
    assert ("part json of a form" in told) == (status == 413) and "JSON decode error" not in told
