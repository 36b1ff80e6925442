"""The one room that knows what is secret: keys, passwords and tokens, masked before they are shown or kept.

Below every layer. Two kinds are masked. What is *known* to be secret: environment variables that are named
like a key, and what `remember` was told, in every spelling that a server or a library gives it (as it is,
quoted for a URL, escaped, in base64), and pieces of it that something cut off. And what *looks* secret: keys
of well-known services, `Bearer …`, `user:password@`, `api_key=…`.

What can't be told from other words isn't masked: a password of less than eight characters, a key that is
neither in the environment nor named or shaped like one.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
LEAST_CHARACTERS = 8
"""Shorter values of variables that are named like keys are words, such as `none`, and would hide others."""
_PIECE = 10
"""Characters of a known secret that are masked wherever they stand."""

_VARIABLE = re.compile(
    r"(?i)(?:^|_)(?:API_?KEYS?|ACCESS_?KEY(?:_ID)?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE"
    r"|CREDENTIALS?|PAT)(?:_|\d|$)|(?i:KEY|AUTH)$"
)
_PARTS = r"""
    (?:api|access|auth|secret|private|client|account|signing|subscription|master|shared|encryption)[_-]?keys?
  | (?:hf|hub|api|access|auth|authentication|authorization|bearer|session|refresh|id|github|gh|gitlab|wandb
      |security|secret|client|personal|private|user|service|login|csrf)[_-]?tokens?
  | secrets? | password | passwd | passphrase | pwd | credentials? | authorization | cookie | signature
