"""Requests to addresses that strangers name: only to public hosts, and only to the address that was looked at.

The resolver and the sockets are gevent's, so that waiting for them leaves the hub free.
"""

from __future__ import annotations

import errno
import http.client
import ipaddress
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import gevent
from gevent import socket, ssl
from werkzeug.urls import iri_to_uri

PORTS = {"http": 80, "https": 443}
FORBIDDEN_IN_URL = re.compile(r"[\x00-\x20\x7f\\]")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
CLOSED = (
    ipaddress.ip_network("192.0.0.0/24"),  # protocols' own, and a cloud's metadata
    ipaddress.ip_network("100.64.0.0/10"),  # behind a provider's address translation
    ipaddress.ip_network("192.88.99.0/24"),  # what once were 6to4 relays
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's host, from inside its virtual machines
)
"""Networks that are no business of strangers, though not all count as private."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(ValueError):
    """This server makes no request to such a URL; the text says why."""


@dataclass(frozen=True)
class HostAnswer:
    """What a host answered; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


NOT_HTTP = "the host's answer is not HTTP"


def failure_of(error: OSError) -> str:
    """Why a host could not be asked, in words that tell nothing of this machine."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the host's certificate is not good for it"
    if isinstance(error, ssl.SSLError):
        return "the host speaks no TLS that this server does"
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    return error.strerror or str(error)


class GuardedConnection(http.client.HTTPConnection):
    """A connection to one address that was checked, for a host that has that name."""

    def __init__(self, host: str, port: int, address: tuple[int, Any], context: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self.address, self.context = address, context

    def connect(self) -> None:
        """Connect to the address; the certificate must be the host name's."""
        family, place = self.address
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(place)
            self.sock = self.context.wrap_socket(sock, server_hostname=self.host) if self.context else sock
        except BaseException:
            sock.close()
            raise


def checked(url: str) -> SplitResult:
    """The parts of a URL that may be asked, as far as its text tells.

    Raises:
        AddressRefused: it is not http or https, names no host, or carries a user's name.
    """
    if FORBIDDEN_IN_URL.search(url):
        raise AddressRefused("the URL holds blanks, backslashes or control characters")
    try:
        parts = urlsplit(iri_to_uri(url))
        port = parts.port
    except ValueError as error:
        raise AddressRefused("the URL cannot be read") from error
    if parts.scheme not in PORTS:
        raise AddressRefused("only http:// and https:// URLs can be asked")
    if "@" in parts.netloc:
        raise AddressRefused("the URL must not carry a user name or a password")
    if not parts.hostname or port == 0:
        raise AddressRefused("the URL names no host")
    return parts


def check_text(url: str, *, allow_private: bool = False) -> None:
    """Refuse what can be refused before anything is asked: no resolver is, so a host that is a name passes.

    Raises:
        AddressRefused: the URL is none that may be asked, or its host is an IP address that is not public.
    """
    host = str(checked(url).hostname)
    address = literal(host)
    if address and not allow_private and not is_public(address):
        raise AddressRefused(f"{host} is not a public address")


def literal(host: str) -> str | None:
    """The IP address that this host is, in any spelling resolvers read (`127.1`, `0x7f000001`); None for a name."""
    try:
        ipaddress.ip_address(host)
        return host
    except ValueError:
        pass
    try:
        return str(socket.inet_ntoa(socket.inet_aton(host)))
    except (OSError, UnicodeError):
        return None


def resolved(host: str, port: int, *, allow_private: bool = False) -> list[tuple[int, Any]]:
    """Where this host is: a family and a socket address each, all of them allowed.

    Raises:
        AddressRefused: one of its addresses is not public.
        OSError: there is no such host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except ValueError as error:
        raise AddressRefused(f"{host!r} is no host name") from error
    if not allow_private and not all(is_public(place[0]) for *_, place in found):
        raise AddressRefused(f"{host} has an address that is not public")
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


def is_public(address: str) -> bool:
    """Whether an IP address is a public host's, and so is every IPv4 address it carries inside."""
    if "%" in address:  # a zone: valid on one link only
        return False
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and (inner := embedded(ip)):
        only_carries = ip.ipv4_mapped is not None or ip in NAT64
        return all(map(_is_public, inner)) and (only_carries or _is_public(ip))
    return _is_public(ip)


def embedded(ip: ipaddress.IPv6Address) -> list[Address]:
    """The IPv4 addresses that routers on the way may make of this one."""
    found: list[Address | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in NAT64:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]


def _is_public(ip: Address) -> bool:
    kinds = (ip.is_private, ip.is_loopback, ip.is_link_local, ip.is_multicast, ip.is_reserved, ip.is_unspecified)
    if any(kinds) or not ip.is_global or getattr(ip, "is_site_local", False):
        return False
    return ip not in LOCAL_NAT64 and not any(ip in network for network in CLOSED)


@contextmanager
def exchange(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    allow_private: bool = False,
) -> Iterator[http.client.HTTPResponse]:
    """One request and the open answer; redirects are not followed, proxies not used. Set a `gevent.Timeout` around it.

    Raises:
        AddressRefused: the host is none that may be asked.
        OSError: the host cannot be reached, or its certificate is not good.
        http.client.HTTPException: it does not speak HTTP.
    """
    parts = checked(url)
    host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    connection = _connected(parts.scheme, host, port, resolved(host, port, allow_private=allow_private))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, body, {"Host": parts.netloc, **(headers or {})})
        with connection.getresponse() as answer:
            yield answer
    finally:
        connection.close()


def _connected(scheme: str, host: str, port: int, addresses: list[tuple[int, Any]]) -> GuardedConnection:
    """A connection to the first address that answers."""
    context = ssl.create_default_context() if scheme == "https" else None
    failure: OSError = OSError(errno.EADDRNOTAVAIL, "the host has no address")
    for address in addresses:
        connection = GuardedConnection(host, port, address, context)
        try:
            connection.connect()
            return connection
        except OSError as error:
            failure = error
    raise failure


def guarded_request(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    timeout: float,
    allow_private: bool = False,
    most_bytes: int = 64 * 1024,
) -> HostAnswer:
    """One request and its answer, of whose body at most so many bytes are read.

    Raises:
        AddressRefused: the host is none that may be asked.
        OSError: the host cannot be reached, does not speak HTTP, or takes longer than `timeout` seconds in all.
    """
    limit = gevent.Timeout(timeout)
    try:
        with limit, exchange(method, url, headers, body, allow_private=allow_private) as answer:
            received = {name.lower(): value for name, value in answer.getheaders()}
            return HostAnswer(answer.status, received, answer.read(most_bytes))
    except gevent.Timeout as passed:
        if passed is not limit:
            raise
        raise TimeoutError(f"timed out: no answer within {timeout:g} s") from passed
    except http.client.HTTPException as error:
        raise OSError(NOT_HTTP) from error
