"""Suites that every implementation of one of wfmgmt's protocols has to pass; also for implementations elsewhere."""

from wfmgmt.testing.loading import LoadingConformance
from wfmgmt.testing.models import OpenServer, ServerTraits, WriteMar, ignore, in_event_loop, load, make_model
from wfmgmt.testing.predicting import PredictingConformance

__all__ = [
    "ModelServerConformance",
    "OpenServer",
    "ServerTraits",
    "WriteMar",
    "ignore",
    "in_event_loop",
    "load",
    "make_model",
]


class ModelServerConformance(LoadingConformance, PredictingConformance):
    """The conformance suite for a `ModelServer` and its `LoadedModel`s.

    A subclass whose name starts with `Test` runs them. It, or its module, provides two fixtures: `open_server`, a
    function that returns an asynchronous context manager for a server, which is closed at the end; and `write_mar`, a
    `WriteMar` whose archives that server can load. What the server cannot do or say, because it runs models by way of
    something else, the subclass says in `traits`.
    """
