"""Secrets in files: whole or not there, the same for everyone who starts, and refused where they are none."""

import base64
import errno
import os
import resource
import subprocess
import sys

import pytest

from fooocus_flask.access import kept_secrets
from fooocus_flask.access.kept_secrets import SecretError, kept
from tests.serving import ROOT

MAKE = """
import os, pathlib, sys
from fooocus_flask.access.kept_secrets import kept
begin, end = os.pipe()
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        os.read(begin, 1)
        os.write(1, kept(pathlib.Path(sys.argv[1]), 'p_').encode() + b'\\n')
        os._exit(0)
os.write(end, b'x' * int(sys.argv[2]))
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""
"""A program whose processes, so many of them, want the secret in a file at the same moment."""


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    path = tmp_path / "secret"
    secret = kept(path, "p_")
    assert kept(path, "p_") == secret
    assert len(base64.b64decode(secret.removeprefix("p_"))) == kept_secrets.BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_all_who_start_at_once_have_the_same_secret(tmp_path):
    command = [sys.executable, "-c", MAKE, str(tmp_path / "secret"), "4"]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert found == [kept(tmp_path / "secret", "p_")] * 4


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "secret"
    secret = kept(path, "p_")
    assert path.stat().st_mode & 0o777 == 0o600
    kept_secrets._make(path, "p_another")  # as one that starts at the same moment would
    assert kept(path, "p_") == secret
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_a_full_disk_leaves_no_secret_behind(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(SecretError, match="cannot be written"):
            kept(tmp_path / "secret", "p_")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "\n", "p_", "p_c2hvcnQ=", "p_no base64 at all, however long it may be", "é" * 44])
def test_a_file_that_holds_no_secret_is_refused(tmp_path, text):
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(SecretError, match="delete it"):
        kept(path, "p_")
    assert path.read_text() == text


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "secret").mkdir()
    with pytest.raises(SecretError, match="cannot be read"):
        kept(tmp_path / "secret")
