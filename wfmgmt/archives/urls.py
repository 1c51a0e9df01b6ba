"""Addresses that archives are downloaded from: parsed once by a narrow grammar, afterwards a typed value."""

import base64
import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import unquote, unquote_to_bytes, urljoin

from wfmgmt.domain.redaction import redacted_address
from wfmgmt.errors import BadRequest, DownloadFailed, RelativePathRefused, UrlNotAllowed

_LENGTH_LIMIT = 4096
_HOST_LENGTH_LIMIT = 253
_FILE_NAME_LIMIT = 128
_PORTS = {"http": 80, "https": 443}

# The characters of RFC 3986. Others, such as spaces, backslashes and control characters, are where parsers disagree.
_FOREIGN = re.compile(r"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]")
_SCHEME = re.compile(r"(https?)://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"(?!https?:)([a-z][a-z0-9+.-]{0,15}):", re.IGNORECASE)
_AUTHORITY = re.compile(
    r"(?:(?P<userinfo>[^@/?\[\]]*)@)?"
    r"(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[^@/?]*))?"
)
_PORT = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteUrl:
    """An http or https address of an archive, made by `parse_url`.

    Attributes:
        text: The address with its credentials, without its fragment; for no eye but the parser's.
        requested: The address without credentials and fragment; its query may be a secret.
        target: Path and query, as the request names them.
        shown: The same without its query; only this may be shown, logged or stored.
        scheme: `http` or `https`.
        host: Name or IP address in lower case, without brackets.
        port: The given or the usual one.
        userinfo: Credentials as they stand in the address; None when there are none.
        file_name: What a file made from this address may be called: `[A-Za-z0-9._-]`, up to 128 characters, neither
            empty nor hidden.
    """

    text: str = field(repr=False)
    requested: str = field(repr=False)
    target: str = field(repr=False)
    shown: str
    scheme: str
    host: str
    port: int
    userinfo: str | None = field(repr=False)
    file_name: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: credentials for one origin are not for another."""
        return self.scheme, self.host, self.port

    @property
    def authorization(self) -> str | None:
        """The value of the `Authorization` header (basic) that the credentials mean; None when there are none."""
        if not self.userinfo:
            return None
        user, _, password = self.userinfo.partition(":")
        pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def followed_by(self, suffix: str) -> "RemoteUrl":
        """Return the address whose path ends in a suffix more, and which has the same query.

        Raises:
            BadRequest: It is too long.
        """
        path, mark, query = self.text.partition("?")
        slash = "" if "/" in path.partition("://")[2] else "/"
        return parse_url(f"{path}{slash}{suffix}{mark}{query}")

    def redirected(self, location: str) -> "RemoteUrl":
        """Return the address that a `Location` header means when it comes from this one.

        Raises:
            UrlNotAllowed: It leads out of http and https.
            BadRequest, RelativePathRefused, DownloadFailed: It breaks the grammar, as for `parse_url`.
        """
        # `urljoin` repairs what it gets, so the grammar is applied to its input as well as to its outcome.
        _check_characters(location)
        if other := _OTHER_SCHEME.match(location):
            hint = f"it redirects to {other[1].lower()}:, and only http and https are followed"
            raise UrlNotAllowed(self.shown, hint)
        try:
            joined = urljoin(self.requested, location)
        except ValueError as exc:  # For one about brackets around what is not an IPv6 address.
            raise BadRequest("The url has no valid host.") from exc
        return parse_url(joined)


def is_remote(text: str) -> bool:
    """Return whether a `url` parameter is an http or https address rather than a name in a store."""
    return _SCHEME.match(text) is not None


def parse_url(text: str) -> RemoteUrl:
    """Parse an http or https address.

    The grammar is narrower than the RFC's: nothing that two parsers could understand differently, and no `.` or `..`
    segment in any spelling, is taken. Messages do not repeat the address before its credentials are known.

    Raises:
        BadRequest: A character has no place in an address, or the scheme, the credentials or the host are wrong.
        RelativePathRefused: The address has `..` in it.
        DownloadFailed: The port is not one.
    """
    _check_characters(text)
    text = text.partition("#")[0]
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise BadRequest("The url has to start with http:// or https://.")
    authority = _AUTHORITY.match(text, scheme.end())
    if authority is None or text[authority.end() : authority.end() + 1] not in {"", "/", "?"}:
        raise BadRequest("The url has no valid host, or its credentials are not percent-encoded.")
    requested = scheme[0] + text[authority.start("host") :]
    shown = requested.partition("?")[0]
    port = _port(authority["port"], _PORTS[scheme[1].lower()], requested)
    target = text[authority.end() :]
    path = target.partition("?")[0]
    if ".." in requested or {".", ".."} & set(re.split(r"[/\\]", unquote(path))):
        raise RelativePathRefused(redacted_address(shown))
    return RemoteUrl(
        text=text,
        requested=requested,
        target=target if path else f"/{target}",
        shown=shown,
        scheme=scheme[1].lower(),
        host=_host(authority["host"]),
        port=port,
        userinfo=authority["userinfo"],
        file_name=_file_name(path),
    )


def _check_characters(text: str) -> None:
    if len(text) > _LENGTH_LIMIT:
        raise BadRequest(f"The url is longer than {_LENGTH_LIMIT} characters.")
    if foreign := _FOREIGN.search(text):
        where = f"at position {foreign.start() + 1}"
        raise BadRequest(
            f"The url contains the character U+{ord(foreign[0]):04X} {where}; it has to be percent-encoded."
        )


def _host(text: str) -> str:
    if len(text) > _HOST_LENGTH_LIMIT:
        raise BadRequest(f"The host of the url is longer than {_HOST_LENGTH_LIMIT} characters.")
    if not text.startswith("["):
        return text.lower()
    try:
        return str(IPv6Address(text[1:-1]))
    except AddressValueError as exc:
        raise BadRequest("The url has no valid host: it is not an IPv6 address.") from exc


def _port(text: str | None, usual: int, requested: str) -> int:
    if text is None:
        return usual
    if _PORT.fullmatch(text) and int(text) < 2**16:
        return int(text)
    if "@" in requested:
        # The colon may stand before a password with a raw slash, so nothing of this may be repeated.
        raise BadRequest("The url has no valid port, or its credentials are not percent-encoded.")
    raise DownloadFailed(redacted_address(requested), "the port is not a number from 1 to 65535")


def _file_name(path: str) -> str:
    last = unquote(path.rpartition("/")[2], errors="replace")
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", last)[-_FILE_NAME_LIMIT:]
    return name.lstrip(".-") or "archive"
