"""The tables of `harness cliff`: λ* per role, preconditions, the verdict, one example token by token."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cliff import Calibration, CalibrationEstimate, CliffResult, LambdaStarEstimate, RoleEstimate
from harness.evaluate.cliff_job import CliffReport, StripToken

_CALIBRATIONS: tuple[Calibration, ...] = ("role", "position", "sequence")
_NO_STAR = {
    "unbounded": "∞ (p ≤ b)",
    "teacher_deterministic": "p = 1",
    "base_degenerate": "b = 0 or 1",
    "too_few_tasks": "too few tasks",
    "not_reached": "not reached",
}
_SIDE_STYLE = {"left": "green", "right": "red", "on_cliff": "yellow", "out_of_scope": "yellow"}


def print_cliff(report: CliffReport, console: Console) -> None:
    """Everything a user decides from, the verdict last, where the eye stays."""
    result = report.result
    console.print(_headline(report), highlight=False)
    console.print(_role_table(result, result.estimate.under(result.calibration)))
    console.print(_calibration_table(result))
    console.print(_precondition_table(result))
    console.print(_strip(report.strip, result.lam))
    console.print(_verdict(result), highlight=False)
    console.print(_cost(report), highlight=False)


def _headline(report: CliffReport) -> Text:
    names = ", ".join(f"{model.role} {model.checkpoint}" for model in report.models)
    estimate = report.result.estimate
    exact = "exact" if estimate.exact else "bounds from top-k logprobs"
    return Text(
        f"{names}\n{estimate.n_rollouts} rollouts of {estimate.n_tasks} tasks from the "
        f"{report.rollouts_from} at T = 1 ({report.strict:.1%} strict), {estimate.n_positions} positions, "
        f"class masses {exact}\nc = {_clip(report.result)}: {report.clip_source}"
    )


def _clip(result: CliffResult) -> str:
    clip = result.clip
    return f"{clip.effective:g}" if clip.saturated else f"at least {clip.effective:g}"


def _role_table(result: CliffResult, measured: CalibrationEstimate) -> Table:
    confidence = f"{result.estimate.confidence:.0%}"
    table = _table(f"λ* by {measured.calibration} at c = {_clip(result)}, {confidence} intervals")
    table.add_column("", no_wrap=True)
    for heading in ("n", "p", "b", "λ* at b", "λ* at ½", "tail", "1 − q"):
        table.add_column(heading, justify="right", no_wrap=True)
    unreached = []
    for role in measured.roles:
        if role.n_positions == 0:
            unreached.append(role.role)
            continue
        binding = role == measured.binding
        table.add_row(
            f"{'▸ ' if binding else '  '}{_place(role)}",
            str(role.n_positions),
            _mass(role.p.estimate, role.teacher_tail),
            _mass(role.b.estimate, role.base_tail),
            _with_interval(role.lambda_star),
            _with_interval(role.lambda_star_half),
            f"{role.teacher_tail_share:.0%}",
            "–" if role.clip_margin is None else f"{_number(role.clip_margin.estimate)}×",
            style="bold" if binding else None,
        )
    notes = ["tail: share of the teacher's tail mass; 1 − q: the student's tail against (1 − p)/c"]
    if measured.binding is not None:
        notes.insert(0, "▸ binding: the smallest λ* where p > b")
    if unreached:
        notes.append(f"no rollout reaches {', '.join(unreached)}")
    table.caption, table.caption_justify = "\n".join(notes), "left"
    return table


def _calibration_table(result: CliffResult) -> Table:
    table = _table("Calibrations")
    for heading in ("", "binding", "λ* at b", "λ* at ½"):
        table.add_column(heading, justify="right" if heading.startswith("λ") else "left")
    for name in _CALIBRATIONS:
        measured = result.estimate.under(name)
        half = None if measured.binding is None else measured.binding.lambda_star_half
        table.add_row(
            f"{'▸ ' if name == result.calibration else '  '}{name}",
            "none" if measured.binding is None else _place(measured.binding),
            _with_interval(measured.lambda_star, " "),
            "–" if half is None else _with_interval(half, " "),
        )
    return table


def _precondition_table(result: CliffResult) -> Table:
    table = _table("Preconditions")
    table.add_column("", no_wrap=True)
    table.add_column("met", no_wrap=True)
    table.add_column("", ratio=1)
    for one in result.preconditions:
        met = Text("yes", style="green") if one.met else Text("no", style="red")
        table.add_row(one.name.replace("_", " "), met, Text(one.detail))
    return table


def _strip(tokens: tuple[StripToken, ...], lam: float) -> Text:
    """The example, each token coloured by how its own λ* compares with the run's λ."""
    strip = Text("One example by λ* of each token: ")
    for style, meaning in (
        ("white on red", "≤ λ"),
        ("black on yellow", "≤ 2λ − 1"),
        ("black on green", "above"),
    ):
        strip.append(f" {meaning} ", style=style)
        strip.append(" ")
    strip.append("\n")
    for token in tokens:
        strip.append(_visible(token.text), style=_token_style(token, lam))
    return strip


