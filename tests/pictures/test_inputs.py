"""Pictures in requests: from everywhere they may come, kept once, told as URLs that work, or refused at their place."""

import base64
import datetime as dt
import errno
import io
import json
import os
from contextlib import contextmanager
from pathlib import Path

import gevent.event
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fooocus_flask.database import db
from fooocus_flask.errors import InvalidRequest
from fooocus_flask.pictures import inputs, retention, sent_pictures
from fooocus_flask.pictures.blocking import attempted
from fooocus_flask.pictures.inputs import InputStore, NotAPicture
from fooocus_flask.submission.forms import form_body
from fooocus_flask.tasks import records
from fooocus_flask.tasks.queue import find
from schemas.fields import Upload
from schemas.generate import GenerateSchema
from tests.conftest import picture
from tests.patience import patience
from tests.pictures.test_public_hosts import Host, host  # noqa: F401

speaks_sql = pytest.mark.sql("pictures/retention")
pytestmark = pytest.mark.pictures

GENERATE, READ = "/v1/engine/generate/", "/v1/tools/read-metadata"


def png(colour="red", texts=None, size=(8, 6)):
    out, info = io.BytesIO(), PngInfo()
    for key, text in (texts or {}).items():
        info.add_text(key, text)
    Image.new("RGB", size, colour).save(out, "PNG", pnginfo=info)
    return out.getvalue()


RED = png()
BARE = base64.b64encode(RED).decode()


@pytest.fixture
def kept(tmp_path):
    """A server's pictures, with a result among them."""
    server = InputStore(tmp_path / "inputs", tmp_path / "outputs", ("http://me:1", "http://proxy/base"))
    (tmp_path / "outputs" / "2024-07-05").mkdir(parents=True)
    (tmp_path / "outputs" / "2024-07-05" / "cat 1.png").write_bytes(RED)
    (tmp_path / "secret.png").write_bytes(RED)
    return server


@pytest.mark.parametrize(
    "sent",
    [
        Upload(RED),
        BARE,
        BARE.rstrip("="),
        f"{BARE.rstrip('=')}====",
        f"  {BARE[:40]}\n{BARE[40:]}\n",
        BARE.replace("+", "-").replace("/", "_"),
        f"data:image/png;base64,{BARE}",
        f"data:application/octet-stream;base64,{BARE}",
        f"data:;base64,{BARE}",
        f"DATA:text/plain;charset=utf-8;name=cat.png;BASE64,{BARE}",
        f"DATA:image/webp;name=cat.png;base64,{BARE}",
        f"data:;base64,{BARE}",
        "/outputs/2024-07-05/cat%201.png",
        "http://me:1/outputs/2024-07-05/cat%201.png?token=x",
        "http://proxy/base/outputs/2024-07-05/cat%201.png#part",
    ],
)
def test_a_picture_is_kept_once_wherever_it_comes_from(kept, sent):
    url = kept.keep(sent)
    assert kept.keep(url) == kept.keep("http://me:1" + url) == kept.keep(BARE) == url
    path = kept.path(url)
    assert path.read_bytes() == RED and len(path.stem) == 64 and path.suffix == ".png"
    assert [file.name for file in kept.folder.iterdir()] == [path.name]


def test_a_picture_is_fetched(kept, host):  # noqa: F811
    host.good = lambda handler: host.answer(handler, 200, RED, **{"Content-Type": "text/html"})
    server = InputStore(kept.folder, kept.outputs, allow_private=True)
    assert server.path(server.keep(host.url + "/cat")).read_bytes() == RED


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (Upload(b"no picture"), "no picture of a kind"),
        (Upload(RED[:-30]), "cut short"),
        ("cat", "no picture of a kind"),
        ("ça", "a URL, a data URL or base64"),
        ("A", "no picture|base64"),
        ("data:text/html;base64,AAAA", "should be a picture"),
        ("data:image/png;name=a,b;base64,AAAA", "data URL"),
        ("data:image/png,AAAA", "data URL"),
        ("ftp://example.com/cat.png", "only http"),
        ("http://127.0.0.1/cat.png", "not public"),
        ("http://me:2/outputs/2024-07-05/cat.png", "cannot be"),
        ("/outputs/2024-07-05/dog.png", "no picture /outputs"),
        ("/outputs/../secret.png", "no picture /outputs"),
        ("/outputs/%2e%2e/secret.png", "no picture /outputs"),
        ("/outputs/2024-07-05/..%2f..%2fsecret.png", "no picture /outputs"),
        ("/outputs//etc/hosts.png", "no picture /outputs"),
        ("/outputs/2024-07-05/cat%00.png", "no picture /outputs"),
        ("/inputs/../secret.png", "no picture /inputs"),
        ("/inputs/.png", "no picture /inputs"),
    ],
)
def test_what_is_no_picture_is_refused(kept, sent, reason):
    with pytest.raises(NotAPicture, match=reason):
        kept.keep(sent)