"""
_NAME = re.compile(rf"(?ix)(?:^|[_.\s-]) (?:{_PARTS}) $")
_SHORT_NAME = re.compile(r"(?i)(?:^|[_.-])(?:key|token|sig|auth|pat|pass|code|headers?|cookies?)$")
"""Names that are secret in the query of an address and among the arguments of an engine, and nowhere else."""
_INNOCENT = re.compile(
    r"(?i)(?:^|[_.-])(?:eos|bos|pad|unk|sep|cls|mask|stop|end|start|first|last|per|image|audio|video|sort)[_-]?"
    r"(?:token|key)$"
)

_NAMED = rf"(?:[\w.-]*[_.-])?(?:{_PARTS})"
_SHAPES = re.compile(
    r"""
    \b(?:sk[-_]|gsk_|pplx-|r8_|nvapi-|xai-)[A-Za-z0-9_-]{12,}
  | \bhf_[A-Za-z0-9]{10,} | \beyJ[\w-]{8,}(?:\.[\w-]+)*
  | \bAIza[0-9A-Za-z_-]{10,} | \bya29\.[\w-]{10,}
  | \bgh[pousr]_[A-Za-z0-9]{10,} | \bgithub_pat_\w{10,} | \bglpat-[\w-]{10,} | \bxox[abeprs]-[\w-]{10,}
  | \b(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{12,}\b
  | -----BEGIN\ [A-Z\ ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z\ ]*PRIVATE\ KEY-----|$)
    """,
    re.VERBOSE | re.DOTALL,
)
_PERHAPS = re.compile(
    r"sk[-_]|pplx-|r8_|nvapi-|xai-|hf_|eyJ|AIza|ya29|gh[pousri]|glpat|xox|A[KSRI][IOD]A|-----B"
)
_WORDS_OF_SECRETS = re.compile(
    r"(?i)key|token|secret|passw|passphrase|pwd|credential|authorization|cookie|signature"
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)[^\s\"',;\\]+")
_BASIC = re.compile(r"(?i)\b(basic\s+)([A-Za-z0-9+/_-]{6,}={0,2})")
# Either after the two slashes of an address, or what stands before an @ with a colon in it.
_CREDENTIALS = re.compile(
    r"(?<=//)[^/\s\"'<>\\]{0,300}@|(?<![^\s/@\"'=])(?!zoo:)[^\s/:@\"'=\\]{1,200}:[^\s/@\"'\\]{1,300}@"
)
_QUERY = re.compile(r"([?&;])([\w.%-]{1,100})=([^&\s#\"'<>;`)\]}\\]+)")
_QUOTED = re.compile(rf"""(?ix)(\\?["'])({_NAMED})(\\?["']\s*:\s*b?)(\\?["'])((?:(?!\4)[^\n])+)\4""")
_ASSIGNED = re.compile(rf"""(?ix)(?<![\w.-])({_NAMED})(\s?[=:]\s?)(["']?)(?!["'\s*])([^\s"',;&<>()`\\]+)""")
_ENGINE_ARGUMENT = "engine-arg"
_SECRET_FLAGS = frozenset({"key", "token"})
"""Others end so and aren't, such as --clip-key."""
_ENCODED = re.compile(
    r"""(?ix)
    (?P<url> (?:%[0-9a-f]{2}){8,})
  | (?P<escapes> (?<!\\)(?:\\+(?:u00|x)[0-9a-f]{2}){8,})
  | (?P<html> (?:&\#(?:x[0-9a-f]{2}|[0-9]{2,3});){8,})
  | (?P<hex> (?<![0-9a-f])[0-9a-f]{2}(?:[:\s-]?[0-9a-f]{2}){7,})
    """
)
"""Eight characters or more of which each is told by its number."""
_URL_SAFE = str.maketrans("+/", "-_")
_SCHEME = re.compile(r"(?i)bearer|basic")
_SCHEMES = frozenset({"bearer", "basic"})
_WORDY = ("sk-", "sk_", "gsk_", "pplx-", "r8_", "nvapi-", "xai-")

_SEVERAL = re.compile(rf"(?:{re.escape(MASK)}){{2,}}")

_remembered: dict[str, None] = {}


def remember(secret: object) -> None:
    """From now on this text is masked wherever this process shows or keeps words.

    Process-wide on purpose: the line that ends a command, or the log of a child process, knows no settings.

    Args:
        secret: a key or password; what is no text, or too short to be told from other words, is left.
    """
    if isinstance(secret, str) and len(secret.strip()) >= LEAST_CHARACTERS:
        _remembered[secret.strip()] = None


def masked(text: str, *also: str) -> str:
    """Text with every secret replaced by `***`; mask before cutting, since half a key is one still.

    Args:
        text: of anybody's.
        *also: secrets that it may repeat, however short.
    """
    return _without_shapes(without_known(text, *also))


def without_known(text: str, *also: str) -> str:
    """Text in which what is known to be secret is masked, and what only looks so stays: a model's answer.

    Args:
        text: of anybody's.
        *also: secrets that it may repeat, however short.
    """
    known = (*_known(), *filter(None, also))
    if not known:
        return text
    return _without_encoded(_without_plain(text, known), known)


def masked_bytes(content: bytes) -> bytes:
    """What a server sent, without the secrets that are known, and otherwise as it is."""
    for form in _spellings(_known()):
        plain = form.encode("utf-8", "surrogatepass")
        if plain in content:
            content = content.replace(plain, MASK.encode())
    if known := _known():
        # In latin-1 each byte is a character, and the other way round.
        content = _without_encoded(content.decode("latin-1"), known).encode("latin-1")
    return content


def masked_values(value: Any, *, arguments: bool = False) -> Any:
    """Dicts, lists and texts as JSON has them, with secrets masked: by their name or by themselves.

    Args:
        value: of a setting, or a whole document.
        arguments: of an engine or an address, where `key` and `token` are secret names too.
    """
    match value:
        case str():
            return masked(value)
        case Mapping():
            return {
                masked(name) if isinstance(name, str) else name: MASK
                if isinstance(name, str)
                and isinstance(one, str)
                and one
                and is_secret(name, arguments=arguments)
                else masked_values(one, arguments=arguments or name == "engine_args")
                for name, one in value.items()
            }
        case list() | tuple():
            inside = (masked_values(one, arguments=arguments) for one in value)
            return tuple(inside) if isinstance(value, tuple) else list(inside)
        case _:
            return value


def masked_name(name: str) -> str:
    """A model's name without a key in it; what only resembles an address with a password stays: `a:7b@q4`.

    Runs are told apart by it, so that it loses no more than it must.
    """
    return _SHAPES.sub(_masked_shape, without_known(name))


def masked_command(words: Sequence[str]) -> tuple[str, ...]:
    """A command line with the secrets in it masked, such as `--engine-arg hf_token=***`."""
    found = set(_secret_words(words))
    return tuple(
        masked(_masked_word(word, found)) if index else masked(word) for index, word in enumerate(words)
    )


def learn(words: Sequence[str]) -> None:
    """Remember what a command line holds that is secret, whatever becomes of the command."""
    for secret in _secret_words(words):
        remember(secret)


def is_secret(name: str, *, arguments: bool = False) -> bool:
    """Whether a setting, header or parameter of that name holds a secret.

    Args:
        name: such as `hf_token`, `X-Api-Key`, `password`.
        arguments: of an engine or an address, where `key` and `token` are secret names too.
    """
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    if _INNOCENT.search(spelled):
        return False
    return bool(_NAME.search(spelled) or (arguments and _SHORT_NAME.search(spelled)))


def secrets_of(url: str) -> Iterator[str]:
    """What is secret in an address: the password, or a user without one, and parameters that look secret."""
    _, slashes, rest = url.rpartition("//")
    place, _, query = rest.partition("?")
    # An @ in its path is none of the address.
    place = place.partition("/")[0] if slashes else place
    if "@" in place and (slashes or (":" in place and not place.startswith("zoo:"))):
        user, _, password = place.rpartition("@")[0].partition(":")
        yield password or user
    for pair in re.split("[&;#]", query):
        name, _, value = pair.partition("=")
        if value and is_secret(name, arguments=True):
            yield value


def _secret_words(words: Iterable[str]) -> Iterator[str]:
    before = ""
    for word in words:
        flag, equals, value = word.partition("=")
        if word.startswith("--"):
            name, given = flag.lstrip("-"), value
        else:
            name, given = before.lstrip("-"), word
        if name == _ENGINE_ARGUMENT:
            argument, _, given = given.partition("=")
            found = is_secret(argument, arguments=True)
        else:
            found = is_secret(name) or name in _SECRET_FLAGS or (bool(equals) and is_secret(flag))
            given = value if equals else given
        if found and given:
            yield given.strip("\"'")
        yield from secrets_of(value if equals and ("//" in value or word.startswith("--")) else word)
        before = word if word.startswith("--") and not equals else ""


def _masked_word(word: str, secrets: set[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if word == secret:
            return MASK
        for before in ("=", ":", "//"):
            word = word.replace(f"{before}{secret}", f"{before}{MASK}")
    return word


def _known() -> tuple[str, ...]:
    found = dict(_remembered)
    for name, value in os.environ.items():
        if len(value) >= LEAST_CHARACTERS and _names_a_secret(name):
            found |= dict.fromkeys(_of_variable(value))
        elif "://" in value and "@" in value:  # Such as of a proxy or a database.
            addresses = (word for word in value.split() if "://" in word)
            secrets = (one for word in addresses for one in secrets_of(word))
            found |= dict.fromkeys(one for one in secrets if len(one) >= LEAST_CHARACTERS)
    return tuple(found)


@lru_cache(maxsize=1024)
def _names_a_secret(variable: str) -> bool:
    return _VARIABLE.search(variable) is not None


@lru_cache(maxsize=256)
def _of_variable(value: str) -> tuple[str, ...]:
    value = value.strip()
    if os.path.exists(value):
        return ()  # Where a key lies, which is no key.
    lines = value.splitlines()
    return tuple(line for line in (lines if len(lines) > 1 else [value]) if len(line) >= LEAST_CHARACTERS)


@lru_cache(maxsize=16)
def _spellings(known: tuple[str, ...]) -> tuple[str, ...]:
    """All forms that a secret may have, the longest first."""
    forms: dict[str, None] = {}
    for secret in known:
        raw = secret.encode("utf-8", "surrogatepass")
        forms |= dict.fromkeys(
            (
                secret,
                quote(raw, safe=""),
                quote(raw),
                quote_plus(raw),
                quote(quote(raw, safe=""), safe=""),
                repr(secret)[1:-1],
                repr(f"'\"{secret}")[4:-1],
                json.dumps(secret)[1:-1],
                html.escape(secret),
                html.escape(secret, quote=False),
                *(
                    form
                    for form in (raw.hex(), raw.hex().upper(), *_in_base64(raw))
                    if len(form) >= LEAST_CHARACTERS
                ),
            )
        )
    return tuple(sorted(forms, key=len, reverse=True))


def _in_base64(raw: bytes) -> Iterator[str]:
    """The characters that a secret gives in base64, whatever stands before and after it (`user:key`)."""
    for shift in range(3):
        # Of six bits a character, those that the bytes before and after share in are left out.
        first, last = -(-8 * shift // 6), 8 * (shift + len(raw)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            inner = encode(b"\0" * shift + raw + b"\0\0\0").decode()[first:last]
            yield inner


def _without_plain(text: str, known: tuple[str, ...]) -> str:
    for form in _spellings(known):
        if form in text:
            text = _SEVERAL.sub(MASK, text.replace(form, MASK))
    return _without_pieces(text, known)


def _without_encoded(text: str, known: tuple[str, ...]) -> str:
    """Without secrets, or pieces of them, that are written as the numbers of their characters."""

    def unless_secret(found: re.Match[str]) -> str:
        run = found[0]
        match found.lastgroup:
            case "html":
                codes = [
                    int(f"0{one}", 0) if one[0] in "xX" else int(one) for one in re.findall(r"&#(\w+)", run)
                ]
            case "escapes":
                codes = [int(one, 16) for one in re.findall(r"(?:u00|x)(..)", run, re.IGNORECASE)]
            case _:
                codes = list(bytes.fromhex(re.sub(r"[^0-9A-Fa-f]", "", run)))
        for inner in (_decoded(codes), "".join(map(chr, codes))):
            if _without_plain(inner, known) != inner:
                return MASK
        return run

    return _ENCODED.sub(unless_secret, text)


def _decoded(codes: Sequence[int]) -> str:
    return bytes(code for code in codes if code < 256).decode(errors="replace")


@lru_cache(maxsize=16)
def _pieces(known: tuple[str, ...]) -> frozenset[str]:
    return frozenset(
        secret[start : start + _PIECE] for secret in known for start in range(len(secret) - _PIECE + 1)
    )


def _without_pieces(text: str, known: tuple[str, ...]) -> str:
    pieces = _pieces(known)
    if not pieces or len(text) < _PIECE:
        return text
    kept: list[str] = []
    done, start = 0, 0
    last = len(text) - _PIECE
    while start <= last:
        if text[start : start + _PIECE] not in pieces:
            start += 1
            continue
        end = start + _PIECE
        while end < len(text) and text[end - _PIECE + 1 : end + 1] in pieces:
            end += 1
        kept += [text[done:start], MASK]
        done = start = end
    return "".join([*kept, text[done:]]) if kept else text


def _without_shapes(text: str) -> str:
    # Most lines have nothing of the kind, and are told so in one look.
    if _PERHAPS.search(text):
        text = _SHAPES.sub(_masked_shape, text)
    if "@" in text:
        text = _CREDENTIALS.sub(f"{MASK}@", text)
    if "=" in text:
        text = _QUERY.sub(_masked_parameter, text)
    if _SCHEME.search(text):
        text = _BASIC.sub(_masked_basic, _BEARER.sub(rf"\1{MASK}", text))
    if ("=" in text or ":" in text) and _WORDS_OF_SECRETS.search(text):
        text = _QUOTED.sub(lambda one: f"{one[1]}{one[2]}{one[3]}{one[4]}{MASK}{one[4]}", text)
        text = _ASSIGNED.sub(_masked_assignment, text)
    return text


def _masked_shape(found: re.Match[str]) -> str:
    """A key of a service; words behind `sk-` and `hf_` have no figures or capitals in them."""
    word = found[0]
    if word.startswith("eyJ"):
        return MASK if word.count(".") > 1 else word
    if word.startswith("hf_"):
        return word if word.islower() and word[3:].isalpha() else MASK
    if word.startswith(_WORDY):
        rest = word[3:]
        return MASK if re.search("[0-9]", rest) and re.search("[A-Za-z]", rest) else word
    return MASK


def _masked_basic(found: re.Match[str]) -> str:
    """`Basic` and what decodes to `user:password`; the word has other uses."""
    try:
        inner = base64.urlsafe_b64decode(found[2].rstrip("=").translate(_URL_SAFE) + "==")
    except ValueError:
        return found[0]
    return f"{found[1]}{MASK}" if b":" in inner and inner.isascii() else found[0]


def _masked_parameter(found: re.Match[str]) -> str:
    before, name, _ = found.groups()
    return f"{before}{name}={MASK}" if is_secret(name, arguments=True) else found[0]


def _masked_assignment(found: re.Match[str]) -> str:
    name, between, mark, value = found.groups()
    # `Authorization: Bearer …`: what follows the scheme is masked already.
    return found[0] if value.lower() in _SCHEMES else f"{name}{between}{mark}{MASK}"
