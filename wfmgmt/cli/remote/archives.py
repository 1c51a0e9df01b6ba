"""`wfmgmt archives`, `wfmgmt upload` and `wfmgmt remove-archive`."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, get_args

from wfmgmt.cli.remote.arguments import readable
from wfmgmt.cli.remote.command import RemoteCommand, write_options
from wfmgmt.cli.remote.text import table
from wfmgmt.client import archive_calls
from wfmgmt.client.archives import STORES, Archives, Kind, Uploaded, Use
from wfmgmt.client.call import Call
from wfmgmt.client.calls import MAX_PAGE
from wfmgmt.logs import escaped

_DIGITS = 12


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=get_args(Kind), help="only those of workflows, or of models")


def _list(options: argparse.Namespace) -> Call[Archives]:
    return archive_calls.archives(kind=options.kind, limit=MAX_PAGE)


def _next_page(options: argparse.Namespace, page: Archives) -> Call[Archives] | None:
    if page.next_after is None:
        return None
    return archive_calls.archives(kind=options.kind, after=page.next_after, limit=MAX_PAGE)


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
    if PurePath(text).suffix not in STORES:
        raise argparse.ArgumentTypeError(f"expected a name that ends in .war or .mar, got {text!r}")
    return text


def _upload_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=readable, nargs="+", help="a local .war or .mar, or its .sig")
    parser.add_argument("--replace", action="store_true", help="also where another file has the name that none uses")
    parser.add_argument("--sha256", metavar="DIGEST", help="what the file has to have when it arrives")
    parser.add_argument("--dry-run", action="store_true", help="send and check it, and store nothing")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the audit trail")


def _upload(options: argparse.Namespace) -> Call[list[Uploaded]]:
    """Return the request for the first file that is not uploaded yet."""
    if len(options.file) > 1 and (options.sha256 is not None or options.curl):
        raise ValueError("--sha256 and --curl are for one file")
    call: Call[Any] = archive_calls.upload(
        options.file[0],
        replace=options.replace or None,
        sha256=options.sha256,
        dry_run=options.dry_run or None,
        reason=options.reason,
    )
    return replace(call, read=lambda answer: [call.read(answer)])


def _next_upload(options: argparse.Namespace, _: Sequence[Uploaded]) -> Call[list[Uploaded]] | None:
    del options.file[0]
    return _upload(options) if options.file else None


def _upload_text(_: argparse.Namespace, answer: Sequence[Uploaded]) -> str:
    lines = []
    for each in answer:
        problems = (each.report or {}).get("problems", ())
        lines += [f"{each.file} {each.bytes} {each.sha256}", *(f"  cannot be registered: {why}" for why in problems)]
    return "\n".join(map(escaped, lines))


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "archives": RemoteCommand(
        arguments=_list_arguments,
        call=_list,
        show=_list_text,
        names=lambda _, answer: [each.file for each in answer.archives],
        following=_next_page,
        joined=lambda pages: Archives(archives=tuple(each for page in pages for each in page.archives)),
    ),
    "upload": RemoteCommand(
        arguments=_upload_arguments,
        call=_upload,
        show=_upload_text,
        names=lambda _, answer: [each.file for each in answer],
        following=_next_upload,
        joined=lambda answers: [each for answer in answers for each in answer],
    ),
    "remove-archive": RemoteCommand(
        arguments=_file_argument,
        call=lambda options: archive_calls.remove_archive(
            STORES[PurePath(options.file).suffix], options.file, **write_options(options)
        ),
        show=lambda _, answer: escaped(answer.status),
        names=lambda options, _: [options.file],
        is_write=True,
    ),
}
