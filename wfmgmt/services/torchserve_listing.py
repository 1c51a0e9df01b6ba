"""What a running TorchServe tells about its workflows, asked over its management API."""

import functools
import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from wfmgmt.archives.transfers import Transfer
from wfmgmt.archives.urls import parse_url
from wfmgmt.domain.limits import MIB
from wfmgmt.domain.names import quoted
from wfmgmt.errors import BadRequest, DownloadFailed, ListingFailed, RelativePathRefused

#: Time for all pages of the list together, and for each description.
TIMEOUT_S = 30.0
#: TorchServe gives no more on one page, whatever it is asked for.
PAGE_SIZE = 100
MAX_PAGES = 1000
#: Length of one answer; a hundred names and urls have a few kilobytes.
ANSWER_BYTES = 4 * MIB

_T = TypeVar("_T")
_KEY = re.compile(r"[\x21-\x7e]{1,1024}")
_KEY_FILE_BYTES = 64 * 1024
_TOKEN = re.compile(r"[0-9]{1,9}")
_WRONG_ADDRESS = "is it the management address of a TorchServe?"
_NUMBERS = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")
_GRAPH = "workflowDag"

#: What a description says, by TorchServe's names for it: four numbers and the graph.
Figures = dict[str, int | str]


class ForeignWorkflow(NamedTuple):
    """One line of the other server's list; neither the name nor the url has been checked."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingPage:
    """One page of the other server's list.

    Attributes:
        workflows: In the order of the page.
        next_offset: Where the next page starts; None on the last one.
    """

    workflows: tuple[ForeignWorkflow, ...]
    next_offset: int | None


class TorchServeListing:
    """Asks one TorchServe. It follows no redirect and uses no proxy, so the key reaches nobody else.

    The key file is read again for each question, since TorchServe writes a new key into it when it is asked to.

    Args:
        url: The management address, http or https; a path in it goes before `/workflows`.
        key_file: TorchServe's `key_file.json`; None when it was started without token authorization.
        ca_bundle: File of the certificates to trust; None for the usual ones.
        timeout_s: Time for all pages of the list together, and for each description.
        resolve: Looks up the addresses of a host; called as `resolve(host, port, type=socket.SOCK_STREAM)`.

    Raises:
        BadRequest: The url is not the address of a server, or a file is not what it should be.

    Source:
        TorchServe 0.12.0, workflow management API, "List workflows", "Describe workflow"; token authorization.
    """

    def __init__(
        self,
        url: str,
        *,
        key_file: Path | None = None,
        ca_bundle: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo,
    ) -> None:
        self._base = _base_address(url)
        self.shown = parse_url(self._base).shown
        self._key_file = key_file
        self._ca_bundle = ca_bundle
        self._timeout_s = timeout_s
        self._resolve = resolve
        self._authorization()
        if ca_bundle is not None:
            _check_certificates(ca_bundle)

    def workflows(self) -> list[ForeignWorkflow]:
        """Return all workflows in the order of the list, each name once.

        Raises:
            ListingFailed: They could not be had whole, in time and within the limits.
            BadRequest: The key file is no longer readable.
        """
        found: dict[str, ForeignWorkflow] = {}
        offset = 0
        with self._transfer() as transfer:
            for _ in range(MAX_PAGES):
                path = f"/workflows?limit={PAGE_SIZE}&next_page_token={offset}"
                page = self._understood(parse_page, self._ask(transfer, path))
                # What is registered or removed between two pages moves the others, so a name can come twice.
                found.update({each.name: each for each in page.workflows})
                if page.next_offset is None:
                    return list(found.values())
                if page.next_offset <= offset:
                    raise ListingFailed(self.shown, f"its pages do not end, {page.next_offset} follows {offset}")
                offset = page.next_offset
        raise ListingFailed(self.shown, f"its list has more than {MAX_PAGES} pages")

    def figures(self, name: str) -> Figures:
        """Return what the description of a workflow says; what it leaves out is left out here.

        Args:
            name: Of the form that is allowed here.

        Raises:
            ListingFailed: It could not be had whole, in time and within the limits.
            BadRequest: The key file is no longer readable.
        """
        # Two dots are legal in a name, but not in an address.
        path = "/workflows/" + quote(name, safe="").replace(".", "%2E")
        with self._transfer() as transfer:
            content = self._ask(transfer, path)
        return self._understood(functools.partial(parse_description, name), content)

    def _transfer(self) -> Transfer:
        return Transfer(parse_url(self._base), self._timeout_s, _never, ca_bundle=self._ca_bundle)

    def _ask(self, transfer: Transfer, path: str) -> bytes:
        """Return the body of an answer that is a success."""
        hop = parse_url(self._base + path)
        authorization = self._authorization() or hop.authorization

        def connect() -> socket.socket:
            return transfer.connect(transfer.addresses(self._resolve, hop))

        try:
            with transfer.get(hop, authorization, connect) as response:
                content = _read(transfer, response)
        except DownloadFailed as error:
            raise ListingFailed(self.shown, error.reason) from error
        if response.status != HTTPStatus.OK:
            raise ListingFailed(self.shown, self._refusal(response.status, content))
        return content

    def _refusal(self, status: int, content: bytes) -> str:
        """Say what an answer other than 200 means."""
        if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
            return f"it redirects (status {status}), which is not followed"
        kind, message = _error_in(content)
        if kind == "InvalidKeyException":
            if self._key_file is None:
                return "it wants a key: name its key_file.json with --key-file"
            # On its other addresses TorchServe wants other keys, and says the same.
            hint = "which may have expired, or this is not the management address"
            return f"it does not take the management key in {self._key_file}, {hint}"
        said = f"it answered with status {status}" + (f", {quoted(message)}" if message else "")
        # What TorchServe itself says to a path that it has elsewhere, and what others say.
        return f"{said}; {_WRONG_ADDRESS}" if not message or kind == "ResourceNotFoundException" else said

    def _understood(self, parse: Callable[[bytes], _T], content: bytes) -> _T:
        try:
            return parse(content)
        except ValueError as error:
            raise ListingFailed(self.shown, str(error)) from error

    def _authorization(self) -> str | None:
        return None if self._key_file is None else f"Bearer {read_management_key(self._key_file)}"


def parse_page(content: bytes) -> ListingPage:
    """Return one page of the list.

    Raises:
        ValueError: It is not one; the text says why.
    """
    document = _parse_json(content)
    listed = document.get("workflows") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(listed, list):
        raise ValueError(f"the answer is not a list of workflows; {_WRONG_ADDRESS}")  # noqa: TRY004 (the text is wrong)
    token = document.get("nextPageToken")
    if token is not None and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
        raise ValueError("the token of the next page is not an offset")
    return ListingPage(
        workflows=tuple(_parse_line(line) for line in listed), next_offset=None if token is None else int(token)
    )


def parse_description(name: str, content: bytes) -> Figures:
    """Return what a description says about the workflow of that name.

    Raises:
        ValueError: It is not one; the text says why.
    """
    document = _parse_json(content)
    found = document[0] if isinstance(document, list) and document else None
    if not isinstance(found, dict) or found.get("workflowName") != name:
        raise ValueError(f"the answer is not the description of {name}")
    figures: Figures = {key: found[key] for key in _NUMBERS if type(found.get(key)) is int}
    graph = found.get(_GRAPH)
    if isinstance(graph, str):
        figures[_GRAPH] = graph
    return figures


def read_management_key(path: Path) -> str:
    """Return the key for the management API from a `key_file.json`.

    Raises:
        BadRequest: The file cannot be read or has no such key; the text does not repeat what is in it.
    """
    try:
        with path.open("rb") as file:
            document = _parse_json(file.read(_KEY_FILE_BYTES))
    except OSError as error:
        raise BadRequest(f"The key file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadRequest(f"The key file {path} is not JSON.") from error
    section = document.get("management") if isinstance(document, dict) else None
    key = section.get("key") if isinstance(section, dict) else None
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise BadRequest(f"The key file {path} has no management key.")
    return key


def _parse_line(line: object) -> ForeignWorkflow:
    name, url = (line.get("workflowName"), line.get("workflowUrl")) if isinstance(line, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(url, str):
        raise ValueError("a workflow in the list has no name or no url")  # noqa: TRY004 (the text is wrong)
    return ForeignWorkflow(name, url)


def _parse_json(content: bytes) -> Any:  # noqa: ANN401 (JSON can be anything)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the answer is not JSON; {_WRONG_ADDRESS}") from error


def _error_in(content: bytes) -> tuple[object, str]:
    """Return the type and the message of an answer that is one of TorchServe's errors."""
    try:
        document = _parse_json(content)
    except ValueError:
        return None, ""
    if not isinstance(document, dict):
        return None, ""
    message = document.get("message")
    return document.get("type"), message if isinstance(message, str) else ""


def _read(transfer: Transfer, response: http.client.HTTPResponse) -> bytes:
    content = bytearray()
    for chunk in transfer.body(response):
        content += chunk
        if len(content) > ANSWER_BYTES:
            raise transfer.failed(f"the answer is longer than {ANSWER_BYTES} bytes")
    return bytes(content)


def _base_address(url: str) -> str:
    try:
        parse_url(url)
    except (DownloadFailed, RelativePathRefused) as error:
        raise BadRequest("The url is not the address of a server.") from error
    if "?" in url or "#" in url:
        raise BadRequest("The url has to be the management address alone, without a query.")
    return url.rstrip("/")


def _check_certificates(path: Path) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one.
        raise BadRequest(f"The certificates in {path} cannot be read.") from error


def _never() -> bool:
    return False