def test_a_link_out_of_the_folder_leads_nowhere(kept, tmp_path):
    (kept.outputs / "way.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(NotAPicture, match="no picture"):
        kept.keep("/outputs/way.png")


def test_many_who_bring_the_same_picture_leave_one_file(kept):
    urls = {job.get() for job in [gevent.spawn(kept.keep, Upload(RED)) for _ in range(20)]}
    assert len(urls) == len(list(kept.folder.iterdir())) == 1


def test_a_picture_that_is_gone_is_told(kept):
    with pytest.raises(FileNotFoundError, match="is gone"):
        kept.path("/inputs/" + "0" * 64 + ".png")


def load(**members):
    return GenerateSchema().load(members)


@pytest.mark.parametrize("word", [None, "", "None", "null", "none", "string"])
def test_the_words_for_no_picture_bring_none(app, word):
    with app.test_request_context():
        sent = load(uov_input_image=word, controlnet_image=[{"cn_img": word}])
        with sent_pictures.resolved(sent) as found:
            assert found == sent


def test_every_picture_of_a_request_is_replaced_by_its_url(app):
    with app.test_request_context():
        sent = load(
            uov_input_image=BARE, enhance_input_image=BARE, controlnet_image=[{}, {"cn_img": BARE, "cn_type": "CPDS"}]
        )
        with sent_pictures.resolved(sent) as found:
            pass
    url = found["uov_input_image"]
    assert url.startswith("/inputs/") and found["enhance_input_image"] == found["controlnet_image"][1]["cn_img"] == url
    assert found["controlnet_image"][0]["cn_img"] is None and found["controlnet_image"][1]["cn_type"] == "CPDS"
    assert sent["controlnet_image"][1]["cn_img"] == BARE


def test_a_picture_that_is_just_coming_is_waited_for_and_a_damaged_one_is_gone(app):
    with app.test_request_context():
        with sent_pictures.resolved(load(uov_input_image=BARE)) as found:
            assert inputs.current().path(found["uov_input_image"]).read_bytes() == RED
        damaged = load(uov_input_image=base64.b64encode(RED[:-30]).decode())
        with (
            pytest.raises(InvalidRequest, match="cut short"),
            sent_pictures.resolved(damaged) as found,
            pytest.raises(FileNotFoundError),
        ):
            inputs.current().path(found["uov_input_image"])
    assert inputs._coming == {}


def test_of_two_who_bring_a_picture_the_second_is_waited_for_though_the_first_could_not_store_it(app, monkeypatch):
    first_may_fail, put = gevent.event.Event(), inputs.put_meanwhile
    full_disk = OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def failing(path, data):
        monkeypatch.setattr(inputs, "put_meanwhile", put)
        yield
        first_may_fail.wait()
        raise full_disk

    def bring():
        with app.test_request_context(), sent_pictures.resolved(load(uov_input_image=BARE)) as found:
            return inputs.current().path(found["uov_input_image"]).name

    monkeypatch.setattr(inputs, "put_meanwhile", failing)
    with patience():
        first = gevent.spawn(attempted, bring, ())
        while inputs.put_meanwhile is failing:
            gevent.sleep(0.01)
        second = gevent.spawn(attempted, bring, ())
        first_may_fail.set()
        assert second.get()[1] is None and second.get()[0].endswith(".png")
        assert isinstance(first.get()[1], OSError) and inputs._coming == {}


def test_what_goes_wrong_beside_pictures_is_raised(app):
    sent = load(uov_input_image=BARE)
    with app.test_request_context(), pytest.raises(ArithmeticError, match="no numbers"), sent_pictures.resolved(sent):
        raise ArithmeticError("no numbers")


def test_all_faults_are_told_at_their_places(app):
    members = {"inpaint_input_image": "x" * 900, "uov_input_image": BARE}
    sent = load(**members, controlnet_image=[{}, {"cn_img": "http://10.0.0.1/"}])
    with app.test_request_context(), pytest.raises(InvalidRequest) as told, sent_pictures.resolved(sent):
        raise AssertionError("a picture is missing")
    faults = told.value.detail
    assert [fault["loc"] for fault in faults] == [
        ["body", "inpaint_input_image"],
        ["body", "controlnet_image", 1, "cn_img"],
    ]
    assert {fault["type"] for fault in faults} == {"image_error"} and len(faults[0]["input"]) < 600
    assert "not public" in faults[1]["msg"]


def test_a_bad_picture_is_a_422(client):
    reply = client.post(GENERATE, json={"uov_input_image": "x"})
    assert reply.status_code == 422 and reply.json["detail"][0]["loc"] == ["body", "uov_input_image"]


def test_what_is_wrong_with_pictures_is_told_beside_what_else_is(app, client):
    cut_short = base64.b64encode(RED[:-30]).decode()
    asked = {"uov_input_image": cut_short, "uov_method": "Vary (Subtle)", "base_model_name": "none.safetensors"}
    reply = client.post(GENERATE, json=asked)
    assert [fault["loc"][1] for fault in reply.json["detail"]] == ["uov_input_image", "base_model_name"]
    with patience():
        while [*Path(app.config["INPUT_PATH"]).glob("*")]:
            gevent.sleep(0.01)


def test_a_picture_that_is_long_in_coming_holds_up_nobody(app, client, host):  # noqa: F811
    app.config["ALLOW_PRIVATE_ADDRESSES"] = True
    with patience():
        slow = gevent.spawn(client.post, GENERATE, json={"uov_input_image": host.url + "/silent"})
        while not host.asked:
            gevent.sleep(0.01)
        assert app.test_client().get("/ping").json == "pong" and not slow.ready()
        host.release.set()
        assert slow.get().status_code == 422


def test_a_bad_picture_is_no_news_for_the_log(client, capfd, caplog):
    assert client.post(GENERATE, json={"uov_input_image": "x"}).status_code == 422
    assert client.post(READ, json={"image": "x"}).status_code == 422
    assert "Traceback" not in capfd.readouterr().err + caplog.text


def test_a_record_tells_full_urls_that_open(app, client, add):
    with app.test_request_context():
        path = inputs.current().keep(BARE)
    app.config["API_KEY"] = "secret"
    with app.test_request_context():
        task = find(add())
        task.req_params = task.req_params | {"uov_input_image": path, "controlnet_image": [{"cn_img": path}]}
        params = records.stored(task, "http://localhost")["req_params"]
        assert params["uov_input_image"] == params["controlnet_image"][0]["cn_img"] != path
        assert task.req_params["controlnet_image"] == [{"cn_img": path}]
        with sent_pictures.resolved(load(uov_input_image=params["uov_input_image"])) as found:
            assert found["uov_input_image"] == path
    assert client.get(path).status_code == 403
    reply = client.get(params["uov_input_image"].removeprefix("http://localhost"))
    assert (reply.data, reply.headers["X-Content-Type-Options"]) == (RED, "nosniff")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "AVIF"])
