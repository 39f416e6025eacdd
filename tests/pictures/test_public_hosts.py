"""Requests to addresses that strangers name: over real sockets, and all that must not get through."""

import shutil
import socket
import ssl
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import gevent
import pytest

from engine.files.downloads import DownloadError, download
from engine.files.known_files import KnownFile
from engine.interruption import Interruption
from fooocus_flask.pictures import public_hosts
from fooocus_flask.pictures.fetching import NotFetched, fetch
from fooocus_flask.pictures.public_hosts import AddressRefused, guarded_request, is_public
from tests.patience import CEILING


class Host(ThreadingHTTPServer):
    """A web server whose paths behave in all the ways a stranger's may."""

    daemon_threads = True

    def __init__(self):
        self.asked, self.release = [], Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):
                self.asked.append((handler.path, handler.headers["Host"]))
                getattr(self, handler.path.strip("/").split("/")[0], self.good)(handler)

            def do_POST(handler):
                sent = handler.rfile.read(int(handler.headers["Content-Length"]))
                self.answer(handler, 200, sent + handler.headers["X-Word"].encode())

            def log_message(handler, *_):
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, handler, status, body=b"", **headers):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def good(self, handler):
        self.answer(handler, 200, b"bytes")

    def missing(self, handler):
        self.answer(handler, 404, b"an error page")

    def hops(self, handler):
        left = int(handler.path.rsplit("/", 1)[1])
        self.answer(handler, 302, Location=f"/hops/{left - 1}" if left > 1 else "/good")

    def inward(self, handler):
        self.answer(handler, 302, Location="http://10.0.0.1/")

    def file(self, handler):
        self.answer(handler, 301, Location="file:///etc/passwd")

    def nowhere(self, handler):
        self.answer(handler, 302)

    def announced(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()

    def endless(self, handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(b"\0" * 65536)

    def silent(self, handler):
        self.release.wait(CEILING)

    def garbage(self, handler):
        handler.wfile.write(b"what is HTTP?\r\n\r\n")

    def handle_error(self, request, client_address):
        """Clients leave in the middle; that is what is tested."""


@pytest.fixture
def host():
    with Host() as host:
        thread = Thread(target=host.serve_forever)
        thread.start()
        yield host
        host.release.set()
        host.shutdown()
        thread.join()


class Resolver:
    """gevent's resolver, but for one name: that one is at the next of these addresses each time it is asked for."""

    def __init__(self, honest, name, answers):
        self.honest, self.name, self.answers, self.asked = honest, name, answers, 0

    def getaddrinfo(self, host, port, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if name == self.name:
            host = self.answers[min(self.asked, len(self.answers) - 1)]
            self.asked += 1
        return self.honest.getaddrinfo(host, port, *args, **kwargs)


@pytest.fixture
def resolver():
    """Puts a resolver in the hub's place."""
    hub, made = gevent.get_hub(), []

    def put(name, *answers):
        made.append(hub.resolver)
        hub.resolver = Resolver(hub.resolver, name, answers)
        return hub.resolver

    yield put
    if made:
        hub.resolver = made[0]


PRIVATE = [
    *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
    *("2002:7f00:1::", "2002:a00:1::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1"),
    "2001:0:808:808::80ff:fffe",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_no_public_host_is_known(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_known(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "0"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "①②⑦.⓪.⓪.①", "127.0.0.1.", "LOCALHOST"),
    ],
)
def test_no_spelling_of_this_machine_is_asked(host, resolver):
    with pytest.raises((AddressRefused, OSError)) as told:
        guarded_request("GET", f"http://{host}:9/", timeout=CEILING)
    assert "refused" not in str(told.value).lower()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/cat.png", "only http"),
        ("file:///etc/passwd", "only http"),
        ("gopher://example.com/", "only http"),
        ("//example.com/cat.png", "only http"),
        ("http://", "no host"),
        ("http:///cat.png", "no host"),
        ("http://example.com:0/", "no host"),
        ("http://user@example.com/", "user name"),
        ("http://user:word@example.com/", "user name"),
        ("http://example.com:80@127.0.0.1/", "user name"),
        ("http://example.com\\@127.0.0.1/", "backslash"),
        ("http://example.com/a b", "blanks"),
        ("http://example.com/\r\nHost: inside", "control"),
        ("http://example.com:99999/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
    ],
)
def test_a_url_is_refused_by_its_text(url, reason):
    with pytest.raises(AddressRefused, match=reason):
        guarded_request("GET", url, timeout=CEILING)


def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(public_hosts.socket, "getaddrinfo", lambda *_, **__: places)
    with pytest.raises(AddressRefused, match="not public"):
        public_hosts.resolved("example.com", 80)


def test_the_address_connected_to_is_the_one_looked_at(host, resolver):
    asked = resolver("cat.example", "127.0.0.1", "127.0.0.2")
    answer = guarded_request("GET", f"http://cat.example:{host.server_port}/good", timeout=CEILING, allow_private=True)
    assert (answer.status, answer.body, asked.asked) == (200, b"bytes", 1)
    assert host.asked == [("/good", f"cat.example:{host.server_port}")]


def test_a_name_that_turns_private_is_refused_when_asked_again(host, resolver):
    resolver("cat.example", "8.8.8.8", "127.0.0.1")
    assert public_hosts.resolved("cat.example", 80)[0][1][0] == "8.8.8.8"
    with pytest.raises(AddressRefused, match="not public"):
        guarded_request("GET", f"http://cat.example:{host.server_port}/", timeout=CEILING)
    assert host.asked == []


def test_a_body_and_headers_are_sent(host):
    answer = guarded_request(
        "POST", host.url, {"X-Word": "cat"}, b"a ", timeout=CEILING, allow_private=True, most_bytes=4
    )
    assert answer.body == b"a ca" and answer.headers["content-length"] == "5"


def test_a_silent_host_takes_no_longer_than_the_limit(host):
    with pytest.raises(TimeoutError, match="timed out"):
        guarded_request("GET", host.url + "/silent", timeout=0.05, allow_private=True)


def test_a_host_that_speaks_no_http_is_an_os_error(host):
    with pytest.raises(OSError, match="not HTTP"):
        guarded_request("GET", host.url + "/garbage", timeout=CEILING, allow_private=True)


@pytest.mark.parametrize("path", ["/good", "/hops/1", "/hops/3", "/%2e?a=b", "/ä?ö=ü#part"])
def test_bytes_are_fetched_over_a_few_redirects(host, path):
    assert fetch(host.url + path, allow_private=True) == b"bytes"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "answers 404"),
        ("/hops/4", "more than 3 times"),
        ("/nowhere", "redirects to nowhere"),
        ("/file", "only http"),
        ("/announced", "larger than 1000 bytes"),
        ("/endless", "larger than 1000 bytes"),
        ("/garbage", "not HTTP"),
    ],
)
def test_what_gives_no_picture_is_told(host, path, reason):
    with pytest.raises(NotFetched, match=reason):
        fetch(host.url + path, allow_private=True, most_bytes=1000)


