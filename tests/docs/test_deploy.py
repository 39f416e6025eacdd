"""The files of `deploy/` name what is there; that nginx serves with its site's file is told in `test_nginx`."""

import lzma
import re
import shlex
import shutil
import subprocess

import jsonschema
import pytest
import yaml
from setuptools import find_packages

from tests.fleet_cluster import ENVIRONMENT
from tests.serving import ROOT

DEPLOY = ROOT / "deploy"
FLEET = DEPLOY / "fleet"
CRD = ROOT / "tests" / "docs" / "vendor" / "ray.io_rayclusters.yaml.xz"
"""KubeRay's own schema, ray-operator/config/crd/bases/ray.io_rayclusters.yaml of its repository."""


def copied():
    """What the Dockerfile copies from the project's folder."""
    lines = re.findall(r"^COPY (.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    return {source for line in lines for source in shlex.split(line)[:-1]}


def test_the_image_has_all_that_is_installed_and_nothing_is_missing():
    named = set(re.search(r"include=\[(.+?)\]", (ROOT / "setup.py").read_text()).group(1).replace('"', "").split(", "))
    packages = {name for name in find_packages(ROOT, include=named) if "." not in name}
    assert packages | {"setup.py", "constraints.txt", "wsgi.py", "gunicorn.conf.py"} <= copied()
    assert [source for source in copied() if not (ROOT / source).exists()] == []


def test_compose_s_nginx_asks_the_service_and_reads_the_pictures_in_its_volume():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    shell = services["nginx"]["command"][2]
    line = shell.partition(" > ")[0].replace("/fooocus.conf", str(DEPLOY / "nginx.conf"))
    site = subprocess.run(["sh", "-c", line], check=True, capture_output=True, text=True).stdout
    assert "server fooocus:7866;" in site and "127.0.0.1" not in site
    aliases = re.findall(r"alias (\S+);", site)
    assert aliases == ["/state/outputs/", "/state/inputs/", "/state/thumbnails/"]
    assert "state:/state:ro" in services["nginx"]["volumes"] and "state:/state" in services["fooocus"]["volumes"]


@pytest.fixture(scope="module")
def start():
    """The options of `ray start`, with those that take no value apart."""
    scripts = pytest.importorskip("ray.scripts.scripts", reason="Ray is not installed; `pip install -e .[ray]`")
    return {word: option.is_flag for option in scripts.start.params for word in option.opts}


def ray_starts():
    """Every `ray start` of the fleet's files, as words."""
    unit = (FLEET / "fooocus-node.service").read_text()
    command = re.search(r"^ExecStart=(.+) \$RAY_START$", unit, re.MULTILINE).group(1)
    variants = re.findall(r"^#\s+RAY_START=((?:--\S+ ?)+?)(?:  .*)?$", unit, re.MULTILINE)
    assert len(variants) == 2
    yield from (shlex.split(f"{command} {variant}") for variant in variants)
    services = yaml.safe_load((FLEET / "compose.yaml").read_text())["services"]
    yield services["node-1"]["command"]
    yield services["node-2"]["command"]
    yield shlex.split(re.search(r"do (ray start .+?);", services["head"]["command"][2]).group(1))
    groups = cluster()["spec"]
    for group in (groups["headGroupSpec"], *groups["workerGroupSpecs"]):
        yield ["ray", "start", "--block", *(f"--{name}={value}" for name, value in group["rayStartParams"].items())]


def cluster():
    """The RayCluster."""
    return next(yaml.safe_load_all((FLEET / "raycluster.yaml").read_text()))


def test_whatever_starts_ray_gives_it_options_that_it_has(start):
    commands = list(ray_starts())
    assert len(commands) == 7
    for command in commands:
        named = [word.partition("=") for word in command if word.startswith("--")]
        assert {name: is_set == "" for name, is_set, _ in named} == {name: start[name] for name, _, _ in named}


def test_all_machines_of_a_fleet_have_the_same_ports():
    """Whoever opens them reads them in one place."""
    told = [{word for word in command if "-port=" in word and "--port" not in word} for command in ray_starts()]
    assert told[0] and all(ports == told[0] for ports in told[:5])
    for page in ("docs/scaling.md", "docs/scaling.zh-CN.md"):
        text = (ROOT / page).read_text("utf-8")
        assert all(word.partition("=")[2] in text for word in told[0])


def strict(schema):
    """A Kubernetes schema as the API server reads it: members that it does not name are refused."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(part) for name, part in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    return found


@pytest.fixture(scope="module")
def kuberay():
    """Says what KubeRay's schema finds wrong with a RayCluster."""
    with lzma.open(CRD) as file:  # libyaml's loader reads a megabyte in a second, and Python's own in ten
        versions = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]["versions"]
    (schema,) = (version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1")
    validator = jsonschema.Draft202012Validator(strict(schema))
    return lambda manifest: [f"{fault.json_path}: {fault.message[:200]}" for fault in validator.iter_errors(manifest)]


def test_the_ray_cluster_is_one_by_kuberay_s_schema(kuberay):
    assert kuberay(cluster()) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("headGroupSpec", "template", "spec", "containers", 0, "livenessProbe", "httpGet", "paht"), "/health"),
        (("workerGroupSpecs", 0, "replica"), 2),
        (("workerGroupSpecs", 0, "replicas"), "two"),
        (("authOptions", "mode"), "tokens"),
    ],
)
def test_a_ray_cluster_that_is_none_is_found_out(kuberay, place, value):
    manifest = cluster()
    within = manifest["spec"]
    for part in place[:-1]:
        within = within[part]
    within[place[-1]] = value
    (fault,) = kuberay(manifest)
    assert str(place[-1]) in fault


