"""Tokens and the secrets of addresses in every odd place: none is kept, logged or shown."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.management_api import ManagementApi
from tests.support.tokens import bearer
from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.tokens import new_token
from wfmgmt.http.access_log import log_request
from wfmgmt.logs import JsonFormatter, TextFormatter
from wfmgmt.services.changes import Change
from wfmgmt.services.tokens import TokenRequest

TOKEN, PASSWORD = new_token(), "Pa55SECRETw0rd"
#: Where a secret does not belong, as method and path; `<>` stands for it everywhere here.
_PATHS = """
GET /workflows?token=<>
GET /workflows/<>
GET /workflows/<>/1.0
GET /workflows/seq/<>
GET /workflows/seq/logs?node=<>
GET /audit?q=<>&actor=<>
GET /workflows?name=<>
GET /workflows?after=<>
GET /workflows?limit=<>
GET /archives/models/<>.mar
GET /operations/<>
GET /tokens/<>
GET /operations?workflow=<>
GET /workflows/seq/graph?format=<>
GET /<>
GET /<>/<>
GET /ui/workflows/<>
GET /ui/<>
POST /workflows?url=<>
POST /workflows?url=<>.war
POST /workflows?url=seq.war%3F<>
POST /workflows?url=seq.war&workflow_name=<>
POST /workflows?url=seq.war&version=<>
POST /workflows?url=seq.war&<>=1
POST /workflows?url=fun.war&reason=<>
POST /workflows?url=fun.war&workflow_name=other&response_timeout=<>
PUT /workflows/seq/nodes/<>?batch_size=3
PUT /workflows/seq?min_worker=<>
PUT /workflows/<>?min_worker=2
PUT /workflows/seq/<>/set-default
PUT /workflows/seq/traffic?version=<>&weight=1
DELETE /workflows/<>
DELETE /archives/models/<>.mar
PUT /archives/models/<>.mar
POST /workflows/seq/rollout?action=<>
POST /operations/<>/cancel
POST /tokens?name=<>&role=view
POST /tokens?name=x&role=view&note=<>
POST /tokens?name=x&role=view&workflows=<>
POST /tokens?name=x&role=<>
DELETE /tokens/<>
<> /workflows
""".strip().splitlines()
_HEADERS = ("x-request-id", "X-Token", "Cookie", "Accept", "Referer", "User-Agent", "Origin", "Host", "X-Remote-User")
_BODIES: tuple[Any, ...] = (
    {"url": "<>"},
    {"url": "seq.war", "<>": 1},
    {"url": ["<>"]},
    {"url": {"<>": "<>"}},
    {"url": "seq.war", "version": "<>"},
    {"url": "fun.war", "workflow_name": "third", "reason": "because <>"},
    "<>",
    ["<>"],
)
#: Method and path, headers, and a JSON body.
REQUESTS: tuple[tuple[str, dict[str, str], Any], ...] = (
    *((request, {}, None) for request in _PATHS),
    *(("GET /workflows/seq", {name: "<>"}, None) for name in _HEADERS),
    *(
        ("DELETE /workflows/no", {name: "<>"}, None)
        for name in ("Idempotency-Key", "If-Match", "Prefer", "Content-Type")
    ),
    ("PUT /workflows/seq?min_worker=1", {"x-request-id": "<>", "Idempotency-Key": "k<>"}, None),
    *(("POST /workflows", {}, body) for body in _BODIES),
    ("PUT /workflows/seq/traffic", {}, {"routes": [{"version": "<>", "weight": 100}]}),
    ("PUT /workflows/seq/traffic", {}, {"routes": [{"version": "1.0", "weight": 100}], "sticky": {"header": "<>"}}),
)
#: The password in addresses, as people and programs write them.
ADDRESSES = (
    "http://u:<>@h.example/a.war",
    "http:\\\\u:<>@h.example\\a.war",
    "http:/u:<>@h.example/a.war",
    "http:u:<>@h.example/a.war",
    "http:\\/\\/u:<>@h.example\\/a.war",
    "https:/\\u:<>@h.example/a.war",
    "HTTP:\\u:<>@h.example",
    "http://u:x/<>@h.example/a.war",
    "http://u:x\\<>@h.example/a.war",
    "http:\\\\h.example\\a.war?sig=<>",
    "http://h.example/a.war#<>",
    "s3:\\\\u:<>@bucket\\a.war",
    "file:\\\\u:<>@h\\a.war",
)


@pytest.fixture(name="lines")
def _lines() -> Iterator[list[str]]:
    """Everything that is logged, at debug level, in both formats."""
    kept: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.extend(each.format(record) for each in (TextFormatter(), JsonFormatter()))

    handler = Keeping()
    # A command that ran in this process has set levels of its own.
    own = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("wfmgmt")]
    levels = {log: log.level for log in (logging.root, *own)}
    logging.root.addHandler(handler)
    for log in levels:
        log.setLevel(logging.DEBUG)
    yield kept
    logging.root.removeHandler(handler)
    for log, level in levels.items():
        log.setLevel(level)


def filled(value: Any, secret: str) -> Any:
    """Return a value with the secret where it has `<>`."""
    return json.loads(json.dumps(value).replace("<>", secret))


def send(api: ManagementApi, request: str, headers: dict[str, str], body: Any) -> str:
    """Send a request and return all of its answer."""
    method, _, path = request.partition(" ")
    answer = api.client.open(path, method=method, headers=headers, **({} if body is None else {"json": body}))
    # Web workers call it with what was sent.
    log_request(
        method=method,
        target=path,
        status=answer.status_code,
        took_s=0.0,
        size_bytes=0,
        client="",
        request_id=answer.headers["x-request-id"],
    )
    assert answer.status_code < 500, (request, headers, body, answer.text)
    return f"{answer.headers}\n{answer.text}"


def kept_by(api: ManagementApi, headers: dict[str, str]) -> str:
    """Return everything that the instance has in files, names included, and that the API shows of itself."""
    files = [path for path in api.services.settings.instance.rglob("*") if path.is_file()]
    paths = ("operations?limit=1000", "audit?limit=1000", "workflows/seq/explain", "workflows/seq/releases")
    answers = [api.client.get(f"/{path}", headers=headers) for path in paths]
    assert {answer.status_code for answer in answers} <= {200, 404}
    shown = [answer.text for answer in answers]
    return "\n".join([*map(str, files), *(file.read_bytes().decode("latin-1") for file in files), *shown])


def test_token_in_an_odd_place_is_neither_kept_nor_shown(
    two: ManagementApi, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admin's own, in requests that are accepted and in those that are refused."""
    monkeypatch.setattr("wfmgmt.services.tokens.new_token", lambda: TOKEN)
    request = TokenRequest(name="admin", role=Role.ADMIN, scope=Scope())
    two.services.tokens.create(request, Change(origin=Origin(actor="cli:ops")))
    secret = TOKEN[8:-2]
    for is_known in (True, False):
        for path, headers, body in REQUESTS:
            given = {**(bearer(TOKEN) if is_known else {}), **filled(headers, TOKEN)}
            shown = send(two, path.replace("<>", TOKEN), given, filled(body, TOKEN))
            assert secret not in shown, (path, headers, body, shown)
            assert not (found := [line for line in lines if secret in line]), (path, headers, body, found)
    assert len(lines) > len(REQUESTS)
    assert secret not in kept_by(two, bearer(TOKEN))


@pytest.mark.parametrize("address", ADDRESSES)
def test_secret_of_an_address_is_neither_kept_nor_shown(api: ManagementApi, lines: list[str], address: str) -> None:
    """As the address of an archive, and wherever else one may be put by mistake."""
    url = address.replace("<>", PASSWORD)
    for path, body in (
        ("POST /workflows", {"url": url}),
        ("POST /workflows", {"url": url, "synchronous": False}),
        ("POST /workflows", {"url": url, "dry_run": True}),
        ("POST /workflows", {"url": "seq.war", "workflow_name": url}),
        ("POST /workflows", {"url": "seq.war", "version": url}),
        ("POST /workflows", {"url": [url]}),
        ("PUT /workflows/seq/traffic", {"version": url, "weight": 3}),
        ("POST /tokens", {"name": url, "role": url}),
    ):
        shown = send(api, path, {}, body)
        assert PASSWORD not in shown, (path, body, shown)
        assert not (found := [line for line in lines if PASSWORD in line]), (path, body, found)
    assert PASSWORD not in kept_by(api, {})
