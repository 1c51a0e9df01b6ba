"""The page, over an API with the workflow `seq` and a token of each role."""

from collections.abc import Iterator, Mapping

import pytest

from tests.support.management_api import ManagementApi, make_instance, management_api
from tests.support.web_pages import Browser
from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.audit import Origin
from wfmgmt.services.changes import Change
from wfmgmt.services.tokens import TokenRequest


@pytest.fixture(name="api", scope="module")
def _api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagementApi]:
    """One with `seq` in the versions 1.0, which has all requests, and 2.0."""
    with management_api(make_instance(tmp_path_factory.mktemp("web") / "i")) as api:
        api.register("1.0")
        api.register("2.0")
        yield api


@pytest.fixture(name="secrets", scope="module")
def _secrets(api: ManagementApi) -> Mapping[str, str]:
    """Return a token of each role, and one to look at `team-*` only."""

    def made(name: str, role: Role, scope: Scope) -> str:
        request = TokenRequest(name=name, role=role, scope=scope)
        return api.services.tokens.create(request, Change(origin=Origin(actor="cli:ops"))).secret

    secrets = {role.value: made(role.value, role, Scope()) for role in Role}
    return {**secrets, "team": made("team", Role.VIEW, Scope.of(["team-*"]))}


@pytest.fixture(name="browser")
def _browser(api: ManagementApi, secrets: Mapping[str, str]) -> Browser:
    """One in which nobody has signed in."""
    return Browser(api.client.application, secrets)
