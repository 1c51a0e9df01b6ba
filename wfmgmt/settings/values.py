"""Values of settings: addresses, and lists that the environment gives as texts."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from wfmgmt.domain.addresses import is_loopback
from wfmgmt.domain.threads import MAX_THREADS

_LOOPBACK = "127.0.0.1"
#: Hosts that stand for every address of the machine.
_ALL_HOSTS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognized, not listened on


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server listens.

    Attributes:
        host: Host name or IP address, without brackets.
        port: 0 to 65535; 0 lets the system pick a free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    @classmethod
    def parse(cls, text: object) -> "Address":
        """Read `host:port` or `[v6]:port`.

        Raises:
            ValueError: The text has another form.
        """
        if isinstance(text, cls):
            return text
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})", str(text))
        if found is None or int(found[3]) > 65535:  # noqa: PLR2004 - the largest port
            raise ValueError("expected host:port, for example 127.0.0.1:8081")
        return cls(host=found[1] or found[2], port=int(found[3]))

    def overlaps(self, other: "Address") -> bool:
        """Return whether two servers cannot listen on these at the same time."""
        hosts = {_LOOPBACK if address.host == "localhost" else address.host for address in (self, other)}
        return self.port == other.port != 0 and (len(hosts) == 1 or not hosts.isdisjoint(_ALL_HOSTS))


def read_list(value: object) -> object:
    """Split a comma-separated text."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return tuple(value) if isinstance(value, list) else value


def read_archives(value: object) -> object:
    """Split a comma-separated text of names of workflow archives, or take the word that stands for all."""
    names = read_list(value)
    if isinstance(names, tuple) and names != ("all",):
        for name in names:
            if not str(name).endswith(".war") or "/" in str(name):
                raise ValueError(
                    f"expected all, or names of .war files in the workflow store separated by commas, not {name}"
                )
    return names


def read_modules(value: object) -> object:
    """Split a comma-separated text of module names, and check that they are some."""
    names = read_list(value)
    if isinstance(names, tuple):
        for name in names:
            if not all(part.isidentifier() for part in str(name).split(".")):
                raise ValueError("expected names of modules separated by commas, for example torch,numpy")
    return names


def read_threads(value: object) -> object:
    """Read a number of threads, or one of two words that decide it."""
    if value in ("auto", "off") or (str(value).isdecimal() and 1 <= int(str(value)) <= MAX_THREADS):
        return value
    raise ValueError(f"expected auto, off, or a whole number from 1 to {MAX_THREADS}")


def read_urls(value: object) -> object:
    """Split a comma-separated text of addresses, and check that they are some."""
    urls = read_list(value)
    if isinstance(urls, tuple):
        for url in urls:
            if not re.fullmatch(
                r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?", str(url)
            ):
                raise ValueError("expected addresses separated by commas, for example http://127.0.0.1:9081")
        return tuple(str(url).rstrip("/") for url in urls)
    return urls


def read_hosts(value: object) -> object:
    """Split a comma-separated text of names as `Host` carries them, without ports."""
    names = read_list(value)
    if isinstance(names, tuple):
        for name in names:
            if not re.fullmatch(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", str(name)):
                raise ValueError("expected names of hosts without ports, for example models.example,*.internal.example")
    return names


def read_origins(value: object) -> object:
    """Split a comma-separated text of origins as browsers send them."""
    origins = read_list(value)
    if not isinstance(origins, tuple):
        return origins
    for origin in origins:
        if origin == "*":
            raise ValueError(
                "* would let every web page register workflows, which is code that runs here; list the exact origins"
            )
        if not re.fullmatch(r"[A-Za-z][\w+.-]*://(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:[0-9]{1,5})?", str(origin), re.ASCII):
            raise ValueError("expected exact origins separated by commas, for example https://app.example")
    lowered = [str(origin).lower() for origin in origins]
    return tuple(re.sub(r"^(http://.*):80$|^(https://.*):443$", r"\1\2", origin) for origin in lowered)


def read_proxies(value: object) -> object:
    """Split a comma-separated text of addresses and networks, and check that they are some."""
    proxies = read_list(value)
    if isinstance(proxies, tuple):
        for proxy in proxies:
            try:
                if proxy != "unix":
                    ipaddress.ip_network(str(proxy))
            except ValueError as error:
                raise ValueError(
                    f"expected IP addresses, networks or unix with commas between, like 10.0.0.5,10.1.0.0/16: {error}"
                ) from error
    return proxies


def read_anchor(value: object) -> object:
    """Make the path of a file absolute, and leave an address as it is."""
    text = str(value)
    return str(Path(text).absolute()) if text and "://" not in text else value


Urls = Annotated[tuple[str, ...], BeforeValidator(read_urls)]
ListenAddress = Annotated[Address, BeforeValidator(Address.parse)]
