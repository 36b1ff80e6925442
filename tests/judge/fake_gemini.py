"""A Gemini service of the tests' own: real HTTP on 127.0.0.1, with the faults of a real one."""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from tests.judge.gemini_judges import Judge, fair, read_prompt

TOKEN = re.compile(r"\w+|[^\w\s]")
HANG_BOUND_SECONDS = 30.0


@dataclass(frozen=True)
class Faults:
    """Shares of requests that go wrong, drawn anew for every attempt; `malformed` and `blocked` stay."""

    refused: float = 0.0
    broken: float = 0.0
    hanging: float = 0.0
    malformed: float = 0.0
    blocked: float = 0.0
    retry_after: tuple[str, ...] = ("", "header", "body", "date")
    """How refusals say when to come back; drawn evenly."""


FAULTY = Faults(refused=0.10, broken=0.05, hanging=0.02, malformed=0.02, blocked=0.01)


@dataclass(frozen=True)
class Quota:
    """So many requests a second; what goes beyond is refused until there is room again."""

    rate: float
    burst: int


@dataclass
class Arrival:
    """One request as the service saw it."""

    prompt: str
    attempt: int
    outcome: str
    prompt_tokens: int = 0
    output_tokens: int = 0
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    path: str = ""

    @property
    def charged(self) -> bool:
        return self.prompt_tokens > 0


class FakeGemini:
    """Start it with `with`; `url` is its endpoint, `arrivals` what came in."""

    def __init__(
        self,
        judge: Judge = fair,
        faults: Faults = Faults(),
        *,
        seed: int = 0,
        latency: float = 0.0,
        quota: Quota | None = None,
        charge_hanging: bool = False,
        statuses: Sequence[int] = (),
        message: str = "An error of the tests' own",
        raw: str | None = None,
        first: Sequence[str] = (),
        silent: Callable[[str], bool] = lambda prompt: False,
        thinking: int = 0,
    ) -> None:
        self.judge, self.faults, self.seed, self.latency = judge, faults, seed, latency
        self.charge_hanging = charge_hanging
        self.statuses, self.message = list(statuses), message
        """The first requests get these statuses."""
        self.raw, self.thinking = raw, thinking
        self.first, self.silent = list(first), silent
        """Bodies of the first replies, and prompts that are answered with a finished, empty candidate."""
        self.arrivals: list[Arrival] = []
        self.counted = 0
        self.in_flight = self.most_in_flight = 0
        self.after: Callable[[int], None] | None = None
        """Told how many requests were answered, after each answer."""
        self.gate: threading.Event | None = None
        """When set, answers wait for it."""
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._attempts: Counter[str] = Counter()
        self._quota, self._tokens, self._filled = quota, float(quota.burst if quota else 0), time.monotonic()
        fake = self

        class Handler(_Handler):
            service = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeGemini:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_for_arrivals(self, count: int) -> bool:
        """Whether so many requests came in before long."""
        with self._came:
            return self._came.wait_for(lambda: len(self.arrivals) >= count, HANG_BOUND_SECONDS)

    @property
    def charged(self) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.charged]

    def outcomes(self) -> Counter[str]:
        return Counter(arrival.outcome for arrival in self.arrivals)

    def cost(self, input_price: float, output_price: float) -> float:
        """US dollars that this service would bill."""
        return 1e-6 * sum(
            arrival.prompt_tokens * input_price + arrival.output_tokens * output_price
            for arrival in self.arrivals
        )

    def arrive(self, prompt: str, body: str, headers: dict[str, str]) -> Arrival:
        with self._lock:
            self._attempts[prompt] += 1
            arrival = Arrival(prompt, self._attempts[prompt], "?", body=body, headers=headers)
            self.arrivals.append(arrival)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self._came.notify_all()
        return arrival

    def leave(self) -> None:
        with self._lock:
            self.in_flight -= 1
            answered = sum(arrival.charged for arrival in self.arrivals) if self.after else 0
        if self.after:
            self.after(answered)

    def over_quota(self) -> float | None:
        """Seconds until there is room, None when there is."""
        if self._quota is None:
            return None
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._quota.burst, self._tokens + (now - self._filled) * self._quota.rate)
            self._filled = now
            if self._tokens >= 1.0:
                self._tokens -= 1.0
                return None
            return (1.0 - self._tokens) / self._quota.rate

    def draw(self, *parts: object) -> random.Random:
        digest = hashlib.sha256(json.dumps([self.seed, *parts]).encode()).digest()
        return random.Random(int.from_bytes(digest[:8], "big"))


