"""The settings, parsed and checked once at start; the only reader of the environment.

Order of precedence: explicit argument, environment variable `WFMGMT_…`, `wfmgmt.toml` in the instance folder, default.
"""

import difflib
import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    model_validator,
)

from wfmgmt.domain.access import Role
from wfmgmt.domain.forwarding import Forwarding
from wfmgmt.domain.limits import MIB, Limits
from wfmgmt.domain.threads import OPENMP_VARIABLES, SHORT_WAITS, THREAD_VARIABLES, ThreadPolicy
from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.settings.reasons import reason
from wfmgmt.settings.values import (
    Address,
    ListenAddress,
    Urls,
    read_anchor,
    read_archives,
    read_hosts,
    read_list,
    read_modules,
    read_origins,
    read_proxies,
    read_threads,
)

ENV_PREFIX = "WFMGMT_"
#: What the environment says to commands that call a running service, and to no service.
_COMMAND_VARIABLES = frozenset({"url", "inference_url", "token"})
FILE_NAME = "wfmgmt.toml"
#: Largest request or answer that can be asked for; messages to workers are made of them.
MAX_MESSAGE_BYTES = 64 * MIB
#: Longest time-out that can be asked for, a day.
MAX_WAIT_S = 86_400
#: Longest time for which archives can be kept that nothing uses, a year.
MAX_KEEP_S = 366 * 86_400

_TOML_TYPES = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number with a fraction",
    list: "a list",
    dict: "a table",
}


