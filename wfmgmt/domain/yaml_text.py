"""Untrusted YAML as plain values: mappings, lists, text, numbers, booleans and null, nothing else.

The values are built from the parser's events, not by PyYAML's constructors: those have no limits on aliases, depth or
size, let the last of several equal keys win without a word, and raise odd errors on odd scalars.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

from wfmgmt.domain.names import quoted, shortened
from wfmgmt.errors import InvalidWorkflow

# The parser in C is some ten times faster, but not every build of PyYAML has it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The characters that YAML 1.1 allows in a stream. The parsers disagree on how to report the others.
_FORBIDDEN_CHARACTER = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")

_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_INTEGERS = (
    (re.compile(r"[-+]?(?:0|[1-9][0-9_]*)"), 10),
    (re.compile(r"[-+]?0[0-7_]+"), 8),
    (re.compile(r"[-+]?0x[0-9a-fA-F_]+"), 16),
    (re.compile(r"[-+]?0b[01_]+"), 2),
)
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")

# Longer numbers stay text: Python refuses to convert more than 4300 digits, and no setting needs a tenth of that.
_MAX_NUMBER_CHARS = 100

_MERGE_KEY = "<<"


class _HasPlace(Protocol):
    """A place in a text as PyYAML's two parsers mark it; line and column count from zero."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """A place that was found without the parsers."""

    line: int
    column: int


class _Fault(Exception):
    """A rule is broken by the event that is being read; the caller knows its place."""


@dataclass(frozen=True, slots=True)
class KeyLines:
    """In which lines of a text the keys of its mappings stand.

    Attributes:
        by_mapping: Lines by key, of each mapping by its identity; valid as long as the document is kept.
    """

    by_mapping: dict[int, dict[str, int]] = field(default_factory=dict)

    def of(self, mapping: object, key: str) -> int | None:
        """Return the line of a key, counted from 1; None when that is not known."""
        return self.by_mapping.get(id(mapping), {}).get(key)


def load_yaml(
    text: str, *, max_bytes: int, max_depth: int, max_values: int, key_lines: KeyLines | None = None
) -> object:
    """Return the value of the only document in a YAML text, None when there is no document.

    Scalars are read as in YAML 1.1, which is what TorchServe reads, except that dates, base-60 numbers and the like
    stay text. Keys have to be text. Aliases and merge keys are expanded; values that aliases share are one object.

    Args:
        text: The YAML text.
        max_bytes: Length of the text in UTF-8.
        max_depth: Nesting of lists and mappings, with aliases expanded.
        max_values: Scalars, lists and mappings, with aliases expanded.
        key_lines: Gets the lines of the keys.

    Raises:
        InvalidWorkflow: The text is not YAML, has more than one document, tags, keys that are not text or are there
            twice, or exceeds a limit. The message gives line and column.
    """
    _check_characters(text, max_bytes)
    builder = _Builder(max_depth=max_depth, max_values=max_values, key_lines=key_lines or KeyLines())
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            try:
                builder.feed(event)
            except _Fault as exc:
                raise _parse_error(str(exc), event.start_mark) from exc
    except yaml.MarkedYAMLError as exc:
        reason = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise _parse_error(reason, exc.problem_mark or exc.context_mark) from exc
    except (yaml.YAMLError, ValueError, OverflowError) as exc:
        # The parser in Python lets the last two through, for escapes and directives with numbers out of range.
        raise _parse_error(f"a character or number is out of range: {exc}") from exc
    return builder.document


def _check_characters(text: str, max_bytes: int) -> None:
    """Refuse text that no YAML parser should see.

    Raises:
        InvalidWorkflow: A character is not allowed in YAML, or the text is too long.
    """
    forbidden = _FORBIDDEN_CHARACTER.search(text)
    if forbidden is not None:
        before = text[: forbidden.start()]
        mark = _Mark(line=before.count("\n"), column=len(before) - before.rfind("\n") - 1)
        raise _parse_error(f"character {forbidden.group()!r} is not allowed in YAML", mark)
    if len(text.encode()) > max_bytes:
        raise _parse_error(f"the text is longer than {max_bytes} bytes")


