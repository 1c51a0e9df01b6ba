"""The settings, from given environments."""

from pathlib import Path

import pytest

from wfmgmt.domain.threads import OPENMP_VARIABLES, THREAD_VARIABLES, ThreadPolicy
from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.settings import Settings, thread_policy, worker_environment
from wfmgmt.settings.values import Address


def test_defaults_listen_on_this_host_only() -> None:
    """Without any setting both addresses are loopback and downloads go to public addresses only."""
    settings = Settings.load({})
    assert (str(settings.management_address), str(settings.inference_address)) == ("127.0.0.1:8081", "127.0.0.1:8080")
    assert settings.allowed_urls == ()


def test_folders_follow_the_instance(tmp_path: Path) -> None:
    """Stores and database lie in the instance folder unless they are set."""
    settings = Settings.load({"WFMGMT_INSTANCE": str(tmp_path), "WFMGMT_MODEL_STORE": "/models"})
    assert settings.workflow_store == tmp_path / "workflow_store"
    assert settings.model_store == Path("/models")
    assert settings.database == tmp_path / "wfmgmt.db"


def test_argument_wins_over_environment_wins_over_file(tmp_path: Path) -> None:
    """Each source overrides the ones before it."""
    (tmp_path / "wfmgmt.toml").write_text("web_workers = 3\nweb_threads = 4\nlog_format = 'json'\n")
    environ = {"WFMGMT_INSTANCE": str(tmp_path), "WFMGMT_WEB_THREADS": "5", "WFMGMT_WEB_WORKERS": "6"}
    settings = Settings.load(environ, web_workers=7)
    assert (settings.web_workers, settings.web_threads, settings.log_format) == (7, 5, "json")


def test_allowed_urls_are_separated_by_commas() -> None:
    """Each pattern stands for itself."""
    settings = Settings.load({"WFMGMT_ALLOWED_URLS": "https://models[.]example/.*, http://10[.]0[.]0[.]1/.*"})
    assert [pattern.pattern for pattern in settings.allowed_urls] == [
        "https://models[.]example/.*",
        "http://10[.]0[.]0[.]1/.*",
    ]


def test_hosts_and_origins_are_separated_by_commas() -> None:
    """Origins are kept as browsers send them: in lower case, without the port that goes without saying."""
    environ = {
        "WFMGMT_ALLOWED_HOSTS": "Models.example, *.internal.example",
        "WFMGMT_CORS_ORIGINS": "https://App.example:443,http://[::1]:80, http://localhost:3000,vscode-webview://ab1",
    }
    settings = Settings.load(environ)
    assert settings.allowed_hosts == ("Models.example", "*.internal.example")
    assert settings.cors_origins == (
        "https://app.example",
        "http://[::1]",
        "http://localhost:3000",
        "vscode-webview://ab1",
    )


def test_servers_are_listed_in_the_same_order() -> None:
    """Each kind of address is a list; a slash at the end makes no difference."""
    settings = Settings.load(
        {
            "WFMGMT_MODEL_SERVER": "torchserve",
            "WFMGMT_TORCHSERVE_MANAGEMENT_URLS": "http://a:8081/, https://[::1]:8081",
            "WFMGMT_TORCHSERVE_INFERENCE_URLS": "http://a:8080, https://[::1]:8080/prefix/",
            "WFMGMT_TORCHSERVE_MANAGEMENT_KEY": "secret",
        }
    )
    assert settings.torchserve_management_urls == ("http://a:8081", "https://[::1]:8081")
    assert settings.torchserve_inference_urls == ("http://a:8080", "https://[::1]:8080/prefix")
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("values", "variables", "expected"),
    [
        ({}, {}, ThreadPolicy(cores=4)),
        ({"worker_threads": "off"}, {}, ThreadPolicy(cores=4, is_off=True)),
        ({"worker_threads": "2"}, {}, ThreadPolicy(cores=4, per_worker=2)),
        ({}, {"MKL_NUM_THREADS": "3"}, ThreadPolicy(cores=4, inherited={"MKL_NUM_THREADS": "3"})),
    ],
    ids=["auto", "off", "number", "operator"],
)
def test_threads_follow_the_setting_and_the_environment(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], variables: dict[str, str], expected: ThreadPolicy
) -> None:
    """What workers inherit counts, which is this process's environment."""
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert thread_policy(Settings.load({}, **values), 4) == expected


