"""A command that sends a request to a running service: its options, what it prints, and its exit codes."""

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from http import HTTPStatus
from operator import itemgetter
from typing import Any, Generic, TypeVar

from wfmgmt.cli.remote.plans import plan_text
from wfmgmt.cli.remote.progress import ProgressLine, Step
from wfmgmt.cli.remote.target import describe_target, target
from wfmgmt.client import calls
from wfmgmt.client.answers import Accepted
from wfmgmt.client.call import Call, WriteOptions
from wfmgmt.client.client import DEFAULT_TIMEOUT_S
from wfmgmt.client.connection import Connection
from wfmgmt.client.errors import ClientError, Refused, TimedOut, Unreachable
from wfmgmt.client.operations import Operation
from wfmgmt.client.plans import Plan
from wfmgmt.logs import escaped, write_error
from wfmgmt.settings import command_variable

T = TypeVar("T")


class ExitCode(IntEnum):
    """How a command ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    CHANGES = 5
    INTERRUPTED = 130  # As a shell has it for SIGINT.


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCommand(Generic[T]):
    """A command that sends a request, and prints its answer as text, as JSON or as names.

    Attributes:
        arguments: Adds the command's own arguments.
        call: Returns the request that the options describe; raises a ValueError for those that do not go together.
        show: Returns the answer as text for people.
        names: Returns the names in it, as other commands take them.
        following: Returns a request for the rest of the answer, as long as there is one.
        joined: Makes one answer of those.
        is_looking: Whether answers but the last one only say how far something is that is waited for.
        code: Returns the exit code.
        is_write: Whether it changes something, so that it takes what changes take.
        is_looked_up: Whether its first request may only find what the following one changes.
    """

    arguments: Callable[[argparse.ArgumentParser], None]
    call: Callable[[argparse.Namespace], Call[T]]
    show: Callable[[argparse.Namespace, T], str]
    names: Callable[[argparse.Namespace, T], list[str]]
    following: Callable[[argparse.Namespace, T], Call[T] | None] = lambda _options, _answer: None
    joined: Callable[[Sequence[T]], T] = itemgetter(0)
    code: Callable[[T], ExitCode] = lambda _: ExitCode.DONE
    is_looking: bool = False
    is_write: bool = False
    is_looked_up: bool = False

    def describe_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what the command takes to its parser."""
        self.arguments(parser)
        if self.is_write:
            _describe_change(parser)
        parser.add_argument("-o", "--output", choices=("table", "json", "name"), default="table", help="what to print")
        describe_request(parser)

    def run(self, options: argparse.Namespace) -> int:
        """Send the request and print the answer, or print how curl would send it."""
        if self.is_write and options.dry_run:
            return self._planning().run(options)
        return run_request(options, self.call, self._exchange, curl_words)

    def _planning(self) -> "RemoteCommand[Plan]":
        """Return the command that only finds out what this one would do."""
        return RemoteCommand(
            arguments=self.arguments,
            call=lambda options: self._planned(self.call(options)),
            following=self._plan_of_found,
            is_looking=self.is_looking,
            show=lambda _, plan: plan_text(plan),
            names=lambda _, plan: [plan.workflow if plan.version is None else f"{plan.workflow}/{plan.version}"],
            code=lambda plan: ExitCode.DONE if plan.is_empty else ExitCode.CHANGES,
        )

    def _plan_of_found(self, options: argparse.Namespace, answer: Plan | T) -> Call[Any] | None:
        rest = None if isinstance(answer, Plan) else self.following(options, answer)
        return None if rest is None else self._planned(rest)

    def _planned(self, call: Call[Any]) -> Call[Any]:
        return call if self.is_looked_up and not call.is_write else calls.planned(call)

    def _exchange(self, options: argparse.Namespace, connection: Connection, call: Call[T]) -> int:
        with ProgressLine(f"waiting for {options.command}") as line:
            answers = list(self._answers(options, connection, call, line))
        value = answers[-1] if self.is_looking else self.joined(answers)
        if options.output == "name":
            print("".join(f"{name}\n" for name in self.names(options, value)), end="")
        elif options.output == "table":
            print(self.show(options, value))
        return self.code(value)

    def _answers(
        self, options: argparse.Namespace, connection: Connection, call: Call[T], line: ProgressLine
    ) -> Iterator[T]:
        """Yield what the service answers, page after page; JSON is printed as it comes."""
        deadline = time.monotonic() + options.timeout if options.timeout else math.inf
        rest: Call[T] | None = call
        value: T | None = None
        while rest is not None:
            try:
                answer = connection.exchange(rest, on_sent=partial(_show_sent, line))
                value = rest.read(answer)
                line.show(value)
                rest = self.following(options, value)
            except KeyboardInterrupt:
                line.clear()
                write_error(f"wfmgmt: interrupted{self._going_on(value)}")
                raise
            if options.output == "json" and not (self.is_looking and rest):
                line.clear()
                write_bytes(answer.body)
            if self.is_looking and rest and time.monotonic() > deadline:
                raise TimedOut(f"It was not done within {options.timeout} s{self._going_on(value)}")
            yield value

    def _going_on(self, value: T | None) -> str:
        """Say how to go on with what is left to the service."""
        if isinstance(value, Accepted | Operation):
            return f"; it goes on: wfmgmt wait {value.id}"
        return "; what was begun may go on: wfmgmt operations" if self.is_write else ""


