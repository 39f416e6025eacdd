"""The files of `deploy/` name what is there; that nginx serves with its site's file is told in `test_nginx`."""

import re
import shlex
import subprocess

import yaml
from setuptools import find_packages

from tests.serving import ROOT

DEPLOY = ROOT / "deploy"


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
