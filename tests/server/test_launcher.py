"""The command line: ports, addresses, folders, and what the terminal shows."""

import os
import re
import shlex
import signal
import socket as plain_socket
import subprocess
import sys
from urllib.request import urlopen

import pytest

import fooocus_flask
from fooocus_flask.access import keys
from fooocus_flask.server import command_line, launcher
from fooocus_flask.server.launcher import StartError
from tests import postgresql
from tests.patience import CEILING, exit_status
from tests.serving import ROOT

REFERENCE_FLAGS = """
--nowebui --base-url x --apikey k --webhook-url http://h/ --listen --port 1 --preset anime --output-path o --temp-path t
--cache-path c --disable-image-log --disable-metadata --disable-preset-download --always-download-new-model
--rebuild-hash-cache --hf-mirror http://m --gpu-device-id 0 --external-working-path e --disable-offload-from-vram
--async-cuda-allocation --disable-async-cuda-allocation --disable-attention-upcast --all-in-fp32 --all-in-fp16
--unet-in-bf16 --unet-in-fp16 --unet-in-fp8-e4m3fn --unet-in-fp8-e5m2 --vae-in-fp16 --vae-in-fp32 --vae-in-bf16
--vae-in-cpu --clip-in-fp8-e4m3fn --clip-in-fp8-e5m2 --clip-in-fp16 --clip-in-fp32 --directml --disable-ipex-hijack
--preview-option fast --attention-split --attention-quad --attention-pytorch --disable-xformers --always-gpu
--always-high-vram --always-normal-vram --always-low-vram --always-no-vram --always-cpu --always-offload-from-vram
--pytorch-deterministic --share --language zh --theme dark --in-browser --disable-in-browser --disable-analytics
--disable-preset-selection --disable-enhance-output-sorting --enable-auto-describe-image --disable-header-check
--web-upload-size 100 --disable-server-log --debug-mode --is-windows-embedded-python --disable-server-info --multi-user
"""


WSGI = ROOT / "wsgi.py"


def started(tmp_path, *argv, **environ):
    """`python wsgi.py` with these flags, its state in a folder of its own."""
    command = [sys.executable, str(WSGI), "--instance", str(tmp_path), *argv]
    environ = {**os.environ, "API_PORT": "0", **postgresql.environment(tmp_path), **environ}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def decided(*argv, environ=None):
    """The settings that a command line decides."""
    return command_line.overrides(command_line.parser().parse_args(argv), environ or {})


def test_every_flag_of_the_reference_is_accepted():
    args = command_line.parser().parse_args(REFERENCE_FLAGS.split())
    assert (args.listen, args.apikey, args.rebuild_hash_cache) == ("0.0.0.0", "k", -1)


def test_a_fooocus_and_its_python_are_settings(tmp_path):
    found = decided("--fooocus", str(tmp_path), "--fooocus-python", "python3.10")
    assert (found["PATH"], found["PYTHON"]) == (str(tmp_path), "python3.10")
    assert decided("--fooocus-python", "python3.10") == {"PYTHON": "python3.10"}  # of the environment's FOOOCUS_PATH
    assert "PYTHON" not in decided("--fooocus", str(tmp_path))  # the environment's FOOOCUS_PYTHON stands


@pytest.mark.parametrize(
    ("flag", "plan"),
    [
        ("--always-offload-from-vram", "turns"),
        ("--always-low-vram", "alone"),
        ("--always-no-vram", "streamed"),
        ("--always-high-vram", "resident"),
        ("--disable-offload-from-vram", "resident"),
        ("--always-normal-vram", "auto"),
        ("--always-gpu", None),
    ],
)
def test_memory_flags_choose_the_most_comfortable_plan(flag, plan):
    assert decided(flag).get("MEMORY_PLAN") == plan


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ("", {}),
        ("--unet-in-fp8-e4m3fn", {"UNET_STORAGE": "fp8_e4m3fn"}),
        ("--unet-in-fp8-e5m2 --clip-in-fp32", {"UNET_STORAGE": "fp8_e5m2", "TEXT_STORAGE": "fp32"}),
        ("--unet-in-bf16 --vae-in-cpu", {"UNET_STORAGE": "bf16", "VAE_FORMAT": "cpu"}),
        ("--all-in-fp32 --unet-in-fp16", {"UNET_STORAGE": "fp16", "VAE_FORMAT": "fp32", "TEXT_STORAGE": "fp32"}),
        ("--all-in-fp16", {"UNET_STORAGE": "fp16", "TEXT_STORAGE": "fp16"}),
        ("--attention-split", {"ATTENTION": "split"}),
        ("--attention-pytorch --vae-in-bf16", {"ATTENTION": "pytorch", "VAE_FORMAT": "bf16"}),
        ("--attention-quad", {"ATTENTION": "split"}),
        ("--attention-pytorch --clip-in-fp8-e5m2", {"ATTENTION": "pytorch"}),
    ],
)
def test_flags_of_number_formats_and_attention_are_settings(flags, settings):
    names = ("UNET_STORAGE", "VAE_FORMAT", "TEXT_STORAGE", "ATTENTION")
    assert {name: word for name, word in decided(*flags.split()).items() if name in names} == settings


