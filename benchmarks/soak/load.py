"""The clients: as many requests under way as there are connections, one after the other on each.

Requests that misbehave take long, so they have connections of their own; else all others would wait behind them.
"""

import asyncio
import time
from collections.abc import Callable

import aiohttp

from benchmarks.soak.questions import Question, Questions
from benchmarks.soak.verdicts import Tally
from benchmarks.soak.workflows import NAUGHTY

MIXED_CONNECTIONS, NAUGHTY_CONNECTIONS = 20, 4
ANSWER_TIMEOUT_S = 60.0
_PAUSE_AFTER_ERROR_S = 0.05


class Load:
    """Asks and asks.

    Args:
        address: The service's inference address.
        questions: What to ask.
        tally: Where the answers are judged.
    """

    def __init__(self, address: str, questions: Questions, tally: Tally) -> None:
        self._address = address
        self._questions = questions
        self._tally = tally

    async def run(self, seconds: float) -> None:
        """Ask on all connections for a time."""
        deadline = time.monotonic() + seconds
        async with self._session() as session:
            mixed = [self._ask_until(deadline, session, self._questions.next) for _ in range(MIXED_CONNECTIONS)]
            naughty = [
                self._ask_until(deadline, session, lambda: self._questions.ask(NAUGHTY))
                for _ in range(NAUGHTY_CONNECTIONS)
            ]
            await asyncio.gather(*mixed, *naughty)

    async def ask_each(self, questions: list[Question]) -> list[Question]:
        """Ask these, one after the other; return those that did not get their own answers."""
        async with self._session() as session:
            return [question for question in questions if not await self._ask(session, question)]

    @staticmethod
    def _session() -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=MIXED_CONNECTIONS + NAUGHTY_CONNECTIONS)
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def _ask_until(
        self, deadline: float, session: aiohttp.ClientSession, next_question: Callable[[], Question]
    ) -> None:
        while time.monotonic() < deadline:
            if not await self._ask(session, next_question()):
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    async def _ask(self, session: aiohttp.ClientSession, question: Question) -> bool:
        """Ask once; return whether the request got its own answer."""
        began_at = time.monotonic()
        content_type, body = question.body()
        headers = {"Content-Type": content_type, "x-request-id": question.token}
        address = f"{self._address}/wfpredict/{question.workflow.name}"
        try:
            async with session.post(address, data=body, headers=headers) as got:
                content = await got.read()
                return self._tally.record_answer(question, got.status, got.headers, content, began_at)
        except TimeoutError:
            self._tally.record_wrong(f"no answer within {ANSWER_TIMEOUT_S:g} s; {question}")
        except (aiohttp.ClientError, OSError) as error:
            self._tally.record_broken(question, error, began_at)
        return False
