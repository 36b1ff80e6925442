"""Plant keys, let 75 things go wrong, and look for the keys in everything that was written and printed.

Run: python benchmarks/planted_keys.py [--only WORD] [--keep FOLDER]

Keys stand in the environment, in addresses, in engine arguments and in what people write; a server and a fake
Gemini repeat the key they were sent: in answers, names, JSON keys, errors, headers, redirects, HTML, quoted,
in base64, cut in two. Commands of `harness` run against them, with and without --debug, killed, on a full
disk. Then every file below the case's folders (its run, its temporary files, its job summary), what was
deflated into a page, standard output and standard error are searched for each key in each spelling and for
pieces of it.

Each line: the case, its exit codes, `clean` or where a key was found. Ends with `N of N clean`, or exit code
1.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from tests.local_server import JSONHandler, LocalServer
from tests.resealing import change_document, made_before_checksums

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0
PIECE = 12
"""Characters of a key that mustn't be found anywhere in a row."""
OPENAI = "sk-Pl4nted/OpenAI+9f3=Q'x&7zW"
GEMINI = "AIzaPl4nted-Gemini_12/34+xyz=7Qw"
HUB = "hf_Pl4ntedHubToken0123456789abcd"
WANDB = "4f1e0c9d8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e"
GATEWAY = "Pl4nted-words-of-a-gateway"
PASSWORD = "Pl4ntedPassw0rd"
QUERY = "Pl4ntedQueryValue55"
ARGUMENT = "Pl4ntedEngineArgument9"
KEYS = (OPENAI, GEMINI, HUB, WANDB, GATEWAY, PASSWORD, QUERY, ARGUMENT)
ENVIRONMENT = {"OPENAI_API_KEY": OPENAI, "GEMINI_API_KEY": GEMINI, "HF_TOKEN": HUB, "WANDB_API_KEY": WANDB}

Words = Sequence[str | Path]


def spellings(key: str) -> Iterator[bytes]:
    """How a key may have been written down, and pieces of it."""
    raw = key.encode()
    forms = {key, quote(key), quote(key, safe=""), quote_plus(key), quote(quote(key, safe=""), safe="")}
    forms |= {repr(key)[1:-1], json.dumps(key)[1:-1], html.escape(key), raw.hex()}
    for before in (b"", b":", b"u:", b"user:", b"us:"):
        for after in (b"", b":", b"\n"):
            encoded = base64.b64encode(before + raw + after).decode()
            # What is shared with the neighbours at both ends isn't the key's alone.
            forms.add(encoded[4:-4])
    forms |= {key[start : start + PIECE] for start in range(len(key) - PIECE + 1)}
    return (form.encode() for form in forms)


NEEDLES = {key: tuple(spellings(key)) for key in KEYS}


@dataclass
class Place:
    """A case's folder, and what was printed in it."""

    folder: Path
    run: Path
    """A finished run, to be read."""
    patience: float = PATIENCE
    printed: list[bytes] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    @property
    def tasks(self) -> Path:
        """A dataset of six rows."""
        return self.folder.parent / "tasks.jsonl"

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        """Of a command: the planted keys, and temporary files where they are looked for."""
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        kept = {
            name: value for name, value in os.environ.items() if "KEY" not in name and "TOKEN" not in name
        }
        own = {
            "TMPDIR": str(temporary),
            "HF_HUB_OFFLINE": "1",
            "GITHUB_STEP_SUMMARY": str(self.folder / "sum.md"),
        }
        return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | own | ENVIRONMENT | more

    def program(self, words: Words, limit: int | None = None, **more: str) -> int:
        """Run a program in the case's folder."""
        with subprocess.Popen(
            [str(word) for word in words],
            cwd=self.folder,
            env=self.environment(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=None if limit is None else partial(_limited, limit),  # noqa: PLW1509
        ) as process:
            try:
                shown = process.communicate(timeout=self.patience)
            except subprocess.TimeoutExpired:  # It asks again for minutes; stopped, it says how far it came.
                process.terminate()
                shown = process.communicate(timeout=PATIENCE)
        self.printed += shown
        self.codes.append(process.returncode)
        return process.returncode

    def harness(self, *words: str | Path, limit: int | None = None, **more: str) -> int:
        """Run a command of harness."""
        return self.program([sys.executable, "-m", "harness", *words], limit, **more)

    def python(self, code: str) -> int:
        """Run Python code."""
        return self.program([sys.executable, "-c", code])

    def found(self) -> list[str]:
        """Where a key was found."""
        places = [(f"output {number}", text) for number, text in enumerate(self.printed)]
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.name not in OWN]
        places += [(str(path.relative_to(self.folder)), path.read_bytes()) for path in files]
        places += [(f"name of {path}", str(path.relative_to(self.folder)).encode()) for path in files]
        places += [(f"data of {name}", unpacked) for name, text in places for unpacked in _deflated(text)]
        return [
            f"{key[:8]}… in {name}: {_around(text, needle)}"
            for name, text in places
            for key, needles in NEEDLES.items()
            for needle in needles[:]
            if needle in text
        ][:3]


