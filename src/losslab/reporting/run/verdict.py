"""Two sentences: what was reached and whether to trust it; what limits it."""

import math
from collections.abc import Sequence

from losslab.formats import format_plural, format_score
from losslab.reporting.components.intervals import compute_mean
from losslab.reporting.run.notes import ReportNote
from losslab.reporting.run.outs import ReportInputs
from losslab.reporting.run.sections.errors import compute_near_border, describe_near_border

MOST = 2
"""Notes that a sentence may name."""


def build_verdict(outs: ReportInputs, notes: Sequence[ReportNote]) -> list[str]:
    return [_reached(outs, notes), _limits(outs, notes)]


def _reached(outs: ReportInputs, notes: Sequence[ReportNote]) -> str:
    mean = compute_mean(outs.image_scores("test"))
    miou = format_score(outs.score("test", "miou"))
    reached = f"On {format_plural(mean.images, 'test image')} the net reaches a mean IoU of {miou}"
    if mean.images > 1:
        reached += f" ({format_score(mean.value)} ± {format_score(mean.half_width)} as a mean over images)"
    doubts = [note.title for note in notes if note.about == "trust"]
    if not doubts:
        return f"{reached}, and nothing in the numbers speaks against trusting that."
    more = f" (and {len(doubts) - MOST} more doubts, below)" if len(doubts) > MOST else ""
    return f"{reached}; trust that with care, because {' and '.join(doubts[:MOST])}{more}."


def _limits(outs: ReportInputs, notes: Sequence[ReportNote]) -> str:
    clauses = [note.title for note in notes if note.about == "limit"][:MOST]
    scores, predicted = outs.class_scores("test"), outs.class_scores("test", "predicted")
    worst = min(scores, key=scores.__getitem__, default=None)
    if worst is not None and len(scores) > 1 and predicted.get(worst) != 0:
        clauses.append(f"the weakest class is {worst} (IoU {format_score(scores[worst])})")
    near = compute_near_border(outs)
    if not math.isnan(near):
        clauses.append(describe_near_border(near))
    return f"What limits it: {'; '.join(clauses)}." if clauses else "Nothing in the numbers shows a limit."