def _show_sent(line: ProgressLine, done: int, total: int) -> None:
    if done < total:  # What is sent in one piece needs no line.
        line.show(Step(phase="uploading", bytes=done, total_bytes=total))


def _describe_change(parser: argparse.ArgumentParser) -> None:
    """Add the options of every change."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done; exit with 5 if anything")
    parser.add_argument("--plan", metavar="FINGERPRINT", help="of a dry run; refuse if something else would be done")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the audit trail and the list of releases")
    parser.add_argument("--if-revision", type=int, metavar="N", help="refuse if the workflow has another revision")
    parser.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=True, help="wait for workers, which is the default"
    )


def write_options(options: argparse.Namespace) -> WriteOptions:
    """Return what every change takes."""
    return WriteOptions(reason=options.reason, if_revision=options.if_revision, plan=options.plan)


def describe_request(parser: argparse.ArgumentParser) -> None:
    """Add the options of every request."""
    describe_target(parser)
    parser.add_argument(
        "--timeout", type=int, metavar="S", help=f"seconds to wait for the answer, {DEFAULT_TIMEOUT_S:g} unless given"
    )
    parser.add_argument("--curl", action="store_true", help="print the curl command that does the same, and end")


def run_request(
    options: argparse.Namespace,
    build: Callable[[argparse.Namespace], Call[T]],
    exchange: Callable[[argparse.Namespace, Connection, Call[T]], int],
    words: Callable[[argparse.Namespace, Call[T]], list[str]],
) -> int:
    """Make a request of the options and have it sent, or print it for curl; return the exit code."""
    try:
        call = build(options)
        urls, token = target(options, call.plane), command_variable("token")
        connection = Connection(urls, token=token, timeout_s=options.timeout or DEFAULT_TIMEOUT_S)
    except ValueError as error:
        return _fail(error, ExitCode.USAGE)
    except Unreachable as error:
        return _fail(error, ExitCode.UNREACHABLE)
    if options.curl:
        print(_curl(words(options, call), connection.url(call)))
        return ExitCode.DONE
    with connection:
        return _ended(options, lambda: exchange(options, connection, call))


def _ended(options: argparse.Namespace, carry_out: Callable[[], int]) -> int:
    """Carry out what a command is for, and return its exit code, also when that fails or is interrupted."""
    try:
        code = carry_out()
        sys.stdout.flush()
    except ClientError as error:
        return _report(error, options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would write the rest at its end.
        return ExitCode.DONE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return code


def _report(error: ClientError, options: argparse.Namespace) -> ExitCode:
    """Print an error, and return the exit code that stands for it."""
    if isinstance(error, Refused):
        if options.output == "json":
            write_bytes(error.body)
        at_work = f" (its operation: wfmgmt wait {error.operation.rpartition('/')[2]})" if error.operation else ""
        is_absent = error.status == HTTPStatus.NOT_FOUND
        return _fail(f"{error}{at_work}", ExitCode.NOT_FOUND if is_absent else ExitCode.FAILED)
    return _fail(error, ExitCode.UNREACHABLE if isinstance(error, Unreachable) else ExitCode.FAILED)


def _fail(error: Exception | str, code: ExitCode) -> ExitCode:
    write_error(f"wfmgmt: {escaped(str(error))}")
    return code


def write_bytes(body: bytes) -> None:
    """Write an answer to standard output as it came."""
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def curl_words(_: argparse.Namespace, call: Call[Any]) -> list[str]:
    """Return what curl needs to know of a request beside where it goes."""
    if call.form:
        return [*_header_words(call), *(word for name, path in call.form for word in ("-F", f"{name}=@{path}"))]
    if call.file is not None:
        return [*_header_words(call), "-T", str(call.file)]
    words = [] if call.method == "GET" else ["-X", call.method]
    words += _header_words(call)
    return words if call.body is None else [*words, "-d", call.body.decode()]


def _header_words(call: Call[Any]) -> list[str]:
    return [word for name, value in call.headers.items() for word in ("-H", f"{name}: {value}")]


def _curl(words: list[str], url: str) -> str:
    """Return a command for a shell. The token stays in the environment."""
    secret = ' -H "Authorization: Bearer $WFMGMT_TOKEN"' if command_variable("token") else ""
    return f"{shlex.join(['curl', *words, url])}{secret}"
