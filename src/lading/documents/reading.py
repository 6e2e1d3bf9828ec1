"""YAML files to plain data with line numbers.

YAML 1.2 (``NO`` is a string), one document a file, plain data only. Tags of any other kind, merge keys, duplicate keys
and aliases that expand without measure are refused. Scalars resolve by the core schema (YAML 1.2.2, section 10.3.2);
keys and dates stay text.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from lading.errors import InvalidProject, Problem

Loc = tuple[str | int, ...]

MAX_BYTES = 5_000_000
MAX_NODES = 200_000  # after aliases are expanded
MAX_DEPTH = 60


@dataclass(slots=True)
class Node:
    """One value of the tree. ``line`` counts from 1 and is that of the key, or of the list's item."""

    line: int
    value: Any = None  # of a scalar
    entries: dict[str | int, Node] | None = None  # of a mapping or a list
    is_list: bool = False
    size: int = 1
    depth: int = 1

    def plain(self) -> Any:
        if self.entries is None:
            return self.value
        if self.is_list:
            return [node.plain() for node in self.entries.values()]
        return {key: node.plain() for key, node in self.entries.items()}


@dataclass(frozen=True, slots=True)
class Document:
    """A file's plain data: dict (keys are text), list, str, int, float, bool, None."""

    path: str  # as shown to people
    data: Any = field(repr=False)  # may hold secrets, once expanded
    root: Node = field(repr=False)
    sha256: str = ""  # of the file's bytes
    inserted: frozenset[str] = field(default=frozenset(), repr=False)  # values that came from the environment

    def line(self, *loc: str | int) -> int:
        """The line, counting from 1, of a path of keys; of its nearest known ancestor where it does not exist."""
        node = self.root
        for key in loc:
            if node.entries is None or key not in node.entries:
                break
            node = node.entries[key]
        return node.line

    def problem(self, reason: str, *loc: str | int) -> Problem:
        return Problem(self.path, self.line(*loc), reason)


