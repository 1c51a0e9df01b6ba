"""Requests: what is asked of which workflow, in which form, with which body."""

import json
import random
import string
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlencode

from benchmarks.soak.workflows import STEADY, VISITOR, SoakedWorkflow

MAX_PAD_CHARS = 200_000
_CHUNK_BYTES = 10_000
_FORMS = ("json", "raw", "text", "chunked", "form", "multipart")
#: What bodies are cut from: mostly letters, and now and then something that an encoding has to do something about.
_ODD = ' &=%+|"\\\r\n{}üß€'


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request.

    Attributes:
        token: Like no other request's, and of one length with all of them.
        workflow: Whom it is for.
        deed: What is to happen in a handler, as `handlers` describes it.
        pad: The rest of its body.
        form: How it is sent, one of `_FORMS`.
    """

    token: str
    workflow: SoakedWorkflow
    deed: str
    pad: str
    form: str

    def __str__(self) -> str:
        deed = self.deed or "no deed"
        return f"{self.token} to {self.workflow.name} as {self.form}, {deed}, pad of {len(self.pad)} characters"

    @property
    def word(self) -> str:
        """The deed without its node."""
        return self.deed.partition("@")[0]

    def answer(self) -> bytes:
        """Return the answer that it has to get."""
        return self.workflow.answer(self.token, self.deed, self.pad)

    def body(self) -> tuple[str, bytes | AsyncIterator[bytes]]:
        """Return the content type and the body."""
        if self.form == "json":
            fields = {"token": self.token, "deed": self.deed, "pad": self.pad}
            return "application/json", json.dumps(fields).encode()
        if self.form == "form":
            return "application/x-www-form-urlencoded", urlencode(self._fields()).encode()
        if self.form == "multipart":
            return f"multipart/form-data; boundary=-{self.token}-", self._multipart()
        text = f"{self.token}|{self.deed}||{self.pad}" if self.deed or self.pad else self.token
        if self.form == "text":
            return "text/plain; charset=utf-8", text.encode()
        return "application/octet-stream", _chunks(text.encode()) if self.form == "chunked" else text.encode()

    def _fields(self) -> dict[str, str]:
        return {"token": self.token, "deed": self.deed, "pad": self.pad}

    def _multipart(self) -> bytes:
        parts = [
            f'---{self.token}-\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in self._fields().items()
        ]
        return f"{''.join(parts)}---{self.token}---\r\n".encode()


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]


class Questions:
    """Makes requests.

    Args:
        chance: Where they come from.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._workflows = (*STEADY, VISITOR)
        self._weights = [workflow.weight for workflow in self._workflows]
        letters = string.ascii_letters * 8 + _ODD
        self._text = "".join(chance.choices(letters, k=2 * MAX_PAD_CHARS))
        self._asked = 0

    def next(self) -> Question:
        """Return a new one for any of the workflows but those without weight."""
        return self.ask(self._chance.choices(self._workflows, self._weights)[0])

    def ask(self, workflow: SoakedWorkflow) -> Question:
        """Return a new one for a workflow."""
        self._asked += 1
        start = self._chance.randrange(MAX_PAD_CHARS)
        # Most are short, but all lengths have their chance.
        length = int(MAX_PAD_CHARS ** self._chance.random()) - 1
        return Question(
            token=f"k{self._asked:09}",
            workflow=workflow,
            deed=self._chance.choice(workflow.deeds),
            pad=self._text[start : start + length],
            form=self._chance.choice(_FORMS),
        )
