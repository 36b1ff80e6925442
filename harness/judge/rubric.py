"""The rubric: what a judge is asked, on which scales, of which model. A YAML file, checked by pydantic."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from string import Template
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from harness.errors import HarnessError
from harness.settings import first_problem

RANKING_FIELDS = frozenset({"history", "candidates", "ranking", "criteria"})
PAIR_FIELDS = frozenset({"history", "candidates", "first", "second", "criteria"})
MAX_SCALE_POINTS = 11

VisibleText = Annotated[str, Field(min_length=1, pattern=r"\S")]
ThinkingLevel = Literal["minimal", "low", "medium", "high"]


class JudgeModel(BaseModel):
    """Which model judges, and how it is called. What is null isn't sent: the model's own default holds.

    Attributes:
        name: as the Gemini API names it.
        max_output_tokens: most tokens of thinking and answer together.
        temperature: Gemini 3 models advise against setting it, later ones refuse it.
        top_p: likewise.
        thinking_level: for Gemini 3 models; not with `thinking_budget`. Needs google-genai.
        thinking_budget: tokens, for Gemini 2.5 models; 0 is off, −1 is up to the model. Needs google-genai.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$")]
    max_output_tokens: Annotated[StrictInt, Field(ge=64, le=65536)] = 2048
    temperature: Annotated[StrictFloat, Field(ge=0, le=2)] | None = None
    top_p: Annotated[StrictFloat, Field(gt=0, le=1)] | None = None
    thinking_level: ThinkingLevel | None = None
    thinking_budget: Annotated[StrictInt, Field(ge=-1, le=65536)] | None = None

    @model_validator(mode="after")
    def _one_way_to_think(self) -> JudgeModel:
        if self.thinking_level is not None and self.thinking_budget is not None:
            raise ValueError("thinking_level and thinking_budget exclude each other; keep one")
        return self

    @property
    def sets_thinking(self) -> bool:
        """Whether the request carries a thinking configuration, which google-generativeai can't send."""
        return self.thinking_level is not None or self.thinking_budget is not None


class Criterion(BaseModel):
    """One thing to grade.

    Attributes:
        name: as in the answer and in metric names.
        question: what the judge is asked.
        weight: share in the rubric's score, relative to the other criteria; from 1e-6 to 1e6.
        scale: every whole point from the lowest to the highest, each with what it stands for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    question: VisibleText
    weight: Annotated[StrictFloat, Field(ge=1e-6, le=1e6)] = 1.0
    scale: dict[StrictInt, VisibleText]

    @field_validator("scale")
    @classmethod
    def _every_point_is_anchored(cls, scale: dict[int, str]) -> dict[int, str]:
        if not 2 <= len(scale) <= MAX_SCALE_POINTS:
            raise ValueError(f"has {len(scale)} points; a scale needs 2 to {MAX_SCALE_POINTS}")
        points = sorted(scale)
        missing = sorted(set(range(points[0], points[-1] + 1)) - set(points))
        if missing:
            raise ValueError(f"runs from {points[0]} to {points[-1]} but doesn't say what {missing[0]} means")
        text, count = Counter(" ".join(text.split()) for text in scale.values()).most_common(1)[0]
        if count > 1:
            raise ValueError(f"describes {count} points alike ({text!r}); a judge can't tell them apart")
        return dict(sorted(scale.items()))

    @property
    def lowest(self) -> int:
        """Lowest point of the scale."""
        return min(self.scale)

    @property
    def highest(self) -> int:
        """Highest point of the scale."""
        return max(self.scale)

    def normalise(self, score: int) -> float:
        """The score on [0, 1]: 0 at the lowest point of the scale, 1 at the highest."""
        return (score - self.lowest) / (self.highest - self.lowest)


class Rubric(BaseModel):
    """What is judged, how, and by whom.

    Attributes:
        name: part of metric names.
        version: counts the author's revisions; what decides is `digest`.
        summary: one line for people; the judge doesn't see it.
        model: the judge.
        reason_words: length of the justification asked for.
        max_title_characters: longer titles are cut.
        criteria: what is graded.
        template: the question about one ranking; `$history`, `$candidates`, `$ranking` and `$criteria` stand
            for what is filled in, `$$` for a dollar sign.
        pairwise_template: the question about two rankings, with `$first` and `$second` in place of
            `$ranking`; null when the rubric isn't made for pairs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    version: Annotated[StrictInt, Field(ge=1)]
    summary: VisibleText
    model: JudgeModel
    reason_words: Annotated[StrictInt, Field(ge=5, le=200)] = 30
    max_title_characters: Annotated[StrictInt, Field(ge=20, le=1000)] = 200
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=12)]
    template: VisibleText
    pairwise_template: VisibleText | None = None

    @field_validator("criteria")
    @classmethod
    def _distinct_names(cls, criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
        name, count = Counter(criterion.name for criterion in criteria).most_common(1)[0]
        if count > 1:
            raise ValueError(f"{count} criteria are named {name}")
        return criteria

    @field_validator("template")
    @classmethod
    def _template_fields(cls, template: str) -> str:
        return _check_template(template, RANKING_FIELDS)

    @field_validator("pairwise_template")
    @classmethod
    def _pair_template_fields(cls, template: str | None) -> str | None:
        return None if template is None else _check_template(template, PAIR_FIELDS)

    @property
    def digest(self) -> str:
        """Hash of everything the rubric says; comments and layout of its file don't count."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def score(self, scores: Mapping[str, int]) -> float:
        """Weighted mean of the criteria's scores, each on [0, 1].

        Args:
            scores: a score for every criterion.
        """
        total = sum(criterion.weight for criterion in self.criteria)
        return (
            sum(criterion.weight * criterion.normalise(scores[criterion.name]) for criterion in self.criteria)
            / total
        )

    def with_model(self, name: str) -> Rubric:
        """The same rubric for another judge; its digest differs.

        Raises:
            HarnessError: not a model's name.
        """
        changed = self.model_dump() | {"model": self.model.model_dump() | {"name": name}}
        try:
            return Rubric.model_validate(changed)
        except ValidationError as error:
            raise HarnessError(first_problem(error)) from error


def _check_template(text: str, wanted: frozenset[str]) -> str:
    template = Template(text)
    if not template.is_valid():
        raise ValueError("has a lone $; write $$ for a dollar sign")
    found = Counter(
        match["named"] or match["braced"]
        for match in template.pattern.finditer(text)
        if match["named"] or match["braced"]
    )
    if unknown := sorted(set(found) - wanted):
        raise ValueError(f"asks for ${unknown[0]}, which isn't one of {_names(wanted)}")
    if missing := sorted(wanted - set(found)):
        raise ValueError(f"lacks ${missing[0]}; it must hold each of {_names(wanted)}")
    if repeated := [name for name, count in found.items() if count > 1]:
        raise ValueError(f"holds ${repeated[0]} more than once")
    return text


def _names(fields: frozenset[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(fields))