def load(path: Path, root: Path | None = None) -> Document:
    """Reads one file; ``root`` is the project's folder, to which the shown path is relative. Raises InvalidProject."""
    shown = path.relative_to(root).as_posix() if root and path.is_relative_to(root) else str(path)
    try:
        if not path.is_file():
            _refuse(shown, 0, "there is no such file" if not path.exists() else "is not a file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        _refuse(shown, 0, f"cannot be read: {error.strerror}")
    return parse(content, shown)


def parse(content: bytes, path: str) -> Document:
    """The document in ``content``. Raises InvalidProject, with file, line and reason."""
    if len(content) > MAX_BYTES:
        _refuse(path, 0, f"is larger than {MAX_BYTES // 1_000_000} MB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(path, content.count(b"\n", 0, error.start) + 1, "is not UTF-8")
    root = _compose(text, path)
    return Document(path, root.plain(), root, hashlib.sha256(content).hexdigest())


def _refuse(path: str, line: int, reason: str) -> NoReturn:
    raise InvalidProject(problems=[Problem(path, line, reason)])


def _compose(text: str, path: str) -> Node:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        return _Composer(path).tree(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        _refuse(path, mark.line + 1 if mark else 0, f"is not valid YAML: {error.problem or error.context}")
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        _refuse(path, line, f"holds a character that YAML does not allow: U+{_code(error.character):04X}")
    except YAMLError:
        _refuse(path, 0, "is not valid YAML")


@dataclass(slots=True)
class _Open:
    """A collection that is still being filled."""

    node: Node
    anchor: str | None
    key: str | None = None  # of the mapping's next value
    key_line: int = 0


class _Composer:
    """Parser events to nodes, without recursion, so that no nesting can exhaust the stack."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.root: Node | None = None
        self.documents = 0

    def tree(self, events: Iterable[Any]) -> Node:
        from ruamel.yaml import events as kinds

        for event in events:
            line = event.start_mark.line + 1
            match event:
                case kinds.DocumentStartEvent():
                    self.documents += 1
                    if self.documents > 1:
                        self._refuse(line, "holds several documents; one file is one document")
                case kinds.AliasEvent():
                    self._add(self._alias(event.anchor, line), None, line)
                case kinds.ScalarEvent():
                    self._scalar(event, line)
                case kinds.MappingStartEvent() | kinds.SequenceStartEvent():
                    self._begin(event, line, isinstance(event, kinds.SequenceStartEvent))
                case kinds.CollectionEndEvent():
                    done = self.stack.pop()
                    self._add(done.node, done.anchor, done.node.line)
        return self.root or Node(1)

    def _refuse(self, line: int, reason: str) -> NoReturn:
        _refuse(self.path, line, reason)

    def _begin(self, event: Any, line: int, is_list: bool) -> None:
        tag = str(event.tag or "!")
        if tag not in ("!", "tag:yaml.org,2002:seq" if is_list else "tag:yaml.org,2002:map"):
            self._refuse(line, f"the tag {_shown_tag(tag)} is not allowed: only plain data is")
        if self.stack and not self.stack[-1].node.is_list and self.stack[-1].key is None:
            self._refuse(line, "a key must be plain text")
        if len(self.stack) >= MAX_DEPTH:
            self._refuse(line, f"is nested more than {MAX_DEPTH} levels deep")
        if event.anchor:
            self.anchors.pop(event.anchor, None)
        self.stack.append(_Open(Node(line, entries={}, is_list=is_list), event.anchor))

    def _alias(self, name: str, line: int) -> Node:
        if any(name == open_.anchor for open_ in self.stack) and name not in self.anchors:
            self._refuse(line, f"the alias *{name} stands inside what it refers to")
        if name not in self.anchors:
            self._refuse(line, f"the alias *{name} refers to nothing")
        return self.anchors[name]

    def _scalar(self, event: Any, line: int) -> None:
        if _SURROGATE.search(event.value):
            try:  # JSON writes "\\ud83d\\ude00" for one character
                event.value = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                self._refuse(line, "holds half of a surrogate pair")
        parent = self.stack[-1] if self.stack else None
        if parent and not parent.node.is_list and parent.key is None:
            if event.value == "<<" and event.implicit[0]:
                self._refuse(line, "merge keys (<<) are not allowed: write the keys out")
            if event.tag and str(event.tag) not in ("!", "tag:yaml.org,2002:str"):
                self._refuse(line, f"the tag {_shown_tag(str(event.tag))} is not allowed: only plain data is")
            self._key(parent, event.value, line)
            if event.anchor:
                self.anchors[event.anchor] = Node(line, event.value)
            return
        self._add(Node(line, self._value(event, line)), event.anchor, line)

    def _value(self, event: Any, line: int) -> Any:
        tag = str(event.tag or "")
        if tag in ("!", "tag:yaml.org,2002:str"):
            return event.value
        plain = event.implicit[0] or tag != ""
        try:
            value = _resolve(event.value) if plain else event.value
        except ValueError as error:
            self._refuse(line, str(error))
        if tag and not isinstance(value, _TAGS.get(tag, ())):
            self._refuse(line, f"the tag {_shown_tag(tag)} is not allowed: only plain data is")
        return value

    def _key(self, parent: _Open, key: str, line: int) -> None:
        entries = parent.node.entries or {}
        if key in entries:
            self._refuse(line, f'the key "{key}" stands here twice; the first is on line {entries[key].line}')
        parent.key, parent.key_line = key, line

    def _add(self, node: Node, anchor: str | None, line: int) -> None:
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        assert parent.node.entries is not None
        if parent.node.is_list:
            parent.node.entries[len(parent.node.entries)] = replace(node, line=line)
        elif parent.key is None:
            if node.entries is not None:
                self._refuse(line, "a key must be plain text")
            self._key(parent, str(node.value), line)
            return
        else:
            parent.node.entries[parent.key] = replace(node, line=parent.key_line)
            parent.key = None
        parent.node.size += node.size
        parent.node.depth = max(parent.node.depth, node.depth + 1)
        if parent.node.size > MAX_NODES or parent.node.depth > MAX_DEPTH:
            self._refuse(
                line, f"holds more than {MAX_NODES} values or {MAX_DEPTH} levels once aliases are expanded"
            )


_NONE = type(None)
_CORE = "tag:yaml.org,2002:"
_TAGS: dict[str, tuple[type, ...]] = {
    f"{_CORE}int": (int,), f"{_CORE}float": (float,), f"{_CORE}bool": (bool,), f"{_CORE}null": (_NONE,),
}  # fmt: skip
_WORDS: dict[str, object] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_SURROGATE = re.compile("[\ud800-\udfff]")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def _code(character: int | str) -> int:
    return ord(character) if isinstance(character, str) else character


def _shown_tag(tag: str) -> str:
    return tag.replace(_CORE, "!!", 1)


def _resolve(text: str) -> object:
    """A plain scalar's value by the core schema. Raises ValueError for a number that JSON could not carry either."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if len(text) > 100:
            raise ValueError("this number has too many digits; put it in quotes if it is text")
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and not math.isfinite(float(text))):
        raise ValueError(f"{text} is not a finite number; put it in quotes if it is text")
    return float(text) if _FLOAT.fullmatch(text) else text
