"""`wfmgmt predict`: a request through a workflow, with curl's options for what is sent."""

import argparse
import sys
from pathlib import Path

from wfmgmt.cli.remote.arguments import FILES, completed, version_argument
from wfmgmt.cli.remote.command import ExitCode, describe_request, run_request, write_bytes
from wfmgmt.client import calls
from wfmgmt.client.answers import Predicted
from wfmgmt.client.call import Call
from wfmgmt.client.connection import Connection
from wfmgmt.client.errors import Refused
from wfmgmt.client.forms import Part, multipart
from wfmgmt.logs import escaped

_FORM = "application/x-www-form-urlencoded"


class Predict:
    """The command, which prints the bytes that the workflow answered."""

    def describe_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what the command takes to its parser."""
        version_argument(parser)
        parser.add_argument("--node", help="the only node that is to answer")
        bodies = parser.add_mutually_exclusive_group()
        bodies.add_argument("-d", "--data", help="a form, as in curl: K=V&K=V, or @FILE")
        file = bodies.add_argument("-T", "--upload-file", metavar="FILE", help="a file as it is; - for standard input")
        completed(file, FILES)
        bodies.add_argument(
            "-F", "--form", action="append", metavar="K=V", help="a part of a form, as in curl: K=V or K=@FILE"
        )
        parser.add_argument(
            "-H", "--header", action="append", default=[], metavar="NAME:VALUE", help="a header that is sent along"
        )
        parser.add_argument("--trace", action="store_true", help="show on standard error what happened at each node")
        parser.set_defaults(output="predicted")
        describe_request(parser)

    def run(self, options: argparse.Namespace) -> int:
        """Send the request and print the answer, or print how curl would send it."""
        return run_request(options, _call, _exchange, _curl_words)


def _call(options: argparse.Namespace) -> Call[Predicted]:
    body, content_type = _body(options)
    headers = {"Content-Type": content_type} if content_type else {}
    for header in options.header:
        name, colon, value = header.partition(":")
        if not colon:
            raise ValueError(f"--header: expected NAME:VALUE, got {header!r}")
        headers[name.strip()] = value.strip()
    workflow, version = options.name
    return calls.predict(workflow, body, version=version, node=options.node, headers=headers, trace=options.trace)


def _curl_words(options: argparse.Namespace, _: Call[Predicted]) -> list[str]:
    """Return the options as curl has them. Its `-d` would leave out the ends of a file's lines."""
    words = [word for header in options.header for word in ("-H", header)]
    if options.form is not None:
        return [*words, *(word for part in options.form for word in ("-F", part))]
    if options.data is not None:
        return [*words, "--data-binary", options.data]
    return [*words, *(["-X", "POST"] if options.upload_file is None else ["-T", options.upload_file])]


def _body(options: argparse.Namespace) -> tuple[bytes, str]:
    """Return what is sent, and its type."""
    if options.form is not None:
        return multipart([_part(part) for part in options.form])
    if options.data is not None:
        at_file = options.data.startswith("@")
        return (_read(options.data[1:]) if at_file else options.data.encode()), _FORM
    return (b"" if options.upload_file is None else _read(options.upload_file)), ""


def _part(text: str) -> Part:
    name, is_given, value = text.partition("=")
    if not is_given:
        raise ValueError(f"--form: expected K=V or K=@FILE, got {text!r}")
    if value.startswith("@"):
        return name, (Path(value[1:]).name, _read(value[1:]))
    return name, value.encode()


def _read(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error


def _exchange(_: argparse.Namespace, connection: Connection, call: Call[Predicted]) -> int:
    try:
        predicted = call.read(connection.exchange(call))
    except Refused as error:
        if error.type:
            raise
        write_bytes(error.body)  # A handler's own answer.
        return ExitCode.FAILED
    if predicted.trace is not None:
        print(escaped(predicted.trace), file=sys.stderr)
    write_bytes(predicted.content)
    return ExitCode.DONE


COMMANDS = {"predict": Predict()}
