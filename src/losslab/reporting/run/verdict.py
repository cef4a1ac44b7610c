"""The verdict in two paragraphs: the score and whether to trust it, and what limits it; of an ensemble, who its nets are."""

import math
from collections.abc import Sequence

from losslab.formats import format_plural, format_score
from losslab.reporting.components.intervals import compute_mean
from losslab.reporting.run.inputs import ReportInputs
from losslab.reporting.run.notes import ReportNote
from losslab.reporting.run.sections.ensemble import describe_ensemble, name_subject
from losslab.reporting.run.sections.errors import compute_near_border, describe_near_border

MAX_NOTES = 2
"""Most notes of a kind that the verdict names."""

LOW_MIOU = 0.6
"""Mean IoU below which the verdict calls the level low."""


def build_verdict(outs: ReportInputs, notes: Sequence[ReportNote]) -> list[str]:
    return [_describe_score(outs, notes), *describe_ensemble(outs), _describe_limits(outs, notes)]


def _describe_score(outs: ReportInputs, notes: Sequence[ReportNote]) -> str:
    mean = compute_mean(outs.read_image_scores("test"))
    miou = format_score(outs.read_score("test", "miou"))
    score = f"On {format_plural(mean.images, 'test image')} {name_subject(outs)} reaches a mean IoU of {miou}"
    if mean.images > 1:
        score += f" ({format_score(mean.value)} ± {format_score(mean.half_width)} as the mean over images)"
    doubts = [note.title for note in notes if note.about == "trust"]
    if not doubts:
        low = outs.read_score("test", "miou") < LOW_MIOU
        level = (
            "a low level: much of the images is segmented wrongly" if low else "whether it is enough, its use decides"
        )
        return f"{score}. Nothing in the numbers gives a reason to doubt that figure; {level}."
    more = f" (and {format_plural(len(doubts) - MAX_NOTES, 'more doubt')} below)" if len(doubts) > MAX_NOTES else ""
    return f"{score}. Treat that with caution, because {' and '.join(doubts[:MAX_NOTES])}{more}."


def _describe_limits(outs: ReportInputs, notes: Sequence[ReportNote]) -> str:
    clauses = [note.title for note in notes if note.about == "limit"][:MAX_NOTES]
    scores, predicted = outs.read_class_scores("test"), outs.read_class_scores("test", "predicted")
    worst = min(scores, key=scores.__getitem__, default=None)
    if worst is not None and len(scores) > 1 and predicted.get(worst) != 0:
        clauses.append(f"the weakest class is {worst} (IoU {format_score(scores[worst])})")
    near = compute_near_border(outs)
    if not math.isnan(near):
        clauses.append(describe_near_border(near))
    return f"What limits it: {'; '.join(clauses)}." if clauses else "Nothing in the numbers shows a limit."