class Settings(BaseModel):
    """All settings of one service; `docs/reference/configuration.md` says what each does."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    instance: Path = Path("instance")
    database_url: str = ""
    workflow_store: Path = Path()
    model_store: Path = Path()
    management_address: ListenAddress = Address(host="127.0.0.1", port=8081)
    inference_address: ListenAddress = Address(host="127.0.0.1", port=8080)
    allowed_urls: Annotated[tuple[re.Pattern[str], ...], BeforeValidator(read_list)] = ()
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(read_hosts)] = ()
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(read_origins)] = ()
    download_timeout_s: int = Field(default=300, ge=1)
    download_limit_mb: int = Field(default=512, ge=1)
    signers: DirectoryPath | None = None
    upload_timeout_s: float = Field(default=600, ge=1, le=MAX_WAIT_S)
    upload_limit_mb: int = Field(default=512, ge=1)
    store_limit_mb: int = Field(default=0, ge=0)
    max_uploads: int = Field(default=16, ge=1, le=1024)
    web_workers: int = Field(default=2, ge=1, le=256)
    web_threads: int = Field(default=8, ge=2, le=1024)
    max_operations: int = Field(default=0, ge=0)
    model_server: Literal["local", "torchserve"] = "local"
    torchserve_management_urls: Urls = ()
    torchserve_inference_urls: Urls = ()
    torchserve_key_files: Annotated[tuple[Path, ...], BeforeValidator(read_list)] = ()
    torchserve_management_key: SecretStr | None = None
    torchserve_inference_key: SecretStr | None = None
    torchserve_ca_bundle: FilePath | None = None
    torchserve_connect_timeout_s: float = Field(default=5, ge=0.1, le=MAX_WAIT_S)
    torchserve_timeout_s: float = Field(default=10, ge=0.1, le=MAX_WAIT_S)
    torchserve_check_s: float = Field(default=60, ge=1, le=MAX_WAIT_S)
    queue_size: int = Field(default=100, ge=1)
    max_inflight_requests: int = Field(default=1000, ge=1)
    max_connections: int = Field(default=2000, ge=1)
    max_inflight_mb: int = Field(default=512, ge=1)
    request_limit_bytes: int = Field(default=6_553_500, ge=1, le=MAX_MESSAGE_BYTES)
    response_limit_bytes: int = Field(default=6_553_500, ge=1, le=MAX_MESSAGE_BYTES)
    idle_timeout_s: float = Field(default=60, ge=0.1, le=MAX_WAIT_S)
    drain_timeout_s: float = Field(default=30, ge=0, le=MAX_WAIT_S)
    standby_s: float = Field(default=600, ge=0, le=MAX_WAIT_S)
    max_workers: int = Field(default=1000, ge=1, le=100_000)
    worker_threads: Annotated[int | Literal["auto", "off"], BeforeValidator(read_threads)] = "auto"
    autoscale: Literal["cores", "always", "off"] = "cores"
    worker_memory_mb: int | None = Field(default=None, ge=1)
    preload: Annotated[tuple[str, ...], BeforeValidator(read_modules)] = ()
    model_requirements: Literal["ignore", "check", "install"] = "ignore"
    requirements_timeout_s: float = Field(default=600, ge=1, le=MAX_WAIT_S)
    environments_keep_s: float = Field(default=3600, ge=0)
    archive_entries: int = Field(default=10_000, ge=1)
    archive_unpacked_mb: int = Field(default=4096, ge=1)
    archive_ratio: int = Field(default=200, ge=1)
    dag_nodes: int = Field(default=1000, ge=1)
    load_at_start: Annotated[tuple[str, ...], BeforeValidator(read_archives)] = ()
    watch_store: bool = False
    operations: int = Field(default=4, ge=1, le=256)
    operations_kept: int = Field(default=10_000, ge=1, le=1_000_000)
    keep_archives: Literal["all", "unpacked"] = "all"
    archives_keep_s: int = Field(default=3600, ge=0, le=MAX_KEEP_S)
    anonymous_role: Literal["auto", "none", "predict", "view", "audit", "operate", "register", "admin"] = "auto"
    inference_tokens: bool = False
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(read_proxies)] = ()
    actor_header: str = Field(default="", pattern=r"^([A-Za-z][A-Za-z0-9-]*)?$")
    open_metrics: bool = False
    audit_anchor: Annotated[str, BeforeValidator(read_anchor)] = ""
    audit_key: Path | None = None
    max_audited_failures: int = Field(default=120, ge=1, le=1_000_000)
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: Literal["off", "errors", "all"] = "off"

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Make the folders absolute and put what was not given into the instance folder."""
        instance = Path(values.get("instance") or "instance").resolve()
        values["instance"] = instance
        values["workflow_store"] = Path(values.get("workflow_store") or instance / "workflow_store").resolve()
        values["model_store"] = Path(values.get("model_store") or instance / "model_store").resolve()
        return values

    @model_validator(mode="after")
    def _check_planes_differ(self) -> Self:
        """Two servers cannot share an address."""
        if self.management_address.overlaps(self.inference_address):
            raise ValueError(
                f"{ENV_PREFIX}MANAGEMENT_ADDRESS ({self.management_address}) and {ENV_PREFIX}INFERENCE_ADDRESS "
                f"({self.inference_address}): expected two different ports"
            )
        return self

    @model_validator(mode="after")
    def _leave_threads_free(self) -> Self:
        """Registrations may hang for minutes, so they must not be able to take every thread."""
        if self.max_operations >= self.web_threads:
            raise ValueError(f"max_operations: expected fewer than web_threads ({self.web_threads})")
        return self

    @model_validator(mode="after")
    def _hold_a_request(self) -> Self:
        """A body that is allowed has to find room some time."""
        if self.max_inflight_mb * MIB < self.request_limit_bytes + self.response_limit_bytes:
            raise ValueError("max_inflight_mb: expected room for request_limit_bytes and response_limit_bytes together")
        return self

    @model_validator(mode="after")
    def _sign_something(self) -> Self:
        """A key that signs nothing would not be missed."""
        if self.audit_key and not self.audit_anchor:
            raise ValueError("audit_key: expected audit_anchor, too, which says where signed checkpoints go")
        return self

    @model_validator(mode="after")
    def _believe_somebody(self) -> Self:
        """A header that nobody is believed would not be missed."""
        if self.actor_header and not self.trusted_proxies:
            raise ValueError("actor_header: expected trusted_proxies, too, which says from whom it is taken")
        return self

    @model_validator(mode="after")
    def _name_servers(self) -> Self:
        """A server has two addresses, and keys of its own unless all share them."""
        management, inference = len(self.torchserve_management_urls), len(self.torchserve_inference_urls)
        if management != inference:
            raise ValueError(
                f"torchserve_inference_urls: expected as many as torchserve_management_urls ({management}), "
                "in the same order"
            )
        if self.model_server == "torchserve" and not management:
            raise ValueError("torchserve_management_urls: expected at least one with model_server torchserve")
        if len(self.torchserve_key_files) not in {0, 1, management}:
            raise ValueError(f"torchserve_key_files: expected none, one for all, or one per server ({management})")
        return self

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **explicit: object) -> "Settings":
        """Return the settings in force.

        Args:
            environ: The environment; the process's own unless given.
            explicit: Values that win over everything else.

        Raises:
            SettingsInvalid: A setting is unknown or has a wrong value; the text names it and the nearest known one.
        """
        environ = os.environ if environ is None else environ
        for variable in environ:
            key = variable.upper().removeprefix(ENV_PREFIX).lower()
            if variable.upper().startswith(ENV_PREFIX) and key not in _COMMAND_VARIABLES:
                _check_known(key, f"environment variable {variable}")
                if variable != variable.upper():
                    raise SettingsInvalid(f"environment variable {variable}: expected {variable.upper()}")
        from_environ = {
            key: value
            for key in cls.model_fields
            if (value := environ.get(ENV_PREFIX + key.upper())) is not None and value != ""
        }
        instance = Path(str(explicit.get("instance") or from_environ.get("instance") or "instance"))
        values = {**_read_file(instance / FILE_NAME), **from_environ, **explicit, "instance": instance}
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsInvalid("; ".join(_describe(problem) for problem in error.errors())) from error

    @property
    def database(self) -> Path | str:
        """Where the registry is: the file of a SQLite database, or the URL that was set."""
        return self.database_url or self.instance / "wfmgmt.db"

    @property
    def run_folder(self) -> Path:
        """Folder of sockets, locks and the folders of workers; private to the user of the server."""
        return self.instance / "run"

    @property
    def environments_folder(self) -> Path:
        """Folder of the virtual environments with the libraries that archives list."""
        return self.instance / "environments"

    @property
    def max_install_s(self) -> float:
        """How much longer a load may take because libraries are installed first."""
        return self.requirements_timeout_s if self.model_requirements == "install" else 0.0

    @property
    def archives_folder(self) -> Path:
        """Folder of the archives of all registrations, by their digests; private as well."""
        return self.instance / "archives"

    @property
    def last_checkpoint(self) -> Path:
        """File of the last checkpoint of the audit trail; another anchor has another one, so it begins anew."""
        return self.instance / f"checkpoint-{hashlib.sha256(self.audit_anchor.encode()).hexdigest()[:12]}"

    @property
    def audit_folder(self) -> Path:
        """Folder of the files with the rows of the audit trail that were archived."""
        return self.instance / "audit"

    @property
    def control_socket(self) -> Path:
        """Unix socket on which the runtime listens for the management plane."""
        return self.run_folder / "runtime.sock"

    @property
    def start_marker(self) -> Path | None:
        """File that is there once the archives of `load_at_start` are registered; None when there are none."""
        return self.run_folder / "loaded-at-start" if self.load_at_start else None

    @property
    def metrics_folder(self) -> Path:
        """Where the web workers share their counters."""
        return self.run_folder / "metrics"

    @property
    def limits(self) -> Limits:
        """Bounds on archives and specs."""
        return Limits(
            archive_entries=self.archive_entries,
            archive_unpacked_bytes=self.archive_unpacked_mb * MIB,
            archive_ratio=self.archive_ratio,
            dag_nodes=self.dag_nodes,
        )

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """Names under which requests may reach the service: those allowed, and those that it listens on."""
        return (*self.allowed_hosts, self.management_address.host, self.inference_address.host)

    @property
    def forwarding(self) -> Forwarding:
        """Which proxies are believed, and what."""
        return Forwarding.of(self.trusted_proxies, self.actor_header)

    @property
    def anonymous(self) -> Role | None:
        """What requests without a token may do; None for nothing."""
        return None if self.anonymous_role in ("auto", "none") else Role(self.anonymous_role)

    @property
    def is_open_until_first_token(self) -> bool:
        """Whether they may do everything until there is a token: both addresses are loopback, without a proxy."""
        is_local = self.management_address.is_loopback and self.inference_address.is_loopback
        return self.anonymous_role == "auto" and is_local and not self.trusted_proxies

    @property
    def concurrent_registrations(self) -> int:
        """Registrations that one web worker carries out at a time; half its threads unless set."""
        return self.max_operations or self.web_threads // 2

    @property
    def concurrent_changes(self) -> int:
        """Other changes that may wait for the runtime in one web worker: half of the threads that are left."""
        return (self.web_threads - self.concurrent_registrations) // 2

    @property
    def concurrent_waits(self) -> int:
        """Requests that may wait for an operation in one web worker: half of the threads that are left then."""
        return (self.web_threads - self.concurrent_registrations - self.concurrent_changes) // 2


