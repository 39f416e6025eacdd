"""Model files fetched from where they can be had: taken up where a broken try ended, checked, then put in place.

No torch. Until a file is whole and checked it is called `….part`; beside it lies what tells whether the server still
has the same file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests

from engine.errors import is_disk_full
from engine.files.known_files import KnownFile
from engine.interruption import Interruption, Stopped

CHUNK = 1 << 20
PIECE = 1 << 16
"""Bytes taken from a connection at once: a slow one reports progress, and can be stopped, after so many."""
TIMEOUTS = (4.0, 60.0)
"""Seconds to wait for a connection, and for more of an answer."""
CONNECT_PATIENCE = 10.0
"""Seconds after which no further try begins at a host that has not answered at all."""
SHA256 = re.compile(r'"?([0-9a-f]{64})"?')

Tell = Callable[[int, int | None], object]
"""Told how many bytes of a file are there, and how many it has, where that is known."""


class DownloadError(Exception):
    """The file cannot be had; the text says why and what would work."""


class NoSpace(DownloadError):
    """The disk cannot hold the file."""


class Unreachable(DownloadError):
    """The host has not answered any try."""


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


class PartialFile:
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

    def __init__(self, file: KnownFile, target: Path, tell: Tell, interruption: Interruption) -> None:
        self.file, self.target, self.tell, self.interruption = file, target, tell, interruption
        self.url, self.told_url = file.url, shown(file.url)
        self.folder = f"the models folder {file.kind}"
        self.part = PartialFile(target)
        self.answered = False

    def run(self, delays: Sequence[float]) -> None:
        """Fetch, check and put in place; `delays` are seconds before each further try.

        A try that got anything starts their count again; a host that answers none is given up sooner.

        Raises:
            Unreachable: the host does not answer.
            DownloadError: it cannot be had.
            Stopped: somebody asked for it; the part stays.
        """
        try:
            source = self._fetched(delays)
            self._check(source)
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.part.path.replace(self.target)
        except OSError as error:
            if is_disk_full(error):
                raise NoSpace(
                    f"No space for {self.file.name} from {self.told_url}: the disk of {self.folder} is full; "
                    f"{amount(self.part.length)} are there and are kept"
                ) from error
            raise DownloadError(
                f"{self.file.name} from {self.told_url} could not be written to {self.folder}: {error.strerror}"
            ) from error
        self.part.remove()

    def _fetched(self, delays: Sequence[float]) -> Source:
        """Try until the part is whole."""
        tries, begun = 0, time.monotonic()
        with requests.Session() as session:
            while True:
                before = self.part.length
                try:
                    return self._try(session)
                except (requests.RequestException, Broken) as error:
                    tries = 0 if self.part.length > before else tries
                    if tries == len(delays) or self._is_silent(begun, time.monotonic() + delays[tries]):
                        raise self._given_up(error) from error
                self._wait(delays[tries])
                tries += 1

    def _is_silent(self, begun: float, then: float) -> bool:
        """Whether the host has not answered so far, and will have had its time then."""
        return not self.answered and then > begun + CONNECT_PATIENCE

    def _given_up(self, error: Exception) -> DownloadError:
        text = f"{self.file.name} cannot be fetched from {self.told_url}: {_reason(error)}"
        if not self.answered:
            return Unreachable(text)
        return DownloadError(f"{text}. What came is kept; another request goes on from there")

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
            self.answered = True
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
            raise DownloadError(f"{self.told_url} leads to {shown(answer.url)}, which is not encrypted")
        status = f"{answer.status_code} {answer.reason}"
        if answer.status_code == 416:
            self.part.remove()
        if answer.status_code in (408, 416, 429) or answer.status_code >= 500:
            raise Broken(status)
        if answer.status_code not in (200, 206):
            raise DownloadError(
                f"{self.file.name} cannot be fetched: {self.told_url} answers {status}. "
                f"Put it into {self.folder} by hand"
            )
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError(f"{self.told_url} answers a web page, not {self.file.name}")

    def _expect(self, source: Source, start: int) -> None:
        """Refuse a file of another size than the one known by this name, and one that the disk cannot hold."""
        if None not in (self.file.size, source.size) and self.file.size != source.size:
            self.part.remove()
            raise DownloadError(
                f"{self.told_url} has {source.size} bytes, but {self.file.name} should have {self.file.size}: "
                "another file"
            )
        free = shutil.disk_usage(self.part.path.parent).free
        if source.size is not None and source.size - start > free:
            raise NoSpace(
                f"No space for {self.file.name} from {self.told_url}: {amount(source.size - start)} are needed in "
                f"{self.folder}, and {amount(free)} are free"
            )

    def _write(self, answer: requests.Response, source: Source, start: int) -> None:
        with self.part.path.open("ab" if start else "wb") as stream:
            done = start
            self.tell(done, source.size)
            for piece in answer.iter_content(PIECE):
                self._stop_if_asked()
                stream.write(piece)
                done += len(piece)
                self.tell(done, source.size)
            stream.flush()
            os.fsync(stream.fileno())

    def _check(self, source: Source) -> None:
        """Compare checksums, where one is known."""
        kind, expected = ("md5", self.file.md5) if self.file.md5 else ("sha256", source.sha256)
        if not expected:
            return
        digest = hashlib.new(kind, usedforsecurity=False)
        with self.part.path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                self._stop_if_asked()
                digest.update(chunk)
        if digest.hexdigest() != expected:
            self.part.remove()
            raise DownloadError(
                f"What {self.told_url} sent is not {self.file.name}: its {kind} is {digest.hexdigest()}, not {expected}"
            )

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
    delays: Sequence[float] = (),
) -> None:
    """Fetch a file to `target`, with as many further tries as there are `delays`, in seconds.

    Its size and md5 are checked where the table has them, else the SHA-256 where the hub tells it.

    Raises:
        DownloadError: it cannot be had.
        Stopped: somebody asked for it; the next call goes on where this one ended.
    """
    Download(file, target, tell, interruption).run(delays)


def shown(url: str) -> str:
    """An address as clients may read it: without user name and query, which may hold the operator's secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def sentence(name: str, done: int, size: int | None) -> str:
    """How far a file is, for people."""
    if size and done >= size:
        return f"Checking {name}"
    return f"Downloading {name}, {f'{100 * done // size} % of {amount(size)}' if size else amount(done)}"


def amount(size: int) -> str:
    """A number of bytes for people: `6.9 GB`, `213.8 kB`."""
    for unit, least in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size} bytes"


def _reason(error: Exception) -> str:
    """Why a try failed; the library's own words may hold the whole address."""
    if isinstance(error, Broken):
        return str(error)
    if isinstance(error, requests.Timeout):
        return "no answer came in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the host's certificate, or its encryption, is not good"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return "no connection could be made, or it broke off"


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
