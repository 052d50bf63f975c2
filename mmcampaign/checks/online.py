"""Whether the links of emails answer, asked of the servers themselves: only on request, and never of the way out.

Each address is asked once, with HEAD and, where a server does not like that, GET. Addresses inside a network are
refused, redirects included, so that an email cannot make this machine call its neighbours. Without a network nothing is
said to be in order: the links are "not checked".
"""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from mmcampaign.checks import limits

_REDIRECTS = 5
_AGENT = "mmcampaign link check"
_LIKES_NO_HEAD = frozenset({400, 403, 404, 405, 406, 409, 429, 501, 503})
# Servers that turn programs away say nothing about the page.
_TURNED_AWAY = frozenset({401, 403, 407, 429, 503, 999})

Resolver = Callable[[str, int], list[str]]


class NotReachedError(Exception):
    """No word could be had, and not by the link's fault: no network, no answer in time."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said. ``problem`` is empty for a link in order; ``checked`` is false where no word was had."""

    checked: bool
    problem: str = ""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host; OSError where there are none."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def is_public(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_global


def ask_all(
    addresses: Iterable[str],
    *,
    resolver: Resolver = resolve,
    allowed: Callable[[str], bool] = is_public,
) -> Mapping[str, Answer]:
    """The answer for each distinct address."""
    distinct = list(dict.fromkeys(addresses))
    with ThreadPoolExecutor(limits.LINKS_AT_ONCE) as pool:
        answers = pool.map(lambda address: ask(address, resolver=resolver, allowed=allowed), distinct)
        return dict(zip(distinct, answers, strict=True))


def ask(address: str, *, resolver: Resolver = resolve, allowed: Callable[[str], bool] = is_public) -> Answer:
    """One link, with its redirects."""
    try:
        status = _follow(address, resolver, allowed)
    except (NotReachedError, TimeoutError):
        return Answer(checked=False)
    except _RefusedError as error:
        return Answer(checked=True, problem=str(error))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(checked=True, problem=f"does not answer ({type(error).__name__})")
    if status in _TURNED_AWAY:
        return Answer(checked=False)
    return Answer(checked=True, problem=f"answers {status}" if status >= 400 else "")


class _RefusedError(Exception):
    """A link that is not asked after, and why."""


def _follow(address: str, resolver: Resolver, allowed: Callable[[str], bool]) -> int:
    for _ in range(_REDIRECTS + 1):
        status, onward = _request("HEAD", address, resolver, allowed)
        if status in _LIKES_NO_HEAD:
            status, onward = _request("GET", address, resolver, allowed)
        if not (300 <= status < 400 and onward):
            return status
        address = urljoin(address, onward)
    raise _RefusedError(f"leads on more than {_REDIRECTS} times")


def _request(method: str, address: str, resolver: Resolver, allowed: Callable[[str], bool]) -> tuple[int, str]:
    """Status and ``Location``. The connection goes to the address that was looked at, not to one resolved again."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _RefusedError("leads to an address that is none")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = _connect(parts.scheme, parts.hostname, port, resolver, allowed)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, headers={"User-Agent": _AGENT, "Accept": "*/*", "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Location", "")
    finally:
        connection.close()


def _connect(
    scheme: str, host: str, port: int, resolver: Resolver, allowed: Callable[[str], bool]
) -> http.client.HTTPConnection:
    try:
        found = resolver(host, port)
    except socket.gaierror as error:
        if error.errno == getattr(socket, "EAI_NONAME", None) and _online(resolver):
            raise _RefusedError("leads to a host that does not exist") from None
        raise NotReachedError from None
    if not found or not all(map(allowed, found)):
        raise _RefusedError("leads into a private network")
    try:
        line = socket.create_connection((found[0], port), timeout=limits.LINK_SECONDS)
    except ConnectionRefusedError:
        raise
    except OSError:
        raise NotReachedError from None
    connection = http.client.HTTPConnection(host, port, timeout=limits.LINK_SECONDS)
    connection.sock = (
        ssl.create_default_context().wrap_socket(line, server_hostname=host) if scheme == "https" else line
    )
    return connection


def _online(resolver: Resolver) -> bool:
    """Whether names are resolved at all here: without a network every host "does not exist"."""
    try:
        return bool(resolver("www.edx.org", 443))
    except OSError:
        return False
