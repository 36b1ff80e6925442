"""The tables of `harness cliff`: λ* per role, preconditions, the verdict, one example token by token."""

from __future__ import annotations

from typing import get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.consoles import line
from harness.cli.line_summary import role_table
from harness.cli.tables import titled
from harness.cliff import Calibration, CalibrationEstimate, CliffResult, LambdaStarEstimate, RoleEstimate
from harness.cliff.token_level import FixedPoints, RoleFixedPoint
from harness.measure import CliffReport, StripToken
from harness.plain_text import plain

_NO_STAR = {
    "unbounded": "none (p ≤ b)",
    "teacher_deterministic": "p = 1",
    "base_degenerate": "b = 0 or 1",
    "too_few_tasks": "too few tasks",
    "not_reached": "not reached",
}
# A role's row must fit a terminal of 80 columns.
_NARROW = (0, 1, 0, 0)
_SIDE_STYLE = {
    "left": "green",
    "right": "red",
    "on_cliff": "yellow",
    "undecided": "yellow",
    "out_of_scope": "yellow",
}


def print_cliff(report: CliffReport, console: Console, further: str) -> None:
    """Everything a user decides from, the verdict last, where the eye stays.

    Args:
        report: what was measured.
        console: where to.
        further: the command that shows where the format of this pair's target falls.
    """
    result = report.result
    parts = (
        _headline(report),
        _role_table(result, result.estimate.under(result.calibration)),
        *([] if result.fixed_points is None else [_fixed_point_table(result, result.fixed_points)]),
        _calibration_table(result),
        _precondition_table(result),
        _strip(report.strip, result.lam),
        *([role_table(result.reached_by_role)] if result.reached_by_role else []),
        _verdict(result),
        _cost(report),
    )
    for part in parts:
        console.print(part)
        console.print()
    # A wrapped line can't be copied into a shell.
    told = Text(f"Where the format falls, drawn from the fixed point itself:\n{plain(further)}")
    console.print(told, soft_wrap=True)


def _headline(report: CliffReport) -> Text:
    names = plain(", ".join(f"{' and '.join(model.roles)} {model.checkpoint}" for model in report.models))
    estimate = report.result.estimate
    exact = "exact" if estimate.exact else "bounds from top-k logprobs"
    if report.unsaid:
        exact += f", of classes without {', '.join(report.unsaid)}: p and b count that as kept"
    return Text(
        f"{names}\n{estimate.n_rollouts} rollouts of {estimate.n_tasks} tasks from the "
        f"{report.rollouts_from} at T = 1 ({report.strict:.1%} strict), {estimate.n_positions} decisions, "
        f"class masses {exact}\nc = {_clip(report.result)}: {plain(report.clip_source)}"
    )


def _clip(result: CliffResult) -> str:
    clip = result.clip
    return f"{clip.effective:g}" if clip.saturated else f"at least {clip.effective:g}"


def _role_table(result: CliffResult, measured: CalibrationEstimate) -> Table:
    confidence = f"{result.estimate.confidence:.0%}"
    table = titled(
        f"λ* by {measured.calibration} at c = {_clip(result)}, {confidence} intervals", padding=_NARROW
    )
    table.add_column("", no_wrap=True)
    for heading in ("n", "p", "b", "λ* at b", "λ* at ½", "tail", "1−q"):
        table.add_column(heading, justify="right", no_wrap=True)
    bounded = result.clip.saturated
    unreached = []
    for role in measured.roles:
        if role.n_positions == 0:
            unreached.append(role.role)
            continue
        binding = role == measured.binding
        table.add_row(
            f"{'▸ ' if binding else '  '}{_place(role)}",
            str(role.n_positions),
            mass_text(role.p.estimate, role.teacher_tail),
            mass_text(role.b.estimate, role.base_tail),
            _with_interval(role.lambda_star, bounded),
            _with_interval(role.lambda_star_half, bounded),
            _share(role.teacher_tail_share),
            "–" if role.clip_margin is None else f"{_number(role.clip_margin.estimate)}×",
            style="bold" if binding else None,
        )
    notes = ["n: decisions, however many tokens each is written in", "tail: share of the teacher's tail mass"]
    if any(role.clip_margin is not None for role in measured.roles):
        notes.append("1−q: the student's tail mass in units of (1 − p)/c, λ*'s edge: below 1× it is beyond")
    if measured.binding is not None:
        notes.insert(0, "▸ binding: holds most of the teacher's tail; preconditions and verdict are about it")
    if unreached:
        notes.append(f"no rollout reaches {', '.join(unreached)}")
    table.caption, table.caption_justify = "\n".join(notes), "left"
    return table


