"""Names, paths and URLs that lead where no stranger should get: none does, through any route."""

import socket
from pathlib import Path

import pytest
from PIL import Image

from fooocus_flask.pictures import public_hosts
from fooocus_flask.pictures.fetching import NotFetched, fetch
from fooocus_flask.pictures.public_hosts import AddressRefused
from tests.pictures.test_public_hosts import Host, host, resolver  # noqa: F401
from tests.serving import GENERATE, small

READ = "/v1/tools/read-metadata"
LONG = "x" * 5000


def places_of(reply):
    """Where the faults of a 422 are."""
    assert reply.status_code == 422, reply.text
    return [fault["loc"] for fault in reply.json["detail"]]


@pytest.fixture
def secret(app):
    """A picture, a model and a list of words beside the folders that are served, and ways to them; the picture."""
    instance, models = Path(app.instance_path), Path(app.config["MODELS_PATH"])
    outputs, inputs = Path(app.config["OUTPUT_PATH"]), Path(app.config["INPUT_PATH"])
    for folder in (outputs / "2024-07-05", inputs, instance / "private"):
        folder.mkdir(parents=True, exist_ok=True)
    for picture in (instance / "secret.png", instance / "private" / "secret.png"):
        Image.new("L", (8, 8)).save(picture)
    (outputs / "2024-07-05" / "link.png").symlink_to(instance / "secret.png")
    (outputs / "folder").symlink_to(instance / "private")
    (inputs / "link.png").symlink_to(instance / "secret.png")
    (outputs / "2024-07-05" / "circle.png").symlink_to(outputs / "2024-07-05" / "circle.png")
    (models / "secret.safetensors").write_bytes(b"")
    yield instance / "secret.png"
    (models / "secret.safetensors").unlink()


PATHS = [
    *("../secret.png", "../../secret.png", "..%2fsecret.png", "%2e%2e/secret.png", "%252e%252e/secret.png"),
    *("..%5csecret.png", "2024-07-05/..%2f..%2fsecret.png", "2024-07-05/../../secret.png", "./../secret.png"),
    *("2024-07-05/link.png", "link.png", "folder/secret.png", "2024-07-05/circle.png", "2024-07-05%2flink.png"),
    *("/etc/hosts.png", "%2fetc%2fhosts.png", "2024-07-05/secret.png%00", "2024-07-05/%00.png", "%00/cat.png"),
    *("..;/secret.png", "2024-07-05/..%c0%af..%c0%afsecret.png", f"2024-07-05/{LONG}.png", f"{LONG}/cat.png"),
    *("~/secret.png", "2024-07-05/.png", "../private/secret.png", "..", "%2e%2e"),
]


@pytest.mark.parametrize("kind", ["outputs", "inputs", "files"])
def test_no_path_is_served_but_a_pictures_inside_the_folder(client, secret, kind):
    replies = {path: client.get(f"/{kind}/{path}", follow_redirects=True) for path in PATHS}  # redirects of // to /
    assert {path: reply.status_code for path, reply in replies.items()} == dict.fromkeys(PATHS, 404)
    assert all(reply.json["detail"] for reply in replies.values())


@pytest.mark.parametrize("kind", ["outputs", "inputs", "files"])
@pytest.mark.parametrize("start", ["", "http://localhost"])
def test_no_path_is_a_picture_of_this_servers_but_one_inside_the_folder(client, secret, start, kind):
    places = {path: places_of(client.post(READ, json={"image": f"{start}/{kind}/{path}"})) for path in PATHS}
    assert places == {key: [["body", "image"]] for key in PATHS}


FILES = [
    *("../secret.safetensors", "..\\secret.safetensors", "sub/../../secret.safetensors", "./../secret.safetensors"),
    *("/etc/passwd", "/etc/hosts.safetensors", "~/secret.safetensors", "%2e%2e/secret.safetensors", LONG, "..", "."),
]


@pytest.mark.parametrize("member", ["base_model_name", "refiner_model_name", "vae_name", "loras"])
def test_no_model_is_taken_from_beside_its_folder(app, client, secret, member):
    for name in [*FILES, str(Path(app.config["MODELS_PATH"]) / "secret.safetensors")]:
        value = [{"enabled": True, "model_name": name}] if member == "loras" else name
        reply = client.post(GENERATE, json=small(async_process=True, **{member: value}))
        assert [place[:2] for place in places_of(reply)] == [["body", member]], name


PRESETS = ["../anime", "/etc/passwd", "anime.json", "%2e%2e/anime", "Anime", "./anime", LONG]


def test_no_preset_is_read_but_a_listed_one(client):
    places = {name: places_of(client.post(GENERATE, json=small(async_process=True, preset=name))) for name in PRESETS}
    assert places == {key: [["body", "preset"]] for key in PRESETS}


SAVED = [
    *(
        "/tmp/cat",
        "../cat",
        "../../cat",
        "../../etc/cat",
        "a/../cat",
        "..",
        "../..",
        "../../",
        "../a/..",
        "a\\..\\b",
    ),
    *(
        "../a/../b",
        "....//cat",
        "../a/b/c",
        "~/cat",
        "a\0",
        "a\n",
        "\u202ecat",
        "x" * 201,
        "猫" * 67,
        "../.ssh/key",
    ),
]


