"""`wfmgmt archives` and `wfmgmt remove-archive`."""

import argparse
from pathlib import PurePath
from typing import Any, get_args

from wfmgmt.cli.remote.command import RemoteCommand, write_options
from wfmgmt.cli.remote.text import table
from wfmgmt.client import calls
from wfmgmt.client.archives import Archives, Kind, Use
from wfmgmt.client.call import Call
from wfmgmt.logs import escaped

_DIGITS = 12
#: The store of a file, by what its name ends in.
_KINDS: dict[str, Kind] = {".war": "workflow", ".mar": "model"}


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=get_args(Kind), help="only those of workflows, or of models")


def _list(options: argparse.Namespace) -> Call[Archives]:
    return calls.archives(kind=options.kind, limit=calls.MAX_PAGE)


def _next_page(options: argparse.Namespace, page: Archives) -> Call[Archives] | None:
    if page.next_after is None:
        return None
    return calls.archives(kind=options.kind, after=page.next_after, limit=calls.MAX_PAGE)


def _list_text(_: argparse.Namespace, answer: Archives) -> str:
    headings = ("FILE", "KIND", "BYTES", "STORED", "SHA256", "USED BY")
    return table(
        headings,
        [
            (
                each.file,
                each.kind,
                each.bytes,
                f"{each.stored_at:%Y-%m-%d %H:%M}",
                "-" if each.sha256 is None else each.sha256[:_DIGITS],
                " ".join(map(_use, each.used_by)) or "-",
            )
            for each in answer.archives
        ],
    )


def _use(use: Use) -> str:
    return f"{use.workflow or '?'}/{use.version}" + (f":{use.node}" if use.node is not None else "")


def _file_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=_file, help="its name in the store, which ends in .war or .mar")


def _file(text: str) -> str:
    if PurePath(text).suffix not in _KINDS:
        raise argparse.ArgumentTypeError(f"expected a name that ends in .war or .mar, got {text!r}")
    return text


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "archives": RemoteCommand(
        arguments=_list_arguments,
        call=_list,
        show=_list_text,
        names=lambda _, answer: [each.file for each in answer.archives],
        following=_next_page,
        joined=lambda pages: Archives(archives=tuple(each for page in pages for each in page.archives)),
    ),
    "remove-archive": RemoteCommand(
        arguments=_file_argument,
        call=lambda options: calls.remove_archive(
            _KINDS[PurePath(options.file).suffix], options.file, **write_options(options)
        ),
        show=lambda _, answer: escaped(answer.status),
        names=lambda options, _: [options.file],
        is_write=True,
    ),
}