def test_the_device_is_one_of_torchs_names(capsys):
    assert [decided(*words).get("DEVICE") for words in ((), ("--device", "xpu"), ("--device", "cuda:1"))] == [
        *(None, "xpu", "cuda:1")
    ]
    assert decided("--always-cpu")["DEVICE"] == "cpu"
    with pytest.raises(SystemExit):
        decided("--device", "gpu")
    assert "'gpu' is no device; give cuda, cuda:1, xpu, mps or cpu" in capsys.readouterr().err


def test_engines_are_a_number_or_one_for_each_card(capsys):
    assert [decided(*words).get("ENGINES") for words in ((), ("--engines", "2"), ("--engines", "auto"))] == [
        *(None, "2", "auto")
    ]
    with pytest.raises(SystemExit):
        decided("--engines", "0")
    assert "'0' is no number of engines; give a number from 1 to 64, or auto" in capsys.readouterr().err


def test_help_lists_the_flags_that_have_no_effect():
    told = command_line.parser().format_help()
    heading, below = told.split("accepted without effect", 1)
    assert "--share" in below and "--preview-option" in below
    assert "--models" in heading and "--instance" in heading


@pytest.mark.parametrize(
    ("port", "environ", "expected"),
    [
        (None, {}, 7866),
        (None, {"GRADIO_SERVER_PORT": "9000"}, 9001),
        (8000, {"GRADIO_SERVER_PORT": "9000"}, 8001),
        (8000, {"API_PORT": "5000", "GRADIO_SERVER_PORT": "9000"}, 5000),
        (None, {"API_PORT": ""}, 7866),
    ],
)
def test_the_api_port_is_the_first_of_three(port, environ, expected):
    assert command_line.api_port(port, environ) == expected


@pytest.mark.parametrize(
    ("port", "environ", "expected"),
    [
        (None, {}, 7865),
        (None, {"GRADIO_SERVER_PORT": "9000"}, 9000),
        (8000, {"GRADIO_SERVER_PORT": "9000"}, 8000),
        (None, {"API_PORT": "5000"}, 7865),
        (None, {"API_PORT": "0"}, 0),
        (8000, {"API_PORT": "0"}, 8000),
    ],
)
def test_the_page_has_the_port_before_the_apis(port, environ, expected):
    assert command_line.webui_port(port, environ) == expected


def test_one_server_has_the_page_on_its_own_port_and_the_api_on_the_other(server):
    said = "".join(server.lines)
    page = re.search(r"Web page +(http://\S+)", said).group(1)
    for url in (page, f"http://127.0.0.1:{server.port}/ui"):
        with urlopen(url) as answer:
            text = answer.read().decode()
        assert '<base href="ui/">' in text and "frame-ancestors" in answer.headers["Content-Security-Policy"]
    with urlopen(f"{page}/v1/engine/queue") as answer:
        assert answer.status == 200
    assert server.get("/").status == 307


