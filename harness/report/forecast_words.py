"""A forecast in sentences, for the terminal and the report."""

from __future__ import annotations

from harness.runs.forecast_record import Breaks, Forecast, Star, Student


def sentence(found: Forecast) -> str:
    """Up to which λ the format holds, as far as it is known."""
    largest = found.largest_lambda
    shown = "at no λ drawn" if largest.low is None else f"up to λ = {largest.low:g}"
    below = "at none" if largest.high is None else f"from λ = {largest.high:g} on"
    about = (
        f"about {largest.estimate:.3g}" if largest.estimate is not None else f"not found: {largest.reason}"
    )
    return (
        f"largest λ with strict validity of at least {found.bar:.0%}: {about}; shown to be at least that "
        f"{shown}, and below {below}"
    )


def break_lines(breaks: Breaks) -> list[str]:
    """How it breaks: a line for each of the commonest failures, with an answer that shows it."""
    found = [f"how it breaks, at λ = {breaks.lam:g}:"]
    for way in breaks.ways:
        shown = f": {way.examples[0].text}" if way.examples else ""
        found.append(f"  {way.code} {way.share:.1%}{shown}")
    return found


def star_sentence(star: Star) -> str:
    """λ*, and how far it can be believed."""
    value = star.status.replace("_", " ") if star.value is None else f"{star.value:.3g}"
    high = "∞" if star.high is None else f"{star.high:.3g}"
    interval = "" if star.low is None else f" [{star.low:.3g}, {high}]"
    unmet = f"; not met: {'; '.join(star.unmet)}" if star.unmet else ""
    return (
        f"λ* at c = {star.clip:g}: {value}{interval}, binding {star.role or 'no role'}; it takes the role "
        f"for a coin and a ratio to the teacher, and none of five locked sweeps found its onset there{unmet}"
    )


def gain_sentence(found: Forecast) -> str | None:
    """Whether there is anything to gain from λ above 1; None where it can't be told."""
    gain = found.gain
    if gain is None:
        return None
    ranks = found.quality == "NDCG@1"
    does = "ranks" if ranks else "answers"
    told_of = "NDCG@1 of all answers" if ranks else "right among all answers"
    low, high = gain.difference.low, gain.difference.high
    interval = "" if low is None or high is None else f" [{low:+z.3f}, {high:+z.3f}]"
    told = f"λ = {gain.lam:g}, {gain.difference.estimate or 0.0:+z.3f}{interval} {told_of}"
    if low is not None and low > 0.0:
        return f"{does} better than the teacher: {told}"
    return f"no λ above 1 is shown to {does[:-1]} better than the teacher; at best {told}"


def placed(student: Student) -> str:
    """A checkpoint, where it lies on the line, and what it and the target there keep of the contract."""
    return f"{student.checkpoint}: {place_words(student)}"


def place_words(student: Student) -> str:
    """Where it lies on the line, and what it and the target there keep of the contract."""
    reached, off = student.lambda_reached, student.off_the_line
    where = f"λ reached {reached.method}"
    if reached.estimate is not None:
        where = f"λ reached {reached.estimate:z.2f}"
        if reached.low is not None and reached.high is not None:
            where += f" [{reached.low:z.2f}, {reached.high:z.2f}]"
    there = "" if student.forecast_there is None else f", forecast there {student.forecast_there:.1%}"
    valid = student.parse_validity.estimate or 0.0
    return f"{where}, off the line {off.estimate:z.3f} nats; strict {valid:.1%}{there}"