@pytest.mark.parametrize(
    ("values", "variables", "expected"),
    [
        ({}, {}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}),
        ({"worker_threads": "2"}, {}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}),
        ({"worker_threads": "off"}, {}, {}),
        ({}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({}, {"KMP_BLOCKTIME": "5"}, {"KMP_BLOCKTIME": "5"}),
        ({}, {"OMP_NUM_THREADS": "4"}, {"OMP_NUM_THREADS": "4"}),
    ],
    ids=["auto", "number", "off", "policy", "intel", "threads"],
)
def test_threads_of_workers_wait_asleep(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], variables: dict[str, str], expected: dict[str, str]
) -> None:
    """Unless the operator says anything about OpenMP."""
    for name in OPENMP_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment = worker_environment(Settings.load({}, **values))
    assert {name: environment[name] for name in OPENMP_VARIABLES if name in environment} == expected


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"WFMGMT_WEB_WORKER": "1"}, "WFMGMT_WEB_WORKER: there is no setting of that name, did you mean WFMGMT_WEB_W"),
        ({"WFMGMT_LOAD_AT_START": "seq.war,m1.mar"}, "WFMGMT_LOAD_AT_START: expected all, or names of .war files"),
        ({"WFMGMT_LOAD_AT_START": "../seq.war"}, "WFMGMT_LOAD_AT_START: expected all, or names of .war files"),
        ({"WFMGMT_WEB_WORKERS": "two"}, "WFMGMT_WEB_WORKERS: expected a whole number (got 'two')"),
        ({"WFMGMT_WEB_WORKERS": "0"}, "WFMGMT_WEB_WORKERS: expected 1 or more (got '0')"),
        ({"WFMGMT_WEB_WORKERS": "100000"}, "WFMGMT_WEB_WORKERS: expected 256 or less (got '100000')"),
        ({"WFMGMT_WEB_THREADS": "100000"}, "WFMGMT_WEB_THREADS: expected 1024 or less"),
        ({"WFMGMT_IDLE_TIMEOUT_S": "x"}, "WFMGMT_IDLE_TIMEOUT_S: expected a number (got 'x')"),
        ({"WFMGMT_OPEN_METRICS": "jes"}, "WFMGMT_OPEN_METRICS: expected true or false (got 'jes')"),
        (
            {"WFMGMT_LOG_LEVEL": "WARN"},
            "WFMGMT_LOG_LEVEL: expected debug, info, warning or error, did you mean warning? (got 'WARN')",
        ),
        ({"WFMGMT_LOG_FORMAT": "xml"}, "WFMGMT_LOG_FORMAT: expected text or json (got 'xml')"),
        (
            {"WFMGMT_ANONYMOUS_ROLE": "views"},
            "auto, none, predict, view, audit, operate, register or admin, did you mean view? (got 'views')",
        ),
        ({"WFMGMT_SIGNERS": "/nosuch"}, "WFMGMT_SIGNERS: expected an existing folder (got '/nosuch')"),
        ({"WFMGMT_MANAGEMENT_ADDRESS": "8081"}, "WFMGMT_MANAGEMENT_ADDRESS: expected host:port"),
        ({"WFMGMT_MANAGEMENT_ADDRESS": "127.0.0.1:99999"}, "WFMGMT_MANAGEMENT_ADDRESS: expected host:port"),
        ({"WFMGMT_ALLOWED_URLS": "("}, "WFMGMT_ALLOWED_URLS: expected regular expressions (got '(')"),
        ({"WFMGMT_ALLOWED_HOSTS": "*"}, "WFMGMT_ALLOWED_HOSTS: expected names of hosts without ports"),
        ({"WFMGMT_ALLOWED_HOSTS": "a.example:80"}, "WFMGMT_ALLOWED_HOSTS: expected names of hosts without ports"),
        ({"WFMGMT_CORS_ORIGINS": "*"}, "WFMGMT_CORS_ORIGINS: * would let every web page"),
        ({"WFMGMT_CORS_ORIGINS": "null"}, "WFMGMT_CORS_ORIGINS: expected exact origins"),
        ({"WFMGMT_CORS_ORIGINS": "https://*.example"}, "WFMGMT_CORS_ORIGINS: expected exact origins"),
        ({"WFMGMT_CORS_ORIGINS": "https://a.example/x"}, "WFMGMT_CORS_ORIGINS: expected exact origins"),
        ({"WFMGMT_MODEL_SERVER": "elsewhere"}, "WFMGMT_MODEL_SERVER: expected local or torchserve (got 'elsewhere')"),
        ({"WFMGMT_AUTOSCALE": "on"}, "WFMGMT_AUTOSCALE: expected cores, always or off (got 'on')"),
        ({"WFMGMT_WORKER_THREADS": "0"}, "WFMGMT_WORKER_THREADS: expected auto, off, or a whole number from 1 to 1000"),
        ({"WFMGMT_WORKER_THREADS": "many"}, "WFMGMT_WORKER_THREADS: expected auto, off, or a whole number from 1 to"),
        (
            {"WFMGMT_REQUESTS": "9"},
            "environment variable WFMGMT_REQUESTS: this setting is called WFMGMT_MAX_INFLIGHT_REQUESTS now",
        ),
        ({"WFMGMT_CONNECTIONS": "9"}, "WFMGMT_MAX_CONNECTIONS now"),
        ({"WFMGMT_REGISTRATIONS": "9"}, "WFMGMT_MAX_OPERATIONS now"),
        ({"WFMGMT_HELD_MB": "9"}, "WFMGMT_MAX_INFLIGHT_MB now"),
        ({"WFMGMT_MAX_OPERATIONS": "8"}, "max_operations: expected fewer than web_threads"),
        ({"WFMGMT_MODEL_SERVER": "torchserve"}, "torchserve_management_urls: expected at least one"),
        (
            {"WFMGMT_TORCHSERVE_MANAGEMENT_URLS": "localhost:8081"},
            "WFMGMT_TORCHSERVE_MANAGEMENT_URLS: expected addresses",
        ),
        (
            {"WFMGMT_TORCHSERVE_MANAGEMENT_URLS": "http://u:p@h:1"},
            "WFMGMT_TORCHSERVE_MANAGEMENT_URLS: expected addresses",
        ),
        ({"WFMGMT_TORCHSERVE_MANAGEMENT_URLS": "http://h:1"}, "torchserve_inference_urls: expected as many as"),
        ({"WFMGMT_TORCHSERVE_KEY_FILES": "a,b"}, "torchserve_key_files: expected none, one for all, or one per server"),
        ({"WFMGMT_TORCHSERVE_CA_BUNDLE": "/nosuch"}, "WFMGMT_TORCHSERVE_CA_BUNDLE: expected an existing file"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_named(environ: dict[str, str], message: str) -> None:
    """The error names the setting and what would be right."""
    with pytest.raises(SettingsInvalid) as caught:
        Settings.load(environ)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("threads", "operations", "registrations", "changes"),
    [(8, 0, 4, 2), (24, 20, 20, 2), (8, 7, 7, 0), (2, 0, 1, 0), (3, 0, 1, 1)],
)
def test_registrations_and_changes_leave_a_thread_free(
    threads: int, operations: int, registrations: int, changes: int
) -> None:
    """Both may hang; without room for changes of their own they share what registrations have."""
    settings = Settings.load({"WFMGMT_WEB_THREADS": str(threads), "WFMGMT_MAX_OPERATIONS": str(operations)})
    assert (settings.concurrent_registrations, settings.concurrent_changes) == (registrations, changes)
    assert registrations + changes < threads