def test_a_port_of_the_pages_that_is_taken_ends_the_start_only_where_it_was_chosen(app, monkeypatch, capsys):
    with launcher.listener("127.0.0.1", 0) as other:
        port = str(other.getsockname()[1])
        monkeypatch.setattr(command_line, "DEFAULT_WEBUI_PORT", port)
        monkeypatch.delenv("GRADIO_SERVER_PORT", raising=False)
        monkeypatch.setenv("API_PORT", "5000")
        assert launcher.page_listener(app, command_line.parser().parse_args([])) is None
        told = capsys.readouterr().err
        assert f"port {port}: Address already in use" in told and "The web page is at /ui/" in told
        with pytest.raises(StartError, match="Address already in use"):
            launcher.page_listener(app, command_line.parser().parse_args(["--port", port]))
        monkeypatch.setenv("GRADIO_SERVER_PORT", port)
        with pytest.raises(StartError, match="Address already in use"):
            launcher.page_listener(app, command_line.parser().parse_args([]))


@pytest.mark.parametrize(
    ("port", "environ", "named"),
    [
        (None, {"API_PORT": "seven"}, "API_PORT is 'seven'"),
        (None, {"API_PORT": "70000"}, "API_PORT is 70000"),
        (65535, {}, "--port is 65535"),
        (-5, {}, "--port is -5"),
        (None, {"GRADIO_SERVER_PORT": "x"}, "GRADIO_SERVER_PORT is 'x'"),
    ],
)
def test_a_bad_port_is_told_with_its_source(port, environ, named):
    with pytest.raises(StartError, match=named):
        command_line.api_port(port, environ)


def test_a_flag_goes_before_the_environment_for_the_webhook():
    environ = {"WEBHOOK_URL": "http://environment/"}
    assert decided(environ=environ) == {"WEBHOOK_URL": "http://environment/"}
    assert decided(environ=environ | {"FOOOCUS_WEBHOOK_URL": "http://own/"}) == {}
    assert decided("--webhook-url", "http://flag/", environ=environ) == {"WEBHOOK_URL": "http://flag/"}


def test_downloads_are_allowed_by_a_flag_and_the_hubs_mirror_is_the_flags_or_the_environments():
    assert decided("--allow-downloads", "--hf-mirror", "https://m/") == {
        "ALLOW_DOWNLOADS": True,
        "HF_MIRROR": "https://m/",
    }
    environ = {"HF_MIRROR": "http://environment"}
    assert decided(environ=environ) == {"HF_MIRROR": "http://environment"}
    assert decided(environ=environ | {"FOOOCUS_HF_MIRROR": "http://own"}) == {}
    assert decided("--hf-mirror", "http://flag", environ=environ) == {"HF_MIRROR": "http://flag"}
    with pytest.raises(StartError, match=r"--hf-mirror is 'hub\.example'.*https://"):
        decided("--hf-mirror", "hub.example")


def test_flags_that_are_not_given_decide_nothing():
    assert decided() == {}


def test_the_flags_decide_their_settings(tmp_path):
    flags = [
        "--apikey",
        "k",
        "--base-url",
        "h:80",
        "--preset",
        "anime",
        "--disable-metadata",
        "--models",
        str(tmp_path),
    ]
    assert decided(*flags, "--instance", str(tmp_path / "state")) == {
        "API_KEY": "k",
        "BASE_URL": "h:80",
        "PRESET": "anime",
        "DISABLE_METADATA": True,
        "MODELS_PATH": str(tmp_path),
        "INSTANCE": str(tmp_path / "state"),
    }


def test_flags_of_the_predecessor_decide_settings_or_are_accepted_without_effect():
    without_effect = ["--persistent", "--skip-pip", "--preload-pipeline"]
    assert decided(*without_effect) == {}
    told = command_line.parser().format_help().split("accepted without effect", 1)[1]
    assert [flag for flag in without_effect if flag not in told] == []
    flags = ["--queue-size", "100", "--queue-history", "0", "--legacy-port", "8888", "--log-level", "warning"]
    assert decided(*flags) == {"QUEUE_LIMIT": 100, "HISTORY_LIMIT": 0, "LEGACY_PORT": 8888, "LOG_LEVEL": "WARNING"}
    assert command_line.parser().parse_args(["--host", "0.0.0.0"]).listen == "0.0.0.0"


@pytest.mark.parametrize("flag", ["--queue-size", "--queue-history"])
def test_a_negative_limit_is_told(flag):
    with pytest.raises(StartError, match=f"{flag} is -1"):
        decided(flag, "-1")