def _parse_error(reason: str, mark: _HasPlace | None = None) -> InvalidWorkflow:
    """Return the error for a place in the text, which is its beginning unless a mark is given."""
    place = mark or _Mark(line=0, column=0)
    return InvalidWorkflow(f"Failed to parse yaml. line {place.line + 1}, column {place.column + 1}: {reason}")


def _resolved(text: str) -> object:
    """Return the value of a scalar without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _MAX_NUMBER_CHARS:
        return text
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(text):
            return _int_or_text(text, base)
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def _int_or_text(text: str, base: int) -> int | str:
    """Return the number, or the text when it consists of a prefix and underscores only."""
    try:
        return int(text.replace("_", ""), base)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class _Anchored:
    """A finished value that aliases may repeat.

    Attributes:
        value: The value itself; it is shared, not copied.
        values: How many values it holds, itself included and aliases expanded.
        height: How many levels of lists and mappings it has.
    """

    value: object
    values: int
    height: int


@dataclass(slots=True, kw_only=True)
class _Collection:
    """A list or mapping that is being read.

    Attributes:
        anchor: The name by which aliases repeat it.
        values_before: How many values had been counted when it began.
        height: Of the highest value in it so far.
    """

    anchor: str | None
    values_before: int
    height: int = 0

    @property
    def expects_key(self) -> bool:
        """Whether the next value is a key."""
        return False


@dataclass(slots=True, kw_only=True)
class _List(_Collection):
    """A list that is being read."""

    items: list[object] = field(default_factory=list)

    def add(self, value: object) -> None:
        """Take in the next value."""
        self.items.append(value)

    def finished(self) -> list[object]:
        """Return the list."""
        return self.items


@dataclass(slots=True, kw_only=True)
class _Mapping(_Collection):
    """A mapping that is being read.

    Attributes:
        items: Values by their keys.
        merged: What the merge key brings in; the mapping's own keys win over it.
        key: The key that waits for its value.
        merging: Whether the merge key waits for its value.
        lines: The line of each key.
    """

    items: dict[str, object] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    merged: dict[str, object] | None = None
    key: str | None = None
    merging: bool = False

    @property
    def expects_key(self) -> bool:
        """Whether the next value is a key."""
        return self.key is None and not self.merging

    def add(self, value: object) -> None:
        """Take in the next key or value.

        Raises:
            _Fault: It is a key that is not text or is there already, or nothing that can be merged.
        """
        if self.merging:
            self.merging = False
            self.merged = _merged(value)
        elif self.key is not None:
            self.items[self.key] = value
            self.key = None
        elif not isinstance(value, str):
            raise _Fault("keys have to be text")
        elif value in self.items:
            raise _Fault(f"duplicate key {quoted(value)}")
        else:
            self.key = value

    def add_merge_key(self) -> None:
        """Take in a merge key.

        Raises:
            _Fault: There was one already; the value of a single one can be a list.
        """
        if self.merged is not None:
            raise _Fault(f"duplicate key {_MERGE_KEY!r}")
        self.merging = True

    def finished(self) -> dict[str, object]:
        """Return the mapping with what is merged into it."""
        return self.items if self.merged is None else {**self.merged, **self.items}


def _merged(value: object) -> dict[str, object]:
    """Return what the value of a merge key brings in; of several mappings with one key the first wins.

    Raises:
        _Fault: The value is neither a mapping nor a list of mappings.
    """
    merged: dict[str, object] = {}
    for source in reversed(value if isinstance(value, list) else [value]):
        if not isinstance(source, dict):
            raise _Fault(f"the merge key {_MERGE_KEY!r} takes a mapping or a list of mappings")
        merged |= source
    return merged


@dataclass(slots=True, kw_only=True)
class _Builder:
    """Builds the value of a document from the events of a parser and holds it to the limits meanwhile.

    Attributes:
        max_depth: Nesting of lists and mappings.
        max_values: Values of any kind.
        key_lines: Gets the lines of the keys.
        document: The value, once the document has ended.
    """

    max_depth: int
    max_values: int
    key_lines: KeyLines
    document: object = None
    _documents: int = 0
    _values: int = 0
    _open: list[_List | _Mapping] = field(default_factory=list)
    # None stands for a value that is not finished: an alias to it would make the value contain itself.
    _anchors: dict[str, _Anchored | None] = field(default_factory=dict)

    def feed(self, event: yaml.Event) -> None:
        """Take in the next event.

        Raises:
            _Fault: The document breaks a rule here.
        """
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise _Fault(f"tags are not allowed, this is {quoted(event.tag)}")
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _Fault("only one document is allowed")
            case yaml.ScalarEvent():
                self._take_scalar(event)
            case yaml.AliasEvent():
                self._take_alias(event)
            case yaml.SequenceStartEvent():
                self._begin(_List(anchor=event.anchor, values_before=self._values))
            case yaml.MappingStartEvent():
                self._begin(_Mapping(anchor=event.anchor, values_before=self._values))
            case yaml.CollectionEndEvent():
                self._end()

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        """Take in a scalar, which is text when it stands in quotes."""
        if _SURROGATE.search(event.value):
            raise _Fault("an escape stands for half a surrogate pair")
        self._count(1)
        is_plain, _ = event.implicit
        current = self._open[-1] if self._open else None
        if is_plain and event.value == _MERGE_KEY and isinstance(current, _Mapping) and current.expects_key:
            current.add_merge_key()
            return
        value = _resolved(event.value) if is_plain else event.value
        if current is not None and current.expects_key and not isinstance(value, str):
            raise _Fault(f"the key {shortened(event.value) or 'null'} is not text, put it in quotes")
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, values=1, height=0)
        if isinstance(current, _Mapping) and current.expects_key:
            current.lines[event.value] = 1 + (event.start_mark.line if event.start_mark else 0)
        self._place(value, 0)

    def _take_alias(self, event: yaml.AliasEvent) -> None:
        """Take in what an alias repeats, as if it stood here."""
        name = str(event.anchor)
        if name not in self._anchors:
            raise _Fault(f"the alias {quoted(name)} has no anchor before it")
        target = self._anchors[name]
        if target is None:
            raise _Fault(f"the alias {quoted(name)} stands inside of what it repeats")
        self._count(target.values)
        self._check_depth(len(self._open) + target.height)
        self._place(target.value, target.height)

    def _begin(self, collection: _List | _Mapping) -> None:
        """Begin a list or mapping."""
        if self._open and self._open[-1].expects_key:
            raise _Fault("a list or mapping cannot be a key")
        if collection.anchor is not None:
            self._anchors[collection.anchor] = None
        self._open.append(collection)
        self._count(1)
        self._check_depth(len(self._open))

    def _end(self) -> None:
        """Finish the innermost list or mapping."""
        collection = self._open.pop()
        value, height = collection.finished(), collection.height + 1
        if isinstance(collection, _Mapping):
            self.key_lines.by_mapping[id(value)] = collection.lines
        if collection.anchor is not None:
            values = self._values - collection.values_before
            self._anchors[collection.anchor] = _Anchored(value, values=values, height=height)
        self._place(value, height)

    def _place(self, value: object, height: int) -> None:
        """Put a finished value where it belongs: into what is being read, or as the document."""
        if not self._open:
            self.document = value
            return
        current = self._open[-1]
        current.height = max(current.height, height)
        current.add(value)

    def _count(self, values: int) -> None:
        """Count values, before anything is done with them."""
        self._values += values
        if self._values > self.max_values:
            raise _Fault(f"there are more than {self.max_values} values, aliases expanded")

    def _check_depth(self, depth: int) -> None:
        """Refuse nesting beyond the limit."""
        if depth > self.max_depth:
            raise _Fault(f"lists and mappings are nested deeper than {self.max_depth} levels")