def test_unknown_key_of_the_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    """A misspelt key is an error and not a default."""
    (tmp_path / "wfmgmt.toml").write_text("web_worker = 3\n")
    with pytest.raises(SettingsInvalid, match="web_worker: there is no setting of that name, did you mean"):
        Settings.load({"WFMGMT_INSTANCE": str(tmp_path)})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("web_workers = '3'", "web_workers: expected a whole number, got a text"),
        ("web_workers = true", "web_workers: expected a whole number, got true or false"),
        ("web_workers = 3.0", "web_workers: expected a whole number, got a number with a fraction"),
        ("worker_memory_mb = '512'", "worker_memory_mb: expected a whole number, got a text"),
        ("worker_threads = 1.5", "worker_threads: expected a whole number or a text, got a number with a fraction"),
        ("idle_timeout_s = '1.5'", "idle_timeout_s: expected a number, got a text"),
        ("idle_timeout_s = true", "idle_timeout_s: expected a number, got true or false"),
        ("management_address = 8081", "management_address: expected a text, got a whole number"),
        ("database_url = ['x']", "database_url: expected a text, got a list"),
        ("torchserve_management_key = 1", "torchserve_management_key: expected a text, got a whole number"),
        ("preload = [1]", "preload: expected a text or a list of texts, got a list"),
        ("log_level = 2026-01-01", "log_level: expected a text, got a time"),
        ("instance = '/elsewhere'", "instance: expected WFMGMT_INSTANCE in the environment instead"),
        ("[web_workers]", "web_workers: expected a whole number, got a table"),
    ],
)
def test_value_of_the_file_has_to_be_of_its_type(tmp_path: Path, line: str, said: str) -> None:
    """The error names the file, the key, what was expected and what was found."""
    (tmp_path / "wfmgmt.toml").write_text(f"{line}\n")
    with pytest.raises(SettingsInvalid) as caught:
        Settings.load({"WFMGMT_INSTANCE": str(tmp_path)})
    assert str(caught.value) == f"{tmp_path / 'wfmgmt.toml'}: {said}"