def _fixed_point_table(result: CliffResult, fixed: FixedPoints) -> Table:
    """One row a role: the fixed point as a coin and token by token, and the edge of the run's ratio."""
    table = titled(f"Tail of the fixed point at λ = {fixed.lam:g}, and the clip edge", padding=_NARROW)
    table.add_column("", no_wrap=True)
    for heading in ("coin", "target", "95 %", "edge", "side", "reached at"):
        table.add_column(heading, justify="right", no_wrap=True)
    binding = None if result.binding is None else result.binding.role
    for one in fixed.roles:
        bold = one.role == binding
        tail = one.target_tail
        bounded = tail is not None and tail.low is not None and tail.high is not None
        table.add_row(
            f"{'▸ ' if bold else '  '}{one.role}",
            _tail(one.coin_tail),
            _tail(None if tail is None else tail.estimate),
            f"{_tail(tail.low)}–{_tail(tail.high)}" if tail is not None and bounded else "–",
            _tail(one.edge),
            "–" if one.beyond is None else "beyond" if one.beyond else "inside",
            _reached(one, fixed),
            style="bold" if bold else None,
        )
    notes = ["coin: 1 − q_λ from the role's mean p and b; target: mean tail of π_λ ∝ π_T^λ·π_B^(1−λ)"]
    if not fixed.lambdas:
        notes.append(f"target: {line(fixed.missing)}")
    elif fixed.ratio.edge is not None:
        notes.append("reached at: the least λ looked at with the target's tail below the edge")
    table.caption, table.caption_justify = "\n".join(notes), "left"
    return table


def _reached(one: RoleFixedPoint, fixed: FixedPoints) -> str:
    if one.edge is None or not fixed.lambdas:
        return "no edge" if fixed.ratio.edge is None else "–"
    return f"no λ ≤ {fixed.lambdas[-1]:g}" if one.reached_at is None else f"λ = {one.reached_at:g}"


def _tail(value: float | None) -> str:
    """Two digits in few characters."""
    if value is None:
        return "–"
    if value == 0 or value >= 1e-3:
        return f"{value:.2g}"
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits}e{int(exponent)}"


def _calibration_table(result: CliffResult) -> Table:
    table = titled("Calibrations", padding=_NARROW)
    for heading in ("", "binding", "λ* at b", "λ* at ½"):
        table.add_column(heading, justify="right" if heading.startswith("λ") else "left")
    for name in get_args(Calibration):
        measured = result.estimate.under(name)
        half = None if measured.binding is None else measured.binding.lambda_star_half
        table.add_row(
            f"{'▸ ' if name == result.calibration else '  '}{name}",
            "none" if measured.binding is None else _place(measured.binding),
            _with_interval(measured.dominant().lambda_star, result.clip.saturated, "  "),
            "–" if half is None else _with_interval(half, result.clip.saturated, "  "),
        )
    return table


def _precondition_table(result: CliffResult) -> Table:
    table = titled("Preconditions", padding=_NARROW)
    table.add_column("", no_wrap=True)
    table.add_column("met", no_wrap=True)
    table.add_column("", ratio=1)
    for one in result.preconditions:
        met = Text("yes", style="green") if one.met else Text("no", style="red")
        mark = "*" if one.name == "enough_rollouts" else ""
        table.add_row(one.name.replace("_", " ") + mark, met, line(one.detail))
    table.caption = "* no side asks for it: it tells on_cliff from undecided"
    table.caption_justify = "left"
    return table


