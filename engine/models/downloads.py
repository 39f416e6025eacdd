"""Model files fetched from where they can be had: taken up where a broken try ended, checked, then put in place.

No torch. Until a file is whole and checked it is called `….part`; beside it lies what tells whether the server still
has the same file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from engine.interruption import Interruption
from engine.job import Stopped
from engine.models.known_files import KnownFile, mirrored

CHUNK = 1 << 20
TIMEOUTS = (15.0, 60.0)
"""Seconds to wait for a connection, and for more of an answer."""
DELAYS = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before each further try; a try that got anything starts the count anew."""
SHA256 = re.compile(r'"?([0-9a-f]{64})"?')

Tell = Callable[[int, str], object]
"""Told how far a file is, in percent, and a sentence for people."""


class DownloadError(Exception):
    """The file cannot be had; the text says why and what would work."""


class Broken(Exception):
    """This try failed, another may not."""


@dataclass(frozen=True)
class Source:
    """The file as the server has it: where it begins to differ from another, the rest of a part cannot be used.

    `validator` is a strong ETag or a date; `sha256` is what a hub says of its files.
    """

    url: str
    validator: str
    size: int | None
    sha256: str | None


class Part:
    """The file while it is not whole."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.notes = target.with_name(f"{target.name}.part.json")

    def source(self) -> Source | None:
        """What the part is of; None if there is none that can be taken up."""
        try:
            source = Source(**json.loads(self.notes.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return source if source.validator and self.length else None

    @property
    def length(self) -> int:
        """Bytes there are."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def begin(self, source: Source) -> None:
        """Start from nothing."""
        self.remove()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.notes.write_text(json.dumps(asdict(source)), "utf-8")

    def remove(self) -> None:
        """Throw it away."""
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


