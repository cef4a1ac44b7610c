"""The part of the page that says what each loss helps."""

from collections.abc import Iterator, Mapping

from benchmarks.odyssey.effects import RESPECTS, Gain, find_gains
from benchmarks.odyssey.findings import Findings
from benchmarks.odyssey.wording import fold, name_loss, write_points, write_table_lines
from losslab.formats import format_list

SHOWN = 4
"""Losses that a sentence names."""


def write_respects(findings: Findings) -> Iterator[str]:
    """Yield what each loss gains over cross entropy in each respect: named where it is real, else counted."""
    yield "## What helps what"
    yield ""
    yield (
        "Gains over `cross_entropy` with the same nets and seeds, in points (a hundredth); above zero is better. "
        "Only real ones are named; in the tables `·` is one that is not."
    )
    for respect in RESPECTS:
        gains = {kind.title: found for kind in findings.kinds if (found := find_gains(kind, respect))}
        yield ""
        yield f"### {respect.title}"
        yield ""
        if not gains:
            yield f"{respect.about}: no data here have it, or nothing could be judged."
            continue
        losses = [loss for loss in findings.order if any(loss in found for found in gains.values())]
        about = respect.about
        if respect.column == "rare":
            classes = [f"{kind.about['rare_class']} on {kind.title}" for kind in findings.kinds if kind.title in gains]
            about += f": {format_list(classes, 9)}"
        if not respect.is_judged:
            about += "; told by seeds alone, so for these test images"
        better, worse = (list_real(losses, gains, sign) for sign in (1, -1))
        pairs = sum(len(found) for found in gains.values())
        open_pairs = sum(not gain.is_real for found in gains.values() for gain in found.values())
        yield (
            f"{about}. Really better: {_write_real(better)}. Really worse: {_write_real(worse)}. Not told from "
            f"`cross_entropy`: {open_pairs} of {pairs}, each a loss on a kind of data."
        )
        if better or worse:
            rows = [
                [name_loss(loss), *(_write_gain(found.get(loss)) for found in gains.values())]
                for loss in losses
                if loss in better or loss in worse
            ]
            yield ""
            yield from fold(f"{respect.title}: gains by kind of data", write_table_lines(["loss", *gains], rows))


def list_real(losses: list[str], gains: Mapping[str, Mapping[str, Gain]], sign: int) -> dict[str, dict[str, float]]:
    """List losses with real gains (sign 1) or real damage (−1): loss → kind → points, those on most kinds first."""
    real = {
        loss: {kind: found[loss].points for kind, found in gains.items() if _is_real(found.get(loss), sign)}
        for loss in losses
    }
    named = {loss: kinds for loss, kinds in real.items() if kinds}
    return dict(sorted(named.items(), key=lambda one: (-len(one[1]), -max(map(abs, one[1].values())), one[0])))


def _is_real(gain: Gain | None, sign: int) -> bool:
    return gain is not None and gain.is_real and gain.points * sign > 0


def _write_real(real: Mapping[str, Mapping[str, float]]) -> str:
    parts = []
    for loss, kinds in list(real.items())[:SHOWN]:
        where = ", ".join(f"{kind} {write_points(points)}" for kind, points in kinds.items())
        parts.append(f"{name_loss(loss)} ({where})")
    if len(real) > SHOWN:
        parts.append(f"{len(real) - SHOWN} more")
    return "; ".join(parts) or "none"


def _write_gain(gain: Gain | None) -> str:
    if gain is None:
        return "–"
    return f"**{write_points(gain.points)}**" if gain.is_real else "·"