def _strip(tokens: tuple[StripToken, ...], lam: float) -> Text:
    """The example, each token coloured by how its own λ* compares with the run's λ."""
    strip = Text("One example, each token coloured by the λ* of its own position\n")
    edge = max(lam, _next_band(lam))
    bands = [("white on red", f"at most {lam:g}"), ("black on green", f"above {edge:g}")]
    if edge > lam:
        bands.insert(1, ("black on yellow", f"at most {edge:g}"))
    for style, meaning in bands:
        strip.append(f" {meaning} ", style=style)
        strip.append(" ")
    strip.append("no λ*", style="dim")
    strip.append(" ")
    strip.append("breaks the contract", style="strike")
    strip.append("\n")
    for token in tokens:
        strip.append(_visible(token.text), style=_token_style(token, lam))
    return strip


def _token_style(token: StripToken, lam: float) -> str:
    if not token.member:
        return "strike"
    if token.lambda_star is None:
        return "dim"
    if token.lambda_star <= lam:
        return "white on red"
    return "black on yellow" if token.lambda_star <= _next_band(lam) else "black on green"


def _next_band(lam: float) -> float:
    """λ − 1 is how far the run extrapolates; the next band is twice as far."""
    return 2.0 * lam - 1.0


def _visible(text: str) -> str:
    """Untrusted text that can't move the cursor; an end token has none of its own."""
    if not text:
        return "⏹"
    return "".join(char if char.isprintable() else "␤" if char == "\n" else "·" for char in text)


def _verdict(result: CliffResult) -> Text:
    text = Text("predicted: ")
    text.append(result.verdict, style=f"bold {_SIDE_STYLE[result.verdict]}")
    observed = result.observed
    text.append("   observed: ")
    if observed is None:
        text.append("unknown (no student, or no interval)", style="dim")
    else:
        text.append(observed, style=f"bold {_SIDE_STYLE[observed]}")
    if result.agree is not None:
        text.append("   they agree" if result.agree else "   they disagree", style="bold")
    text.append(f"\n{plain(result.explanation)}")
    if result.reached:
        text.append(f"\nThe student: {plain(result.reached)}.", style="bold")
    if result.clip_demand is not None:
        demand = result.clip_demand
        text.append(
            f"\nOn the {demand.n} tokens with which rollouts left the contract, the teacher's probability is "
            f"{demand.median:.3g} times that of the model that drew them (median; 95th percentile "
            f"{demand.p95:.3g}); {demand.share_beyond:.0%} of these ratios exceed c = {demand.clip:g}."
        )
    return text


def _cost(report: CliffReport) -> Text:
    costs = [
        f"{' and '.join(model.roles)}: {model.positions} positions, {model.tokens_read} tokens read, "
        + (
            f"loading {model.load_seconds:.1f} s, scoring {model.score_seconds:.1f} s"
            if model.scored_now
            else "scored before"
        )
        + ("" if model.exact else f", top-k up to {model.largest_top_k}")
        for model in report.models
    ]
    return Text("\n".join([*costs, plain(f"run: {report.path}")]))


def _place(role: RoleEstimate) -> str:
    return role.role if role.index is None else f"{role.role} {role.index + 1}"


def mass_text(value: float | None, tail: float | None) -> str:
    """A class mass for people: p or b, and 1 − `tail` where that says more.

    Args:
        value: in [0, 1], None if unknown.
        tail: 1 − value, held apart because it may be too small to be told by their difference.
    """
    if value is None:
        return "–"
    # Near 1 the digits that matter are those of the tail.
    if tail is None or not 0 < tail < 1e-3:
        return f"{value:.4f}"
    return f"1−{_tail(tail)}"


def _with_interval(star: LambdaStarEstimate, bounded: bool, between: str = "\n") -> str:
    """λ* and its interval; not `bounded` above where only a lower bound of c is known."""
    value = _NO_STAR.get(star.status, "–") if star.value is None else f"{star.value:.4g}"
    if star.low is None:
        return value
    high = star.high if bounded else None
    return f"{value}{between}{star.low:.4g}–{'∞' if high is None else f'{high:.4g}'}"


def _share(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