def test_a_legacy_port_that_is_none_is_told(make_app):
    assert command_line.legacy_ports(make_app()) == []
    with pytest.raises(StartError, match="LEGACY_PORT is 70000"):
        command_line.legacy_ports(make_app(LEGACY_PORT=70000))
    with pytest.raises(StartError, match="BLUEPRINTS_OFF leaves out legacy"):
        command_line.legacy_ports(make_app(LEGACY_PORT=8888, BLUEPRINTS_OFF="sdapi, legacy"))


def test_hashing_takes_the_threads_asked_for_or_one_a_core():
    assert decided("--rebuild-hash-cache", "3") == {"REBUILD_HASH_CACHE": 3}
    assert decided("--rebuild-hash-cache") == {"REBUILD_HASH_CACHE": os.cpu_count()}


def test_a_missing_output_folder_is_made(tmp_path):
    folder = tmp_path / "new" / "outputs"
    assert decided("--output-path", str(folder)) == {"OUTPUT_PATH": str(folder)}
    assert folder.is_dir()


def test_an_output_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="--output-path"):
        decided("--output-path", str(tmp_path / "file" / "outputs"))


def test_a_missing_models_folder_is_told(tmp_path):
    with pytest.raises(StartError, match="--models"):
        decided("--models", str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("argv", "environment"),
    [
        ([], {}),
        (["--gpu-device-id", "1"], {"CUDA_VISIBLE_DEVICES": "1"}),
        (["--always-cpu"], {"CUDA_VISIBLE_DEVICES": ""}),
        (["--always-cpu", "4", "--gpu-device-id", "1"], {"CUDA_VISIBLE_DEVICES": ""}),
    ],
)
def test_the_engine_sees_the_card_it_may_use(argv, environment):
    assert command_line.engine_environment(command_line.parser().parse_args(argv)) == environment


def test_connections_send_small_writes_at_once():
    with launcher.listener("127.0.0.1", 0) as listening:
        assert listening.getsockopt(plain_socket.IPPROTO_TCP, plain_socket.TCP_NODELAY)


def test_answers_count_until_they_are_closed():
    def app(environ, start_response):
        if environ["broken"]:
            raise ValueError
        return iter([b"one", b"two"])

    answers = launcher.Answers(app)
    first, second = (answers({"broken": False}, None) for _ in range(2))
    with pytest.raises(ValueError):
        answers({"broken": True}, None)
    assert list(first) == [b"one", b"two"] and not answers.written.is_set()
    first.close()
    assert not answers.written.is_set()
    second.close()
    assert answers.written.is_set()