def test_values_of_the_file_are_taken_as_they_are(tmp_path: Path) -> None:
    """Whole numbers are numbers, too, and lists may be written as lists or as in the environment."""
    (tmp_path / "wfmgmt.toml").write_text(
        "idle_timeout_s = 2\ndrain_timeout_s = 0.5\npreload = ['json']\nallowed_urls = 'a,b'\n"
        "worker_memory_mb = 512\nmanagement_address = '127.0.0.1:0'\n"
    )
    settings = Settings.load({"WFMGMT_INSTANCE": str(tmp_path)})
    assert (settings.idle_timeout_s, settings.drain_timeout_s, settings.worker_memory_mb) == (2.0, 0.5, 512)
    assert (settings.preload, len(settings.allowed_urls)) == (("json",), 2)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("wfmgmt_web_workers", "environment variable wfmgmt_web_workers: expected WFMGMT_WEB_WORKERS"),
        ("Wfmgmt_Instance", "environment variable Wfmgmt_Instance: expected WFMGMT_INSTANCE"),
        ("wfmgmt_web_worker", "environment variable wfmgmt_web_worker: there is no setting of that name, did you mean"),
    ],
)
def test_variable_in_lower_case_is_named_as_it_should_be(variable: str, said: str) -> None:
    """It would be ignored without a word otherwise."""
    with pytest.raises(SettingsInvalid) as caught:
        Settings.load({variable: "4"})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("management", "inference", "is_refused"),
    [
        ("127.0.0.1:8081", "127.0.0.1:8081", True),
        ("0.0.0.0:8081", "127.0.0.1:8081", True),
        ("127.0.0.1:8081", "[::]:8081", True),
        ("localhost:8081", "127.0.0.1:8081", True),
        ("127.0.0.1:8081", "127.0.0.2:8081", False),
        ("127.0.0.1:8081", "127.0.0.1:8082", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_both_addresses_cannot_be_one(management: str, inference: str, *, is_refused: bool) -> None:
    """The error names both settings; port 0 never clashes."""
    environ = {"WFMGMT_MANAGEMENT_ADDRESS": management, "WFMGMT_INFERENCE_ADDRESS": inference}
    if not is_refused:
        Settings.load(environ)
        return
    with pytest.raises(SettingsInvalid) as caught:
        Settings.load(environ)
    assert str(caught.value) == (
        f"WFMGMT_MANAGEMENT_ADDRESS ({management}) and WFMGMT_INFERENCE_ADDRESS ({inference}): "
        "expected two different ports"
    )


def test_broken_file_is_named(tmp_path: Path) -> None:
    """A file that is not TOML stops the start."""
    (tmp_path / "wfmgmt.toml").write_text("web_workers = \n")
    with pytest.raises(SettingsInvalid, match=r"wfmgmt\.toml: cannot be read"):
        Settings.load({"WFMGMT_INSTANCE": str(tmp_path)})


@pytest.mark.parametrize("text", ["127.0.0.1:8081", "[::1]:8081", "localhost:0"])
def test_addresses_are_shown_as_they_are_written(text: str) -> None:
    """Reading and showing an address are inverse."""
    assert str(Address.parse(text)) == text


def test_error_over_several_settings_shows_none_of_them() -> None:
    """The database's password is not printed because of another setting."""
    environ = {"WFMGMT_MAX_OPERATIONS": "9", "WFMGMT_DATABASE_URL": "postgresql://u:secret@h/x"}
    with pytest.raises(SettingsInvalid) as caught:
        Settings.load(environ)
    assert "secret" not in str(caught.value)
