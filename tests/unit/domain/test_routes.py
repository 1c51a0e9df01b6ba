"""Which version answers a request."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.domain.releases import Mirror, Route, RoutingTable
from wfmgmt.domain.routes import BUCKETS, Router, bucket

KEYS = [f"user-{number}" for number in range(10_000)]
#: One percent of so many keys: two standard deviations of a share of one half, so it holds for these keys, not for any.
ONE_PERCENT = len(KEYS) // 100

keys = st.text(st.characters(codec="utf-8"), max_size=40)


def table(*weights: int, mirror: Mirror | None = None, sticky: str | None = None) -> RoutingTable:
    """Return a table of versions 1.0, 2.0, … with these weights, the newest first as in every table."""
    routes = [Route(version=f"{number}.0", weight=weight) for number, weight in enumerate(weights, start=1) if weight]
    return RoutingTable(routes=tuple(reversed(routes)), mirror=mirror, sticky=sticky)


@st.composite
def shares(draw: st.DrawFn) -> list[int]:
    """Weights of two to five versions that add up to 100."""
    ends = sorted(draw(st.sets(st.integers(1, 99), min_size=1, max_size=4)))
    return [end - start for start, end in zip([0, *ends], [*ends, 100], strict=True)]


@pytest.mark.parametrize(
    ("workflow", "key", "expected"),
    [
        ("seq", "user-1", 3632),
        ("seq", "", 6811),
        ("other", "user-1", 4603),
        ("seq", "größe", 2861),
        ("seq", "\udcff", 8400),
    ],
    ids=["plain", "empty", "another workflow", "UTF-8", "not UTF-8"],
)
def test_bucket_is_the_documented_hash(workflow: str, key: str, expected: int) -> None:
    """A client can compute it: 8 bytes of BLAKE2b over name, line feed and key, big-endian, modulo 10,000."""
    assert bucket(workflow, key) == expected


def test_only_version_gets_every_request() -> None:
    """And no copies are made."""
    router = Router("seq", table(100))
    assert {router.choose({}, key) for key in KEYS[:100]} == {router.pick(key) for key in KEYS[:100]} == {"1.0"}
    assert router.copy_to({}, "user-1") is None


def test_request_is_routed_by_its_key() -> None:
    """Both the version that answers and the one that gets a copy follow from it."""
    router = Router("seq", table(50, 50, sticky="x-user-id", mirror=Mirror(version="3.0", percent=50)))
    for user in KEYS[:100]:
        headers = {"x-user-id": user}
        assert (router.choose(headers, "id"), router.copy_to(headers, "id")) == (router.pick(user), router.mirror(user))


@pytest.mark.parametrize(
    "weights",
    [(99, 1), (95, 5), (90, 10), (50, 50), (1, 99), (34, 33, 33), (20, 20, 20, 20, 20), (96, 1, 1, 1, 1)],
    ids=str,
)
def test_shares_are_kept_within_one_percent(weights: tuple[int, ...]) -> None:
    """Of 10,000 users each version gets what its weight says."""
    router = Router("seq", table(*weights))
    counts = Counter(map(router.pick, KEYS))
    for number, weight in enumerate(weights, start=1):
        assert abs(counts[f"{number}.0"] - weight * 100) <= ONE_PERCENT


@given(shares())
def test_each_version_owns_exactly_its_share_of_the_buckets(weights: list[int]) -> None:
    """The newest has the lowest ones, and none is left over."""
    router = Router("seq", table(*weights))
    ends = {key: bucket("seq", key) for key in KEYS[:500]}
    low = 0
    for number, weight in reversed(list(enumerate(weights, start=1))):
        owned = [key for key, place in ends.items() if low <= place < low + weight * 100]
        assert {router.pick(key) for key in owned} <= {f"{number}.0"}
        low += weight * 100
    assert low == BUCKETS


@given(key=keys, low=st.integers(1, 99), high=st.integers(1, 99))
def test_larger_share_never_moves_a_key_back(key: str, low: int, high: int) -> None:
    """A user who has got the newer version keeps it while its share grows."""
    low, high = sorted((low, high))
    before, after = Router("seq", table(100 - low, low)), Router("seq", table(100 - high, high))
    assert before.pick(key) == "1.0" or after.pick(key) == "2.0"


@given(key=keys, weights=shares(), more=st.integers(0, 99))
def test_newest_of_several_keeps_its_keys_when_its_share_grows(key: str, weights: list[int], more: int) -> None:
    """It does not matter which of the others give the share up."""
    grown = min(weights[0], more)
    after = [weights[0] - grown, *weights[1:-1], weights[-1] + grown]
    newest = f"{len(weights)}.0"
    if Router("seq", table(*weights)).pick(key) == newest:
        assert Router("seq", table(*after)).pick(key) == newest


@given(user=keys.filter(bool), weights=shares(), first=keys, second=keys)
def test_sticky_header_decides_for_every_request_of_a_user(
    user: str, weights: list[int], first: str, second: str
) -> None:
    """The ids of the requests do not matter then."""
    router = Router("seq", table(*weights, sticky="x-user-id"))
    headers = {"x-user-id": user}
    assert router.pick(router.key(headers, first)) == router.pick(router.key(headers, second)) == router.pick(user)


@pytest.mark.parametrize("headers", [{}, {"x-user-id": ""}, {"x-other": "1"}], ids=["none", "empty", "another"])
def test_request_id_decides_without_the_sticky_header(headers: dict[str, str]) -> None:
    """A request without a user is not lost."""
    assert Router("seq", table(50, 50, sticky="x-user-id")).key(headers, "id-1") == "id-1"


def test_request_id_decides_when_nothing_is_sticky() -> None:
    """Headers do not matter then."""
    assert Router("seq", table(50, 50)).key({"x-user-id": "u"}, "id-1") == "id-1"


@pytest.mark.parametrize("percent", [1, 5, 50, 99])
def test_mirror_gets_its_share_of_each_version(percent: int) -> None:
    """Copies are not only of the requests to one of the versions."""
    router = Router("seq", table(50, 50, mirror=Mirror(version="3.0", percent=percent)))
    copied = Counter(router.pick(key) for key in KEYS if router.mirror(key) == "3.0")
    assert abs(copied.total() - percent * 100) <= ONE_PERCENT
    assert abs(copied["1.0"] - copied["2.0"]) <= 2 * ONE_PERCENT


def test_mirror_of_everything_gets_everything() -> None:
    """No bucket is left out at 100 percent, also beside a single version."""
    router = Router("seq", table(100, mirror=Mirror(version="2.0", percent=100)))
    assert {router.mirror(key) for key in KEYS[:100]} == {"2.0"}


def test_nothing_is_mirrored_without_a_mirror() -> None:
    """A table without one names none."""
    assert Router("seq", table(50, 50)).mirror("user-1") is None
