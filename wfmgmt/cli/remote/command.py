"""A command that sends one request to a running service: its options, what it prints, and its exit codes."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from wfmgmt.cli.remote.target import describe_target, target
from wfmgmt.cli.remote.text import progress
from wfmgmt.client.calls import Answer, Call
from wfmgmt.client.client import DEFAULT_TIMEOUT_S
from wfmgmt.client.connection import Connection
from wfmgmt.client.errors import ClientError, Refused, Unreachable
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
    """A command that sends a request, and prints its answer as a table, as JSON or as names.

    Attributes:
        arguments: Adds the command's own arguments.
        call: Returns the request that the options describe; raises a ValueError for those that do not go together.
        show: Returns the answer as text for people.
        names: Returns the names in it, as other commands take them.
        following: Returns a request for the rest of the answer, as long as there is one.
    """

    arguments: Callable[[argparse.ArgumentParser], None]
    call: Callable[[argparse.Namespace], Call[T]]
    show: Callable[[argparse.Namespace, T], str]
    names: Callable[[argparse.Namespace, T], list[str]]
    following: Callable[[T], Call[T] | None] = lambda _: None

    def describe_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what the command takes to its parser."""
        self.arguments(parser)
        parser.add_argument("-o", "--output", choices=("table", "json", "name"), default="table", help="what to print")
        describe_request(parser)

    def run(self, options: argparse.Namespace) -> int:
        """Send the request and print the answer, or print how curl would send it."""
        return run_request(options, self.call, self._exchange, curl_words)

    def _exchange(self, options: argparse.Namespace, connection: Connection, call: Call[T]) -> int:
        following: Call[T] | None = call
        while following is not None:
            answer = _send(connection, following, options)
            value = following.read(answer)
            self._print(options, answer, value)
            following = self.following(value)
        return ExitCode.DONE

    def _print(self, options: argparse.Namespace, answer: Answer, value: T) -> None:
        if options.output == "json":
            write_bytes(answer.body)
        elif options.output == "name":
            print("".join(f"{name}\n" for name in self.names(options, value)), end="")
        else:
            print(self.show(options, value))


def describe_request(parser: argparse.ArgumentParser) -> None:
    """Add the options of every request."""
    describe_target(parser)
    parser.add_argument(
        "--timeout", type=float, default=DEFAULT_TIMEOUT_S, metavar="S", help="seconds to wait for the answer"
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
        with Connection(urls, token=token, timeout_s=options.timeout) as connection:
            if options.curl:
                print(_curl(words(options, call), connection.url(call)))
                return ExitCode.DONE
            code = exchange(options, connection, call)
        sys.stdout.flush()
    except (ValueError, ClientError) as error:
        if isinstance(error, Refused) and options.output == "json":
            write_bytes(error.body)
        write_error(f"wfmgmt: {escaped(str(error))}")
        return _exit_code(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would write the rest at its end.
        return ExitCode.DONE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return code


def _exit_code(error: ValueError | ClientError) -> ExitCode:
    if isinstance(error, ValueError):
        return ExitCode.USAGE
    if isinstance(error, Unreachable):
        return ExitCode.UNREACHABLE
    is_missing = isinstance(error, Refused) and error.status == HTTPStatus.NOT_FOUND
    return ExitCode.NOT_FOUND if is_missing else ExitCode.FAILED


def _send(connection: Connection, call: Call[Any], options: argparse.Namespace) -> Answer:
    with progress(f"waiting for {options.command}"):
        return connection.exchange(call)


def write_bytes(body: bytes) -> None:
    """Write an answer to standard output as it came."""
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def curl_words(_: argparse.Namespace, call: Call[Any]) -> list[str]:
    """Return what curl needs to know of a request beside where it goes."""
    words = [] if call.method == "GET" else ["-X", call.method]
    for name, value in call.headers.items():
        words += ["-H", f"{name}: {value}"]
    return words if call.body is None else [*words, "-d", call.body.decode()]


def _curl(words: list[str], url: str) -> str:
    """Return a command for a shell. The token stays in the environment."""
    secret = ' -H "Authorization: Bearer $WFMGMT_TOKEN"' if command_variable("token") else ""
    return f"{shlex.join(['curl', *words, url])}{secret}"
