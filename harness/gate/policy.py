"""`gate.yaml`: what a checkpoint must show, with which error rates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from harness import files
from harness.errors import nearest
from harness.gate.cliff_rules import WORD_METRICS, check_words
from harness.gate.common_tasks import check_common
from harness.gate.expression import BaselineRule, NumberRule, PolicyError, Rule, WordRule, parse_rule
from harness.metrics.match import FIELD_PREFIX, MATCH
from harness.metrics.table import (
    CONTRACT,
    CONTRACT_BAR,
    JUDGE_PREFIXES,
    LENIENT_SCORES,
    METRICS,
    RUBRIC_PREFIX,
    WITHHELD,
    sample_metric,
    sample_metrics,
)
from harness.runs.gate_record import Verdict
from harness.settings import Count, Settings
from harness.yaml_files import UnreadableYamlError, read_yaml

DEFAULT_RULE = f"{CONTRACT} >= {CONTRACT_BAR}"

EXAMPLE = """\
# Policy of `harness gate`: a checkpoint passes when every rule passes.

# Largest probability of a wrong verdict: of passing a checkpoint that breaks a rule, and of failing one that
# keeps them all (whatever their number). Between 0 and 0.5.
alpha: 0.05

# Only for advice: probability with which the number of further samples, named where a rule is inconclusive,
# would settle it if the truth is what was measured.
power: 0.8

# What the exit code says when the samples settle nothing: fail (1), pass (0) or inconclusive (4).
on_inconclusive: inconclusive

# What the rules are about. tasks: the checkpoint on tasks like these, of which the dataset is a sample.
# list: this list of tasks and no others; a complete run then settles every rule by its plain numbers.
scope: tasks

# How often the run may be gated while it grows, each look with an equal share of alpha. Left out, a look at
# part of the tasks spends half of what is left of alpha and a look at all of them the rest.
# looks: 1

# How many checkpoints `harness gate --stream FILE` is going to see, each with an equal share of alpha for
# passing. Left out, any number: the nth has 1/(n(n+1)) of it.
# checkpoints: 20

rules:
  # How often the raw answer keeps the contract.
  - parse_validity.strict >= 0.95

  # Answers cut off by the token budget; any failure code works alike: failure_rate.<code>.
  - truncation_rate <= 0.02
  # - failure_rate.extra_text <= 0.01
  # Answers that a provider's filter withheld, of a server; all other rules take them at worst and at best.
  # - withheld_rate <= 0.02

  # Ranking quality, failures counted 0 (.all) or left out (.parsed).
  # - ndcg_at_1.all >= 0.5

  # Parity with a baseline (`harness gate RUN --baseline RUN`), paired by task: not worse by more than 0.02.
  # - ndcg_at_1.all >= baseline - 0.02
  # The same on the tasks that both parsed, knowingly. Without `common` an answer that doesn't parse counts as
  # the worst it could have been before a rule passes, and as the best before it fails.
  # - ndcg_at_1.parsed >= baseline - 0.02 common
  # Better by at least 0.01:
  # - parse_validity.strict >= baseline + 0.01

  # Side of the extrapolation cliff, where the run has a cliff.json.
  # - cliff.verdict in [left]

  # A rubric's score, where the run was judged.
  # - rubric.listwise-relevance >= 0.7
