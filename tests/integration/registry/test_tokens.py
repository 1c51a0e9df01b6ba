"""Tokens in the database, and scopes as conditions of queries, on SQLite and PostgreSQL."""

from contextlib import closing
from pathlib import Path

import pytest

from tests.support.operations import make_operation
from tests.support.query_plans import executed_statements, query_plan
from tests.support.records import make_registry, register
from tests.support.tokens import make_token
from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.errors.access import TokenExists
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import inspect

NOW = "2026-11-27T12:00:00.000000Z"


def test_token_is_kept_as_it_was_made(registry: Registry) -> None:
    """But for its number and its time, which the registry gives."""
    new = make_token("ci", role=Role.OPERATE, scope=Scope.of(["team-*", "x"]), note="for ci", expires_at=NOW)
    with registry.write() as writer:
        kept = writer.tokens.add(new)
    with registry.read() as reader:
        assert reader.tokens.all() == [kept] == [reader.tokens.named("ci")]
    assert (kept.role, kept.scope, kept.note, kept.expires_at) == (Role.OPERATE, new.scope, "for ci", NOW)


def test_name_of_a_token_is_given_once(registry: Registry) -> None:
    """Also when it is revoked: the audit trail has it."""
    with registry.write() as writer:
        writer.tokens.add(make_token("ci"))
        writer.tokens.revoke("ci", "cli:ops")
    with pytest.raises(TokenExists), registry.write() as writer:
        writer.tokens.add(make_token("ci", "another secret"))


def test_start_finds_whether_there_are_tokens(registry: Registry, database: str) -> None:
    """Also when they are revoked."""
    assert not inspect(database).has_tokens
    with registry.write() as writer:
        writer.tokens.add(make_token("ci"))
        writer.tokens.revoke("ci", "cli:ops")
    assert inspect(database).has_tokens


def test_only_valid_tokens_are_found(registry: Registry) -> None:
    """Neither those that are revoked nor those that have expired by then."""
    tokens = [
        make_token("a"),
        make_token("b"),
        make_token("c", expires_at=NOW),
        make_token("d", expires_at="2027-01-01"),
    ]
    with registry.write() as writer:
        for each in tokens:
            writer.tokens.add(each)
        writer.tokens.revoke("b", "cli:ops")
    with registry.read() as reader:
        found = [each.name for each in tokens if reader.tokens.valid(each.sha256, NOW)]
        assert found == [each.name for each in reader.tokens.all_valid(NOW)] == ["a", "d"]
        assert reader.tokens.valid("0" * 64, NOW) is None


def test_first_revocation_stays(registry: Registry) -> None:
    """With who made it."""
    with registry.write() as writer:
        writer.tokens.add(make_token("ci"))
        writer.tokens.revoke("ci", "cli:ops")
        writer.tokens.revoke("ci", "cli:other")
    with registry.read() as reader:
        (token,) = reader.tokens.all()
    assert (token.revoked_by, token.revoked_at is not None) == ("cli:ops", True)


def test_use_of_a_token_is_recorded(registry: Registry) -> None:
    """Of those that were used."""
    with registry.write() as writer:
        used, _ = (writer.tokens.add(make_token(name)) for name in ("a", "b"))
        writer.tokens.record_uses([used.id])
    with registry.read() as reader:
        assert [each.last_used_at is not None for each in reader.tokens.all()] == [True, False]


def test_change_of_tokens_is_seen_by_followers(registry: Registry) -> None:
    """As one of workflows is."""
    with registry.write() as writer:
        before = writer.last_change_number()
        writer.record_change()
        assert writer.last_change_number() == before + 1


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], ["Team-b", "a_b", "axb", "team-a", "team-b"]),
        (["team-*"], ["team-a", "team-b"]),
        (["team-a", "axb"], ["axb", "team-a"]),
        (["a_b"], ["a_b"]),
        (["a?b"], ["a_b", "axb"]),
        (["*-b"], ["Team-b", "team-b"]),
        (["nothing"], []),
    ],
    ids=["all", "beginning", "names", "underscore", "one character", "end", "none"],
)
def test_lists_have_what_is_in_the_scope(registry: Registry, patterns: list[str], expected: list[str]) -> None:
    """All of them page by page, in their order, with the case of names."""
    names = ["team-a", "team-b", "Team-b", "a_b", "axb"]
    for name in names:
        register(registry, name)
    with registry.write() as writer:
        for name in names:
            writer.operations.begin(make_operation(name), None)
    scope = Scope.of(patterns)
    with registry.read() as reader:
        assert [name for name, _ in reader.page(limit=100, offset=0, scope=scope).workflows] == expected
        assert [name for name, _ in reader.page(limit=100, offset=1, scope=scope).workflows] == expected[1:]
        assert [name for name, _ in reader.page_after("", limit=100, scope=scope).workflows] == expected
        first = reader.page(limit=1, offset=0, scope=scope)
        assert (len(first.workflows), first.more) == (min(1, len(expected)), len(expected) > 1)
        for status in (WorkflowStatus.READY, WorkflowStatus.REGISTERING):
            assert [each.name for each in reader.listed([status], scope=scope)] == expected
        assert sorted(each.workflow for each in reader.operations.page(limit=100, scope=scope)) == sorted(expected)


def test_scope_uses_the_index_of_names(tmp_path: Path) -> None:
    """So one team's list does not read what all others have; SQLite says how it would look for them."""
    with closing(make_registry(tmp_path)) as registry, registry.read() as reader, executed_statements() as statements:
        reader.page_after("", limit=100, scope=Scope.of(["team-*"]))
    plan = query_plan(tmp_path / "wfmgmt.db", statements)
    assert "SEARCH workflow USING" in plan
    assert "name>" in plan
