"""Routing: which version of a workflow answers a request, and whether another one gets a copy of it.

Both follow from a key of the request, so that the same key always leads to the same version.
"""

from bisect import bisect_right
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate

from wfmgmt.domain.releases import WHOLE, RoutingTable

#: Requests are spread over this many buckets, of which each version has its share.
BUCKETS = 10_000
_PER_PERCENT = BUCKETS // WHOLE
#: Sets the hash of copies apart, so that they come from the shares of all versions.
_MIRROR = b"mirror"


def bucket(workflow: str, key: str, purpose: bytes = b"") -> int:
    """Return the bucket of a key, 0 to 9999.

    Args:
        workflow: Name of the workflow: the same user is not among the first to get the new version of each.
        key: Text of any kind; bytes of a header that are not UTF-8 are in it as surrogates.
        purpose: Gives another, independent bucket; at most 16 bytes.
    """
    digest = blake2b(f"{workflow}\n{key}".encode("utf-8", "surrogateescape"), digest_size=8, person=purpose)
    return int.from_bytes(digest.digest(), "big") % BUCKETS


class Router:
    """The routes of one release, prepared for the path of every request; immutable, so any thread may use it.

    The newest version has the lowest buckets. So a larger share for it never moves a key back to an older version.

    Args:
        workflow: Name of the workflow.
        table: What the release says; one version at least has a share.
    """

    __slots__ = ("_bounds", "_mirror", "_mirrored", "_only", "_sticky", "_versions", "_workflow")

    def __init__(self, workflow: str, table: RoutingTable) -> None:
        self._workflow = workflow
        self._sticky = table.sticky
        self._versions = tuple(table.weights)
        self._only = self._versions[0] if len(self._versions) == 1 else None
        #: Where the share of each version ends, but for the last one.
        self._bounds = [_PER_PERCENT * end for end in accumulate(table.weights.values())][:-1]
        self._mirror = None if table.mirror is None else table.mirror.version
        self._mirrored = 0 if table.mirror is None else _PER_PERCENT * table.mirror.percent

    def key(self, headers: Mapping[str, str], request_id: str) -> str:
        """Return what decides about a request: the value of the sticky header, else its id.

        Args:
            headers: Of the request; looked up in lower case, so without regard to case if the mapping has none.
            request_id: The client's own, or a random one. The answer carries it, so routing can be reconstructed.
        """
        sticky = None if self._sticky is None else headers.get(self._sticky)
        return sticky or request_id

    def choose(self, headers: Mapping[str, str], request_id: str) -> str:
        """Return the version that answers a request; one that has all of them is found without a hash."""
        return self._only or self.pick(self.key(headers, request_id))

    def copy_to(self, headers: Mapping[str, str], request_id: str) -> str | None:
        """Return the version that gets a copy of a request; None for one that is not copied."""
        return None if self._mirror is None else self.mirror(self.key(headers, request_id))

    def pick(self, key: str) -> str:
        """Return the version that answers requests with this key."""
        return self._versions[bisect_right(self._bounds, bucket(self._workflow, key))]

    def mirror(self, key: str) -> str | None:
        """Return the version that gets a copy of requests with this key; None for those that are not copied."""
        if self._mirror is None or bucket(self._workflow, key, _MIRROR) >= self._mirrored:
            return None
        return self._mirror