def test_no_file_is_saved_outside_the_outputs(client):
    places = {name: places_of(client.post(GENERATE, json=small(async_process=True, save_name=name))) for name in SAVED}
    assert places == {key: [["body", "save_name"]] for key in SAVED}


def test_the_longest_name_is_saved(server):
    name = "../" + "y" * 96 + "/" + "猫" * 33
    assert server.draw({"save_name": name}).json["task_status"] == "finished"


def test_no_task_is_found_but_by_its_id(client, add):
    add("finished")
    for task_id in ["..", "%2e%2e%2fsecret", "%00", LONG, "'%20OR%201=1--", "..%2f..%2fdb.sqlite3"]:
        for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/deliveries"), ("DELETE", "")):
            assert client.open(f"/tasks/{task_id}{path}", method=method).status_code in (404, 405)
    assert len(client.get("/tasks").json["history"]) == 1


HERE = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "0", "0.0.0.0"),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "①②⑦.⓪.⓪.①", "user@127.0.0.1", "user:word@127.0.0.1"),
    *("example.com@127.0.0.1", "127.0.0.1#@example.com", "[fe80::1%25lo]", "[2002:7f00:1::]"),
]


@pytest.fixture
def listener():
    """A socket on this machine that no request should reach."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def test_no_picture_is_fetched_from_this_machine(client, listener):
    port = listener.getsockname()[1]
    for name in HERE:
        where, _, rest = name.partition("#")
        for start in ("http://", "HTTPS://"):
            url = f"{start}{where}:{port}/cat.png" + (f"#{rest}" if rest else "")
            reply = client.post(GENERATE, json=small(async_process=True, uov_input_image=url))
            assert places_of(reply) == [["body", "uov_input_image"]], url
            assert places_of(client.post(READ, json={"image": url})) == [["body", "image"]], url
    with pytest.raises(BlockingIOError):
        listener.accept()


SPELLINGS = [
    *("http:{}", "http:/{}", "http:\\\\{}", "//{}", "http:// {}", "http://\t{}", "\thttp://{}", "ht\ntp://{}"),
    *(
        "file:///etc/passwd",
        "file://{}/",
        "gopher://{}/_GET",
        "ftp://{}/cat.png",
        "dict://{}/",
        "data:text/html,{}",
    ),
    *(
        "http://example.com\\@{}/",
        "http://example.com%2f@{}/",
        "http://[{}]/",
        "http://%31%32%37.0.0.1/{}",
        "http://",
    ),
]


def test_no_other_spelling_of_a_url_is_asked(client, listener):
    for spelling in SPELLINGS:
        url = spelling.format(f"127.0.0.1:{listener.getsockname()[1]}")
        assert places_of(client.post(READ, json={"image": url})) == [["body", "image"]], url
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize(
    "place",
    [
        *(
            "http://127.0.0.2/",
            "http://10.0.0.1/",
            "//192.168.0.1/",
            "http://0x0a000001/",
            "http://[::1]/",
            "http://172.16.1/",
        ),
        *("http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest/meta-data/", "http://user@example.com/"),
        *("file:///etc/passwd", "gopher://127.0.0.1/", "http://127.0.0.1:99999/", "http://[::1/", "http://a b/"),
    ],
)
def test_no_redirect_leads_inside(host, monkeypatch, place):  # noqa: F811
    guard = public_hosts.is_public
    monkeypatch.setattr(public_hosts, "is_public", lambda ip: ip == "127.0.0.1" or guard(ip))
    host.elsewhere = lambda handler: host.answer(handler, 302, Location=place)
    with pytest.raises(NotFetched) as told:
        fetch(host.url + "/elsewhere")
    assert isinstance(told.value.__cause__, AddressRefused) or "no URL" in str(told.value)
    assert [path for path, _ in host.asked] == ["/elsewhere"]


def test_a_name_is_resolved_once_for_a_request(client, host, resolver):  # noqa: F811
    """What answers differently the second time gains nothing: there is none."""
    client.application.config["ALLOW_PRIVATE_ADDRESSES"] = True
    asked = resolver("cat.example", "127.0.0.1", "127.0.0.2")
    client.post(READ, json={"image": f"http://cat.example:{host.server_port}/good"})
    assert asked.asked == 1 and len(host.asked) == 1


@pytest.mark.parametrize("prompt", ["__../secret__", "__/etc/passwd__", "<lora:../secret:1>", "embedding:../secret"])
def test_a_prompt_opens_no_file_beside_its_folder(server, prompt):
    secrets = [folder / "secret.txt" for folder in (server.models, server.instance)]
    for secret in secrets:
        secret.write_text("hidden words")
    secrets.append(server.models / "secret.safetensors")
    secrets[-1].write_bytes(b"no tensors")
    told = server.draw({"prompt": prompt}).json
    for secret in secrets:
        secret.unlink()
    assert (told["task_status"], told["req_params"]["prompt"]) == ("finished", prompt)
    assert "secret" not in str(told["drawn_with"])
    picture = server.get(told["result"][0].removeprefix(f"http://127.0.0.1:{server.port}"))
    assert picture.status == 200 and b"hidden words" not in picture.body
