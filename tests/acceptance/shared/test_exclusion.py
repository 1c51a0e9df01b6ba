"""Two services that would share what each needs for itself.

That the locks of a killed service are no obstacle shows wherever one is killed and started again.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar, make_war
from tests.support.records import make_database
from tests.support.service import Service


@pytest.mark.parametrize("what", ["database_url", "workflow_store", "model_store"])
def test_second_service_is_refused(service: Service, tmp_path: Path, what: str) -> None:
    """Exit code 3 and a line that names the setting, also when the path is another name of the same thing."""
    linked = tmp_path / "linked"
    linked.symlink_to(service.instance)
    shared: Any = f"sqlite:///{linked}/wfmgmt.db" if what == "database_url" else linked / what
    second = Service(tmp_path / "second", **{what: shared})
    code, said = second.refusal(30)
    assert code == 3
    assert said.startswith(f"wfmgmt: WFMGMT_{what.upper()}: another service uses {service.instance}")


def test_both_stores_may_be_one_folder(tmp_path: Path) -> None:
    """As TorchServe's often are."""
    service = Service(tmp_path / "instance", workflow_store=tmp_path / "store", model_store=tmp_path / "store")
    make_database(service.database)
    (tmp_path / "store").mkdir()
    make_war(tmp_path / "store")
    make_mar(tmp_path / "store")
    with service:
        assert service.register("seq.war").status_code == 200


def test_store_that_cannot_be_written_may_be_shared(tmp_path: Path) -> None:
    """Nothing can be downloaded into it, so nobody has anything to fear."""
    store = tmp_path / "models"
    store.mkdir()
    make_mar(store)
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _READ_ONLY, str(store)]
    services = [Service(tmp_path / name, prefix=mounted, model_store=store) for name in ("first", "second")]
    for service in services:
        make_database(service.database)
        make_war(service.workflow_store)
    with services[0] as first, services[1] as second:
        assert [each.register("seq.war").status_code for each in (first, second)] == [200, 200]
    assert [path.name for path in store.iterdir()] == ["m1.mar"]


_READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
