"""Roles and scopes."""

import pytest

from wfmgmt.domain.access import EVERYTHING, Caller, Role, Scope
from wfmgmt.errors import BadRequest


def test_roles_include_others_as_documented() -> None:
    """Each what it needs to be of use; the audit trail belongs to two of them only."""
    included = {role: "".join(other.value[0] for other in Role if role.includes(other)) for role in Role}
    assert included == {
        Role.PREDICT: "p",
        Role.VIEW: "v",
        Role.AUDIT: "va",
        Role.OPERATE: "pvo",
        Role.REGISTER: "pvor",
        Role.ADMIN: "pvaora",
    }


def test_caller_without_a_role_may_do_nothing() -> None:
    """Not even predict."""
    assert not any(Caller().may(role) for role in Role)
    assert not Caller().is_known


@pytest.mark.parametrize(
    ("patterns", "inside", "outside"),
    [
        (["seq"], ["seq"], ["Seq", "seq2", "", "se"]),
        (["team-*"], ["team-", "team-a"], ["team", "TEAM-a", "a-team-a"]),
        (["*-prod"], ["a-prod", "-prod"], ["prod", "a-prod2"]),
        (["a?c", "x"], ["abc", "a.c", "x"], ["ac", "abbc", "xx"]),
        ([], ["seq", ""], []),
        (["seq", "*"], ["seq", "other"], []),
    ],
    ids=["name", "beginning", "end", "one character", "none", "all"],
)
def test_scope_has_the_names_that_fit(patterns: list[str], inside: list[str], outside: list[str]) -> None:
    """Case matters, and each character stands for itself but these two."""
    scope = Scope.of(patterns)
    assert [name for name in [*inside, *outside] if name in scope] == inside


@pytest.mark.parametrize("pattern", ["", "a b", "[ab]", "a,b", "x" * 129, "a%", "ä"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """The message has it."""
    with pytest.raises(BadRequest, match="expected the name of a workflow"):
        Scope.of([pattern])


def test_patterns_are_bounded() -> None:
    """Each costs every query."""
    with pytest.raises(BadRequest, match="Expected 100 patterns"):
        Scope.of(str(number) for number in range(101))


def test_scope_is_written_as_it_is_kept() -> None:
    """Patterns once, in their order."""
    assert (str(Scope.of(["b*", "a", "b*"])), str(EVERYTHING)) == ("b*,a", "*")