OWN = ("plan.yaml", "config.yaml", "policy.yaml", "old.json")
"""Files of the user's own, in which a key stands because the case wrote it there."""


def _limited(most: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # A write fails then, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def _deflated(text: bytes) -> Iterator[bytes]:
    for found in re.finditer(rb'<script id="rows"[^>]*>([A-Za-z0-9+/=\s]+)</script>', text):
        yield zlib.decompress(base64.b64decode(found[1]))


def _around(text: bytes, needle: bytes) -> str:
    at = text.index(needle)
    return ascii(text[max(0, at - 60) : at + 60])


def valid() -> str:
    """An answer that keeps the contract."""
    return json.dumps({"ranking": [1, 2, 3]})


class Repeater(LocalServer):
    """A server whose mode says where it repeats the key it was sent."""

    slow = 0.0

    def __init__(self) -> None:
        super().__init__(_Handler)


class _Handler(JSONHandler):
    server: Repeater

    @property
    def key(self) -> str:
        sent = self.headers.get("authorization", "").removeprefix("Bearer ")
        return sent or self.headers.get("x-goog-api-key", "") or "none"

    def do_GET(self) -> None:  # noqa: N802  (http.server's name)
        mode, key = self.server.mode, self.key
        if mode == "models-401":
            return self.send(
                401, {"error": {"message": f"no such key {key}"}}, WWW_Authenticate=f"Bearer {key}"
            )
        if mode == "models-html":
            return self.send(200, f"<html>signed in with {html.escape(key)}</html>", "text/html")
        if mode == "models-redirect":
            return self.send(307, b"", location=f"/v1/other?api_key={quote(key, safe='')}")
        if self.path == "/version":
            return self.send(200, {"version": key if mode == "version" else "0.1"})
        model = {"id": f"m-{key}" if mode == "name" else "m", "max_model_len": 4096}
        if mode == "root":
            model["root"] = f"/models/{key}"
        if mode == "two-names":
            return self.send(200, {"data": [{"id": f"a-{key}"}, {"id": f"b-{key}"}]})
        return self.send(200, {"data": [model]})

    def do_POST(self) -> None:  # noqa: N802  (http.server's name)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        mode, key = self.server.mode, self.key
        time.sleep(self.server.slow)
        if self.path.endswith("/tokenize"):
            return self.send(200 if mode == "tokenize" else 404, {"tokens": key, "error": key})
        if ":" in self.path:
            return self.gemini(mode, key)
        choice: dict[str, Any] = {"message": {"content": valid()}, "finish_reason": "stop"}
        answer: dict[str, Any] = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
        if not self.odd(mode, key, answer, choice):
            self.send(200, answer, x_key=key if mode == "header" else "none")
        return None

    def odd(self, mode: str, key: str, answer: dict[str, Any], choice: dict[str, Any]) -> bool:
        """Answer a request in an odd way, or change the answer."""
        errors: dict[str, tuple[int, object]] = {
            "400": (400, {"error": {"message": f"bad request of {key}"}}),
            "403": (403, {"error": {"message": f"{key} may not"}}),
            "404": (404, f"no route for {key}"),
            "500": (500, {"error": f"trouble with {key}"}),
            "429": (429, {"error": {"message": f"too much for Bearer {key}"}}),
            "error200": (200, {"error": {"message": f"overloaded {key}", "code": 503}}),
            "html": (200, f"<html><body>proxy of {html.escape(key)}</body></html>"),
            "quoted": (400, {"error": {"message": f"see /v1?key={quote(key, safe='')}&x=1"}}),
            "base64": (400, f"Basic {base64.b64encode(f'user:{key}'.encode()).decode()}"),
            "base64-alone": (400, base64.b64encode(key.encode()).decode()),
            "repr": (400, repr({"headers": {"Authorization": f"Bearer {key}"}, "key": key})),
            "escaped": (400, {"error": {"message": json.dumps({"k": json.dumps(key)})}}),
            "hex": (400, f"key {key.encode().hex()}"),
            "cut-left": (400, f"… {key[9:]}"),
            "cut-right": (400, f"your key {key[:18]}"),
            "at-the-limit": (400, "x" * 285 + key),
            "key-of-json": (400, {key: {"message": 1}}),
            "torn": (200, json.dumps({"choices": [{"text": key}]})[:-4]),
            "address": (400, f"postgres://harness:{key}@db/x failed"),
        }
        if mode in errors:
            self.send(*errors[mode])
        elif mode == "redirect":
            self.send(
                307, {"moved": key}, location=f"{self.server.url}/v2?access_token={quote(key, safe='')}"
            )
        elif mode == "retry-after":
            self.send(429, {}, retry_after=key)
        elif mode == "gzip":
            self.send(200, f"not packed {key}", content_encoding="gzip")
        else:
            change: dict[str, dict[str, Any]] = {
                "answer": {"message": {"content": f"You sent {key} and {quote(key, safe='')}"}},
                "answer-key": {"message": {"content": json.dumps({key: 1, "ranking": [1, 2, 3]})}},
                "reason": {"finish_reason": key},
                "content": {"message": {"content": {"key": key}}},
            }
            choice |= change.get(mode, {})
            answer |= {"usage": {key: 1, "prompt_tokens": key}} if mode == "usage" else {}
            return False
        return True

    def gemini(self, mode: str, key: str) -> None:
        if ":countTokens" in self.path:
            return self.send(200, {"totalTokens": 10})
        status = {"g400": 400, "g403": 403, "g429": 429, "g500": 500}.get(mode)
        if status is not None:
            words = {
                "error": {"code": status, "message": f"API key {key}, {quote(key, safe='')}", "status": key}
            }
            return self.send(status, words)
        if mode == "g-html":
            return self.send(200, f"<html>{html.escape(key)}</html>", "text/html")
        if mode == "g-cut":
            return self.send(400, {"error": {"code": 400, "message": f"the key {key[:20]}", "status": "X"}})
        reason = f"because of {key}" if mode == "g-answer" else "fine"
        text = json.dumps({"relevance": {"reason": reason, "score": 4}, "score": 4, "reason": reason})
        part = {"text": text if mode != "g-text" else f"no JSON but {key} {quote(key, safe='')}"}
        return self.send(
            200,
            {
                "candidates": [{"content": {"parts": [part], "role": "model"}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14},
                "modelVersion": key if mode == "g-version" else "m",
            },
        )


Case = Callable[[Place, Repeater], None]


def asking(mode: str, *more: str, command: Words = ("eval", "--out", "run")) -> Case:
    """An evaluation of a server in a mode; then what is read of it."""

    def case(place: Place, server: Repeater) -> None:
        server.mode = mode
        line = [*command, "--engine", "openai", "--base-url", f"{server.url}/v1", "--data", place.tasks]
        line += ["--retry-seconds", "1", *more]
        place.harness(*line)
        if (place.folder / "run" / "metrics.json").exists():
            place.harness("gate", "run", "--junit", "j.xml", "--summary", "s.md")
            place.harness("report", "run", "-o", "r.html")
            place.harness("report", "run", "--format", "md")
            place.harness("report", "run", "--format", "json")

    return case


def judging(mode: str, *more: str) -> Case:
    """A judging by a fake Gemini in a mode."""

    def case(place: Place, server: Repeater) -> None:
        server.mode = mode
        shutil.copytree(place.run, place.folder / "run")
        line = ["judge", "run", "--rubric", "listwise-relevance", "--limit", "6", "--repeats", "1"]
        place.patience = 30.0
        place.harness(*line, "--endpoint", server.url, "--cache", "cache", *more)
        place.patience = PATIENCE
        place.harness("report", "run", "-o", "r.html")

    return case


def saying(*words: str, **environment: str) -> Case:
    """A command line with a secret in it."""

    def case(place: Place, server: Repeater) -> None:
        place.harness(*(str(word).format(tasks=place.tasks, url=server.url, run=place.run) for word in words))

    return case


def scoring(*more: str) -> Case:
    """An evaluation of recorded outputs, then all that reads it."""

    def case(place: Place, server: Repeater) -> None:
        outputs = place.folder.parent / "outputs.jsonl"
        place.harness("eval", "--replay", outputs, "--data", place.tasks, "--out", "run", "--json", *more)
        place.harness("report", "run", "-o", "r.html")
        place.harness("report", "run", "--format", "json")

    return case


def of_old(place: Place, server: Repeater) -> None:
    """A run that an earlier version made, with secrets in its manifest."""

    def plant(manifest: dict[str, Any]) -> None:
        address = f"http://user:{PASSWORD}@h/v1?api_key={QUERY}"
        manifest["command"] = [
            "harness",
            "eval",
            "--engine-arg",
            f"hf_token={ARGUMENT}",
            "--base-url",
            address,
        ]
        manifest["config"] |= {"base_urls": [address], "engine_args": {"hf_token": ARGUMENT, "key": GATEWAY}}
        manifest["engine"]["options"] |= {"engine_args": {"token": ARGUMENT}, "base_urls": [address]}

    old = place.folder.parent / "old-run"
    if not old.exists():
        shutil.copytree(place.run, old)
        change_document(old / "manifest.json", plant)
        made_before_checksums(old)
    place.harness("report", old, "-o", "r.html")
    place.harness("report", old, "--format", "md")
    place.harness("report", old, "--format", "json")
    place.harness("gate", old, "--no-record", "--junit", "j.xml", "--json")
    place.harness("gate", old, "--no-record", "--baseline", place.run, "--summary", "s.md")


def rescored(place: Place, server: Repeater) -> None:
    """A run whose answers repeat the key, made before keys were masked, is told again."""
    shutil.copytree(place.run, place.folder / "run")
    place.harness("rescore", "run", "--json")
    place.harness("rescore", "run")


def killed(sign: signal.Signals) -> Case:
    """An evaluation that is killed half-way, and goes on."""

    def case(place: Place, server: Repeater) -> None:
        server.mode, server.slow = "answer", 0.4
        words = [
            "eval",
            "--engine",
            "openai",
            "--base-url",
            server.url,
            "--data",
            str(place.tasks),
            "--out",
            "run",
        ]
        words += ["--concurrency", "1"]
        with (place.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "harness", *words],
                cwd=place.folder,
                env=place.environment({}),
                stdout=log,
                stderr=log,
            )
            samples = place.folder / "run" / "samples.jsonl"
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and not (samples.exists() and samples.stat().st_size):
                time.sleep(0.05)
            process.send_signal(sign)
            process.wait()
        server.slow = 0.0
        if place.harness(*words) != 0:
            raise AssertionError("it doesn't go on with the same command")

    return case


def full(place: Place, server: Repeater) -> None:
    """The disk is full while answers repeat the key."""
    server.mode = "answer"
    words = ("eval", "--engine", "openai", "--base-url", server.url, "--data", place.tasks, "--out", "run")
    place.harness(*words, limit=2_000)
    place.harness("--debug", *words, limit=2_000)
    place.harness(*words)


def bug(debug: str) -> Case:
    """The harness itself fails with a key in its words, and settings refuse one."""

    def case(place: Place, server: Repeater) -> None:
        words = ["eval", "--replay", str(place.folder.parent / "outputs.jsonl"), "--data", str(place.tasks)]
        place.python(
            "import os, sys, harness.evaluate.job as job\nfrom harness.cli import main\n"
            "def fail(*_):\n    key = os.environ['OPENAI_API_KEY']\n"
            "    raise RuntimeError('odd %s %r' % (key, {'Authorization': 'Bearer ' + key}))\n"
            f"job._require_k = fail\nsys.exit(main({[*filter(None, [debug]), *words]!r}))\n"
        )

    return case


def named_variable(place: Place, server: Repeater) -> None:
    """A key in a variable whose name doesn't tell."""
    server.mode = "400"
    place.program(
        [
            sys.executable,
            "-c",
            "import sys\nfrom harness.cli.ending import end\n"
            "from harness.engines.config import EngineConfig\n"
            "from harness.evaluate import EvalConfig, evaluate\nfrom pathlib import Path\n"
            "try:\n"
            "    engine = EngineConfig(engine='openai', base_urls=(sys.argv[1],), api_key_env='GATEWAY')\n"
            "    evaluate(EvalConfig(engine=engine, data=sys.argv[2], out=Path('run')))\n"
            "except Exception as error:\n    sys.exit(end(error, True, str))\n",
            server.url,
            place.tasks,
        ],
        GATEWAY=GATEWAY,
    )
    server.mode = "answer"
    place.python("pass")


def printed_by_a_library(place: Place, server: Repeater) -> None:
    """A library warns, logs and prints with the key in its words."""
    words = ["eval", "--replay", str(place.folder.parent / "outputs.jsonl"), "--data", str(place.tasks)]
    place.python(
        "import logging, os, sys, warnings, harness.evaluate.job as job\nfrom harness.cli import main\n"
        "before = job._require_k\n"
        "def tell(*given):\n    key = os.environ['HF_TOKEN']\n    warnings.warn('token ' + key)\n"
        "    logging.getLogger('hub').error('Authorization: Bearer %s', key)\n    print('using', key)\n"
        "    print(key, file=sys.stderr, end='')\n    return before(*given)\n"
        f"job._require_k = tell\nsys.exit(main({[*words, '--out', 'run']!r}))\n"
    )


def plan_commands(place: Place, server: Repeater) -> None:
    """A plan that names a teacher by an address with a password."""
    plan = (
        f"teacher: https://user:{PASSWORD}@hub/teacher\nbase: zoo:base\nseeds: [0]\n"
        "arms:\n  - {name: a, clip: 2, lambdas: [1, 1.5]}\n"
    )
    (place.folder / "plan.yaml").write_text(plan)
    place.harness("sweep", "plan.yaml", "--out", "sweep", "--print-commands")
    place.harness("--debug", "sweep", "plan.yaml", "--out", "sweep")
    place.harness("sweep", "plan.yaml", "--out", "sweep2", "--jobs", "2")
    place.harness("prereg", "lock", "plan.yaml", "--out", "lock", "--note", f"by {OPENAI}")


def locked(place: Place, server: Repeater) -> None:
    """A note with a key in it, in a lock."""
    plan = (
        "teacher: zoo:teacher\nbase: zoo:base\nseeds: [0]\narms:\n  - {name: a, clip: 2, lambdas: [1, 1.5]}\n"
        "evaluation: {limit: 4}\n"
    )
    (place.folder / "plan.yaml").write_text(plan)
    place.harness("prereg", "lock", "plan.yaml", "--out", "lock", "--note", f"by {OPENAI}", "--prompts", "8")


def policies(place: Place, server: Repeater) -> None:
    """A policy with a key in a rule."""
    (place.folder / "policy.yaml").write_text(f"rules:\n  - 'parse_validity.strict >= {OPENAI[:12]}'\n")
    place.harness("gate", place.run, "--policy", "policy.yaml", "--junit", "j.xml", "--summary", "s.md")
    (place.folder / "policy.yaml").write_text(f"api_key: {QUERY}\nrules: []\n")
    place.harness("--debug", "gate", place.run, "--policy", "policy.yaml", "--junit", "k.xml")


def trained(*more: str) -> Case:
    """Training with keys in its surroundings."""

    def case(place: Place, server: Repeater) -> None:
        line = ["train", "sft", "--ckpt", "zoo:base", "--out", "warm", "--steps", "1", "--lr", "1e-4"]
        place.harness(*line, "--batch-size", "2", "--data", place.tasks, *more)

    return case


def cases() -> dict[str, Case]:
    """All of them, by name."""
    replies = (
        *("400", "403", "404", "500", "429", "error200", "html", "quoted", "base64", "base64-alone", "repr"),
        *("escaped", "hex", "cut-left", "cut-right", "at-the-limit", "key-of-json", "torn", "address"),
        *("redirect", "retry-after", "gzip", "answer", "answer-key", "reason", "usage", "content", "header"),
        *("models-401", "models-html", "models-redirect", "version", "name", "root", "two-names", "tokenize"),
    )
    found: dict[str, Case] = {f"server: {mode}": asking(mode) for mode in replies}
    found["server: 400, --debug"] = asking("400", "--debug")
    live = ("gate", "--out", "live", "--junit", "j.xml", "--summary", "s.md")
    found["live gate: 400"] = asking("400", command=live)
    found["live gate: answer"] = asking("answer", command=live)
    for mode in ("g400", "g403", "g429", "g500", "g-html", "g-cut", "g-answer", "g-text"):
        found[f"judge: {mode}"] = judging(mode)
    found["judge: g400, --debug"] = judging("g400", "--debug")
    url = ("eval", "--engine", "openai", "--data", "{tasks}", "--out", "run", "--base-url")
    for name, address in (
        ("password", f"http://user:{PASSWORD}@127.0.0.1:1/v1"),
        ("query", f"{{url}}/v1?api_key={QUERY}"),
        ("no scheme", f"//user:{PASSWORD}@host"),
        ("fragment", f"{{url}}/v1#token={QUERY}"),
        ("ftp", f"ftp://user:{PASSWORD}@host?sig={QUERY}"),
    ):
        found[f"address: {name}"] = saying("--debug", *url, address)
    found["endpoint: password and query"] = saying(
        *("--debug", "judge", "{run}", "--rubric", "listwise-relevance"),
        *("--endpoint", f"http://user:{PASSWORD}@h/?key={QUERY}"),
    )
    found["engine argument"] = scoring(
        "--engine-arg", f"hf_token={ARGUMENT}", "--engine-arg", f"key={ARGUMENT}"
    )
    found["engine argument in JSON"] = scoring("--engine-arg", f'x={{"api_key": "{ARGUMENT}"}}')
    found["unknown options"] = saying("eval", f"--api-key={QUERY}", "--hf-token", ARGUMENT)
    found["a key for a number"] = saying("--debug", "eval", "--limit", OPENAI, "--data", "{tasks}")
    found["a checkpoint's address"] = saying("--debug", "eval", "--ckpt", f"https://u:{PASSWORD}@hf.co/m")
    found["data's address"] = saying("eval", "--replay", "x", "--data", f"https://h/x.jsonl?token={QUERY}")
    found["a page's title"] = saying("report", "{run}", "-o", "r.html", "--title", f"for {OPENAI}, {HUB}")
    found["an old run"] = of_old
    found["rescore"] = rescored
    found["kill -9"] = killed(signal.SIGKILL)
    found["SIGTERM"] = killed(signal.SIGTERM)
    found["disk full"] = full
    found["a bug"] = bug("")
    found["a bug, --debug"] = bug("--debug")
    found["a variable whose name doesn't tell"] = named_variable
    found["a library's words"] = printed_by_a_library
    found["a plan"] = plan_commands
    found["a lock's note"] = locked
    found["a policy"] = policies
    found["train"] = trained()
    found["train, from an address"] = trained(
        "--ckpt", f"https://u:{PASSWORD}@hf.co/m?token={QUERY}", "--debug"
    )
    return found


def write_inputs(folder: Path) -> None:
    """Six tasks and their recorded outputs."""
    rows = [
        {
            "task_id": f"t{number}",
            "history": [],
            "candidates": [{"item_id": f"i{number}-{one}", "title": f"Shirt {one}"} for one in range(3)],
            "relevance": [1, 0, 0],
        }
        for number in range(6)
    ]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outputs = [
        {"task_id": row["task_id"], "text": valid() if n % 2 else "none"} for n, row in enumerate(rows)
    ]
    (folder / "outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in outputs))


def run_case(name: str, case: Case, work: Path, server: Repeater) -> tuple[str, list[str]]:
    """Its exit codes, and where keys were found."""
    folder = work / re.sub(r"\W+", "-", name)
    folder.mkdir()
    place = Place(folder, work / "run")
    server.mode, server.slow = "", 0.0
    try:
        case(place, server)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return "", [f"{type(error).__name__}: {str(error)[:80]}"]
    found = place.found()
    if any(code < 0 or code > 5 for code in place.codes):
        found.append(f"exit codes {place.codes}")
    return " ".join(map(str, place.codes)), found


@contextmanager
def workplace(kept: Path | None) -> Iterator[Path]:
    """A folder with the inputs and a finished run."""
    with tempfile.TemporaryDirectory(prefix="planted-") as temporary:
        work = Path(temporary) if kept is None else kept
        work.mkdir(parents=True, exist_ok=True)
        write_inputs(work)
        place = Place(work, work / "run")
        outputs = work / "outputs.jsonl"
        if place.harness("eval", "--replay", outputs, "--data", work / "tasks.jsonl", "--out", "run") != 0:
            raise SystemExit(place.printed[-1].decode())
        shutil.rmtree(work / "tmp", ignore_errors=True)
        yield work


def main() -> int:
    """Run the cases; 1 where a key was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--keep", type=Path, help="folder for the files, instead of a temporary one")
    chosen = parser.parse_args()
    named = {name: case for name, case in cases().items() if chosen.only in name}
    clean, server = 0, Repeater()
    with workplace(chosen.keep) as work:
        for name, case in named.items():
            codes, found = run_case(name, case, work, server)
            clean += not found
            print(f"{name:<36} {codes:<12} {'; '.join(found) or 'clean'}", flush=True)
    print(f"{clean} of {len(named)} clean")
    return 0 if clean == len(named) else 1


if __name__ == "__main__":
    sys.exit(main())