def test_a_fetch_ends_with_its_time(host):
    with pytest.raises(NotFetched, match=r"within 0\.05 s"):
        fetch(host.url + "/silent", allow_private=True, seconds=0.05)


def test_a_redirect_inwards_is_not_followed(host, monkeypatch):
    guard = public_hosts.is_public
    monkeypatch.setattr(public_hosts, "is_public", lambda ip: ip == "127.0.0.1" or guard(ip))
    with pytest.raises(NotFetched, match="not public"):
        fetch(host.url + "/inward")
    assert [path for path, _ in host.asked] == ["/inward"]


def test_nobody_there_is_told():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(NotFetched, match="cannot be reached"):
            fetch(f"http://127.0.0.1:{free.getsockname()[1]}/", allow_private=True)


OPENSSL = shutil.which("openssl")


@pytest.fixture
def certified(tmp_path, host):
    """The host behind TLS, with a certificate for cat.example that it signed itself; the certificate's path."""
    path, key = tmp_path / "host.pem", tmp_path / "key.pem"
    made = [
        OPENSSL,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=cat.example", "-addext", "subjectAltName=DNS:cat.example"]
    subprocess.run([*made, *names, "-keyout", key, "-out", path], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    host.socket = context.wrap_socket(host.socket, server_side=True)
    return path


@pytest.mark.skipif(OPENSSL is None, reason="makes its certificate with openssl")
@pytest.mark.parametrize(
    ("name", "trusted", "good"),
    [
        ("cat.example", True, True),
        ("dog.example", True, False),
        ("cat.example", False, False),
    ],
)
def test_a_certificate_must_be_good_and_the_names(host, certified, resolver, monkeypatch, name, trusted, good):
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certified))
    resolver(name, "127.0.0.1")
    url = f"https://{name}:{host.server_port}/good"
    if good:
        assert fetch(url, allow_private=True) == b"bytes"
    else:
        with pytest.raises(NotFetched, match="cannot be reached"):
            fetch(url, allow_private=True)


@pytest.mark.skipif(OPENSSL is None, reason="makes its certificate with openssl")
def test_no_model_is_fetched_from_a_host_with_a_bad_certificate(host, certified, tmp_path):
    file = KnownFile("loras", "cat.safetensors", f"https://127.0.0.1:{host.server_port}/good")
    with pytest.raises(DownloadError, match="certificate"):
        download(file, tmp_path / "cat.safetensors", lambda *_: None, Interruption(), delays=())
    assert host.asked == []