class _Handler(BaseHTTPRequestHandler):
    service: FakeGemini
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        return

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionResetError:
            return  # the client was killed

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        request = json.loads(body)
        asked = request.get("generateContentRequest", request)
        user = "\n".join(part["text"] for content in asked["contents"] for part in content["parts"])
        if self.path.partition("?")[0].endswith(":countTokens"):
            self.service.counted += 1
            self._json(200, {"totalTokens": len(TOKEN.findall(user))})
            return
        arrival = self.service.arrive(user, body, dict(self.headers.items()))
        arrival.path = self.path
        try:
            self._generate(request, user, arrival)
        finally:
            self.service.leave()

    def _generate(self, request: dict, user: str, arrival: Arrival) -> None:
        service, faults = self.service, self.service.faults
        if service.gate is not None:
            assert service.gate.wait(HANG_BOUND_SECONDS)
        if service.latency:
            time.sleep(service.latency)
        if service.statuses:
            status = service.statuses.pop(0)
            arrival.outcome = f"status {status}"
            self._json(status, {"error": {"code": status, "message": service.message, "status": "X"}})
            return
        if service.raw is not None:
            arrival.outcome = "raw"
            self._send(200, service.raw.encode(), {})
            return
        if service.first:
            arrival.outcome = "raw"
            self._send(200, service.first.pop(0).encode(), {})
            return
        if service.silent(user):
            arrival.outcome = "silent"
            usage = self._charge(arrival, request, user, "")
            self._json(200, {"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": usage})
            return
        wait = service.over_quota()
        if wait is not None:
            arrival.outcome = "over_quota"
            self._refuse("body", wait)
            return
        fate = service.draw("attempt", user, arrival.attempt).random()
        if fate < faults.refused:
            arrival.outcome = "refused"
            self._refuse(service.draw("how", user, arrival.attempt).choice(faults.retry_after), 0.2)
        elif fate < faults.refused + faults.broken:
            arrival.outcome = "broken"
            self._json(500, {"error": {"code": 500, "message": service.message, "status": "INTERNAL"}})
        elif fate < faults.refused + faults.broken + faults.hanging:
            arrival.outcome = "hanging"
            if service.charge_hanging:
                self._charge(arrival, request, user, '{"reason": "late"}')
            self._hang()
        else:
            self._answer(request, user, arrival)

    def _answer(self, request: dict, user: str, arrival: Arrival) -> None:
        service, faults = self.service, self.service.faults
        instruction = request.get("systemInstruction") or request.get("system_instruction") or {"parts": []}
        system = "\n".join(part["text"] for part in instruction["parts"])
        config = request["generationConfig"]
        schema = config["responseSchema"]["properties"]
        criteria = list(schema["scores"]["properties"]) if "scores" in schema else []
        fate = service.draw("answer", user).random()
        finish = "STOP"
        if fate < faults.blocked / 2:
            arrival.outcome = "blocked_prompt"
            usage = self._charge(arrival, request, user, "")
            self._json(200, {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage})
            return
        if fate < faults.blocked:
            arrival.outcome, text, finish = "blocked_answer", "", "SAFETY"
        else:
            seen = read_prompt(system, user, criteria)
            text = json.dumps(service.judge(seen, service.draw("judge", user, system)))
            arrival.outcome = "answered"
            if fate < faults.blocked + faults.malformed:
                arrival.outcome = "malformed"
                text = text[: len(text) // 2]
        usage = self._charge(arrival, request, user, text)
        candidate: dict[str, object] = {"finishReason": finish, "index": 0}
        if text:
            candidate["content"] = {"role": "model", "parts": [{"text": text}]}
        self._json(200, {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "fake"})

    def _charge(self, arrival: Arrival, request: dict, user: str, text: str) -> dict[str, int]:
        instruction = request.get("systemInstruction") or request.get("system_instruction") or {"parts": []}
        read = [user, json.dumps(request["generationConfig"]["responseSchema"])]
        read += [part["text"] for part in instruction["parts"]]
        arrival.prompt_tokens = sum(len(TOKEN.findall(part)) for part in read)
        said, thought = len(TOKEN.findall(text)), self.service.thinking
        arrival.output_tokens = said + thought
        usage = {
            "promptTokenCount": arrival.prompt_tokens,
            "candidatesTokenCount": said,
            "totalTokenCount": arrival.prompt_tokens + said + thought,
        }
        return usage | ({"thoughtsTokenCount": thought} if thought else {})

    def _refuse(self, how: str, seconds: float) -> None:
        headers: dict[str, str] = {}
        details = []
        if how == "header":
            headers["Retry-After"] = "1"
        elif how == "date":
            headers["Retry-After"] = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
        elif how == "body":
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            details.append({"@type": kind, "retryDelay": f"{seconds:.3f}s"})
        error = {"code": 429, "message": "Exhausted", "status": "RESOURCE_EXHAUSTED", "details": details}
        self._json(429, {"error": error}, headers)

    def _hang(self) -> None:
        """Say nothing until the client gives up."""
        self.close_connection = True
        self.connection.settimeout(HANG_BOUND_SECONDS)
        try:
            self.connection.recv(1)
        except OSError:
            return

    def _json(self, status: int, document: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(document).encode(), headers or {})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
