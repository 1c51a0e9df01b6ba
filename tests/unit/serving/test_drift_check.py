"""Comparing model servers with what they should hold."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.model_servers import until
from tests.support.runtime_parts import Parts, make_parts, make_request
from wfmgmt.errors import RegistryUnavailable
from wfmgmt.serving.drift_check import DriftCheck
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.models.base import Drift, DriftKind
from wfmgmt.testing import in_event_loop

DRIFT = Drift(server="http://s", model="m", kind=DriftKind.MISSING, workflow="w", did="registered it", is_repaired=True)


def make_check(parts: Parts) -> DriftCheck:
    """Return the check over the parts of a runtime."""
    return DriftCheck(
        models=parts.models,
        registry=parts.registry,
        catalog=parts.catalog,
        measurements=Measurements(),
        interval_s=None,
    )


@in_event_loop
async def test_check_leaves_alone_what_is_registered_or_loaded(tmp_path: Path) -> None:
    """A registration that is under way may be in one of them only."""
    parts = make_parts(tmp_path)
    parts.registry.put("registered")
    parts.loader.load(make_request("loaded"))
    await until(lambda: parts.catalog.get("loaded") is not None)
    await make_check(parts).check(dry_run=True)
    assert parts.models.known == {"registered", "loaded"}
    await parts.loader.close()


@in_event_loop
async def test_difference_is_recorded_each_time_it_was_repaired(tmp_path: Path) -> None:
    """It has come back, then; a dry run records nothing."""
    parts = make_parts(tmp_path)
    parts.models.drifts = [DRIFT]
    check = make_check(parts)
    assert await check.check(dry_run=True) == [DRIFT]
    assert parts.registry.recorded == []
    await check.check(dry_run=False)
    await check.check(dry_run=False)
    assert parts.registry.recorded == [DRIFT, DRIFT]


@in_event_loop
async def test_difference_that_stays_is_recorded_once(tmp_path: Path) -> None:
    """Until it is gone, which is recorded, and comes back; a server that cannot be read may have it still."""
    parts = make_parts(tmp_path)
    standing = replace(DRIFT, is_repaired=False)
    gone = replace(DRIFT, did="it is gone")
    unknown = replace(standing, model="", kind=DriftKind.UNKNOWN, workflow="")
    check = make_check(parts)
    for drifts in ([standing], [standing], [unknown], [standing], [], [standing]):
        parts.models.drifts = drifts
        await check.check(dry_run=False)
    was_unread = replace(unknown, did="it is gone", is_repaired=True)
    assert parts.registry.recorded == [standing, unknown, was_unread, gone, standing]


@in_event_loop
async def test_difference_that_stayed_is_recorded_when_it_is_repaired(tmp_path: Path) -> None:
    """Else the audit trail would say for ever that it stands."""
    parts = make_parts(tmp_path)
    check = make_check(parts)
    standing = replace(DRIFT, is_repaired=False)
    for drifts in ([standing], [DRIFT], []):
        parts.models.drifts = drifts
        await check.check(dry_run=False)
    assert parts.registry.recorded == [standing, DRIFT]


@in_event_loop
async def test_difference_is_recorded_later_when_the_registry_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is repaired all the same."""
    parts = make_parts(tmp_path)
    parts.models.drifts = [DRIFT]
    check = make_check(parts)

    def fail(_drifts: object) -> None:
        raise RegistryUnavailable("locked")

    with monkeypatch.context() as broken:
        broken.setattr(parts.registry, "record", fail)
        await check.check(dry_run=False)
    parts.models.drifts = []
    await check.check(dry_run=False)
    assert parts.registry.recorded == [DRIFT]