def test_a_port_that_is_taken_is_told():
    with launcher.listener("127.0.0.1", 0) as first, pytest.raises(StartError, match="in use"):
        launcher.listener("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_a_public_address_without_a_key_is_an_open_one(app, host):
    assert launcher.open_hosts(app, [host, "127.0.0.1"]) == [host]


def test_a_configured_key_closes_it(make_app):
    assert launcher.open_hosts(make_app(API_KEY="k"), ["0.0.0.0"]) == []


def test_a_key_in_the_table_closes_it(app):
    with app.app_context():
        keys.add("studio", ["read"])
    assert launcher.open_hosts(app, ["0.0.0.0"]) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_loopback_address_is_not_open(app, host):
    assert launcher.open_hosts(app, [host]) == []


def test_the_warning_stands_out_and_says_what_to_do():
    lines = launcher.warning("0.0.0.0").splitlines()
    assert len(lines) > 5 and len({*map(len, lines)}) == 1 and set(lines[0]) == set(lines[-1]) == {"*"}
    told = "\n".join(lines)
    assert "WARNING: 0.0.0.0" in told and "--apikey" in told and "flask --app wsgi keys add" in told


@pytest.fixture
def begin(make_app, tmp_path, monkeypatch):
    """Does what the same command does in this process, up to where it would serve: then it is told to stop."""
    instance, made, create = tmp_path / "instance", [make_app()], fooocus_flask.create_app

    def created(**settings):
        made.append(create(**settings))
        return made[-1]

    def ended(app, socks, greeting, page):
        for sock in (*socks, page):
            sock.close()
        print(greeting)

    def begin(*argv, **environ):
        for name, word in {"API_PORT": "0", **postgresql.environment(instance), **environ}.items():
            monkeypatch.setenv(name, word)
        launcher.main(["--instance", str(instance), *argv])

    monkeypatch.setattr(fooocus_flask, "create_app", created)
    monkeypatch.setattr(launcher, "serve", ended)
    yield begin
    for app in made:
        fooocus_flask.close(app)


def told_at_start(server):
    """What the terminal shows until the server answers and is stopped, on stdout and on stderr."""
    first = server.stdout.readline()
    with urlopen(re.search(r"http://\S+", first).group() + "/ping"):
        server.send_signal(signal.SIGTERM)
    return first + server.stdout.read(), server.stderr.read()


@pytest.mark.parametrize(
    ("argv", "environ", "warned"),
    [
        (["--listen"], {}, True),
        (["--listen", "0.0.0.0"], {}, True),
        (["--listen", "--apikey", "k"], {}, False),
        (["--listen"], {"FOOOCUS_API_KEY": "k"}, False),
        (["--listen", "127.0.0.1"], {}, False),
    ],
)
def test_a_start_warns_if_the_server_will_be_open(begin, capsys, argv, environ, warned):
    begin(*argv, **environ)
    told = capsys.readouterr()
    assert "curl" in told.out
    assert [line[:12] for line in told.err.splitlines() if "WARNING:" in line] == ["*  WARNING: "] * warned


def test_a_server_that_is_open_warns_and_nowebui_has_it_serve_the_api_alone(tmp_path, database):
    with started(tmp_path, "--listen", "--nowebui") as server:
        greeting, told = told_at_start(server)
    assert "curl" in greeting and "API" in greeting and "Web page" not in greeting
    assert [line[:12] for line in told.splitlines() if "WARNING:" in line] == ["*  WARNING: "]


def test_a_server_with_keys_of_the_table_greets_with_a_key_and_does_not_warn(tmp_path, make_app):
    with make_app(INSTANCE=tmp_path).app_context():
        keys.add("studio", ["read"])
    with started(tmp_path, "--listen") as server:
        greeting, told = told_at_start(server)
    assert "X-API-KEY" in greeting and "WARNING:" not in told


def test_the_greeting_has_both_addresses_and_a_command():
    told = launcher.greeting_text("0.0.0.0", 7866, key=False)
    assert "http://127.0.0.1:7866\n" in told and "http://127.0.0.1:7866/docs\n" in told
    assert "Web page" not in told
    assert "http://[::1]:7865\n" in launcher.greeting_text("::", 7866, page=7865, key=False)
    command = shlex.split(next(line for line in told.splitlines() if "curl" in line).partition(":")[2])
    assert command[0] == "curl" and command[-1] == "http://127.0.0.1:7866/v1/engine/generate/"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop_at_a_second_port_too(tmp_path, database, number):
    """Which is where clients of the predecessor look for it."""
    with launcher.listener("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    with started(tmp_path, "--legacy-port", str(port)) as server:
        try:
            first = re.search(r"http://\S+", server.stdout.readline()).group()
            for url in (first, f"http://127.0.0.1:{port}"):
                with urlopen(f"{url}/ping") as reply:
                    assert reply.read().strip() == b'"pong"'
                with urlopen(f"{url}/v1/generation/job-queue") as reply:
                    assert b'"running_size":0' in reply.read()
            server.send_signal(number)
            assert exit_status(server) == 0
        finally:
            server.kill()
        assert f"Fooocus-API    http://127.0.0.1:{port}\n" in server.stdout.read()
        assert "Traceback" not in server.stderr.read()


@pytest.mark.parametrize(
    ("argv", "environ", "named"),
    [
        ([], {"API_PORT": "seven"}, "API_PORT is 'seven'"),
        (["--preset", "nowhere"], {}, "There is no preset 'nowhere'"),
        (["--models", "/nowhere"], {}, "--models is '/nowhere'"),
    ],
)
def test_a_start_that_cannot_be_ends_with_a_sentence(begin, capsys, argv, environ, named):
    with pytest.raises(SystemExit) as end:
        begin(*argv, **environ)
    told = capsys.readouterr().err
    assert end.value.code == 2
    assert told.startswith("wsgi.py: ") and named in told and told.count("\n") == 1


def test_a_process_that_cannot_start_ends_with_a_sentence(tmp_path, database):
    with started(tmp_path, "--preset", "nowhere") as server:
        told = server.communicate(timeout=CEILING)[1]
    assert server.returncode == 2
    assert told.startswith("wsgi.py: ") and "There is no preset 'nowhere'" in told and told.count("\n") == 1
