"""A file of options, read strictly: YAML that means the same to a person, to DVC and to this program.

It is read as YAML 1.2, as DVC does: `1e-3` is a number and `no` is a word. What can be misread, or is more than a file
of options needs, is refused with its line and column: a key twice, anchors and aliases, tags, several documents, dates.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from cache import shown_text, shown_value
from pipeline.errors import ConfigError

LARGEST_FILE = 1 << 20
"""Bytes; no file of options comes near."""

DEEPEST = 20
"""Mappings and lists inside each other; options need five."""

_TAG = "tag:yaml.org,2002:"
_PATTERNS = {
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": "[-+]?([0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+|0b[01]+)",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "null": "~|null|Null|NULL|",
    "timestamp": "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*",
}
"""Which words are no text, by what they are; the first that fits counts."""


class _Refused(yaml.MarkedYAMLError):
    """YAML that is valid and yet refused."""


class _StrictLoader(yaml.SafeLoader):
    """Plain scalars as in YAML 1.2; raises `_Refused` while it reads, so that nothing large is ever built."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Read the next node, however deep."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            what = "alias *" if isinstance(event, yaml.AliasEvent) else "anchor &"
            raise _refused(
                event, f"{what}{event.anchor}; write what it stands for, so that each can be set alone"
            )
        if event.tag is not None:
            raise _refused(event, f"tag {event.tag}; options are plain values, leave it out")
        if self._depth == DEEPEST:
            raise _refused(event, f"more than {DEEPEST} levels inside each other; options need five")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node.tag == _TAG + "timestamp":
            raise _refused(node, f"{node.value} is a date in YAML; write it in quotes")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping whose keys are text, each of them once."""
        mapping = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key, _ in mapping.value:
            if key.tag != _TAG + "str":
                what = shown_value(key.value) if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
                raise _refused(
                    key, f"the key {what} is no text; keys are names, write it in quotes if it is one"
                )
            if key.value == "<<":
                raise _refused(key, "merge key <<; write the options out, so that each can be set alone")
            if key.value in seen:
                raise _refused(
                    key, f"the key {shown_value(key.value)} is already on line {seen[key.value]}; remove one"
                )
            seen[key.value] = key.start_mark.line + 1
        return mapping


def _refused(at: Any, problem: str) -> _Refused:
    return _Refused(problem=problem, problem_mark=at.start_mark)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = node.value.replace("_", "")
    try:
        return int(digits, 10 if digits.lstrip("+-").isdecimal() else 0)
    except ValueError:
        raise _refused(node, f"a number of {len(digits)} digits; no option is that large") from None


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_StrictLoader.yaml_implicit_resolvers = {
    None: [(_TAG + kind, re.compile(f"(?:{pattern})$")) for kind, pattern in _PATTERNS.items()]
}
_StrictLoader.add_constructor(_TAG + "int", _integer)
_StrictLoader.add_constructor(_TAG + "float", _number)


def read_options_file(path: Path) -> dict[str, Any]:
    """The mapping that the file `path` holds.

    Raises:
        ConfigError: the file cannot be read, is not one YAML mapping in UTF-8, or can be misunderstood. The message
            names the line and the column.
    """
    text = _text(path)
    try:
        values = yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = "" if isinstance(error, _Refused) else "not valid YAML: "
        raise ConfigError(f"{path}{place}: {reason}{shown_text(error.problem or error.context)}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(
            f"{path}{_line_and_column(text, error.position)}: not valid YAML: the character U+{error.character:04X} is "
            "not allowed; remove it"
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of options, got {type(values).__name__}")
    return values


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; run from the repository root, or name another file"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); name another file") from None
    if len(content) > LARGEST_FILE:
        raise ConfigError(f"{path}: more than {LARGEST_FILE} bytes; that is no file of options")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        raise ConfigError(
            f"{path}{_line_and_column(before, len(before))}: byte 0x{content[error.start]:02x} is not UTF-8; save the "
            "file as UTF-8"
        ) from None


def _line_and_column(text: str, position: int) -> str:
    before = text[:position]
    return f", line {before.count(chr(10)) + 1}, column {position - before.rfind(chr(10))}"
