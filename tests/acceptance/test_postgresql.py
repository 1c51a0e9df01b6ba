"""The service over a PostgreSQL database, which only one service may use at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.factories import make_mar, make_war
from tests.support.postgresql import postgresql
from tests.support.service import Service, wait_until
from wfmgmt.registry.schema import locked_connection


@pytest.fixture(name="database", scope="module")
def _database() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture(name="service")
def _service(tmp_path: Path, database: str) -> Iterator[Service]:
    service = Service(tmp_path / "instance", database_url=database)
    make_war(service.workflow_store)
    make_mar(service.model_store)
    yield service
    service.kill()
    execute(database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def execute(database: str, statement: str, *parameters: object) -> None:
    """Execute a statement."""
    with locked_connection(database) as connection:
        connection.exec_driver_sql(statement, parameters or None)


def show_another(database: str, *, age_s: int) -> None:
    """Leave the sign of life of another service."""
    execute(database, "DELETE FROM heartbeat")
    form = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    seen_at = "to_char((clock_timestamp() - make_interval(secs => %s)) AT TIME ZONE 'UTC', %s)"
    execute(database, f"INSERT INTO heartbeat VALUES (1, 'other', {seen_at})", age_s, form)  # noqa: S608 - constants


def test_registered_workflows_survive_a_restart_and_a_kill(service: Service) -> None:
    """Nothing stands in the way of the same service, not even its own last sign of life.

    Names that the database does not take are those of no workflow.
    """
    service.start()
    assert service.register("seq.war").status_code == 200
    for end in (service.stop, service.kill):
        end()
        service.start()
        wait_until(lambda: service.ready_workers("seq") == [1, 1, 1], what="the models")
    for method, query in (("GET", ""), ("PUT", "?min_worker=1"), ("DELETE", "")):
        answer = requests.request(method, f"{service.management}/workflows/a%00b{query}", timeout=30)
        assert (answer.status_code, answer.json()["message"]) == (404, "Workflow not found: a\0b"), method
    verified = service.command("audit", "verify")
    assert (verified.returncode, verified.stdout[:10]) == (0, "1 rows fit"), verified.stderr
    assert service.unregister("seq").status_code == 200
    for command in ("backup", "restore"):
        refused = service.command(command, str(service.instance / "copy"))
        assert refused.returncode == 2
        assert "for PostgreSQL" in refused.stderr


def test_second_service_is_refused_while_the_first_one_lives(service: Service, tmp_path: Path, database: str) -> None:
    """It says which one that is; once it has stopped, the second one starts."""
    service.start()
    second = Service(tmp_path / "second", database_url=database)
    code, said = second.refusal()
    assert code == 3
    assert said.startswith(f"wfmgmt: WFMGMT_DATABASE_URL: another service uses the database: {service.instance} on ")
    assert service.stop() == 0
    second.start()
    assert second.stop() == 0


def test_abandoned_database_is_taken_and_its_late_holder_ends(service: Service, tmp_path: Path, database: str) -> None:
    """A service that was away for long finds another one there and ends with 3."""
    process = service.start().process
    assert process is not None
    show_another(database, age_s=0)
    assert process.wait(20) == 3, service.text_of_log()
    service.kill()
    assert "another service uses the database: other; ending this one" in service.text_of_log()
    show_another(database, age_s=27)
    service.start()  # Three seconds later.
    assert service.stop() == 0


def test_server_that_is_not_there_may_come(tmp_path: Path) -> None:
    """Exit code 75, after which a restart may help, and one line without the password."""
    service = Service(tmp_path / "instance", database_url="postgresql://u:secret@127.0.0.1:1/x")
    code, said = service.refusal()
    assert code == 75
    assert "cannot be reached" in said
    assert "secret" not in said


@pytest.mark.slow
def test_database_that_was_emptied_is_refused(service: Service, database: str) -> None:
    """It is not the one that the instance had; with `--adopt` the instance takes it.

    The quick case is that of SQLite: `test_nothing_is_acknowledged_without_the_database`.
    """
    service.start()
    assert service.stop() == 0
    execute(database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    code, said = service.refusal()
    assert code == 3
    assert "is not there, but" in said
    assert service.command("migrate", "--adopt").returncode == 0
    service.start()
    assert service.stop() == 0