class Download:
    """One file on its way to `target`."""

    def __init__(self, file: KnownFile, target: Path, tell: Tell, interruption: Interruption, mirror: str = "") -> None:
        self.file, self.target, self.tell, self.interruption = file, target, tell, interruption
        self.url = mirrored(file.url, mirror)
        self.part = Part(target)
        self._percent = -1

    def run(self, delays: Sequence[float] = DELAYS) -> None:
        """Fetch, check and put in place.

        Raises:
            DownloadError: it cannot be had.
            Stopped: somebody asked for it; the part stays.
        """
        try:
            source = self._fetched(delays)
            self._check(source)
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.part.path.replace(self.target)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DownloadError(f"No space for {self.target}; {self.part.length} bytes are there") from error
            raise DownloadError(f"{self.file.name} could not be written to {self.target}: {error.strerror}") from error
        self.part.remove()

    def _fetched(self, delays: Sequence[float]) -> Source:
        """Try until the part is whole."""
        tries = 0
        with requests.Session() as session:
            while True:
                before = self.part.length
                try:
                    return self._try(session)
                except (requests.RequestException, Broken) as error:
                    tries = 0 if self.part.length > before else tries
                    if tries == len(delays):
                        raise DownloadError(f"{self.file.name} cannot be fetched from {self.url}: {error}") from error
                self._wait(delays[tries])
                tries += 1

    def _try(self, session: requests.Session) -> Source:
        """Fetch what is missing.

        Raises:
            Broken: the server has trouble, or sent another part than it was asked for.
            requests.RequestException: the connection broke.
        """
        known, start = self.part.source(), self.part.length
        if known is None or known.url != self.url or (known.size is not None and start > known.size):
            known, start = None, 0
        if known is not None and start == known.size:
            return known
        headers = {"Accept-Encoding": "identity"}
        if known is not None:
            headers |= {"Range": f"bytes={start}-", "If-Range": known.validator}
        with session.get(self.url, headers=headers, stream=True, timeout=TIMEOUTS) as answer:
            self._refuse(answer)
            if answer.status_code == 206 and known is not None:
                if not _continues(answer, known, start):
                    self.part.remove()
                    raise Broken("the server sent another part than it was asked for")
                source = known
            else:
                source, start = _source(self.url, answer), 0
                self.part.begin(source)
            self._expect(source, start)
            self._write(answer, source, start)
        if source.size is not None and self.part.length != source.size:
            raise Broken(f"{self.part.length} of {source.size} bytes came")
        return source

    def _refuse(self, answer: requests.Response) -> None:
        """Tell a broken try from an answer that will not change."""
        if self.url.startswith("https:") and not answer.url.startswith("https:"):
            raise DownloadError(f"{self.url} leads to {answer.url}, which is not encrypted")
        status = f"{answer.status_code} {answer.reason}"
        if answer.status_code == 416:
            self.part.remove()
        if answer.status_code in (408, 416, 429) or answer.status_code >= 500:
            raise Broken(status)
        if answer.status_code not in (200, 206):
            raise DownloadError(
                f"{self.file.name} cannot be fetched: {self.url} answers {status}. Put it at {self.target} by hand"
            )

    def _expect(self, source: Source, start: int) -> None:
        """Refuse a file of another size than the one known by this name, and one that the disk cannot hold."""
        if None not in (self.file.size, source.size) and self.file.size != source.size:
            self.part.remove()
            raise DownloadError(
                f"{self.url} has {source.size} bytes, but {self.file.name} should have {self.file.size}: another file"
            )
        free = shutil.disk_usage(self.part.path.parent).free
        if source.size is not None and source.size - start > free:
            raise DownloadError(
                f"No space for {self.file.name}: {amount(source.size - start)} are needed in "
                f"{self.target.parent}, and {amount(free)} are free"
            )

    def _write(self, answer: requests.Response, source: Source, start: int) -> None:
        with self.part.path.open("ab" if start else "wb") as stream:
            done = start
            self._tell(done, source.size)
            for chunk in answer.iter_content(CHUNK):
                self._stop_if_asked()
                stream.write(chunk)
                done += len(chunk)
                self._tell(done, source.size)
            stream.flush()
            os.fsync(stream.fileno())

    def _check(self, source: Source) -> None:
        """Compare checksums, where one is known."""
        kind, expected = ("md5", self.file.md5) if self.file.md5 else ("sha256", source.sha256)
        if not expected:
            return
        self.tell(100, f"Checking {self.file.name}")
        digest = hashlib.new(kind, usedforsecurity=False)
        with self.part.path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                self._stop_if_asked()
                digest.update(chunk)
        if digest.hexdigest() != expected:
            self.part.remove()
            raise DownloadError(
                f"What {self.url} sent is not {self.file.name}: its {kind} is {digest.hexdigest()}, not {expected}"
            )

    def _tell(self, done: int, size: int | None) -> None:
        percent = 100 * done // size if size else min(99, done * 100 // (done + (1 << 30)))
        if percent != self._percent:
            self._percent = percent
            so_far = f"{percent} % of {amount(size)}" if size else amount(done)
            self.tell(percent, f"Downloading {self.file.name}, {so_far}")

    def _stop_if_asked(self) -> None:
        if self.interruption.stopping:
            raise Stopped

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._stop_if_asked()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            self._stop_if_asked()


def download(
    file: KnownFile,
    target: Path,
    tell: Tell,
    interruption: Interruption,
    *,
    mirror: str = "",
    delays: Sequence[float] = DELAYS,
) -> None:
    """Fetch a file to `target`; `mirror` stands in for the hub that most files lie on.

    Its size and md5 are checked where the table has them, else the SHA-256 where the hub tells it.

    Raises:
        DownloadError: it cannot be had.
        Stopped: somebody asked for it; the next call goes on where this one ended.
    """
    Download(file, target, tell, interruption, mirror).run(delays)


def amount(size: int) -> str:
    """A number of bytes for people: `6.9 GB`, `213.8 kB`."""
    for unit, least in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size} bytes"


def _source(url: str, answer: requests.Response) -> Source:
    etag = answer.headers.get("ETag", "")
    strong = etag if not etag.startswith("W/") else ""
    length = answer.headers.get("Content-Length", "")
    linked = (SHA256.fullmatch(step.headers.get("X-Linked-Etag", "")) for step in (*answer.history, answer))
    return Source(
        url,
        strong or answer.headers.get("Last-Modified", ""),
        int(length) if length.isdecimal() else None,
        next((match.group(1) for match in linked if match), None),
    )


def _continues(answer: requests.Response, known: Source, start: int) -> bool:
    """Whether an answer of a part is the one that is missing, of the same file."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    now = _source(known.url, answer).validator
    if match is None or int(match[1]) != start or (now and now != known.validator):
        return False
    return match[2] == "*" or known.size in (None, int(match[2]))
