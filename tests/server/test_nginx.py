"""The service behind a real nginx, with the configuration that is shipped."""

import copy
import io
import json
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.serving import GUNICORN, LASTING, ROOT, Server, event

NGINX = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))

pytestmark = pytest.mark.skipif(
    NGINX is None and not os.environ.get("CI"), reason="nginx is not here; on Debian: apt-get install nginx-light"
)

MAIN = """
daemon off; pid {folder}/pid; error_log stderr; {user}
events {{}}
http {{
    access_log off; default_type application/octet-stream;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    include {folder}/fooocus.conf;
}}
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory, models, database):
    """gunicorn with a ready engine, that trusts one proxy and leaves files to it."""
    environment = {"FOOOCUS_TRUSTED_PROXIES": "1", "FOOOCUS_X_ACCEL_PREFIX": "/_files"}
    server = Server(tmp_path_factory.mktemp("behind"), models, GUNICORN, **environment).ready()
    yield server
    server.stop()


@contextmanager
def serving(folder, site, *changes):
    """The port of an nginx with a site that is shipped, after these changes to it."""
    port = free_port()
    shipped = (ROOT / "deploy" / site).read_text()
    for ours, theirs in (("listen 80;", f"listen 127.0.0.1:{port};"), *changes):
        assert ours in shipped
        shipped = shipped.replace(ours, theirs)
    (folder / "fooocus.conf").write_text(shipped)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
    assert NGINX, "nginx is not here; on Debian: apt-get install nginx-light"
    process = subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf"])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            assert process.poll() is None
    yield port
    process.terminate()
    process.wait()


def before(folder, service, instance="/nowhere"):
    """The port of an nginx in front of a service at this port."""
    places = ("127.0.0.1:7866", f"127.0.0.1:{service}"), ("/var/lib/fooocus-flask/", f"{instance}/")
    return serving(folder, "nginx.conf", *places)


@pytest.fixture(scope="module")
def nginx(gunicorn, tmp_path_factory):
    """The same server, asked through nginx."""
    with before(tmp_path_factory.mktemp("nginx"), gunicorn.port, gunicorn.instance) as port:
        through = copy.copy(gunicorn)
        through.port = port
        yield through


def below(url):
    """A URL's path and query."""
    return "/" + url.split("/", 3)[3]


def test_events_come_one_by_one(nginx):
    stream = nginx.follow(**LASTING)
    chunks = stream.chunks()
    assert event(chunks[-1])["message"] == "Finished"
    reads = [data for _, data in stream.reads if b"data: {" in data]
    assert max(data.count(b"data: {") for data in reads) <= 2 < len(reads)
    first, last = (moment for moment, _ in (stream.reads[0], stream.reads[-1]))
    assert last > first


def test_a_picture_comes_from_the_disk_under_the_clients_own_address(nginx, gunicorn):
    record = nginx.draw({"output_format": "webp"}).json
    (url,) = record["result"]
    assert url.startswith(f"http://127.0.0.1:{nginx.port}/outputs/")
    reply = nginx.get(below(url))
    file = Path(gunicorn.instance, below(url).lstrip("/"))
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, file.read_bytes(), "image/webp")
    assert gunicorn.get(below(url)).headers["X-Accel-Redirect"] == f"/_files{below(url)}"
    part = nginx.get(below(url), Range="bytes=4-11")
    assert (part.status, part.body) == (206, file.read_bytes()[4:12])
    converted = nginx.get(below(url), Accept="image/png")
    assert Image.open(io.BytesIO(converted.body)).format == "PNG"


def test_a_thumbnail_comes_from_the_disk_too(nginx, gunicorn):
    (url,) = nginx.draw().json["result"]
    reply = nginx.get(f"{below(url)}?w=160")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/webp")
    assert reply.headers["Cache-Control"] == "private, max-age=3600"
    assert reply.body == Path(gunicorn.instance, "thumbnails/160", f"{below(url)[9:]}.webp").read_bytes()
    assert nginx.get(f"{below(url)}?w=160", If_None_Match=reply.headers["ETag"]).status == 304


KEPT = ("Vary", "X-Content-Type-Options", "Cache-Control", "Content-Type")
CORS = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers")


