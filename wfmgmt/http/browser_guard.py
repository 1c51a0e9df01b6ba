"""The rule that keeps web pages from using a browser against this service.

A browser sends requests for any page that is open in it, also to addresses that only its own machine can reach. What a
page of another origin sends is refused unless its origin is allowed, and so is all that is sent under a name that is
not this server's: a page can point a name of its own at any address, and its requests are of the same origin then.
Clients that are not browsers send an IP address or a known name as `Host` and none of the other headers.

Source:
    Go 1.25, `http.CrossOriginProtection`; Datasette, `csrf.py`; Jupyter Server, check of `Host`; Fetch Standard, CORS.
"""

import contextlib
import ipaddress
import logging
import re
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Mapping

from wfmgmt.errors import CrossOriginRefused

#: Says what is refused.
LOG = logging.getLogger("wfmgmt.guard")
#: Gives the value of a header of one request by its name, of several with that name all; None when there is none.
Header = Callable[[str], str | None]

#: Health checks come from load balancers under any name, and change nothing.
EXEMPT_PATHS = frozenset({"/ping", "/ping/", "/readyz", "/readyz/", "/livez", "/livez/"})

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{0,5})?")
_BEARER = re.compile(r"bearer +\S+", re.IGNORECASE)
_MAX_SHOWN = 100
#: Values of `Host` that were found good, so that the usual ones need not be read each time.
_MAX_REMEMBERED = 1000
#: How long a request may wait, once in the life of the process, for the full name of this host.
_LOOKUP_WAIT_S = 1.0
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Max-Age": "600",
}


class HostNames:
    """The names of this host: the one it was given, and the full one, which may take a look-up.

    Args:
        look_up: Returns the full name; may take as long as a resolver that does not answer.
    """

    def __init__(self, look_up: Callable[[], str] = socket.getfqdn) -> None:
        self._names = {socket.gethostname().lower()}
        self._look_up = look_up
        self._lock = threading.Lock()
        self._is_looked_up = False

    def __contains__(self, name: str) -> bool:
        if name not in self._names and not self._is_looked_up:
            with self._lock:
                self._add_full_name()
        return name in self._names

    def _add_full_name(self) -> None:
        if self._is_looked_up:
            return
        self._is_looked_up = True
        thread = threading.Thread(target=lambda: self._names.add(self._look_up().lower()), daemon=True)
        with contextlib.suppress(RuntimeError):  # There may be no thread to be had.
            thread.start()
            thread.join(_LOOKUP_WAIT_S)


class BrowserGuard:
    """Decides about one request at a time from its method, path and headers. Thread-safe.

    Args:
        allowed_hosts: Further names of this server; `*.example` stands for all names below `example`.
        cors_origins: Origins whose pages may send everything and read the answers.
        own_names: The names of this host.
    """

    def __init__(
        self,
        *,
        allowed_hosts: Iterable[str] = (),
        cors_origins: Iterable[str] = (),
        own_names: Collection[str] | HostNames | None = None,
    ) -> None:
        names = {name.lower() for name in allowed_hosts}
        self._names = frozenset({"localhost", *(name for name in names if not name.startswith("*."))})
        self._suffixes = (".localhost", *(name.removeprefix("*") for name in names if name.startswith("*.")))
        self._cors_origins = frozenset(cors_origins)
        self._own_names = HostNames() if own_names is None else own_names
        self._good_hosts: set[str] = set()

    def check(self, method: str, path: str, header: Header) -> None:
        """Return if a request may be answered.

        Args:
            method: As the client sent it; there is no header that overrides it.
            path: What the request is routed by, without the query.
            header: Gives the request's headers.

        Raises:
            CrossOriginRefused: A web page may have sent it that has no business here.
        """
        host = header("Host")
        # A browser always sends a host, so a request without one is none of its.
        if host is not None and host not in self._good_hosts and not self._is_own_host(host):
            if path not in EXEMPT_PATHS:
                raise CrossOriginRefused(
                    f"{_shown(host)} is not a name of this server; WFMGMT_ALLOWED_HOSTS lists the names "
                    "that it has beside IP addresses, localhost and the name of its host.",
                    check="host",
                )
        elif method not in _SAFE_METHODS and not self._is_own_page(host, header) and path not in EXEMPT_PATHS:
            origin = header("Origin")
            sender = _shown(origin) if origin else "another origin"
            raise CrossOriginRefused(
                f"A web page of {sender} must not send {_shown(method)} requests to this server; "
                "WFMGMT_CORS_ORIGINS lists the origins whose pages may.",
                check="origin",
            )

    def _is_own_host(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        if not (self._is_own_name(found["name"]) if found["name"] else _is_address(found["v6"])):
            return False
        if len(self._good_hosts) < _MAX_REMEMBERED:
            self._good_hosts.add(host)
        return True

    def _is_own_name(self, text: str) -> bool:
        name = text.lower().removesuffix(".")
        return name in self._names or name.endswith(self._suffixes) or _is_address(name) or name in self._own_names

    def _is_own_page(self, host: str | None, header: Header) -> bool:
        """Return whether a request that changes something comes from no page, or from one that may send it."""
        site, origin = header("Sec-Fetch-Site"), header("Origin")
        if site is None:
            if origin is None or (host is not None and origin.lower().partition("://")[2] == host.lower()):
                return True
        elif site in _OWN_SITES:
            return True
        if origin in self._cors_origins:
            return True
        # No page can send a token of its own along without being asked first, and no browser adds one.
        return header("Cookie") is None and _BEARER.fullmatch(header("Authorization") or "") is not None

    def is_preflight(self, method: str, header: Header) -> bool:
        """Return whether a browser asks what an allowed page may send; the guard itself answers that."""
        return (
            method == "OPTIONS"
            and header("Origin") in self._cors_origins
            and header("Access-Control-Request-Method") is not None
        )

    def answer_headers(self, header: Header, *, is_preflight: bool = False) -> Mapping[str, str]:
        """Return what lets a browser show an answer to pages of allowed origins; nothing when no origin is allowed."""
        if not self._cors_origins:
            return {}
        headers = {"Vary": "Origin"}
        if (origin := header("Origin")) in self._cors_origins and origin is not None:
            headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "*"}
            if is_preflight:
                headers |= _PREFLIGHT
                if header("Access-Control-Request-Private-Network") == "true":
                    headers["Access-Control-Allow-Private-Network"] = "true"
        return headers


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _shown(text: str) -> str:
    """Return what a client sent as something that can stand in a log and in an answer."""
    return ascii(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…")
