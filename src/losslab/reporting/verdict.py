"""Two sentences: what was reached and whether to trust it; what limits it."""

import math
from collections.abc import Sequence

from losslab.reporting.formats import plural, score
from losslab.reporting.notes import Note
from losslab.reporting.outs import Outs
from losslab.reporting.sections.errors import near_border, told_near
from losslab.reporting.spread import mean_of

MOST = 2
"""Notes that a sentence may name."""


def verdict(outs: Outs, notes: Sequence[Note]) -> list[str]:
    return [_reached(outs, notes), _limits(outs, notes)]


def _reached(outs: Outs, notes: Sequence[Note]) -> str:
    mean = mean_of(outs.image_scores("test"))
    reached = (
        f"On {plural(mean.images, 'test image')} the net reaches a mean IoU of {score(outs.score('test', 'miou'))}"
    )
    if mean.images > 1:
        reached += f" ({score(mean.value)} ± {score(mean.half_width)} as a mean over images)"
    doubts = [note.title for note in notes if note.about == "trust"]
    if not doubts:
        return f"{reached}, and nothing in the numbers speaks against trusting that."
    more = f" (and {len(doubts) - MOST} more doubts, below)" if len(doubts) > MOST else ""
    return f"{reached}; trust that with care, because {' and '.join(doubts[:MOST])}{more}."


def _limits(outs: Outs, notes: Sequence[Note]) -> str:
    clauses = [note.title for note in notes if note.about == "limit"][:MOST]
    scores, predicted = outs.class_scores("test"), outs.class_scores("test", "predicted")
    worst = min(scores, key=scores.__getitem__, default=None)
    if worst is not None and len(scores) > 1 and predicted.get(worst) != 0:
        clauses.append(f"the weakest class is {worst} (IoU {score(scores[worst])})")
    near = near_border(outs)
    if not math.isnan(near):
        clauses.append(told_near(near))
    return f"What limits it: {'; '.join(clauses)}." if clauses else "Nothing in the numbers shows a limit."
