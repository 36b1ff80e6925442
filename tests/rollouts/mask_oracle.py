"""What may come next by its definition: some text that jsonschema accepts goes on like that. No grammar here.

The schemas of `cases/mask_schemas.json` allow few values. All values made of a row's atoms and keys are
written out in all orders of keys; the texts that jsonschema accepts, as lists of lexemes, are the language,
and white space may stand between any two lexemes.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonschema

from harness.contract.json_strings import spellings

CASES: Final = Path(__file__).parents[1] / "cases" / "mask_schemas.json"
_LEXEME: Final = re.compile(r'[ \t\n\r]*("(?:[^"\\\x00-\x1f]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+)')
_PARTIAL_ESCAPE: Final = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")


@dataclass(frozen=True)
class Case:
    """A schema that few values satisfy.

    Attributes:
        name: of the row.
        schema: the schema.
        atoms: scalars its values are made of, and others.
        keys: of their objects.
        depth: how deep they nest.
        longest: most elements of an array.
        values: these in place of all that can be made of atoms and keys.
    """

    name: str
    schema: Any
    atoms: tuple[Any, ...] = ()
    keys: tuple[str, ...] = ()
    depth: int = 1
    longest: int = 2
    values: tuple[Any, ...] | None = None


def cases() -> list[Case]:
    rows = json.loads(CASES.read_text(encoding="utf-8"))
    return [
        Case(**{name: tuple(part) if isinstance(part, list) else part for name, part in row.items()})
        for row in rows
    ]


class Language:
    """The texts of a case: a trie of lexemes, None where a text may end."""

    def __init__(self, case: Case) -> None:
        kind = jsonschema.validators.validator_for(case.schema, jsonschema.Draft202012Validator)
        accepts = kind(case.schema)
        self.texts = [
            lexemes
            for value in (_values(case, case.depth) if case.values is None else case.values)
            if accepts.is_valid(value)
            for lexemes in _written(value)
        ]
        self.trie: dict[str | None, Any] = {}
        for lexemes in self.texts:
            here = self.trie
            for one in lexemes:
                here = here.setdefault(one, {})
            here[None] = {}

    def allows(self, prefix: str) -> bool:
        """Whether some text of the language begins like this."""
        here: dict[str | None, Any] | None = self.trie
        at = 0
        while here is not None and (found := _LEXEME.match(prefix, at)):
            at = found.end()
            lexeme = found[1]
            if at == len(prefix) and lexeme[0] not in '"[]{}:,':
                return any(one is not None and one.startswith(lexeme) for one in here)
            here = _child(here, lexeme)
        if here is None:
            return False
        rest = prefix[at:].lstrip(" \t\n\r")
        return not rest or (rest[0] == '"' and any(_begins(one, rest) for one in here))

    def is_whole(self, text: str) -> bool:
        """Whether the text is of the language."""
        here: dict[str | None, Any] | None = self.trie
        at = 0
        while here is not None and (found := _LEXEME.match(text, at)):
            here, at = _child(here, found[1]), found.end()
        return here is not None and None in here and not text[at:].strip(" \t\n\r")


def _child(here: dict[str | None, Any], lexeme: str) -> dict[str | None, Any] | None:
    if lexeme in here:
        found: dict[str | None, Any] = here[lexeme]
        return found
    if lexeme[0] == '"' and "\\" in lexeme:
        try:
            plain = json.dumps(json.loads(lexeme), ensure_ascii=False)
        except ValueError:
            return None
        return here.get(plain)
    return None


def _begins(lexeme: str | None, rest: str) -> bool:
    """Whether a string, in some spelling, begins like this unfinished one."""
    if lexeme is None or lexeme[0] != '"':
        return False
    partial = ""
    if found := _PARTIAL_ESCAPE.search(rest):
        partial, rest = found[1], rest[: found.start(1)]
    try:
        begun, whole = json.loads(rest + '"', strict=True), json.loads(lexeme)
    except ValueError:
        return False
    if not whole.startswith(begun):
        return False
    if not partial:
        return True
    following = whole[len(begun) :][:1]
    return bool(following) and any(one.startswith(partial.lower()) for one in spellings(following))


def _values(case: Case, depth: int) -> list[Any]:
    found: list[Any] = list(case.atoms)
    if not depth:
        return found
    parts = _values(case, depth - 1)
    for length in range(case.longest + 1):
        found.extend(list(one) for one in itertools.product(parts, repeat=length))
    for several in range(len(case.keys) + 1):
        for keys in itertools.combinations(case.keys, several):
            found.extend(
                dict(zip(keys, one, strict=True)) for one in itertools.product(parts, repeat=several)
            )
    return found


def _written(value: Any) -> Iterator[list[str]]:
    """The lexemes of a value, in every order of keys."""
    if isinstance(value, list):
        for parts in itertools.product(*(list(_written(one)) for one in value)):
            yield ["[", *_joined(parts), "]"]
    elif isinstance(value, dict):
        for keys in itertools.permutations(value):
            ways = (
                [[json.dumps(key, ensure_ascii=False), ":", *one] for one in _written(value[key])]
                for key in keys
            )
            for parts in itertools.product(*ways):
                yield ["{", *_joined(parts), "}"]
    else:
        yield [json.dumps(value, ensure_ascii=False)]


def _joined(parts: Sequence[list[str]]) -> list[str]:
    found: list[str] = []
    for number, part in enumerate(parts):
        found += [",", *part] if number else part
    return found


def disagreements(
    language: Language,
    classes: Any,
    terms: Any,
    vocabulary: Sequence[bytes | None],
    end: int,
    states: int,
    seed: int,
) -> tuple[int, list[tuple[str, str, str]]]:
    """Compare classes with the language along random texts of it, cut at random into tokens.

    Args:
        language: of the terms.
        classes: to be judged.
        terms: of the answers.
        vocabulary: bytes of each token.
        end: id that ends an answer.
        states: how many positions are looked at.
        seed: of the texts.

    Returns:
        How many tokens were judged, and of each that is judged otherwise: the text before, the token, and
        `missing` or `extra` in the class.
    """
    rng = random.Random(seed)
    texts = {number: one for number, one in enumerate(vocabulary) if one and number != end}
    wrong: list[tuple[str, str, str]] = []
    judged = looked = 0
    while looked < states:
        state, prefix = classes.start(terms), b""
        goal = _spaced(rng.choice(language.texts), rng)
        while state is not None and looked < states:
            members = set(classes.members(state).tolist())
            looked += 1
            for number, one in texts.items():
                try:
                    allowed = language.allows((prefix + one).decode())
                except UnicodeDecodeError:
                    continue
                judged += 1
                if allowed != (number in members):
                    wrong.append((prefix.decode(), one.decode(), "missing" if allowed else "extra"))
            judged += 1
            if language.is_whole(prefix.decode()) != (end in members):
                wrong.append((prefix.decode(), "the end", "extra" if end in members else "missing"))
            rest = goal[len(prefix) :]
            fitting = [number for number, one in texts.items() if rest.startswith(one) and number in members]
            if not fitting:
                break
            taken = rng.choice(fitting)
            state, prefix = classes.follow(state, taken)[0], prefix + texts[taken]
    return judged, wrong


def _spaced(lexemes: list[str], rng: random.Random) -> bytes:
    spaces = ("", "", "", " ", "\n", "  ", "\t")
    return "".join(rng.choice(spaces) + one for one in lexemes).encode() + rng.choice(spaces).encode()
