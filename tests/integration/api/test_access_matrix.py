"""Who may call what: every route of both addresses, with each role, and with tokens for some workflows only.

The tables are written by hand from the reference, not from the code: a wrong line there shows here, and a new route
without a line does, too.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.support.management_api import ManagementApi, make_instance, management_api
from tests.support.openapi_paths import concrete
from tests.support.postgresql import postgresql
from tests.support.runtime_parts import make_parts, make_runtime
from tests.support.tokens import bearer
from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.audit import Origin
from wfmgmt.http.failed_logins import FailedLogins
from wfmgmt.registry.schema import upgrade
from wfmgmt.runtime_factory import DatabaseView
from wfmgmt.services.changes import Change
from wfmgmt.services.tokens import TokenRequest
from wfmgmt.serving.inference_metrics import InferenceMetrics
from wfmgmt.serving.inference_server import inference_app
from wfmgmt.serving.inference_tokens import InferenceTokens
from wfmgmt.serving.models.base import NodeAnswer

#: No token, and the letter of each role.
LETTERS: Mapping[str, Role | None] = {
    "-": None,
    "p": Role.PREDICT,
    "v": Role.VIEW,
    "a": Role.AUDIT,
    "o": Role.OPERATE,
    "r": Role.REGISTER,
    "A": Role.ADMIN,
}
#: Tokens for all workflows, for `seq` among others, and for others than that.
GLOBS = ("*", "s?q", "team-*")
#: What tokens for some workflows get about others: the same; 404 whatever their role; 403 if that is not enough, else
#: 404; 403; and 403 about those of their own, too.
SAME, HIDDEN, HIDDEN_BY_ROLE, REFUSED, ALL_ONLY = "same", "hidden", "hidden by role", "refused", "all only"

OPEN, READ, TRAIL, OPERATE, REGISTER, ADMIN, PREDICT = "-pvaorA", "vaorA", "aA", "orA", "rA", "A", "porA"
STORE, SEQ, VERSION = "/archives/{store}", "/workflows/{name}", "/workflows/{name}/{version}"

MANAGEMENT = {
    "OPTIONS /": (OPEN, SAME),
    "GET /api-description": (OPEN, SAME),
    "GET /ping": (OPEN, SAME),
    "GET /readyz": (OPEN, SAME),
    "GET /livez": (OPEN, SAME),
    "GET /whoami": (OPEN, SAME),
    "GET /metrics": (READ, SAME),
    "GET /tokens": (ADMIN, ALL_ONLY),
    "POST /tokens": (ADMIN, ALL_ONLY),
    "DELETE /tokens/{token}": (ADMIN, ALL_ONLY),
    "GET /audit": (TRAIL, SAME),
    "GET /audit/{number}": (TRAIL, SAME),
    "GET /audit/head": (TRAIL, SAME),
    "GET /archives": (READ, SAME),
    f"GET {STORE}": (READ, SAME),
    f"GET {STORE}/{{file}}": (READ, SAME),
    f"PUT {STORE}/{{file}}": (REGISTER, SAME),
    f"DELETE {STORE}/{{file}}": (REGISTER, SAME),
    "GET /operations": (READ, SAME),
    "GET /operations/{uid}": (READ, SAME),
    "POST /operations/{uid}/cancel": (OPERATE, SAME),
    "POST /apply": (REGISTER, SAME),
    "GET /drift": (READ, SAME),
    "GET /models": (READ, SAME),
    "GET /workflows": (READ, SAME),
    "POST /workflows": (REGISTER, REFUSED),
    f"GET {SEQ}": (READ, HIDDEN),
    f"PUT {SEQ}": (OPERATE, HIDDEN),
    f"DELETE {SEQ}": (REGISTER, HIDDEN),
    f"GET {SEQ}/all": (READ, HIDDEN),
    f"GET {SEQ}/diff": (READ, HIDDEN),
    f"GET {SEQ}/explain": (READ, HIDDEN),
    f"GET {SEQ}/graph": (READ, HIDDEN),
    f"GET {SEQ}/logs": (READ, HIDDEN),
    f"PUT {SEQ}/nodes/{{node}}": (OPERATE, HIDDEN),
    f"DELETE {SEQ}/nodes/{{node}}/overrides": (OPERATE, HIDDEN),
    f"GET {SEQ}/releases": (READ, HIDDEN),
    f"GET {SEQ}/releases/{{number}}": (READ, HIDDEN),
    f"POST {SEQ}/rollback": (OPERATE, HIDDEN),
    f"POST {SEQ}/rollout": (OPERATE, HIDDEN),
    f"GET {SEQ}/traffic": (READ, HIDDEN),
    f"PUT {SEQ}/traffic": (OPERATE, HIDDEN),
    f"GET {VERSION}": (READ, HIDDEN),
    f"PUT {VERSION}": (OPERATE, HIDDEN),
    f"DELETE {VERSION}": (REGISTER, HIDDEN),
    f"GET {VERSION}/explain": (READ, HIDDEN),
    f"GET {VERSION}/graph": (READ, HIDDEN),
    f"GET {VERSION}/logs": (READ, HIDDEN),
    f"PUT {VERSION}/nodes/{{node}}": (OPERATE, HIDDEN),
    f"DELETE {VERSION}/nodes/{{node}}/overrides": (OPERATE, HIDDEN),
    f"PUT {VERSION}/set-default": (OPERATE, HIDDEN),
    "GET /ui/": (OPEN, SAME),
    "GET /ui/{unknown}": (OPEN, SAME),
    "GET /ui/static/{file}": (OPEN, SAME),
    "GET /ui/login": (OPEN, SAME),
    "GET /ui/archives": (READ, SAME),
    f"GET /ui{STORE}/{{file}}": (READ, SAME),
    f"POST /ui{STORE}/{{file}}/remove": (REGISTER, SAME),
    "GET /ui/system": (READ, SAME),
    "GET /ui/audit": (TRAIL, SAME),
    "GET /ui/audit/{number}": (TRAIL, SAME),
    "GET /ui/tokens": (ADMIN, ALL_ONLY),
    "POST /ui/tokens": (ADMIN, ALL_ONLY),
    "POST /ui/tokens/{token}/revoke": (ADMIN, ALL_ONLY),
    "GET /ui/change/{name}": (OPERATE, HIDDEN),
    **{
        f"POST /ui/change/{{name}}/{kind}": (OPERATE, HIDDEN)
        for kind in ("rollback", "rollout", "scale", "set-default", "traffic")
    },
    "POST /ui/change/{name}/unregister": (REGISTER, HIDDEN),
    "GET /ui/operations": (READ, SAME),
    "POST /ui/operations/{uid}/cancel": (OPERATE, SAME),
    "GET /ui/register": (REGISTER, SAME),
    "POST /ui/register": (REGISTER, SAME),
    "GET /ui/operations/{uid}": (READ, SAME),
    "GET /ui/workflows": (READ, SAME),
    f"GET /ui{SEQ}": (READ, HIDDEN),
    f"GET /ui{VERSION}": (READ, HIDDEN),
    f"GET /ui{VERSION}/graph": (READ, HIDDEN),
}
#: Open to all, and refused for what stands in their forms: tests/integration/web has them.
SIGN_IN = {"POST /ui/login", "POST /ui/logout"}
#: With INFERENCE_TOKENS; without it the first four lines are open.
INFERENCE = {
    **{
        f"{method} {path}": (PREDICT, HIDDEN_BY_ROLE)
        for path in (
            "/wfpredict/{name}",
            "/wfpredict/{name}/{version}",
            "/predictions/{model}",
            "/predictions/{model}/{version}",
        )
        for method in ("GET", "POST", "PUT")
    },
    "GET /metrics": (READ, ALL_ONLY),
    "GET /ping": (OPEN, SAME),
    "GET /readyz": (OPEN, SAME),
    "GET /livez": (OPEN, SAME),
    "GET /api-description": (OPEN, SAME),
    "OPTIONS /": (OPEN, SAME),
}
#: What is needed beside a path, so that the answer does not depend on that.
QUERIES = {"POST /workflows": "&url=seq.war", "POST /tokens": "&name=x&role=view"}


class Shown(NamedTuple):
    """A token of a role, for the workflows of a glob; or none."""

    letter: str
    glob: str


SHOWN = [Shown("-", "*"), *(Shown(letter, glob) for glob in GLOBS for letter in LETTERS if letter != "-")]


def expected_refusal(line: tuple[str, str], shown: Shown) -> int | None:
    """Return the status with which a request is refused; None when it is not."""
    letters, narrowed = line
    if shown.letter == "-":
        return None if "-" in letters else HTTPStatus.UNAUTHORIZED
    is_other = shown.glob == "team-*"
    if is_other and narrowed == HIDDEN:
        return HTTPStatus.NOT_FOUND
    is_narrowed_off = (narrowed == ALL_ONLY and shown.glob != "*") or (narrowed == REFUSED and is_other)
    if shown.letter not in letters or is_narrowed_off:
        return HTTPStatus.FORBIDDEN
    return HTTPStatus.NOT_FOUND if is_other and narrowed == HIDDEN_BY_ROLE else None


def fits(status: int, text: str, refusal: int | None) -> bool:
    """Return whether an answer is the refusal, or none, as expected; a body may be missing."""
    if refusal is None:
        return status not in {401, 403, 429} and status < 500 and "Workflow not found" not in text
    return status == refusal and (refusal != HTTPStatus.NOT_FOUND or not text or "not found: seq" in text)


@pytest.fixture(name="database", scope="module", params=["sqlite", "postgresql"])
def _database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The URL of a database; None for a file of the instance."""
    if request.param == "sqlite":
        yield None
        return
    with postgresql() as url:
        upgrade(url)
        yield url


