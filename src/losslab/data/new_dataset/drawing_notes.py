"""What a person should know of masks that were drawn from annotations, or of several annotators."""

from losslab.data.annotations.drawing import CUT_OFF
from losslab.data.new_dataset.create import NewDataset
from losslab.formats import format_cell_percent, format_list, format_plural

ORDERS = {
    "cvat": "the larger z_order, then the later one in the file, lies on top",
    "masks": "the later file lies on top",
}


def describe_drawing(made: NewDataset) -> list[str]:
    """Say how masks were drawn, a fact a line."""
    lines = list[str]()
    drawn, votes = made.drawn, made.merged or made.drawn
    if drawn is not None and drawn.shapes and drawn.groups is None:
        kind = drawn.annotations.kind
        lines.append(f"where shapes overlap, {ORDERS.get(kind, 'the later annotation lies on top')}")
    if drawn is not None and drawn.empty:
        lines.append(f"{format_plural(drawn.empty, 'image')} without an annotation taken as background")
    if drawn is not None and drawn.skipped:
        lines.append(f"{format_plural(drawn.skipped, 'image')} without an annotation left out")
    if made.unused_labels:
        lines.append(
            f"no class for labels that no pixel has: {format_list(made.unused_labels)} (name them in --classes to keep)"
        )
    if votes is not None and votes.annotators:
        share = format_cell_percent(votes.disputed)
        lines.append(
            f"the majority of {len(votes.annotators)} annotators ({format_list(list(votes.annotators))}); void where there is "
            f"none, {share} % of all pixels"
        )
        if votes.fewer_votes:
            lines.append(
                f"{format_plural(votes.fewer_votes, 'image')} not annotated by all of them: a majority of those who did"
            )
    return lines


def list_drawing_doubts(made: NewDataset) -> list[str]:
    """List what was left out of the masks."""
    drawn = made.drawn
    if drawn is None:
        return []
    doubts = [f"left out {what}: {count}" for what, count in sorted(drawn.lost.items()) if count and what != CUT_OFF]
    if drawn.lost[CUT_OFF]:
        doubts.append(f"{CUT_OFF}: {drawn.lost[CUT_OFF]}")
    if drawn.absent:
        doubts.append(
            f"annotated, but not in the folder of images: {len(drawn.absent)} ({format_list(list(drawn.absent), 3)})"
        )
    return doubts
