"""Judge 2,000 rankings against a faulty Gemini service of our own, beside a fixed-concurrency loop.

Two services, both over real HTTP on 127.0.0.1 with 200 ms of latency. `faulty` refuses 10 % at random (with
and without Retry-After), breaks 5 %, leaves 2 % unanswered, malforms 2 % and blocks 1 %. `quota` serves 60
requests a second and refuses what goes beyond, saying when to come back. The loop has N workers; each sends a
question up to eight times and sleeps one second after a 429, 5xx or timeout. Its client is the judge's own.

Example: python benchmarks/judge_load.py --client google-genai
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "judge"))

from fake_gemini import FakeGemini, Faults, Quota  # type: ignore[import-not-found]
from judge_runs import make_run, make_tasks  # type: ignore[import-not-found]

from harness.errors import IncompleteError
from harness.judge import JudgeConfig, judge, load_rubric
from harness.judge.client import RETRIED, JudgeClient, RequestFailedError
from harness.judge.key import ApiKey
from harness.judge.libraries import open_client
from harness.judge.plan import Ask, Plan

TIMEOUT = 2.0
ATTEMPTS = 8
SLEEP = 1.0
FAULTY = Faults(refused=0.10, broken=0.05, hanging=0.02, malformed=0.02, blocked=0.01)
SERVICES: dict[str, dict[str, Any]] = {
    "faulty": {"faults": FAULTY},
    "quota": {"quota": Quota(rate=60.0, burst=60)},
}


@dataclass(frozen=True)
class Outcome:
    """What one way of asking came to."""

    name: str
    seconds: float
    answered: int
    lost: int
    arrivals: Counter[str]

    def line(self) -> str:
        sent = sum(self.arrivals.values())
        refused = self.arrivals["refused"] + self.arrivals["over_quota"]
        return (
            f"{self.name:<16} {self.seconds:7.1f} s {self.answered / self.seconds:7.1f} answers/s "
            f"{sent:6d} requests, {100 * refused / sent:5.1f} % refused, {self.lost} questions lost"
        )


def serve(service: str, pipe: Any) -> None:
    """The service in a process of its own, so that it doesn't share our interpreter lock."""
    with FakeGemini(latency=0.2, **SERVICES[service]) as fake:
        pipe.send(fake.url)
        pipe.recv()
        pipe.send(fake.outcomes())


def against(service: str, name: str, work: Callable[[str], tuple[int, int]]) -> Outcome:
    """Run `work(url)` against a fresh service; it returns how many were answered and lost."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(service, theirs))
    process.start()
    url = ours.recv()
    began = time.monotonic()
    answered, lost = work(url)
    seconds = time.monotonic() - began
    ours.send("end")
    arrivals = ours.recv()
    process.join()
    return Outcome(name, seconds, answered, lost, arrivals)


def ask_in_a_loop(client: JudgeClient, plan: Plan, asks: list[Ask], workers: int) -> tuple[int, int]:
    def one(ask: Ask) -> bool:
        for _ in range(ATTEMPTS):
            try:
                client.ask(plan.question(ask.units[0]))
            except RequestFailedError as error:
                if error.kind not in RETRIED:
                    return False
                time.sleep(SLEEP)
            else:
                return True
        return False

    with ThreadPoolExecutor(workers) as pool:
        answered = sum(pool.map(one, asks))
    return answered, len(asks) - answered


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--client", choices=["google-generativeai", "google-genai"], default="google-genai")
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--service", choices=list(SERVICES), nargs="*", default=list(SERVICES))
    arguments = parser.parse_args()
    os.environ["GEMINI_API_KEY"] = "a-key-for-the-fake-service"
    rubric = load_rubric("listwise-relevance")
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", make_tasks(arguments.questions // 2), failures=0.0)

        def config(url: str, name: str) -> JudgeConfig:
            return JudgeConfig(
                run=run,
                rubric=rubric,
                endpoint=url,
                timeout=TIMEOUT,
                client=arguments.client,
                store=Path(folder) / f"{name}.sqlite",
            )

        def judged(service: str) -> Callable[[str], tuple[int, int]]:
            def work(url: str) -> tuple[int, int]:
                (run / "judge.jsonl").unlink(missing_ok=True)
                try:
                    result = judge(config(url, service))
                except IncompleteError as error:
                    print(error)
                    return 0, 0
                lost = sum(
                    round(value.estimate * value.n)
                    for name, value in result.run.metrics.items()
                    if value.estimate and name.endswith((".rate_limited", ".server_error", ".timeout"))
                )
                return result.judgements - lost, lost

            return work

        def looped(workers: int) -> Callable[[str], tuple[int, int]]:
            def work(url: str) -> tuple[int, int]:
                settings = config(url, "loop")
                plan = Plan(settings)
                key = ApiKey(os.environ["GEMINI_API_KEY"])
                client = open_client(
                    settings.client,
                    key,
                    rubric.model,
                    endpoint=url,
                    timeout=TIMEOUT,
                    connections=workers,
                )
                try:
                    return ask_in_a_loop(client, plan, plan.asks(plan.units), workers)
                finally:
                    client.close()

            return work

        for service in arguments.service:
            print(f"{service}, {arguments.questions} questions, {arguments.client}")
            print("  " + against(service, "adaptive", judged(service)).line(), flush=True)
            for workers in arguments.workers:
                print("  " + against(service, f"loop of {workers}", looped(workers)).line(), flush=True)


if __name__ == "__main__":
    main()