@cache
def settings_in_force() -> Settings:
    """Return the settings of this process and of all that it forks, which are read once.

    Raises:
        SettingsInvalid: A setting is unknown or has a wrong value.
    """
    return Settings.load()


def command_variable(name: str) -> str:
    """Return a variable for commands that call a running service; they read no other settings. Empty when not set."""
    return os.environ.get(f"{ENV_PREFIX}{name.upper()}", "")


def is_plain_terminal() -> bool:
    """Return whether the terminal, if there is one, obeys no escape sequences."""
    return os.environ.get("TERM") == "dumb"


def is_without_styles() -> bool:
    """Return whether text is to be plain on a terminal, too.

    Source:
        https://no-color.org
    """
    return is_plain_terminal() or bool(os.environ.get("NO_COLOR"))


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of worker processes: ours without our settings, some of which are secrets.

    The instance folder stays, so that an operator can tell to which service a process belongs that a handler started.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    is_decided = settings.worker_threads == "off" or any(environment.get(name) for name in OPENMP_VARIABLES)
    return {**environment, **({} if is_decided else SHORT_WAITS), f"{ENV_PREFIX}INSTANCE": str(settings.instance)}


def thread_policy(settings: Settings, cores: int) -> ThreadPolicy:
    """Return what decides how many threads the libraries in a worker use, on a host that gives so many cores."""
    chosen, environment = settings.worker_threads, worker_environment(settings)
    return ThreadPolicy(
        cores=cores,
        per_worker=chosen if isinstance(chosen, int) else None,
        is_off=chosen == "off",
        inherited={name: environment[name] for name in THREAD_VARIABLES if environment.get(name)},
        only_functions=settings.model_server == "torchserve",
    )