@pytest.fixture(name="api", scope="module")
def _api(tmp_path_factory: pytest.TempPathFactory, database: str | None) -> Iterator[ManagementApi]:
    """An API with the workflow `seq`, registered before there was a token."""
    settings: dict[str, Any] = {} if database is None else {"database_url": database}
    with management_api(make_instance(tmp_path_factory.mktemp("matrix") / "i"), **settings) as api:
        api.register("1.0")
        yield api


@pytest.fixture(name="headers", scope="module")
def _headers(api: ManagementApi) -> Mapping[Shown, Mapping[str, str]]:
    """What shows each token."""
    made: dict[Shown, Mapping[str, str]] = {SHOWN[0]: {}}
    for number, shown in enumerate(SHOWN[1:]):
        role = LETTERS[shown.letter]
        assert role is not None
        wanted = TokenRequest(name=f"{role}-{number}", role=role, scope=Scope.of([shown.glob]))
        made[shown] = bearer(api.services.tokens.create(wanted, Change(origin=Origin(actor="cli:ops"))).secret)
    return made


def without_converters(rule: str) -> str:
    """Return a path of Flask's as descriptions have it."""
    first, *rest = (part.partition(">") for part in rule.split("<"))
    return first[0] + "".join(f"{{{name.rpartition(':')[2]}}}{after}" for name, _, after in rest)