def test_an_input_of_any_kind_is_served_and_converted(app, client, kind):
    out = io.BytesIO()
    Image.new("CMYK" if kind == "TIFF" else "RGB", (8, 6)).save(out, kind)
    with app.test_request_context():
        path = inputs.current().keep(Upload(out.getvalue()))
    reply = client.get(path)
    assert (reply.data, reply.mimetype) == (out.getvalue(), f"image/{kind.lower()}")
    assert Image.open(io.BytesIO(client.get(path, headers={"Accept": "image/webp"}).data)).format == "WEBP"


def form(app, **parts):
    """What the parts of a form are as members."""
    with app.test_request_context(GENERATE, method="POST", data=parts, content_type="multipart/form-data") as context:
        return form_body(context.request, GenerateSchema())


def file(data=RED, name="cat.png"):
    return io.BytesIO(data), name


def test_a_form_holds_files_texts_lists_and_json(app):
    body = form(
        app,
        uov_input_image=file(),
        prompt="[a cat]",
        image_number="3",
        style_selections=["SAI Anime", "Fooocus V2"],
        outpaint_selections="Left",
        loras='[{"model_name": "None"}]',
        json='{"prompt": "a dog", "sharpness": 3, "controlnet_image": [{"cn_type": "CPDS"}]}',
        **{
            "controlnet_image.0.cn_img": file(),
            "controlnet_image[1][cn_img]": file(),
            "controlnet_image.1.cn_stop": "1",
        },
    )
    assert body == {
        "uov_input_image": Upload(RED),
        "prompt": "[a cat]",
        "image_number": "3",
        "style_selections": ["SAI Anime", "Fooocus V2"],
        "outpaint_selections": ["Left"],
        "loras": [{"model_name": "None"}],
        "sharpness": 3,
        "controlnet_image": [{"cn_type": "CPDS", "cn_img": Upload(RED)}, {"cn_img": Upload(RED), "cn_stop": "1"}],
    }
    assert GenerateSchema().load(body)["image_number"] == 3


