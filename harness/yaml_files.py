"""The one room for reading YAML that somebody else wrote, bounded in size, depth and what aliases stand for.

A document of ten lines can stand for 9¹⁰ values, hold itself, or nest deeper than Python recurses. PyYAML
reads all that, and whoever walks the result never ends. Here it is refused in one line, before anything is
built.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 64 * 1024
MAX_NODES = 5_000
"""What aliases stand for counts each time. PyYAML reads some 10,000 a second."""
MAX_DEPTH = 50
MAX_DIGITS = 64
"""Of a whole number: no setting needs as many, and Python neither prints nor converts the very long ones."""

_GZIP_MAGIC = b"\x1f\x8b"
_INT = "tag:yaml.org,2002:int"


class UnreadableYamlError(ValueError):
    """Text that is no YAML, or none that is read here.

    Attributes:
        problem: what is wrong, on one line.
        line: 1-based, None where it concerns no single line.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        self.problem = " ".join(problem.split())[:200]
        self.line = line
        super().__init__(self.problem if line is None else f"line {line}: {self.problem}")


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A document that was read.

    Attributes:
        data: dicts, lists and plain values.
        root: the same as a graph of nodes that know their lines; None of an empty document. Aliases are the
            same node; there is no circle, and no key but a plain one.
    """

    data: Any
    root: yaml.Node | None

    def repeated_keys(self) -> Iterator[tuple[int, str]]:
        """Line and place, as `criteria[0].name`, of every key that its mapping has already.

        YAML libraries take the last of them in silence.
        """
        return iter(()) if self.root is None else _repeated(self.root, "", set())


def read_document(path: Path, *, max_bytes: int = MAX_BYTES, max_nodes: int = MAX_NODES) -> YamlDocument:
    """One document, as `yaml.safe_load` reads it.

    Args:
        path: of a file in UTF-8, with or without a byte order mark, plain or gzip.
        max_bytes: most bytes of it.
        max_nodes: most keys and values, those that aliases stand for counted each time.

    Raises:
        UnreadableYamlError: it is no YAML, more than one document, or beyond the bounds.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        return _document_of(_unpacked(file.read(max_bytes + 1), max_bytes), max_bytes, max_nodes)


def _document_of(content: bytes, max_bytes: int, max_nodes: int) -> YamlDocument:
    import yaml

    if len(content) > max_bytes:
        raise UnreadableYamlError(f"has more than {max_bytes} bytes")
    loader = None
    try:
        loader = _bounded_loader(max_nodes)(content.decode("utf-8-sig"))
        root = loader.get_single_node()
        return YamlDocument(None if root is None else loader.construct_document(root), root)
    except UnicodeDecodeError:
        raise UnreadableYamlError("isn't UTF-8 text") from None
    except yaml.YAMLError as error:
        raise _unreadable(error) from None
    except UnreadableYamlError:
        raise
    except ValueError as error:
        raise UnreadableYamlError(f"holds a value that can't be read: {error}") from None
    except (LookupError, AttributeError, TypeError, ArithmeticError):
        # PyYAML trusts tags: `!!int ""`, `!!timestamp soon`.
        raise UnreadableYamlError("holds a value that isn't what its tag says") from None
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: Path, *, max_bytes: int = MAX_BYTES, max_nodes: int = MAX_NODES) -> Any:
    """What a document says, in dicts, lists and plain values; a key given twice is refused.

    Args:
        path: as in `read_document`.
        max_bytes: likewise.
        max_nodes: likewise.

    Raises:
        UnreadableYamlError: as there, or a key is given twice.
        OSError: the file can't be read.
    """
    return _once(read_document(path, max_bytes=max_bytes, max_nodes=max_nodes))


def parse_yaml(text: str) -> Any:
    """As `read_yaml`, of a text that somebody typed.

    Raises:
        UnreadableYamlError: as there.
    """
    return _once(_document_of(text.encode("utf-8", "replace"), MAX_BYTES, MAX_NODES))


def _once(document: YamlDocument) -> Any:
    for line, where in document.repeated_keys():
        raise UnreadableYamlError(f"{where} is given twice", line)
    return document.data


def _unpacked(content: bytes, max_bytes: int) -> bytes:
    """What gzip data holds, up to one byte more than may be; other data as it is."""
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return zlib.decompressobj(wbits=31).decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise UnreadableYamlError(f"is damaged gzip data: {error}") from None


def _bounded_loader(max_nodes: int) -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Composes with an eye on depth, and on the size of everything with its aliases written out."""

        def __init__(self, stream: str) -> None:
            super().__init__(stream)
            self._depth = 0
            self._sizes: dict[int, int] = {}
            self._read = 0

        def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
            event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
            line = event.start_mark.line + 1 if event.start_mark else 0
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise UnreadableYamlError(f"nests deeper than {MAX_DEPTH}", line)
            node = super().compose_node(parent, index)
            self._depth -= 1
            if node is None:
                return None
            if node.tag == _INT and len(str(node.value)) > MAX_DIGITS:
                raise UnreadableYamlError(f"holds a number of more than {MAX_DIGITS} digits", line)
            if isinstance(event, yaml.AliasEvent):
                if id(node) not in self._sizes:
                    raise UnreadableYamlError(f"*{event.anchor} stands inside of what it stands for", line)
            else:
                self._sizes[id(node)] = self._size(node, line)
            if self._sizes[id(node)] > max_nodes:
                raise UnreadableYamlError(f"stands for more than {max_nodes} keys and values", line)
            return node

        def _size(self, node: yaml.Node, line: int) -> int:
            """Keys and values of a node, its own and those below."""
            self._read += 1
            if self._read > max_nodes:
                raise UnreadableYamlError(f"has more than {max_nodes} keys and values", line)
            if isinstance(node, yaml.SequenceNode):
                return 1 + sum(self._sizes[id(one)] for one in node.value)
            if isinstance(node, yaml.MappingNode):
                for key, _ in node.value:
                    if not isinstance(key, yaml.ScalarNode) or not key.value.isprintable():
                        raise UnreadableYamlError(
                            "a key must be a plain word or number", key.start_mark.line + 1
                        )
                return 1 + sum(self._sizes[id(key)] + self._sizes[id(value)] for key, value in node.value)
            return 1

    return Loader


def _unreadable(error: yaml.YAMLError) -> UnreadableYamlError:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if str(reason).startswith("but "):  # the second half of a sentence
        reason = f"{getattr(error, 'context', '')} {reason}"
    return UnreadableYamlError(str(reason), None if mark is None else mark.line + 1)


def _repeated(node: yaml.Node, where: str, seen: set[int]) -> Iterator[tuple[int, str]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    kind = type(node).__name__
    if kind == "MappingNode":
        keys: set[str] = set()
        for key, value in node.value:
            place = f"{where}.{key.value}".lstrip(".")
            if key.value in keys:
                yield key.start_mark.line + 1, place
            keys.add(key.value)
            yield from _repeated(value, place, seen)
    elif kind == "SequenceNode":
        for position, value in enumerate(node.value):
            yield from _repeated(value, f"{where}[{position}]", seen)
