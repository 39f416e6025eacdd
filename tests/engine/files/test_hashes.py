"""Model hashes: right, kept, and computed anew when the file is another."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Timer

import pytest

from engine.files.hashes import CHUNK, HashCache, file_hash, hash_all


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def short(content):
    return hashlib.sha256(content).hexdigest()[:10]


def test_a_hash_is_the_start_of_the_whole_files_sha256(model):
    content = bytes(range(256)) * (CHUNK // 256) + b"and a bit more"
    model.write_bytes(content)
    told = []
    assert file_hash(model, lambda done, size: told.append((done, size))) == short(content)
    assert told == [(CHUNK, len(content)), (len(content), len(content))]


def test_a_hash_is_known_after_it_was_computed_and_after_a_restart(model, tmp_path):
    cache = HashCache(tmp_path / "state" / "hash_cache.txt")
    assert cache.known(model) is None
    assert cache.hash(model) == short(b"weights")
    assert cache.known(model) == short(b"weights")
    assert HashCache(cache.path).known(model) == short(b"weights")
    (line,) = cache.path.read_text().splitlines()
    assert json.loads(line)["path"] == str(model)


def test_a_known_hash_is_not_computed_again(model, tmp_path):
    cache = HashCache(tmp_path / "hash_cache.txt")
    cache.hash(model)
    told = []
    assert HashCache(cache.path).hash(model, lambda *progress: told.append(progress)) == short(b"weights")
    assert told == []


def test_two_engines_keep_what_either_computed(model, tmp_path):
    other = model.with_name("other.safetensors")
    other.write_bytes(b"others")
    first, second = (HashCache(tmp_path / "hash_cache.txt") for _ in range(2))
    first.hash(model), second.hash(other)
    assert len(first.path.read_text().splitlines()) == 2
    told = []
    assert first.hash(other, lambda *progress: told.append(progress)) == short(b"others")
    assert told == []


@pytest.mark.parametrize("content", [b"others!", b"longer weights"])
def test_a_changed_file_is_hashed_anew(model, tmp_path, content):
    cache = HashCache(tmp_path / "hash_cache.txt")
    cache.hash(model)
    model.write_bytes(content)
    os.utime(model, ns=(1, model.stat().st_mtime_ns + 1))
    assert cache.known(model) is None
    assert cache.hash(model) == short(content)
    assert len(cache.path.read_text().splitlines()) == 1


def test_files_that_are_gone_are_dropped_and_foreign_lines_passed_over(model, tmp_path):
    path = tmp_path / "hash_cache.txt"
    path.write_text('{"/some/model.safetensors": "0123456789"}\nnot json\n[]\n{"path": "cut')
    gone = tmp_path / "gone.safetensors"
    gone.write_bytes(b"old")
    cache = HashCache(path)
    cache.hash(gone)
    gone.unlink()
    assert cache.known(gone) is None
    cache.hash(model)
    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == [str(model)]


def test_a_missing_file_has_no_hash(tmp_path):
    cache = HashCache(tmp_path / "hash_cache.txt")
    assert cache.known(tmp_path / "none") is None
    with pytest.raises(FileNotFoundError):
        cache.hash(tmp_path / "none")


def test_many_are_hashed_at_once_and_one_that_cannot_be_stops_none(tmp_path, caplog):
    files = [tmp_path / f"{number}.safetensors" for number in range(5)]
    for file in files:
        file.write_bytes(file.name.encode())
    cache = HashCache(tmp_path / "hash_cache.txt")
    hash_all(cache, [*files, tmp_path / "none"], 3)
    again = HashCache(cache.path)
    assert [again.known(file) for file in files] == [short(file.name.encode()) for file in files]
    assert f"no hash of {tmp_path / 'none'}" in caplog.text


class Reading:
    """A model that is read when `go` is set, in place of the file's own reading."""

    def __init__(self, monkeypatch, error=None):
        self.begun, self.go, self.times, self.error = Event(), Event(), 0, error
        monkeypatch.setattr("engine.files.hashes.file_hash", self.read)

    def read(self, file, progress):
        self.times += 1
        progress(3, 7)
        self.begun.set()
        assert self.go.wait(60)
        if self.error:
            raise self.error
        return "0123456789"


def test_two_threads_that_want_a_hash_compute_it_once_and_who_waits_tells_what_is_read(model, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.files.hashes.TICK", 0.01)
    cache, reading = HashCache(tmp_path / "hash_cache.txt"), Reading(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.hash, model)
        assert reading.begun.wait(60)
        told = []
        hear = lambda *progress: told.append(progress) or Timer(0.1, reading.go.set).start()  # noqa: E731
        assert cache.hash(model, hear) == first.result() == "0123456789"
    assert reading.times == 1
    assert told == [(3, 7)]  # once, though it was waited for longer: no sign of life of a thread that hangs


def test_who_waits_for_a_hash_that_fails_is_told_and_it_can_be_computed_later(model, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.files.hashes.TICK", 0.01)
    cache, reading = HashCache(tmp_path / "hash_cache.txt"), Reading(monkeypatch, TimeoutError("the share is gone"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.hash, model)
        assert reading.begun.wait(60)
        with pytest.raises(TimeoutError, match="share"):
            cache.hash(model, lambda done, size: reading.go.set())
        assert isinstance(first.exception(), TimeoutError)
    reading.error = None
    assert cache.hash(model) == "0123456789"
