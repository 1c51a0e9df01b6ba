"""Files that declare workflows, read with the line of everything that is wrong in them."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NoReturn

from wfmgmt.domain.declared import FORM, DeclaredVersion, DeclaredWorkflow
from wfmgmt.domain.json_values import described
from wfmgmt.domain.names import check_node_name, check_version, check_workflow_name, nearest, quoted
from wfmgmt.domain.releases import MAX_ROUTES, WHOLE
from wfmgmt.domain.workflow import SETTINGS
from wfmgmt.domain.yaml_text import KeyLines, load_yaml
from wfmgmt.errors import BadRequest, InvalidWorkflow, WfmgmtError

#: Longest text of a declaration: some ten thousand workflows.
MAX_BYTES = 4 * 1024 * 1024
_MAX_DEPTH, _MAX_VALUES = 8, 500_000
_DIGEST = re.compile("[0-9a-f]{64}")
_SETTINGS = {setting.key: setting for setting in SETTINGS}


class DeclarationInvalid(BadRequest):
    """A declaration is wrong; the text says in which line, at which key, and what would be right."""


def parse_declaration(text: str, *, file: str = "") -> dict[str, DeclaredWorkflow]:
    """Return the workflows that a text declares, by their names.

    Args:
        text: YAML, or JSON, which is YAML too.
        file: Its name, for errors.

    Raises:
        DeclarationInvalid: Something in it is wrong.
    """
    return _Parser(file).workflows(text)


class _Parser:
    """Reads one declaration."""

    def __init__(self, file: str) -> None:
        self._file = f"{file}, " if file else ""
        self._lines = KeyLines()

    def workflows(self, text: str) -> dict[str, DeclaredWorkflow]:
        try:
            document = load_yaml(
                text, max_bytes=MAX_BYTES, max_depth=_MAX_DEPTH, max_values=_MAX_VALUES, key_lines=self._lines
            )
        except InvalidWorkflow as error:
            raise DeclarationInvalid(f"{self._file}{str(error).removeprefix('Failed to parse yaml. ')}") from error
        if not isinstance(document, dict):
            raise DeclarationInvalid(f"{self._file}line 1: expected a mapping with wfmgmt and workflows.")
        self._check_keys(document, "", ("wfmgmt", "workflows"), required=("wfmgmt", "workflows"))
        if document["wfmgmt"] is not FORM and document["wfmgmt"] != FORM:
            self._refuse(document, "wfmgmt", "wfmgmt", f"expected {FORM}, the form of the file")
        found = self._mapping(document, "workflows", "")
        return {name: self._workflow(found, name) for name in found}

    def _workflow(self, workflows: dict[str, Any], name: str) -> DeclaredWorkflow:
        self._checked(workflows, name, "workflows", check_workflow_name)
        path = f"workflows.{name}"
        found = self._mapping(workflows, name, "workflows")
        self._check_keys(found, path, ("versions", "traffic", "nodes"), required=("versions",), at=(workflows, name))
        versions = self._mapping(found, "versions", path)
        if not versions:
            self._refuse(found, "versions", f"{path}.versions", "expected one version at least")
        return DeclaredWorkflow(
            name=name,
            versions={version: self._version(versions, version, f"{path}.versions") for version in versions},
            traffic=self._traffic(found, path, versions) if "traffic" in found else {},
            nodes=self._nodes(found, path) if "nodes" in found else {},
        )

    def _version(self, versions: dict[str, Any], version: str, path: str) -> DeclaredVersion:
        self._checked(versions, version, path, check_version)
        found, path = self._mapping(versions, version, path), f"{path}.{version}"
        self._check_keys(found, path, ("url", "sha256"), required=("url",), at=(versions, version))
        url, sha256 = found["url"], found.get("sha256", "")
        if not isinstance(url, str) or not url.strip():
            self._refuse(found, "url", f"{path}.url", f"expected an archive, got {described(url)}")
        if sha256 != "" and (not isinstance(sha256, str) or _DIGEST.fullmatch(sha256) is None):
            self._refuse(found, "sha256", f"{path}.sha256", "expected 64 hexadecimal digits in small letters")
        return DeclaredVersion(url=url, sha256=sha256)

    def _traffic(self, workflow: dict[str, Any], path: str, versions: Iterable[str]) -> dict[str, int]:
        found, path = self._mapping(workflow, "traffic", path), f"{path}.traffic"
        for version, weight in found.items():
            if version not in versions:
                self._refuse(found, version, f"{path}.{version}", f"is not declared{_hint(version, versions)}")
            if type(weight) is not int or not 0 <= weight <= WHOLE:
                expected = f"expected a whole number from 0 to {WHOLE}, got {described(weight)}"
                self._refuse(found, version, f"{path}.{version}", expected)
        weights = {version: weight for version, weight in found.items() if weight}
        if sum(weights.values()) != WHOLE:
            self._refuse(workflow, "traffic", path, f"the weights sum to {sum(weights.values())}, not to {WHOLE}")
        if len(weights) > MAX_ROUTES:
            self._refuse(workflow, "traffic", path, f"expected {MAX_ROUTES} versions at most")
        return weights

    def _nodes(self, workflow: dict[str, Any], path: str) -> dict[str, dict[str, int]]:
        found, path = self._mapping(workflow, "nodes", path), f"{path}.nodes"
        nodes = {}
        for node in found:
            self._checked(found, node, path, partial(check_node_name, where="nodes"))
            settings = self._mapping(found, node, path)
            self._check_keys(settings, f"{path}.{node}", tuple(_SETTINGS))
            nodes[node] = {_SETTINGS[key].field: self._setting(settings, key, f"{path}.{node}") for key in settings}
        return nodes

    def _setting(self, settings: dict[str, Any], key: str, path: str) -> int:
        setting, value = _SETTINGS[key], settings[key]
        if type(value) is not int or not setting.low <= value <= setting.high:
            expected = f"expected a whole number from {setting.low} to {setting.high}, got {described(value)}"
            self._refuse(settings, key, f"{path}.{key}", expected)
        return value

    def _mapping(self, parent: dict[str, Any], key: str, path: str) -> dict[str, Any]:
        value = parent[key]
        if not isinstance(value, dict):
            got = described(value, array="a list", mapping="a mapping")
            self._refuse(parent, key, f"{path}.{key}" if path else key, f"expected a mapping, got {got}")
        return value

    def _check_keys(
        self,
        mapping: dict[str, Any],
        path: str,
        known: tuple[str, ...],
        *,
        required: tuple[str, ...] = (),
        at: tuple[dict[str, Any], str] | None = None,
    ) -> None:
        """Refuse keys that nobody reads, and the lack of those that are needed."""
        for key in mapping:
            if key not in known:
                place = f"{path}.{key}" if path else key
                self._refuse(mapping, key, place, f"there is no such key{_hint(key, known)}")
        for key in required:
            if key not in mapping:
                parent, name = at or (mapping, next(iter(mapping), ""))
                self._refuse(parent, name, path or "the file", f"{key} is missing")

    def _checked(self, mapping: dict[str, Any], key: str, path: str, check: Callable[[str], object]) -> None:
        try:
            check(key)
        except WfmgmtError as error:
            self._refuse(mapping, key, path, str(error).rstrip("."))

    def _refuse(self, mapping: dict[str, Any], key: str, path: str, reason: str) -> NoReturn:
        line = self._lines.of(mapping, key) or 1
        end = "" if reason.endswith("?") else "."
        raise DeclarationInvalid(f"{self._file}line {line}: {path}: {reason}{end}")


def _hint(word: str, known: Iterable[str]) -> str:
    known = list(known)
    found = nearest(word, known)
    return f", did you mean {quoted(found)}?" if found else f", expected one of {', '.join(known)}"