#: Settings of earlier versions, each with what it is called now.
_RENAMED = {
    "requests": "max_inflight_requests",
    "connections": "max_connections",
    "registrations": "max_operations",
    "held_mb": "max_inflight_mb",
}


def _check_known(key: str, place: str) -> None:
    if key in _RENAMED:
        raise SettingsInvalid(f"{place}: this setting is called {ENV_PREFIX}{_RENAMED[key].upper()} now")
    if key not in Settings.model_fields:
        nearest = difflib.get_close_matches(key, Settings.model_fields, n=1)
        hint = f", did you mean {ENV_PREFIX}{nearest[0].upper()}?" if nearest else ""
        raise SettingsInvalid(f"{place}: there is no setting of that name{hint}")


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"{path}: cannot be read: {error}") from error
    for key, value in values.items():
        _check_known(key, f"{path}: {key}")
        if key == "instance":
            raise SettingsInvalid(f"{path}: instance: expected {ENV_PREFIX}INSTANCE in the environment instead")
        _check_type(path, key, value)
    return values


def _check_type(path: Path, key: str, value: object) -> None:
    """Refuse a value of the file that is not of its setting's type; only texts of the environment are converted."""
    annotation: Any = Settings.model_fields[key].annotation
    kinds = {get_origin(kind) or kind for kind in (annotation, *get_args(annotation))}
    if tuple in kinds:
        is_right, expected = _is_text_or_list(value), "a text or a list of texts"
    elif bool in kinds:
        is_right, expected = isinstance(value, bool), "true or false"
    elif int in kinds and Literal in kinds:
        is_right, expected = type(value) in (int, str), "a whole number or a text"
    elif int in kinds:
        is_right, expected = type(value) is int, "a whole number"
    elif float in kinds:
        is_right, expected = type(value) in (int, float), "a number"
    else:
        is_right, expected = isinstance(value, str), "a text"
    if not is_right:
        raise SettingsInvalid(f"{path}: {key}: expected {expected}, got {_TOML_TYPES.get(type(value), 'a time')}")


def _is_text_or_list(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _describe(problem: Mapping[str, Any]) -> str:
    if not problem["loc"]:
        return reason(problem)  # What belongs to no single setting would show all of them, secrets included.
    key = str(problem["loc"][0])
    allowed = get_args(Settings.model_fields[key].annotation)
    return f"{ENV_PREFIX}{key.upper()}: {reason(problem, allowed)} (got {str(problem['input'])[:100]!r})"
