"""Requests that clients may repeat: what was asked with an idempotency key is done once, and answered alike again."""

import logging
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus

from wfmgmt.errors import IdempotencyKeyReused, RequestUnderWay, WfmgmtError
from wfmgmt.registry.kept_answers import Answer, KeyedRequest
from wfmgmt.registry.registry import Registry, timestamp, utc_now
from wfmgmt.registry.writing import Writer
from wfmgmt.services.leases import Leases

_log = logging.getLogger("wfmgmt.idempotency")

#: How long an answer is kept.
KEPT = timedelta(hours=24)
#: How many answers are kept; anybody can send keys, and the database is not for that.
MAX_KEPT = 100_000
#: What the leases of requests under way begin with.
_LEASE_PREFIX = "request-"
#: Answers that another attempt may find changed although nothing was done: who may, and how often.
_NOT_KEPT = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})

#: Keeps an answer in the transaction that makes the change which it reports.
Keep = Callable[[Writer, Answer], None]


class Idempotency:
    """Answers requests that carry a key. Thread-safe.

    Args:
        registry: Has the keys and the answers.
        leases: Proof that a request is still under way.
    """

    def __init__(self, *, registry: Registry, leases: Leases) -> None:
        self._registry = registry
        self._leases = leases

    def answer(self, request: KeyedRequest, act: Callable[[Keep], Answer]) -> tuple[Answer, bool]:
        """Return the answer to a request, and whether it was kept from an earlier one.

        A request whose process died is carried out again, unless its change was made: the answer is kept with that.

        Args:
            request: The request.
            act: Carries it out and returns its answer, also when that is an error. It is given what keeps an answer in
                a transaction; an answer that is returned later replaces that one, unless it is not kept at all.

        Raises:
            IdempotencyKeyReused: Another request had the key.
            RequestUnderWay: The same request is under way.
            RegistryUnavailable, InsufficientStorage, FolderUnavailable: It cannot be found out, and nothing was done.
        """
        with self._leases.take(prefix=_LEASE_PREFIX) as lease:
            known = self._begin(request, lease)
            if known is not None:
                return known, True
            is_kept = False
            try:
                answer = act(lambda writer, answer: writer.kept_answers.keep(request, answer))
                is_kept = answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status not in _NOT_KEPT
            finally:
                if not is_kept:
                    self._settle(request, lambda writer: writer.kept_answers.forget(request, lease))
            self._settle(request, lambda writer: writer.kept_answers.keep(request, answer))
            return answer, False

    def _begin(self, request: KeyedRequest, lease: str) -> Answer | None:
        """Return the answer that is kept for a request; None when it is to be carried out, which others now see."""
        with self._registry.write() as writer:
            known = writer.kept_answers.find(request)
            if known is not None and known.at >= timestamp(utc_now() - KEPT):
                if known.sha256 != request.sha256:
                    raise IdempotencyKeyReused(request.key)
                if known.answer is not None:
                    return known.answer
                if known.lease is not None and self._leases.is_alive(known.lease):
                    raise RequestUnderWay(request.key)
            writer.kept_answers.begin(request, lease)
        return None

    def _settle(self, request: KeyedRequest, change: Callable[[Writer], None]) -> None:
        """Change what is known of a request that has its answer, which the client gets in any case."""
        try:
            with self._registry.write() as writer:
                change(writer)
        except WfmgmtError as error:
            _log.warning("could not keep the answer to %s: %s", request.scope, error)

    def clean(self) -> None:
        """Free the keys whose time is over, and the oldest ones of those that are too many.

        Raises:
            RegistryUnavailable, InsufficientStorage: The database cannot be written.
        """
        with self._registry.write() as writer:
            writer.kept_answers.forget_older(timestamp(utc_now() - KEPT), most=MAX_KEPT)