def test_a_file_that_was_not_chosen_is_absent(app):
    assert form(app, uov_input_image=file(b"", ""), prompt="a cat") == {"prompt": "a cat"}


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"json": "{"}, "json"),
        ({"json": "[]"}, "json"),
        ({"json": "[" * 100_000}, "json"),
        ({"prompt": "a cat", "prompt.0": "x"}, "prompt.0"),
        ({"controlnet_image.64.cn_img": "x"}, "controlnet_image.64.cn_img"),
        ({"controlnet_image.0.cn_img": "x", "controlnet_image.x": "x"}, "controlnet_image.x"),
        ({"json": '{"sharpness": NaN}'}, "json"),
        ({"json": "[" + "{}," * 100_000 + "{}]"}, "json"),
        ({"a" + ".a" * 2_000: "x"}, ("a" + ".a" * 2_000)[:256]),
        ({"loras.0.weight.x": "x"}, "loras.0.weight.x"),
    ],
)
def test_a_part_that_leads_nowhere_is_refused(app, parts, place):
    with pytest.raises(InvalidRequest) as told:
        form(app, **parts)
    assert [fault["loc"] for fault in told.value.detail] == [["body", place]]


JSON = b'{"prompt": "a cat", "base_model_name": "toy.safetensors", "async_process": true}'