@pytest.mark.parametrize("cookie", [None, "a=b"])
def test_a_picture_from_the_disk_keeps_its_headers(nginx, server, cookie):
    (url,) = nginx.draw().json["result"]
    headers = {"Origin": "http://page.example"} | ({"Cookie": cookie} if cookie else {})
    by_itself = server.get(below(server.draw().json["result"][0]), **headers)
    behind = nginx.get(below(url), **headers)
    assert behind.status == by_itself.status == 200
    for name in (*KEPT, *CORS):
        assert behind.headers.get_all(name) == by_itself.headers.get_all(name), name
    assert behind.headers["Access-Control-Allow-Origin"] == ("http://page.example" if cookie else "*")
    assert len(behind.headers["X-Request-Id"]) == 32 and behind.headers["ETag"]
    plain = nginx.get(below(url))
    assert (plain.headers["Vary"], plain.headers["Access-Control-Allow-Origin"]) == ("Accept, Origin", None)
    again = nginx.get(below(url), If_None_Match=behind.headers["ETag"])
    assert (again.status, again.headers["Vary"]) == (304, "Accept, Origin")


FORGED = {
    "X-Forwarded-For": "10.9.9.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Ssl": "evil",
    "X-Forwarded-Protocol": "evil",
    "X-Forwarded-Scheme": "evil",
    "X-Real-Ip": "10.9.9.9",
    "Forwarded": "for=10.9.9.9;host=evil.example",
}


def test_nothing_that_a_client_says_about_proxies_is_passed_on(tmp_path):
    lines = [f"{name}: {value}" for name, value in FORGED.items()]
    with (
        socket.create_server(("127.0.0.1", 0)) as service,
        before(tmp_path, service.getsockname()[1]) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.sendall("\r\n".join(["GET / HTTP/1.1", "Host: h.example", *lines, "", ""]).encode())
        with service.accept()[0] as passed_on:
            head = ""
            while "\r\n\r\n" not in head:
                head += passed_on.recv(65536).decode()
    told = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    assert told["X-Forwarded-For"] == "127.0.0.1" and told["X-Forwarded-Host"] == "h.example"
    assert told["X-Forwarded-Proto"] == "http"
    assert not [value for value in told.values() if "evil" in value or value in FORGED.values()]


def test_nobody_gets_files_without_the_service(nginx):
    assert nginx.get("/_files/outputs/").status == nginx.get("/_files/inputs/x.png").status == 404
    assert nginx.get("/_files/../db.sqlite3").status in (400, 404)


def upload(data, size):
    """A form with a picture and filling of this many bytes."""
    head = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n%s\r\n'
    return head % (b"image", data) + head % (b"filling", bytes(size)) + b"--x--\r\n"


def test_a_big_upload_passes_and_a_bigger_one_is_refused_in_words(nginx):
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (2200, 2200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "PNG", compress_level=0)
    form = {"Content_Type": "multipart/form-data; boundary=x"}
    reply = nginx.ask("POST", "/v1/tools/read-metadata", upload(out.getvalue(), 30 << 20), **form)
    assert (reply.status, reply.json["metadata_scheme"]) == (200, None)
    with socket.create_connection(("127.0.0.1", nginx.port)) as connection:
        connection.sendall(b"POST /v1/engine/generate/ HTTP/1.1\r\nHost: x\r\nContent-Length: 300000000\r\n\r\n")
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413")
    assert "256 MiB" in json.loads(answer.split("\r\n\r\n", 1)[1])["detail"]


def test_a_requests_name_is_the_proxys(nginx):
    assert len(nginx.get("/ping").headers["X-Request-Id"]) == 32


def test_a_client_stays_with_its_cell_and_so_do_its_pictures(gunicorn, tmp_path):
    """The second cell is away."""
    places = ("10.0.0.11:7866", f"127.0.0.1:{gunicorn.port}"), ("10.0.0.12:7866", f"127.0.0.1:{free_port()}")
    with serving(tmp_path, "fleet/cells.conf", *places) as port:
        through = copy.copy(gunicorn)
        through.port = port
        statuses = [[through.get("/ping", X_API_KEY=f"key-{n}").status for n in range(12)] for _ in range(2)]
        assert statuses[0] == statuses[1] and set(statuses[0]) == {200, 502}
        mine = f"key-{statuses[0].index(200)}"
        (url,) = through.draw(X_API_KEY=mine).json["result"]
        assert url.startswith(f"http://127.0.0.1:{port}/cell-1/outputs/")
        converted = through.get(below(url), Accept="image/webp")  # by the service, not from the disk
        assert Image.open(io.BytesIO(converted.body)).size == (64, 64)
        assert [through.get(f"/cell-{n}/ping").status for n in (1, 2)] == [200, 502]