def requests_of(route: str, refusal: int | None, shown: Shown) -> Iterator[str]:
    """Yield the requests that show what a route does: the variants only with tokens for everything."""
    method, _, path = route.partition(" ")
    path = concrete(path)
    if method in {"GET", "OPTIONS"}:
        yield f"{method} {path}"
        if method == "GET" and shown.glob == "*":
            yield f"HEAD {path}"
            yield f"GET {path}/"
        return
    query = QUERIES.get(route, "")
    yield f"{method} {path}?dry_run=true{query}"
    if shown.glob == "*":
        yield f"{method} {path}/?dry_run=true{query}"
        if refusal is not None:  # Nothing that is carried out.
            yield f"{method} {path}?{query[1:]}"


def test_every_route_of_the_management_address_has_a_line(api: ManagementApi) -> None:
    """And no line is about a route that is not there."""
    rules = api.client.application.url_map.iter_rules()
    routes = {
        f"{method} {without_converters(rule.rule)}" for rule in rules for method in (rule.methods or set()) - {"HEAD"}
    }
    assert routes == {*MANAGEMENT, *SIGN_IN}


@pytest.mark.parametrize("route", MANAGEMENT)
def test_management_route_takes_its_role(
    api: ManagementApi, headers: Mapping[Shown, Mapping[str, str]], route: str
) -> None:
    """401 without a token, 403 with one that is not enough, 404 outside of its workflows: also as HEAD and dry run."""
    for shown in SHOWN:
        refusal = expected_refusal(MANAGEMENT[route], shown)
        for request in requests_of(route, refusal, shown):
            method, _, path = request.partition(" ")
            answer = api.client.open(path, method=method, headers=dict(headers[shown]))
            seen = (request, shown, refusal, answer.status, answer.text)
            assert fits(answer.status_code, answer.text, refusal), seen
            assert answer.headers.get("WWW-Authenticate") == ("Bearer" if refusal == 401 else None), seen


