"""The libraries that an unpacked archive lists, and what an import that failed has to do with them."""

from contextlib import suppress
from pathlib import Path

from wfmgmt.domain.requirements import (
    FILE_NAME,
    ModelRequirements,
    RequirementsFile,
    RequirementsInvalid,
    missing_libraries,
    requirements_name,
)
from wfmgmt.serving.models.local.trees import UnpackedArchive

_GUIDE = "docs/how-to/bring-your-own-libraries.md"


def requirements_file(tree: Path, description: UnpackedArchive | None) -> RequirementsFile | None:
    """Return the file of libraries in an unpacked archive, None when it has none; this reads it.

    Args:
        tree: Where the archive is unpacked.
        description: What a model archive says about itself; None for that of a workflow.
    """
    name = FILE_NAME if description is None else requirements_name(description.manifest or {})
    if name is None:
        return None
    content = None
    with suppress(OSError, ValueError):
        path = (tree / name).resolve(strict=True)
        content = path.read_bytes() if path.is_relative_to(tree.resolve()) else None
    return None if content is None and description is None else RequirementsFile(name=name, content=content)


def explain_import(file: RequirementsFile | None, policy: ModelRequirements, *, lacks_module: bool) -> str:
    """Return what to do about an import that failed, to be put behind the handler's own words; empty if unknown.

    Args:
        file: The file of libraries of the handler's archive.
        policy: What is done with it.
        lacks_module: Whether a module is not there at all.
    """
    if policy == "install":
        listed = "; list it in a requirements.txt of its archive, which is installed then"
        if file is not None:
            listed = f"; it is not among what {file.name} of its archive installs"
        return listed if lacks_module else ""
    missing: tuple[str, ...] = ()
    if file is not None:
        with suppress(RequirementsInvalid):
            missing = missing_libraries(file.libraries(for_install=False))
    if missing:
        return (
            f"; {file.name if file else FILE_NAME} of its archive lists what is not installed: {', '.join(missing)} "
            f"(WFMGMT_MODEL_REQUIREMENTS is {policy}: install would install it, check would refuse the archive)"
        )
    return f"; it has to be installed where the service runs ({_GUIDE})" if lacks_module else ""
