"""A second, slow definition of strict: recursive descent over characters, sharing nothing with the parser."""

from __future__ import annotations

WHITE = {" ", "\t", "\r", "\n"}
DEEPEST = 64


class NotValidError(Exception):
    pass


class Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self, wanted: str) -> None:
        if self.text[self.at : self.at + len(wanted)] != wanted:
            raise NotValidError(f"no {wanted} at {self.at}")
        self.at += len(wanted)

    def space(self) -> None:
        while self.peek() in WHITE:
            self.at += 1

    def string(self) -> str:
        """Decode a string; only two neighbouring *escaped* surrogates make one character."""
        self.take('"')
        units: list[tuple[int, bool]] = []
        while self.peek() != '"':
            char = self.peek()
            if not char or ord(char) < 32:
                raise NotValidError("string")
            self.at += 1
            if char != "\\":
                units.append((ord(char), False))
                continue
            kind = self.peek()
            self.at += 1
            if kind == "u":
                digits = self.text[self.at : self.at + 4]
                if len(digits) != 4 or any(d not in "0123456789abcdefABCDEF" for d in digits):
                    raise NotValidError("escape")
                self.at += 4
                units.append((int(digits, 16), True))
            elif kind and kind in '"\\/bfnrt':
                units.append((ord('"\\/\b\f\n\r\t'['"\\/bfnrt'.index(kind)]), False))
            else:
                raise NotValidError("escape")
        self.at += 1
        decoded: list[str] = []
        while units:
            code, escaped = units.pop(0)
            if (
                escaped
                and 0xD800 <= code < 0xDC00
                and units
                and units[0][1]
                and 0xDC00 <= units[0][0] < 0xE000
            ):
                code = 0x10000 + (code - 0xD800) * 0x400 + (units.pop(0)[0] - 0xDC00)
            decoded.append(chr(code))
        return "".join(decoded)

    def digits(self) -> str:
        begin = self.at
        while self.peek() and self.peek() in "0123456789":
            self.at += 1
        if self.at == begin:
            raise NotValidError("digits")
        return self.text[begin : self.at]

    def number(self) -> str:
        begin = self.at
        if self.peek() == "-":
            self.at += 1
        whole = self.digits()
        if len(whole) > 1 and whole[0] == "0":
            raise NotValidError("leading zero")
        if self.peek() == ".":
            self.at += 1
            self.digits()
        if self.peek() in ("e", "E"):
            self.at += 1
            if self.peek() in ("+", "-"):
                self.at += 1
            self.digits()
        return self.text[begin : self.at]

    def value(self, depth: int) -> None:
        char = self.peek()
        if char == '"':
            self.string()
        elif char == "{":
            self.members(depth, lambda key: self.value(depth + 1))
        elif char == "[":
            self.elements(depth, lambda: self.value(depth + 1))
        elif char in ("t", "f", "n"):
            self.take({"t": "true", "f": "false", "n": "null"}[char])
        else:
            self.number()

    def members(self, depth, read) -> set[str]:
        if depth > DEEPEST:
            raise NotValidError("deep")
        self.take("{")
        keys: set[str] = set()
        self.space()
        if self.peek() == "}":
            self.at += 1
            return keys
        while True:
            self.space()
            key = self.string()
            if key in keys:
                raise NotValidError("repeated key")
            keys.add(key)
            self.space()
            self.take(":")
            self.space()
            read(key)
            self.space()
            if self.peek() == "}":
                self.at += 1
                return keys
            self.take(",")

    def elements(self, depth, read) -> None:
        if depth > DEEPEST:
            raise NotValidError("deep")
        self.take("[")
        self.space()
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            self.space()
            read()
            self.space()
            if self.peek() == "]":
                self.at += 1
                return
            self.take(",")


def strict_ranking(text: str, k: int, key: str, id_style: str, extra_keys: bool) -> tuple[int, ...] | None:
    """The ranking of a strictly valid answer, or None."""
    reader = Reader(text)
    ids: list[str] = []

    def one_id() -> None:
        ids.append(reader.number() if id_style == "number" else reader.string())

    def member(name: str) -> None:
        if name == key:
            reader.elements(2, one_id)
        elif extra_keys:
            reader.value(2)
        else:
            raise NotValidError("extra key")

    try:
        reader.space()
        keys = reader.members(1, member)
        reader.space()
    except NotValidError:
        return None
    if reader.at != len(text) or key not in keys:
        return None
    if sorted(ids) != sorted(str(n) for n in range(1, k + 1)):
        return None
    return tuple(int(spelled) for spelled in ids)
