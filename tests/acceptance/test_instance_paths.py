"""An instance folder may have any name: everything of the service lies in it."""

from pathlib import Path

import pytest
import requests

from tests.support.factories import make_mar, make_war
from tests.support.service import Service, wait_until

#: Characters that mean something in URLs, URIs, INI files, patterns and shells.
ODD_NAME = "a%2Fb c?d=1&e#f[1]%(here)s%%é"


def test_instance_may_have_any_name(tmp_path: Path) -> None:
    """Database, archives and counters lie in it, nothing lies beside it, and commands find all of that."""
    with Service(tmp_path / ODD_NAME) as service:
        make_war(service.workflow_store)
        make_mar(service.model_store)
        assert service.register("seq.war").status_code == 200
        wait_until(lambda: service.ready_workers("seq") == [1, 1, 1], what="the models")
        assert 'wfmgmt_requests_total{method="POST"' in requests.get(f"{service.management}/metrics", timeout=10).text
        verified = service.command("audit", "verify")
        assert verified.stdout.startswith("1 rows fit"), verified.stderr
        assert service.command("migrate").returncode == 0
        assert service.database.exists()
    assert [path.name for path in tmp_path.iterdir()] == [ODD_NAME]


@pytest.mark.slow
def test_deployments_with_similar_names_share_nothing(tmp_path: Path) -> None:
    """What follows a question mark is a part of the name; the quick case is above, with such a mark."""
    with Service(tmp_path / "team?1") as first, Service(tmp_path / "team?2") as second:
        make_war(first.workflow_store)
        make_mar(first.model_store)
        assert first.register("seq.war").status_code == 200
        assert (first.names(), second.names()) == (["seq"], [])
