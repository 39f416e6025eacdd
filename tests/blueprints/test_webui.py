"""The web page as files: where it lies, what may run in it, how long it is kept, how large it is."""

import gzip
import json
import re

import pytest

from blueprints.webui import assets
from blueprints.webui.assets import FOLDER, LATER
from schemas.form_layout import LAYOUTS
from schemas.generate import LoraSchema
from tests.serving import ROOT

OWN = sorted(path for path in FOLDER.rglob("*.js") if path.parent.name != "vendor")
MOST_BYTES = 200_000
"""Of everything that a first visit loads, unpacked, without pictures."""
LONGEST = 200


def policy(response):
    """The Content-Security-Policy as a dictionary."""
    parts = (part.strip().split() for part in response.headers["Content-Security-Policy"].split(";"))
    return {name: sources for name, *sources in parts}


def test_the_page_is_open_to_whoever_has_no_key_yet(make_app):
    client = make_app(API_KEY="secret").test_client()
    assert client.get("/whoami").status_code == 403
    page = client.get("/ui/")
    assert page.status_code == 200 and page.mimetype == "text/html"
    for address in re.findall(r'(?:href|src)="(static/[^"]+)"', page.text):
        assert client.get(f"/ui/{address}").status_code == 200, address


def test_nothing_but_its_own_files_runs_in_it_and_no_other_site_frames_it(client):
    page = client.get("/ui/")
    rules = policy(page)
    assert rules["default-src"] == ["'none'"] and rules["script-src"] == rules["style-src"] == ["'self'"]
    assert rules["frame-ancestors"] == ["'none'"] and rules["connect-src"] == ["'self'", "data:"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page.text)
    assert policy(client.get(f"/ui/static/{assets.digest}/js/main.js")) == rules


def test_it_is_found_below_any_prefix_since_all_its_addresses_are_relative(client):
    page = client.get("/ui/").text
    addresses = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert addresses and not [address for address in addresses if address.startswith("/") or ":" in address]
    assert "<base" not in page and '<base href="ui/">' in client.get("/ui").text


def test_files_are_kept_for_ever_under_the_name_of_what_they_are(client):
    name = f"/ui/static/{assets.digest}/js/main.js"
    kept = client.get(name)
    assert kept.cache_control.immutable and kept.cache_control.max_age == 365 * 24 * 3600
    assert client.get(name, headers={"If-None-Match": kept.headers["ETag"]}).status_code == 304
    assert client.get("/ui/static/before/js/main.js").cache_control.no_cache
    assert client.get("/ui/").cache_control.no_cache
    for wrong in ("js/none.js", "vendor/LICENSE.preact", "../__init__.py"):
        assert client.get(f"/ui/static/{assets.digest}/{wrong}").status_code == 404


def test_files_come_packed_to_whoever_takes_them_so(client):
    name = f"/ui/static/{assets.digest}/css/page.css"
    packed = client.get(name, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(packed.data) == client.get(name).data
    assert "Accept-Encoding" in packed.vary


def test_a_server_without_the_page_says_so(make_app):
    answer = make_app(NOWEBUI=True).test_client().get("/ui/")
    assert answer.status_code == 404 and "--nowebui" in answer.json["detail"]


def test_a_first_visit_loads_little():
    later = ("languages/zh.json", "styles/", *LATER)
    loaded = {name: len(asset.data) for name, asset in assets.files.items() if not name.startswith(later)}
    assert sum(loaded.values()) <= MOST_BYTES, sorted(loaded.items(), key=lambda item: -item[1])[:9]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_modules_are_short_and_import_what_is_there(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) < LONGEST
    for name in re.findall(r'from "([^"]+)"', text):
        assert name.startswith(".") and (path.parent / name).is_file(), name
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_what_is_imported_later_is_imported_by_a_module_of_the_first_visit():
    texts = {path.relative_to(FOLDER).as_posix(): path.read_text("utf-8") for path in OWN}
    for name in LATER:
        importing = {other for other, text in texts.items() if f'import("./{name.removeprefix("js/")}")' in text}
        eagerly = {other for other, text in texts.items() if f'from "./{name.removeprefix("js/")}"' in text}
        assert importing - LATER and not eagerly, name


def test_every_language_has_the_same_words_and_the_same_gaps_in_them():
    words = {name: json.loads(assets.files[f"languages/{name}.json"].data) for name in assets.languages()}
    english = words.pop("en")
    assert set(words) == {"zh"}
    for name, found in words.items():
        missing = [key for key in english if key not in found and not key.endswith(".one")]
        assert missing == [], name
        for key in set(english) & set(found):
            assert set(re.findall(r"\{\w+\}", english[key])) == set(re.findall(r"\{\w+\}", found[key])), key


def test_chinese_words_have_chinese_punctuation():
    words = json.loads(assets.files["languages/zh.json"].data)
    assert {key: text for key, text in words.items() if re.search("[\u4e00-\u9fff}] ?[(),:;?!]", text)} == {}


def test_chinese_tells_what_every_member_does():
    words = json.loads(assets.files["languages/zh.json"].data)
    prefixes = {LoraSchema: "lora."}
    members = {f"help.{prefixes.get(shape, '')}{name}" for shape in LAYOUTS for name in shape().fields}
    assert members - set(words) == set()
    assert {key for key in words if key.startswith("help.")} - members == set()


def test_every_word_that_a_module_asks_for_is_there():
    english = json.loads(assets.files["languages/en.json"].data)
    asked = {key for path in OWN for key in re.findall(r'\bt\("([^"]+)"', path.read_text("utf-8"))}
    assert asked - set(english) == set()


def test_what_others_made_is_named_with_its_licence():
    notice = (ROOT / "NOTICE").read_text("utf-8")
    for name in ("preact 11", "htm 3", "@preact/signals 2", "@preact/signals-core 1", "axe-core 4"):
        assert name in notice
    assert {path.name for path in (FOLDER / "vendor").glob("LICENSE.*")} == {
        "LICENSE.preact",
        "LICENSE.htm",
        "LICENSE.signals",
    }