def test_json_that_is_called_a_form_is_read_as_json_or_refused(client):
    told = client.post(GENERATE, data=JSON, content_type="multipart/form-data")
    assert (told.status_code, told.json["req_params"]["prompt"]) == (200, "a cat")
    for data, kind in (
        (JSON, "multipart/form-data; boundary=x"),
        (b"prompt=a+cat", "multipart/form-data"),
        (b"--x\r\n", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=x"),
    ):
        reply = client.post(GENERATE, data=data, content_type=kind)
        assert (reply.status_code, reply.json["detail"][0]["loc"]) == (422, ["body"]), (data, kind)


def test_a_form_of_too_many_parts_is_told_how_many_it_may_have(client):
    parts = {f"part{number}": "x" for number in range(1001)}
    reply = client.post(GENERATE, data=parts, content_type="multipart/form-data")
    assert reply.status_code == 413
    assert reply.json["detail"].startswith("A form may have 1000 parts")


def raw_form(head, text=b"a cat"):
    """A form of one part with this head, behind one that is as usual."""
    usual = b'--x\r\nContent-Disposition: form-data; name="async_process"\r\n\r\ntrue\r\n'
    return (
        usual
        + b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n'
        + head
        + b"\r\n\r\n"
        + text
        + b"\r\n--x--\r\n"
    )


@pytest.mark.parametrize("length", [10, 16_000, 17_000, 70_000, 1_000_000])
def test_the_head_of_a_forms_part_is_short(client, length):
    head = (b"X: " + b"y" * 60 + b"\r\n") * (length // 65) + b"Y: z"
    reply = client.post(GENERATE, data=raw_form(head), content_type="multipart/form-data; boundary=x")
    assert reply.status_code == (413 if length > 16_384 else 422)  # the second names a model that is not here
    if length > 16_384:
        assert "16384 bytes in a head" in reply.json["detail"]


@pytest.mark.parametrize(
    "text", [b"a--x" * 30_000, b"\r\n--" * 30_000, b"\r\n--y" * 30_000, b"\n" * 100_000, b"a" * 200_000]
)
def test_the_text_of_a_forms_part_may_be_anything(client, text):
    reply = client.post(GENERATE, data=raw_form(b"X: y", text), content_type="multipart/form-data; boundary=x")
    assert [fault["loc"] for fault in reply.json["detail"]] == [["body", "prompt"]]  # it is too long for a prompt


def test_a_form_is_drawn(client):
    reply = client.post(GENERATE, data={"json": '{"async_process": true}', "prompt": "a cat", "image_number": "0"})
    assert reply.status_code == 422
    good = {"base_model_name": "toy.safetensors", "aspect_ratios_selection": "64*64", "overwrite_step": "2"}
    reply = client.post(GENERATE, data=good | {"async_process": "true"}, content_type="multipart/form-data")
    assert (reply.status_code, reply.json["req_params"]["overwrite_step"]) == (200, 2)


def test_a_picture_in_a_form_is_checked(client):
    reply = client.post(GENERATE, data={"uov_input_image": file(b"no picture")})
    assert [fault["loc"] for fault in reply.json["detail"]] == [["body", "uov_input_image"]]


def aged(app, data, days):
    """The file of an input that was last brought so many days ago."""
    with app.test_request_context():
        server = inputs.current()
        path = server.path(server.keep(Upload(data)))
    moment = dt.datetime.now().timestamp() - days * retention.DAY
    os.utime(path, (moment, moment))
    return path


@speaks_sql
def test_inputs_are_kept_for_so_many_days_and_while_a_task_waits(app, add):
    old, new, pending, running, done = (aged(app, png((n, 0, 0)), 1 if n == 1 else 9) for n in range(5))
    old, new = (old, new) if old.stat().st_mtime < new.stat().st_mtime else (new, old)
    with app.app_context():
        for status, path in (("pending", pending), ("running", running), ("finished", done)):
            task = find(add(status))
            task.req_params = task.req_params | {"uov_input_image": f"/inputs/{path.name}"}
            db.session.commit()
        assert retention.clean() == 0
        app.config["INPUT_RETENTION_DAYS"] = 2
        assert retention.clean() == 2
    assert [path.exists() for path in (old, new, pending, running, done)] == [False, True, True, True, False]


def test_a_picture_that_is_brought_again_counts_from_then(app):
    app.config["INPUT_RETENTION_DAYS"] = 2
    path = aged(app, RED, 9)
    with app.test_request_context():
        inputs.current().keep(BARE)
        assert retention.clean() == 0 and path.exists()


@speaks_sql
def test_the_sweeper_sweeps_as_soon_as_it_starts(make_app):
    app = make_app(INPUT_RETENTION_DAYS=2)
    path = aged(app, RED, 9)
    retention.sweeper.of(app).start()
    with patience():
        while path.exists():
            gevent.sleep(0)


@speaks_sql
def test_the_sweeper_outlives_a_folder_it_cannot_sweep(make_app, monkeypatch):
    monkeypatch.setattr(retention, "EVERY", 0.01)
    app = make_app(INPUT_RETENTION_DAYS=2)
    path = aged(app, RED, 9)
    folder, app.config["INPUT_PATH"] = app.config["INPUT_PATH"], None
    retention.sweeper.of(app).start()
    gevent.sleep(0.05)
    app.config["INPUT_PATH"] = folder
    with patience():
        while path.exists():
            gevent.sleep(0.01)


PARAMETERS = {
    "metadata_scheme": "fooocus",
    "prompt": "a cat",
    "negative_prompt": "",
    "styles": "['Fooocus V2']",
    "performance": "Speed",
    "steps": 30,
    "resolution": "(1152, 896)",
    "guidance_scale": 4.5,
    "seed": "123456789012345678",
    "base_model": "toy",
    "version": "Fooocus v2.5.5",
}


def carrying(parameters, scheme="fooocus"):
    text = parameters if isinstance(parameters, str) else json.dumps(parameters)
    return png(texts={"parameters": text, "fooocus_scheme": scheme})


@pytest.mark.parametrize("how", ["file", "base64", "data URL", "own URL"])
def test_a_pictures_parameters_come_back_as_a_request(app, client, how):
    data = carrying(PARAMETERS)
    text = base64.b64encode(data).decode()
    if how == "own URL":
        path = Path(app.config["OUTPUT_PATH"]) / picture(app, "cat.png")
        path.write_bytes(data)
    sent = {"base64": text, "data URL": f"data:image/png;base64,{text}", "own URL": "/outputs/2024-07-05/cat.png"}
    reply = (
        client.post(READ, data={"image": file(data)}) if how == "file" else client.post(READ, json={"image": sent[how]})
    )
    told = reply.json
    assert (reply.status_code, told["metadata_scheme"], told["raw"]) == (200, "fooocus", PARAMETERS)
    parameters = told["parameters"]
    assert (parameters["prompt"], parameters["image_seed"]) == ("a cat", 123456789012345678)
    assert (parameters["base_model_name"], parameters["guidance_scale"]) == ("toy.safetensors", 4.5)
    assert client.post(GENERATE, json=parameters | {"async_process": True}).status_code == 200


def test_a_users_own_style_comes_back(app, client):
    folder = Path(app.instance_path) / "sdxl_styles"
    folder.mkdir()
    (folder / "mine.json").write_text(json.dumps([{"name": "Watercolour", "prompt": "{prompt} as watercolour"}]))
    data = carrying(PARAMETERS | {"styles": "['Watercolour']"})
    read = client.post(READ, json={"image": base64.b64encode(data).decode()}).json
    assert (read["parameters"]["style_selections"], read["notes"]) == (["Watercolour"], [])


def test_text_of_the_web_uis_is_read(client):
    text = (
        "a cat\nNegative prompt: a dog\nSteps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 7, Size: 1152x896, CFG scale: 4"
    )
    told = client.post(READ, json={"image": base64.b64encode(carrying(text, "a1111")).decode()}).json
    assert (told["metadata_scheme"], told["parameters"]["image_seed"]) == ("a1111", 7)
    assert (told["parameters"]["prompt"], told["parameters"]["negative_prompt"]) == ("a cat", "a dog")


def test_a_picture_without_parameters_says_so(client):
    told = client.post(READ, json={"image": BARE}).json
    assert told == {
        "metadata_scheme": None,
        "parameters": {},
        "raw": None,
        "notes": ["The picture carries no parameters"],
    }
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "GIF")
    assert client.post(READ, data={"image": file(out.getvalue())}).json["metadata_scheme"] is None


@pytest.mark.parametrize(
    "parameters",
    [
        PARAMETERS | {"guidance_scale": 900, "sharpness": float("nan"), "prompt": "\ud800"},
        '{"prompt": NaN, "seed": 1e999, "steps": "' + "9" * 400 + '"}',
        '{"a": ' + '{"a": ' * 600 + "1" + "}" * 601,
        '{"styles": ["No Such Style"], "seed": -5, "loras": 7}',
    ],
)
def test_foreign_parameters_do_no_harm(client, parameters):
    reply = client.post(READ, data={"image": file(carrying(parameters))})
    assert reply.status_code == 200
    assert GenerateSchema().validate(reply.json["parameters"]) == {}
    assert json.loads(reply.data, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("sent", "type"),
    [
        ({}, "missing"),
        ({"image": ""}, "missing"),
        ({"image": "x"}, "image_error"),
        ({"image": "/inputs/\ud800.png"}, "string_unicode"),
    ],
)
def test_reading_needs_a_picture(client, sent, type):
    reply = client.post(READ, data=json.dumps(sent), content_type="application/json")
    assert [(fault["type"], fault["loc"]) for fault in reply.json["detail"]] == [(type, ["body", "image"])]
