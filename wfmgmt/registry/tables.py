"""The tables. `docs/reference/database.md` explains every column to an auditor; `migrations/` creates them.

Times are ISO 8601 texts in UTC with microseconds, so that they read and sort the same in every database.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from wfmgmt.domain.access import Role
from wfmgmt.domain.workflow import SETTINGS

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Text that sorts by code points everywhere, as TorchServe's lists do.
ByCodePoint = Text().with_variant(Text(collation="C"), "postgresql")
#: A number of bytes; integers of SQLite are large enough.
Bytes = BigInteger().with_variant(Integer, "sqlite")


def _worker_settings() -> list[Column[int]]:
    return [Column(setting.field, Integer, nullable=False) for setting in SETTINGS]


def _worker_checks() -> list[CheckConstraint]:
    return [
        CheckConstraint("min_workers >= 0 AND max_workers >= 1 AND max_workers >= min_workers", name="workers"),
        CheckConstraint("batch_size >= 1 AND max_batch_delay_ms >= 0", name="batch"),
        CheckConstraint("retry_attempts >= 0 AND timeout_ms >= 1", name="tries"),
    ]


workflow = Table(
    "workflow",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("name", ByCodePoint, nullable=False, unique=True),
    Column("revision", Integer, nullable=False),
    Column("change", Integer, nullable=False),
    Column("release_id", ForeignKey("release.id")),
    Column("default_version_id", ForeignKey("workflow_version.id", use_alter=True)),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    CheckConstraint("revision >= 0", name="revision"),
    Index(None, "name", "default_version_id"),
    Index(None, "change"),
    sqlite_strict=True,
)

workflow_version = Table(
    "workflow_version",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("workflow_id", ForeignKey("workflow.id", ondelete="CASCADE"), nullable=False),
    Column("version", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("archive_file", Text, nullable=False),
    Column("archive_downloaded", Integer, nullable=False),
    Column("archive_sha256", Text, nullable=False),
    Column("handler", Text),
    Column("spec", Text, nullable=False),
    Column("dag", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("lease", Text),
    *_worker_settings(),
    Column("response_timeout_s", Integer, nullable=False),
    Column("startup_timeout_s", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("registered_at", Text),
    Column("updated_at", Text, nullable=False),
    *_worker_checks(),
    CheckConstraint("status IN ('registering', 'ready', 'unregistering')", name="status"),
    CheckConstraint("archive_downloaded IN (0, 1)", name="archive_downloaded"),
    CheckConstraint("length(archive_sha256) = 64", name="archive_sha256"),
    CheckConstraint("(status = 'ready') = (lease IS NULL)", name="lease"),
    CheckConstraint("response_timeout_s >= 1 AND startup_timeout_s >= 1", name="timeouts"),
    CheckConstraint("length(version) BETWEEN 1 AND 64", name="version"),
    UniqueConstraint("workflow_id", "version"),
    Index(None, "status"),
    Index(None, "archive_file"),
    sqlite_strict=True,
)

release = Table(
    "release",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("workflow_uid", Text, nullable=False),
    Column("workflow", ByCodePoint, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("previous", Integer),
    Column("policy", Text, nullable=False),
    CheckConstraint("number >= 1 AND previous < number", name="number"),
    CheckConstraint("length(kind) BETWEEN 1 AND 40 AND kind = lower(kind)", name="kind"),
    UniqueConstraint("workflow_uid", "number"),
    sqlite_strict=True,
)

release_route = Table(
    "release_route",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("release_id", ForeignKey("release.id"), nullable=False),
    Column("version_uid", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("weight", Integer, nullable=False),
    CheckConstraint("kind IN ('serve', 'mirror')", name="kind"),
    CheckConstraint("weight BETWEEN 1 AND 100", name="weight"),
    UniqueConstraint("release_id", "kind", "version"),
    sqlite_strict=True,
)

change_counter = Table(
    "change_counter",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("last", Integer, nullable=False),
    CheckConstraint("id = 1", name="only_row"),
    sqlite_strict=True,
)

removal = Table(
    "removal",
    metadata,
    Column("change", Integer, primary_key=True, autoincrement=False),
    Column("uid", Text, nullable=False),
    sqlite_strict=True,
)

node = Table(
    "node",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version_id", ForeignKey("workflow_version.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("model_url", Text),
    Column("model_file", Text),
    Column("model_downloaded", Integer, nullable=False),
    Column("model_sha256", Text),
    *_worker_settings(),
    Column("threads", Integer),
    *_worker_checks(),
    CheckConstraint("kind IN ('model', 'function')", name="kind"),
    CheckConstraint("model_downloaded IN (0, 1)", name="model_downloaded"),
    CheckConstraint(
        "(kind = 'model') = (model_url IS NOT NULL AND model_file IS NOT NULL AND model_sha256 IS NOT NULL)",
        name="model",
    ),
    UniqueConstraint("version_id", "name"),
    UniqueConstraint("version_id", "position"),
    sqlite_strict=True,
)

edge = Table(
    "edge",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version_id", ForeignKey("workflow_version.id", ondelete="CASCADE"), nullable=False),
    Column("source_id", ForeignKey("node.id", ondelete="CASCADE"), nullable=False),
    Column("target_id", ForeignKey("node.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    CheckConstraint("source_id <> target_id", name="self_loop"),
    UniqueConstraint("source_id", "target_id"),
    UniqueConstraint("version_id", "position"),
    sqlite_strict=True,
)

node_override = Table(
    "node_override",
    metadata,
    Column("node_id", ForeignKey("node.id", ondelete="CASCADE"), primary_key=True),
    Column("setting", Text, primary_key=True),
    Column("value", Integer, nullable=False),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    CheckConstraint("setting IN ({})".format(", ".join(f"'{each.field}'" for each in SETTINGS)), name="setting"),
    sqlite_strict=True,
)

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_sha256", Text, nullable=False),
    Column("lease", Text),
    Column("status", Integer),
    Column("headers", Text),
    Column("body", Text),
    Column("at", Text, nullable=False, index=True),
    CheckConstraint("length(request_sha256) = 64", name="request_sha256"),
    CheckConstraint("(status IS NULL) = (lease IS NOT NULL)", name="lease"),
    sqlite_strict=True,
)

operation = Table(
    "operation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("key", Text, unique=True),
    Column("kind", Text, nullable=False),
    Column("workflow", ByCodePoint, nullable=False),
    Column("version", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("phase", Text),
    Column("done_bytes", Bytes, nullable=False),
    Column("total_bytes", Bytes),
    Column("nodes", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("result", Text),
    Column("error", Text),
    Column("actor", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("lease", Text),
    Column("created_at", Text, nullable=False),
    Column("started_at", Text),
    Column("ended_at", Text),
    Column("cancelled_by", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("receipt", Text),
    CheckConstraint("length(kind) BETWEEN 1 AND 40 AND kind = lower(kind)", name="kind"),
    CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"),
    CheckConstraint("phase IN ('fetching', 'checking', 'loading', 'switching')", name="phase"),
    CheckConstraint("done_bytes >= 0 AND total_bytes >= 0", name="bytes"),
    CheckConstraint("(state = 'running') = (lease IS NOT NULL)", name="lease"),
    CheckConstraint("(state IN ('queued', 'running')) = (ended_at IS NULL)", name="ended_at"),
    CheckConstraint("key IS NULL OR ended_at IS NULL", name="key"),
    CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
    Index(None, "state", "workflow"),
    Index(None, "state", "id"),
    sqlite_strict=True,
)

installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("identity", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    CheckConstraint("id = 1", name="only_row"),
    sqlite_strict=True,
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("seen_at", Text, nullable=False),
    CheckConstraint("id = 1", name="only_row"),
    sqlite_strict=True,
)

token = Table(
    "token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", ByCodePoint, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("workflows", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Text),
    Column("last_used_at", Text),
    Column("revoked_at", Text),
    Column("revoked_by", Text),
    CheckConstraint("role IN ({})".format(", ".join(f"'{role}'" for role in Role)), name="role"),
    CheckConstraint("length(sha256) = 64", name="sha256"),
    CheckConstraint("length(workflows) > 0", name="workflows"),
    CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="revoked"),
    sqlite_strict=True,
)

declaration = Table(
    "declaration",
    metadata,
    Column("workflow", ByCodePoint, primary_key=True),
    Column("source", Text, nullable=False, index=True),
    Column("declared", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    CheckConstraint("length(source) BETWEEN 1 AND 64", name="source"),
    sqlite_strict=True,
)

audit_event = Table(
    "audit_event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Text, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("workflow", ByCodePoint, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous_hash", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("scheme", Integer, nullable=False, server_default=text("1")),
    CheckConstraint("length(action) BETWEEN 1 AND 40 AND action = lower(action)", name="action"),
    CheckConstraint("outcome IN ('succeeded', 'failed')", name="outcome"),
    CheckConstraint("length(previous_hash) = 64 AND length(hash) = 64", name="hash"),
    *(Index(None, column, "id") for column in ("actor", "address", "request_id", "action", "workflow", "outcome")),
    sqlite_strict=True,
)

audit_segment = Table(
    "audit_segment",
    metadata,
    Column("first_id", Integer, primary_key=True, autoincrement=False),
    Column("last_id", Integer, nullable=False, unique=True),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("actor", Text, nullable=False),
    CheckConstraint("first_id >= 1 AND last_id >= first_id", name="ids"),
    CheckConstraint("length(previous_hash) = 64 AND length(hash) = 64 AND length(sha256) = 64", name="hashes"),
    sqlite_strict=True,
)
