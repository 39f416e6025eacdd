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
import pathlib, sys
from fooocus_flask.access.kept_secrets import kept
print(kept(pathlib.Path(sys.argv[1]), 'p_'))
"""


def making(path, **options):
    """A process that wants the secret in this file."""
    command = [sys.executable, "-c", MAKE, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    path = tmp_path / "secret"
    secret = kept(path, "p_")
    assert kept(path, "p_") == secret
    assert len(base64.b64decode(secret.removeprefix("p_"))) == kept_secrets.BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_all_who_start_at_once_have_the_same_secret(tmp_path):
    processes = [making(tmp_path / "secret") for _ in range(4)]
    found = {process.communicate()[0] for process in processes}
    assert len(found) == 1 and found.pop().strip() == kept(tmp_path / "secret", "p_")


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
    limited = making(
        tmp_path / "secret",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY)),
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    told = limited.communicate()[1]
    assert limited.returncode and "cannot be written" in told
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