def _token_style(token: StripToken, lam: float) -> str:
    if not token.member:
        return "strike"
    if token.lambda_star is None:
        return "dim"
    # λ − 1 is how far the run extrapolates: twice as far is the next band.
    if token.lambda_star <= lam:
        return "white on red"
    return "black on yellow" if token.lambda_star <= 2 * lam - 1 else "black on green"


def _visible(text: str) -> str:
    """Untrusted text that can't move the cursor; an end token has none of its own."""
    if not text:
        return "⏹"
    return "".join(char if char.isprintable() else "␤" if char == "\n" else "·" for char in text)


def _verdict(result: CliffResult) -> Text:
    text = Text("\n")
    text.append("predicted: ").append(result.verdict, style=f"bold {_SIDE_STYLE[result.verdict]}")
    observed = result.observed
    text.append("   observed: ")
    if observed is None:
        text.append("unknown (no student, or no interval)", style="dim")
    else:
        text.append(observed, style=f"bold {_SIDE_STYLE[observed]}")
    if result.agree is not None:
        text.append("   they agree" if result.agree else "   they disagree", style="bold")
    text.append(f"\n{result.explanation}")
    if result.clip_demand is not None:
        demand = result.clip_demand
        text.append(
            f"\nOn {demand.n} tokens that left the contract the teacher asks for ratios of median "
            f"{demand.median:.3g}, 95th percentile {demand.p95:.3g}; {demand.share_beyond:.0%} exceed "
            f"c = {demand.clip:g}."
        )
    return text


def _cost(report: CliffReport) -> Text:
    costs = [
        f"{model.role}: {model.positions} positions, {model.tokens_read} tokens read, loading "
        f"{model.load_seconds:.1f} s, scoring {model.score_seconds:.1f} s"
        + ("" if model.exact else f", top-k up to {model.largest_top_k}")
        for model in report.models
    ]
    return Text("\n".join([*costs, f"run: {report.path}"]))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def _place(role: RoleEstimate) -> str:
    return role.role if role.index is None else f"{role.role} {role.index + 1}"


def _mass(value: float | None, tail: float | None) -> str:
    if value is None:
        return "–"
    # Near 1 the digits that matter are those of the tail.
    return f"1 − {tail:.2g}" if tail is not None and 0 < tail < 1e-3 else f"{value:.4f}"


def _with_interval(star: LambdaStarEstimate, between: str = "\n") -> str:
    value = _NO_STAR.get(star.status, "–") if star.value is None else f"{star.value:.4g}"
    if star.low is None:
        return value
    return f"{value}{between}{star.low:.4g}–{'∞' if star.high is None else f'{star.high:.4g}'}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