"""


class Policy(Settings):
    """What a checkpoint must show."""

    refusal = PolicyError

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Largest probability of a wrong verdict."""
    power: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """For the advice on further samples; above `alpha`."""
    on_inconclusive: Verdict = "inconclusive"
    """What the exit code says when nothing is settled."""
    scope: Literal["tasks", "list"] = "tasks"
    """Whether rules are about tasks like these or about this list of tasks alone."""
    looks: Annotated[Count, Field(le=1_000)] | None = None
    """Looks at a run that are planned, each with an equal share of alpha; by default a look at part of the
    tasks takes half of what is left and one at all of them everything."""
    checkpoints: Annotated[Count, Field(le=1_000_000)] | None = None
    """Checkpoints planned for a stream, each with an equal share of alpha; by default the nth has
    1/(n(n+1)) of it."""
    rules: Annotated[tuple[str, ...], Field(min_length=1)] = (DEFAULT_RULE,)
    """Expressions, see `harness.gate.expression`."""

    @field_validator("rules", mode="before")
    @classmethod
    def _texts(cls, rules: Any) -> Any:
        if not isinstance(rules, list | tuple):
            raise PolicyError(f"rules is no list; write each rule on a line of its own, `- {DEFAULT_RULE}`")
        for number, rule in enumerate(rules):
            if not isinstance(rule, str):
                raise PolicyError(f"rules.{number} is no text; a rule is one line such as `{DEFAULT_RULE}`")
        return rules

    @field_validator("rules")
    @classmethod
    def _distinct_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        texts = [parse_rule(rule).text for rule in rules]
        for text in texts:
            if texts.count(text) > 1:
                raise PolicyError(f"rule `{text}` stands there twice")
        return tuple(texts)

    @field_validator("power")
    @classmethod
    def _power_above_alpha(cls, power: float, info: Any) -> float:
        if power <= info.data.get("alpha", 0.0):
            raise PolicyError("power must be larger than alpha")
        return power

    @cached_property
    def parsed_rules(self) -> tuple[Rule, ...]:
        """The rules, read."""
        return tuple(parse_rule(rule) for rule in self.rules)

    @property
    def sha256(self) -> str:
        """Hash of all settings; comments and layout of the file don't matter."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def load_policy(path: str | Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyError: it can't be read, or something in it is wrong; one line that names it.
    """
    try:
        content = read_yaml(Path(path))
    except OSError as error:
        raise PolicyError(
            f"{path} can't be read: {error.strerror or error}; `harness gate --init` writes an example"
        ) from error
    except UnreadableYamlError as error:
        raise PolicyError(f"{path} is no YAML that is read here: {error}") from error
    if not isinstance(content, dict):
        raise PolicyError(f"{path} must hold settings such as `alpha: 0.05` and a list `rules:`")
    return Policy.read(content, str(path))


def write_example(path: Path) -> None:
    """Write the commented example.

    Raises:
        PolicyError: the file exists already.
        HarnessError: it can't be written.
    """
    if path.exists():
        raise PolicyError(f"{path} exists already; choose another name as `policy=FILE`")
    with files.output(path, "choose another name as `policy=FILE`"):
        files.write_text(path, EXAMPLE)


def check_rules(rules: Iterable[Rule], stored: Iterable[str]) -> None:
    """Refuse rules about metrics that aren't there, words that no field has and bars out of range.

    Args:
        rules: of the policy.
        stored: names in the run's metrics.

    Raises:
        PolicyError: the message names the nearest metrics.
    """
    there = set(stored)
    # Of a run that isn't scored yet nobody knows what its tasks have.
    everything = not any(name in METRICS for name in there)
    later = {WITHHELD} | {name for name in LENIENT_SCORES if name.replace(".lenient", ".parsed") in there}
    metrics = there | (set(sample_metrics()) if everything else later)
    for rule in rules:
        if isinstance(rule, WordRule):
            check_words(rule)
            continue
        check_common(rule)
        of_samples = sample_metric(rule.metric) is not None
        if rule.metric not in metrics and not (everything and of_samples):
            raise _unknown(rule, sorted({*metrics, *WORD_METRICS}))
        elif of_samples or rule.metric.startswith(RUBRIC_PREFIX):
            _check_range(rule)


def _unknown(rule: NumberRule | BaselineRule, metrics: list[str]) -> PolicyError:
    if rule.metric in WORD_METRICS:
        return PolicyError(f"rule `{rule.text}`: {rule.metric} is a word; write `{rule.metric} in [left]`")
    why = "no such metric in this run"
    if rule.metric.startswith((MATCH, FIELD_PREFIX)):
        why += ", whose tasks have no such `expected`"
    if rule.metric.startswith(JUDGE_PREFIXES):
        why += "; `harness judge` adds those of a rubric"
    return PolicyError(f"rule `{rule.text}`: {why}{nearest(rule.metric, metrics)}")


def _check_range(rule: NumberRule | BaselineRule) -> None:
    if isinstance(rule, NumberRule) and not 0.0 <= rule.bar <= 1.0:
        percent = 1.0 < rule.bar <= 100.0
        hint = f"; write {rule.bar:g} % as {rule.bar / 100.0:g}" if percent else ""
        raise PolicyError(f"rule `{rule.text}`: {rule.metric} lies between 0 and 1{hint}")
    if isinstance(rule, BaselineRule) and not (math.isfinite(rule.shift) and abs(rule.shift) < 1.0):
        raise PolicyError(f"rule `{rule.text}`: a difference of {rule.metric} lies between -1 and 1")
