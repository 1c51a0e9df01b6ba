"""What gunicorn's master refuses; tests/acceptance/test_startup.py shows how it ends then."""

import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command

from tests.support.postgresql import postgresql
from tests.support.records import fill, make_database
from wfmgmt.deployment.gunicorn_master import GunicornMaster
from wfmgmt.errors.commands import CannotStart
from wfmgmt.registry.migrations import alembic_config
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import inspect, locked_connection
from wfmgmt.settings import Settings

FROZEN = Path(__file__).parents[1] / "registry" / "frozen"


@pytest.fixture(name="refusal")
def _refusal(tmp_path: Path) -> Iterator[Callable[..., CannotStart]]:
    """Give a function that returns why the master does not start with some settings in the environment."""
    umask = os.umask(0o022)

    def refusal(inference: socket.socket | None = None, **settings: Any) -> CannotStart:
        environment = {f"WFMGMT_{name.upper()}": str(value) for name, value in settings.items()}
        with pytest.raises(CannotStart) as refused:
            GunicornMaster(Settings.load(environment, instance=tmp_path)).start([], inference=inference)
        return refused.value

    yield refusal
    os.umask(umask)


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> Path:
    """Return the database of the instance, of several hundred pages."""
    path = tmp_path / "wfmgmt.db"
    make_database(path)
    fill(f"sqlite:///{path}", 200)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file that belongs to the database."""
    return {path.name: path.read_bytes() for path in folder.glob("*.db*")}


def overwrite_with_noise(path: Path) -> None:
    """Replace the database by something else."""
    path.write_bytes(b"not a database, but long enough to be one " * 1000)


def truncate(path: Path) -> None:
    """Cut off the second half."""
    os.truncate(path, path.stat().st_size // 2)


def cut_within_header(path: Path) -> None:
    """Leave a few bytes that look right."""
    os.truncate(path, 50)


def flip_page(path: Path) -> None:
    """Invert every bit of a page in the middle."""
    size = 4096
    at = path.stat().st_size // size // 2 * size
    with path.open("r+b") as file:
        file.seek(at)
        page = file.read(size)
        file.seek(at)
        file.write(bytes(byte ^ 0xFF for byte in page))


@pytest.mark.parametrize("damage", [overwrite_with_noise, truncate, cut_within_header, flip_page])
def test_start_is_refused_when_the_database_is_damaged(
    refusal: Callable[..., CannotStart], database: Path, damage: Callable[[Path], None]
) -> None:
    """Exit code 3 and a text that names the file, whose bytes stay as they are."""
    damage(database)
    before = contents(database.parent)
    refused = refusal()
    assert refused.exit_code == 3
    assert str(database) in str(refused)
    assert contents(database.parent).items() >= before.items()


def test_start_is_refused_when_the_database_is_of_a_newer_version(
    refusal: Callable[..., CannotStart], database: Path
) -> None:
    """Exit code 3 and a text with both ways out; also what a newer version left in its log stays there."""
    newer = sqlite3.connect(database)
    newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.commit()
    saved = contents(database.parent)
    newer.close()  # Empties the log into the database, as a killed process does not.
    for name, content in saved.items():
        if not name.endswith("-shm"):
            (database.parent / name).write_bytes(content)
    before = {name: content for name, content in contents(database.parent).items() if not name.endswith("-shm")}
    assert len(before["wfmgmt.db-wal"]) > 0
    refused = refusal()
    assert refused.exit_code == 3
    assert "9999" in str(refused)
    assert "restore a backup" in str(refused)
    assert contents(database.parent).items() >= before.items()


def test_start_is_refused_with_the_database_of_another_instance(
    refusal: Callable[..., CannotStart], database: Path
) -> None:
    """Exit code 3 and a text that names both, and nothing is changed."""
    with closing(Registry(f"sqlite:///{database}")) as registry, registry.write() as writer:
        identity = writer.identity()
    (database.parent / "database.id").write_text("0123456789ab\n")
    before = contents(database.parent)
    refused = refusal()
    assert refused.exit_code == 3
    assert f"{identity}) is not the one that {database.parent} had (0123456789ab)" in str(refused)
    assert contents(database.parent).items() >= before.items()
    assert (database.parent / "database.id").read_text() == "0123456789ab\n"


@pytest.mark.parametrize("released", ["", "0008"], ids=["no database", "older schema"])
def test_start_is_refused_without_a_token_before_the_database_is_migrated(
    refusal: Callable[..., CannotStart], tmp_path: Path, released: str
) -> None:
    """A version that knows no tokens can still be started with it."""
    if released:
        with closing(sqlite3.connect(tmp_path / "wfmgmt.db")) as connection:
            connection.executescript((FROZEN / f"{released}.sql").read_text(encoding="utf-8"))
    before = contents(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as inference:
        refused = refusal(inference, trusted_proxies="10.0.0.1")
    assert (refused.exit_code, "make a token: wfmgmt token create" in str(refused)) == (2, True)
    assert contents(tmp_path) == before


def test_start_is_refused_before_the_database_of_another_service_is_migrated(
    refusal: Callable[..., CannotStart],
) -> None:
    """Which may be of an older version, and uses it."""
    with postgresql() as url:
        with locked_connection(url) as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0008")
        is_over = threading.Event()

        def beat() -> None:
            with closing(Registry(url, connections=1)) as registry:
                while not is_over.wait(0.1):
                    registry.beat("other")

        other = threading.Thread(target=beat)
        with closing(Registry(url, connections=1)) as registry:
            registry.beat("other")
        other.start()
        try:
            with socket.create_server(("127.0.0.1", 0)) as inference:
                refused = refusal(inference, database_url=url)
        finally:
            is_over.set()
            other.join(60)
        assert (refused.exit_code, "another service uses the database: other" in str(refused)) == (3, True)
        assert inspect(url).revisions == ("0008",)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"web_worker": "2"}, "did you mean WFMGMT_WEB_WORKERS?"),
        ({"management_address": "everywhere"}, "WFMGMT_MANAGEMENT_ADDRESS: expected host:port"),
        ({"inference_address": "192.0.2.1:0"}, "WFMGMT_INFERENCE_ADDRESS: cannot listen on 192.0.2.1:0"),
        ({"database_url": "mysql://x"}, "WFMGMT_DATABASE_URL: expected sqlite"),
        ({"workflow_store": "/dev/null/store"}, "/dev/null/store"),
        ({"cors_origins": "*"}, "WFMGMT_CORS_ORIGINS: * would let every web page register workflows"),
        ({"cors_origins": "https://app.example/"}, "WFMGMT_CORS_ORIGINS: expected exact origins"),
        ({"allowed_hosts": "models.example:8081"}, "WFMGMT_ALLOWED_HOSTS: expected names of hosts without ports"),
        ({"audit_anchor": "/nowhere/anchor"}, "WFMGMT_AUDIT_ANCHOR: /nowhere/anchor: No such file or directory"),
        ({"audit_anchor": "http://10.0.0.1/a"}, "WFMGMT_AUDIT_ANCHOR: Given URL http://10.0.0.1/a does not match"),
        ({"audit_anchor": "/dev/null", "audit_key": "/no.key"}, "WFMGMT_AUDIT_KEY: /no.key: No such file or directory"),
        ({"audit_key": "/no.key"}, "audit_key: expected audit_anchor, too"),
    ],
    ids=[
        "unknown",
        "address",
        "foreign address",
        "database",
        "folder",
        "any origin",
        "slash",
        "port",
        "anchor",
        "private anchor",
        "key",
        "key alone",
    ],
)
def test_start_is_refused_when_a_setting_is_wrong(
    refusal: Callable[..., CannotStart], settings: dict[str, Any], said: str
) -> None:
    """Exit code 2 and a text that names the setting."""
    refused = refusal(**settings)
    assert refused.exit_code == 2
    assert said in str(refused)