def test_nothing_that_was_refused_is_done(api: ManagementApi, headers: Mapping[Shown, Mapping[str, str]]) -> None:
    """After all those requests, the workflow, its one version and the tokens are as they were."""
    admin = headers[Shown("A", "*")]
    (described,) = api.send("GET /workflows/seq", headers=admin)
    assert (described["version"], described["revision"]) == ("1.0", 1)
    tokens = api.send("GET /tokens", headers=admin)["tokens"]
    assert [each["revokedAt"] for each in tokens] == [None] * (len(SHOWN) - 1)
    events = api.send("GET /audit?outcome=succeeded", headers=admin)["events"]
    assert {each["action"] for each in events} == {"register", "token-create"}


@pytest.mark.parametrize("is_open", [False, True], ids=["with tokens", "open predictions"])
def test_inference_routes_take_their_roles(
    api: ManagementApi, headers: Mapping[Shown, Mapping[str, str]], tmp_path: Path, *, is_open: bool
) -> None:
    """By the tokens in the same database; what has no line is no route."""
    table = {route: (OPEN, SAME) if is_open and line[0] == PREDICT else line for route, line in INFERENCE.items()}
    tokens = InferenceTokens(
        DatabaseView(api.services.registry),
        failed=FailedLogins(),
        anonymous=None,
        until_first_token=True,
        has_open_predictions=is_open,
        has_open_metrics=False,
    )
    asyncio.run(_check_inference(tokens, headers, table, tmp_path))


async def _check_inference(
    tokens: InferenceTokens,
    headers: Mapping[Shown, Mapping[str, str]],
    table: Mapping[str, tuple[str, str]],
    folder: Path,
) -> None:
    await tokens.look()
    parts = make_parts(folder)
    parts.registry.put("seq")
    reconciling = asyncio.create_task(parts.reconciler.run())
    assert (await parts.reconciler.reach("seq", 1, 30)).reached
    parts.models.models["seq"].answers = [NodeAnswer(content=b"")]
    runtime = replace(make_runtime(parts), tokens=tokens)
    metrics = InferenceMetrics(runtime)
    app = inference_app(runtime, metrics=metrics, on_answer=lambda _request, _answer: None)
    routes = {
        f"{route.method} {route.resource.canonical.rstrip('/') or '/'}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routes == set(table)
    async with TestClient(TestServer(app)) as client:
        for route, line in table.items():
            for shown in SHOWN:
                refusal = expected_refusal(line, shown)
                for request in _inference_requests(route):
                    method, _, path = request.partition(" ")
                    answer = await client.request(method, path, headers=headers[shown])
                    seen = (request, shown, refusal, answer.status, await answer.text())
                    assert fits(answer.status, await answer.text(), refusal), seen
                    assert refusal is not None or answer.status == 200, seen
    reconciling.cancel()
    await runtime.mirror.close()
    await parts.loader.close()


def _inference_requests(route: str) -> Iterator[str]:
    method, _, path = route.partition(" ")
    path = concrete(path).replace("__m1", "__m")
    yield f"{method} {path}"
    if path != "/":
        yield f"{method} {path}/"
        if method == "GET" and "predict" not in path:
            yield f"HEAD {path}"
