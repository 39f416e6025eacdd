"""Pictures from other hosts: fetched within limits, each hop of the way checked."""

from __future__ import annotations

import http.client
from urllib.parse import urljoin

import gevent

from engine.images.reading import MOST_BYTES
from fooocus_flask.pictures import public_hosts
from fooocus_flask.pictures.public_hosts import AddressRefused
from fooocus_flask.version import VERSION

SECONDS = 20.0
MOST_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
PIECE = 64 * 1024
HEADERS = {
    "User-Agent": f"Mozilla/5.0 (compatible; fooocus-flask/{VERSION})",
    "Accept": "image/*,*/*;q=0.1",
    "Accept-Encoding": "identity",
}


class NotFetched(Exception):
    """There is no picture to be had at this URL; the text says why."""


def fetch(url: str, *, allow_private: bool = False, seconds: float = SECONDS, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes at this URL; what they are is for others to find out.

    Raises:
        NotFetched: the URL may not be asked, or gives nothing within the limits.
    """
    limit = gevent.Timeout(seconds)
    try:
        with limit:
            return _followed(url, allow_private, most_bytes)
    except gevent.Timeout as timeout:
        if timeout is not limit:
            raise
        raise NotFetched(f"the picture did not arrive within {seconds:g} s") from timeout
    except AddressRefused as error:
        raise NotFetched(str(error)) from error
    except http.client.HTTPException as error:
        raise NotFetched(public_hosts.NOT_HTTP) from error
    except OSError as error:
        raise NotFetched(f"the host cannot be reached: {public_hosts.failure_of(error)}") from error


def _followed(url: str, allow_private: bool, most_bytes: int) -> bytes:
    """The bytes at the end of the redirects."""
    for _ in range(MOST_REDIRECTS + 1):
        with public_hosts.exchange("GET", url, HEADERS, allow_private=allow_private) as answer:
            if answer.status not in REDIRECTS:
                return _body(answer, most_bytes)
            place = answer.getheader("Location")
        if not place:
            raise NotFetched("the host redirects to nowhere")
        try:
            url = urljoin(url, place)
        except ValueError as error:
            raise NotFetched("the host redirects to what is no URL") from error
    raise NotFetched(f"the host redirects more than {MOST_REDIRECTS} times")


def _body(answer: http.client.HTTPResponse, most_bytes: int) -> bytes:
    if answer.status != 200:
        raise NotFetched(f"the host answers {answer.status}")
    too_large = NotFetched(f"what is there is larger than {most_bytes} bytes")
    if answer.length is not None and answer.length > most_bytes:
        raise too_large
    body = bytearray()
    while piece := answer.read(PIECE):
        body += piece
        if len(body) > most_bytes:
            raise too_large
    return bytes(body)
