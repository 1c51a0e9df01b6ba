"""The life of a workflow in the runtime: its states, and what moves it from one to the next."""

from collections.abc import Mapping
from enum import StrEnum


class LoadEvent(StrEnum):
    """An event that moves a workflow from one state to the next."""

    #: All of its nodes came up.
    CAME_UP = "came up"
    #: A node did not come up, and all others were taken down.
    FAILED = "failed"
    #: The registry calls it ready.
    REGISTERED = "registered"
    #: A load that failed is asked for again.
    RETRIED = "retried"
    #: It is to be taken down.
    LEFT = "left"
    #: Nothing of it is left.
    GONE = "gone"


class LoadState(StrEnum):
    """How far the runtime is with a workflow, and whether clients may know of it."""

    #: Workers are coming up for a registration that is not finished.
    LOADING = "loading"
    #: Everything came up, and the registration can be finished.
    LOADED = "loaded"
    #: A node did not come up, and the registration fails.
    FAILED = "failed"
    #: It is registered, and workers are coming up.
    RESTORING = "restoring"
    #: It is registered, and everything came up; workers that died since are being restarted.
    SERVING = "serving"
    #: It is registered, but a node did not come up; nothing of it runs until another attempt succeeds.
    DOWN = "down"
    #: It is being taken down; requests that were accepted are still answered.
    LEAVING = "leaving"
    #: The runtime does not know it.
    ABSENT = "absent"

    @property
    def is_registered(self) -> bool:
        """Whether clients may know of it."""
        return self in {LoadState.RESTORING, LoadState.SERVING, LoadState.DOWN}

    @property
    def is_loaded(self) -> bool:
        """Whether everything came up."""
        return self in {LoadState.LOADED, LoadState.SERVING}

    @property
    def has_failed(self) -> bool:
        """Whether a node did not come up."""
        return self in {LoadState.FAILED, LoadState.DOWN}

    @property
    def is_final(self) -> bool:
        """Whether there is nothing to wait for: it came up, did not, or is not known."""
        return self.is_loaded or self.has_failed or self is LoadState.ABSENT

    def after(self, event: LoadEvent) -> "LoadState":
        """Return the state that an event leads to.

        Raises:
            ValueError: It cannot happen in this state.
        """
        try:
            return MOVES[self][event]
        except KeyError:
            raise ValueError(f"a workflow that is {self.value} cannot have {event.value}") from None


#: Where each event leads from each state; those that are missing cannot happen there. What can happen again and again,
#: such as `REGISTERED`, leaves the state as it is the second time.
MOVES: Mapping[LoadState, Mapping[LoadEvent, LoadState]] = {
    LoadState.LOADING: {
        LoadEvent.CAME_UP: LoadState.LOADED,
        LoadEvent.FAILED: LoadState.FAILED,
        LoadEvent.REGISTERED: LoadState.RESTORING,
        LoadEvent.LEFT: LoadState.LEAVING,
    },
    LoadState.LOADED: {
        LoadEvent.REGISTERED: LoadState.SERVING,
        LoadEvent.LEFT: LoadState.LEAVING,
    },
    LoadState.FAILED: {
        LoadEvent.REGISTERED: LoadState.DOWN,
        LoadEvent.LEFT: LoadState.LEAVING,
    },
    LoadState.RESTORING: {
        LoadEvent.CAME_UP: LoadState.SERVING,
        LoadEvent.FAILED: LoadState.DOWN,
        LoadEvent.REGISTERED: LoadState.RESTORING,
        LoadEvent.LEFT: LoadState.LEAVING,
    },
    LoadState.SERVING: {
        LoadEvent.REGISTERED: LoadState.SERVING,
        LoadEvent.LEFT: LoadState.LEAVING,
    },
    LoadState.DOWN: {
        LoadEvent.CAME_UP: LoadState.SERVING,
        LoadEvent.FAILED: LoadState.DOWN,
        LoadEvent.REGISTERED: LoadState.DOWN,
        LoadEvent.RETRIED: LoadState.RESTORING,
        LoadEvent.LEFT: LoadState.LEAVING,
    },
    LoadState.LEAVING: {
        LoadEvent.CAME_UP: LoadState.LEAVING,
        LoadEvent.FAILED: LoadState.LEAVING,
        LoadEvent.REGISTERED: LoadState.LEAVING,
        LoadEvent.LEFT: LoadState.LEAVING,
        LoadEvent.GONE: LoadState.ABSENT,
    },
    LoadState.ABSENT: {
        LoadEvent.LEFT: LoadState.ABSENT,
        LoadEvent.GONE: LoadState.ABSENT,
    },
}
