"""Registrations whose archives come with them, in a form."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from flask import Request

from wfmgmt.api.application import MAX_BODY_BYTES
from wfmgmt.api.bodies import Received, check_sent_whole, pieces_of
from wfmgmt.api.multipart import MULTIPART, form_parts, text_of
from wfmgmt.api.parameters import check_known
from wfmgmt.api.write_rules import REGISTER
from wfmgmt.archives.stores import SIGNATURE_SUFFIX
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.names import quoted
from wfmgmt.errors import BadRequest
from wfmgmt.services.uploads import Upload, Uploads

#: Files and values that one form may have.
MAX_PARTS = 300
#: What a part with a file is, by its name.
FILES: Mapping[str, ArchiveKind] = {"archive": ArchiveKind.WORKFLOW, "model": ArchiveKind.MODEL}


@contextmanager
def received_form(request: Request, uploads: Uploads) -> Iterator[Received | None]:
    """Give the files and values of a form; None for a body of another type. In the end nothing is left of the files.

    A part `archive` is the workflow's, whose name becomes the parameter `url`; each part `model` is one of a model.
    Either may come with its signature, as a part of the same name. All others are parameters.

    Raises:
        BadRequest: It is no form, has a file that is none of these, or a value twice.
        WfmgmtError: As `Uploads.receive` says.
    """
    if request.mimetype != MULTIPART:
        yield None
        return
    check_sent_whole(request)
    with ExitStack() as held:
        lease = held.enter_context(uploads.lease())
        files: list[Upload] = []
        fields: dict[str, str] = {}
        repeated = ""
        left_bytes = MAX_BODY_BYTES
        for part in form_parts(request, pieces_of(request), max_parts=MAX_PARTS):
            if part.file_name is None:
                text = text_of(part, left_bytes)
                left_bytes -= len(text.encode())
                check_known([part.name], REGISTER.schemas)
                repeated = part.name if part.name in fields else repeated
                fields[part.name] = text
            else:
                kind = _kind(part.name, part.file_name)
                _check_new(part.file_name, kind, files)
                receiving = uploads.receive(
                    kind.value, part.file_name, part.content, declared_bytes=None, sha256="", lease=lease
                )
                files.append(held.enter_context(receiving))
        if repeated:
            raise BadRequest(f"Parameter {repeated}: the form has it twice, expected one value.")
        url = _url(files)
        if url and (fields.get("url") or request.args.get("url")):
            raise BadRequest("Parameter url: the archive comes with the request, so it is not needed.")
        digests = sorted([each.file.store, each.file.name, each.file.sha256] for each in files)
        yield Received(
            files=uploads.attach(files, held) if files else None,
            fields={**fields, **({"url": url} if url else {})},
            digests=digests,
        )


def _kind(name: str, file_name: str) -> ArchiveKind:
    if name not in FILES:
        raise BadRequest(
            f"Part {quoted(name)} with the file {quoted(file_name)}: expected the name archive for a .war, or model "
            "for a .mar."
        )
    return FILES[name]


def _check_new(name: str, kind: ArchiveKind, files: Sequence[Upload]) -> None:
    """Check, before a file is received, that it may come beside those before it."""
    known = [each.file.name for each in files if each.file.store == kind]
    if name in known:
        raise BadRequest(f"The file {quoted(name)} comes twice.")
    is_archive = kind is ArchiveKind.WORKFLOW and not name.endswith(SIGNATURE_SUFFIX)
    if is_archive and any(not other.endswith(SIGNATURE_SUFFIX) for other in known):
        raise BadRequest(f"Parts named archive: expected one archive of a workflow, got {quoted(name)}, too.")


def _url(files: list[Upload]) -> str:
    """Return the name of the workflow's archive; an empty text when there is none."""
    names = [each.file.name for each in files if each.file.store == ArchiveKind.WORKFLOW]
    return next((name for name in names if not name.endswith(SIGNATURE_SUFFIX)), "")