def test_the_fleet_has_the_ray_that_is_tested():
    ray = pytest.importorskip("ray", reason="Ray is not installed; `pip install -e .[ray]`")
    assert cluster()["spec"]["rayVersion"] == ray.__version__


def test_what_is_left_to_a_node_at_its_end_is_longer_than_it_drains():
    """Whoever stops it kills it afterwards."""
    unit = (FLEET / "fooocus-node.service").read_text()
    drain, stop = (int(re.search(rf"{name}=(\d+)", unit).group(1)) for name in ("TIMEOUT_S", "TimeoutStopSec"))
    node = yaml.safe_load((FLEET / "compose.yaml").read_text())["services"]["node-1"]
    pod = cluster()["spec"]["workerGroupSpecs"][0]["template"]["spec"]
    told = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}
    name = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
    assert drain == node["environment"][name] == int(told[name])
    assert drain < stop == int(node["stop_grace_period"].removesuffix("s")) == pod["terminationGracePeriodSeconds"]


def test_every_head_finds_out_as_soon_as_the_tested_one_that_a_machine_is_silent():
    unit = (FLEET / "fooocus-node.service").read_text()
    head = yaml.safe_load((FLEET / "compose.yaml").read_text())["services"]["head"]
    pod = cluster()["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    told = {entry["name"]: entry.get("value") for entry in pod["env"]}
    tested = {name: value for name, value in ENVIRONMENT.items() if name.startswith("RAY_health_check_")}
    assert len(tested) == 3
    for name, value in tested.items():
        assert re.search(rf"\b{name}={value}\b", unit)
        assert str(head["environment"][name]) == told[name] == value


@pytest.mark.parametrize("wrong", ["", "KillMode=mixe", "[Servic]", "StateDirectory=/absolute"])
def test_systemd_understands_the_units(tmp_path, wrong):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not there")
    for unit in (DEPLOY / "fooocus-flask.service", FLEET / "fooocus-node.service"):
        (tmp_path / unit.name).write_text(re.sub(r"/opt/fooocus-flask/.venv/bin/\S+", "/bin/true", unit.read_text()))
    drop_in = tmp_path / "fooocus-flask.service.d" / "fleet.conf"
    drop_in.parent.mkdir()
    drop_in.write_text((FLEET / "fooocus-flask.conf").read_text() + wrong + "\n")
    command = [analyze, "verify", "--man=no", *map(str, tmp_path.glob("*.service"))]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr.splitlines()
    assert bool([line for line in told if "fooocus" in line]) == bool(wrong), told
