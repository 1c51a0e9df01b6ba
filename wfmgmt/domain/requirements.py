"""The libraries that an archive lists in a file of pip's form, and which of them are not installed here."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any, Literal

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from wfmgmt.domain.names import shortened
from wfmgmt.domain.redaction import redacted

#: What is done with the libraries that archives list: nothing, as TorchServe does unless it is told otherwise; archives
#: that list what is not installed are refused; or they are installed into an environment of their own.
ModelRequirements = Literal["ignore", "check", "install"]
#: The file at the top of a workflow archive; the manifest of a model archive names its own.
FILE_NAME = "requirements.txt"

MAX_LIBRARIES = 1000
#: Longest requirement, without digests.
_MAX_CHARS = 2000
_HASH = re.compile(r" --hash[= ](\w+:[0-9a-fA-F]+)")
#: Options that say where packages come from and in which form, and name none.
_SOURCES = re.compile(
    r"(-i|-f|--index-url|--extra-index-url|--find-links|--no-index|--trusted-host"
    r"|--pre|--prefer-binary|--only-binary|--no-binary|--require-hashes|--use-feature)\b"
)
_WHERE_FROM = "since pip's configuration says where packages come from"


class RequirementsInvalid(ValueError):
    """A requirements file cannot be understood, or says what archives may not say; the text names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementsFile:
    """The file of an archive that lists libraries.

    Attributes:
        name: Its name in the archive.
        content: Its bytes; None when the archive does not have it, or it is too long to be read.
    """

    name: str
    content: bytes | None

    def libraries(self, *, for_install: bool) -> tuple[str, ...]:
        """Return the requirements, one text each, in order; files that require the same have the same texts.

        Args:
            for_install: Whether they are to be installed. Where they come from is pip's configuration to say then, so
                a file that says it is refused; else that is passed over.

        Raises:
            RequirementsInvalid: The file is missing, or a line of it is not the name and the versions of a library.
        """
        libraries = sorted(set(self._requirements(for_install=for_install)))
        if len(libraries) > MAX_LIBRARIES:
            raise RequirementsInvalid(f"{self.name} lists {len(libraries)} libraries, the limit is {MAX_LIBRARIES}")
        return tuple(libraries)

    def _requirements(self, *, for_install: bool) -> Iterator[str]:
        for number, line in _joined_lines(self._text()):
            where = f"{self.name}, line {number}"
            option = _SOURCES.match(line)
            if option is not None and not for_install:
                continue
            if option is not None:
                raise RequirementsInvalid(f"{where}: {option[0]} is not allowed, {_WHERE_FROM}")
            try:
                requirement = _parsed(line)
            except ValueError as error:
                shown = shortened(redacted(line))
                raise RequirementsInvalid(
                    f"{where}: expected the name and the versions of a library, got {shown!r}"
                ) from error
            if requirement.url is not None and for_install:
                raise RequirementsInvalid(f"{where}: {requirement.name} has an address of its own, {_WHERE_FROM}")
            requirement.url = None
            requirement.name = canonicalize_name(requirement.name)
            yield " ".join((str(requirement), *(f"--hash={value}" for value in sorted(_HASH.findall(line)))))

    def _text(self) -> str:
        if self.content is None:
            raise RequirementsInvalid(f"{self.name} is not in the archive, or is too long")
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise RequirementsInvalid(f"{self.name} is not UTF-8 text") from error


def requirements_name(manifest: Mapping[str, Any]) -> str | None:
    """Return the file of libraries that the manifest of a model names, None when it names none."""
    model = manifest.get("model")
    name = model.get("requirementsFile") if isinstance(model, dict) else None
    return name if isinstance(name, str) and name else None


def _parsed(line: str) -> Requirement:
    """Return the requirement of a line.

    Raises:
        ValueError: It is none, is too long, or its marker means nothing.
    """
    text = _HASH.sub("", line)
    if len(text) > _MAX_CHARS:
        raise ValueError("too long")
    try:
        requirement = Requirement(text)
        _holds(requirement)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return requirement


def _holds(requirement: Requirement, extra: str = "") -> bool:
    """Return whether the marker of a requirement holds here.

    Raises:
        ValueError: It means nothing.
    """
    try:
        return requirement.marker is None or requirement.marker.evaluate({"extra": extra})
    except UndefinedEnvironmentName as error:  # Not in all releases a ValueError.
        raise ValueError(str(error)) from error


def _joined_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, with their numbers and single spaces; a backslash joins one to the next."""
    words: list[str] = []
    at = 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        at = at if words else number
        bare = _without_comment(line)
        words += bare.removesuffix("\\").split()
        if words and not bare.endswith("\\"):
            yield at, " ".join(words)
            words = []


def _without_comment(line: str) -> str:
    """Return a line without its comment, which begins as pip has it: at the beginning or behind a space."""
    at = line.find("#")
    while at > 0 and not line[at - 1].isspace():
        at = line.find("#", at + 1)
    return line if at < 0 else line[:at]


def libraries_problem(file: RequirementsFile, policy: ModelRequirements) -> str:
    """Return why an archive that lists these libraries cannot be registered; an empty text when it can."""
    if policy == "ignore":
        return ""
    is_install = policy == "install"
    try:
        libraries = file.libraries(for_install=is_install)
    except RequirementsInvalid as error:
        return str(error)
    missing = () if is_install else missing_libraries(libraries)
    if not missing:
        return ""
    return (
        f"{file.name} lists what is not installed: {', '.join(missing)}; it has to be installed where the service "
        "runs (WFMGMT_MODEL_REQUIREMENTS is check: install would install it)"
    )


def missing_libraries(libraries: tuple[str, ...]) -> tuple[str, ...]:
    """Return those that are not installed where this process runs, each with the version that is instead, if any.

    What an extra brings is looked for as well, and a marker that does not hold here excuses its library.
    """
    seen: set[str] = set()
    return tuple(dict.fromkeys(each for library in libraries for each in _missing(_read(library), seen)))


def _read(library: str) -> Requirement:
    """Return the requirement in a text of `RequirementsFile.libraries`, which may be longer than the line was."""
    return Requirement(_HASH.sub("", library))


def _missing(requirement: Requirement, seen: set[str], extra: str = "") -> Iterator[str]:
    if not _holds(requirement, extra):
        return
    requirement.marker = None
    if str(requirement) in seen:
        return
    seen.add(str(requirement))
    try:
        found = distribution(requirement.name)
    except PackageNotFoundError:
        yield str(requirement)
        return
    if not _fits(requirement, found):
        yield f"{requirement} ({found.version} is installed)"
    for extra_wanted in requirement.extras:
        for line in found.requires or ():
            with suppress(ValueError):  # What is installed may be older than the rules.
                further = Requirement(line)
                if not _holds(further):
                    yield from _missing(further, seen, extra_wanted)


def _fits(requirement: Requirement, found: Distribution) -> bool:
    try:
        return requirement.specifier.contains(str(found.version), prereleases=True)
    except InvalidVersion:
        return False
