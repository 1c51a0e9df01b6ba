"""How many threads the libraries in a worker use: OpenMP, MKL, OpenBLAS, numexpr, and what computes with these."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wfmgmt.domain.workflow import Node, NodeKind, NodeSpec

#: What these libraries read when they are loaded. Each but for the first falls back on the first, if at all.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
MAX_THREADS = 1000
#: Has OpenMP's threads wait for each other asleep, GNU's after a moment on their cores, as by themselves when
#: they know of more threads than cores. Otherwise they spin for milliseconds, also when the awaited one has no core.
SHORT_WAITS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
#: What of an operator's variables says how OpenMP works: one of them is enough.
OPENMP_VARIABLES = (*THREAD_VARIABLES, *SHORT_WAITS, "KMP_BLOCKTIME")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadPolicy:
    """What decides how many threads the libraries in a worker use.

    Attributes:
        cores: Cores that the service may use.
        per_worker: The number for every worker; None for its part of the cores.
        is_off: Whether workers get a number only where a spec gives one.
        inherited: Those of the variables that the operator set: all workers have them, and nothing is added.
        only_functions: Whether models run elsewhere, where this decides nothing.
    """

    cores: int = 1
    per_worker: int | None = None
    is_off: bool = False
    inherited: Mapping[str, str] = field(default_factory=dict)
    only_functions: bool = False

    def given(self, max_workers: int, own: int | None = None) -> int | None:
        """Return the number that a new worker of a node gets, None when it is left alone.

        Args:
            max_workers: Workers that the node may have.
            own: What the spec says for the node.
        """
        if self.inherited:
            return None
        if own is not None:
            return own
        if self.is_off:
            return None
        return self.per_worker or max(self.cores // max(max_workers, 1), 1)

    def of(self, node: Node | NodeSpec) -> int | None:
        """Return the number that holds for new workers of a node, None when the libraries decide."""
        if self.only_functions and node.kind is NodeKind.MODEL:
            return None
        if self.inherited:
            # OpenMP takes a list for nested regions, of which the first number is the outermost's.
            first = next(iter(self.inherited.values())).split(",")[0].strip()
            return int(first) if first.isdecimal() else None
        return self.given(node.settings.max_workers, node.threads)
