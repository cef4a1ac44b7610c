"""The IoU at the files' size of the truth itself, resized and brought back: what a net scores that gives its labels exactly.

It is no strict limit: logits of soft edges, fitted to a file's own labels, can say more than labels of the same size.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from losslab.cards import Card
from losslab.data.findings import Finding
from losslab.data.images.class_masks import build_label_reader
from losslab.data.images.fit import resize_labels
from losslab.data.prepare.statistics import Counts, StatisticsTable, measure_overlap
from losslab.formats import format_score
from losslab.params import MAX_SIZE_PX, PrepareParams
from losslab.plugins import Sample
from losslab.runtime.parallel import parallel_map

MIN_CEILING = 0.8
"""IoU below which a class is reported."""
SIZE_FACTORS = (2, 3, 4, 6, 8)
"""Multiples of prepare.size that are tried for such a class: a net that takes a size takes its multiples."""
MAX_IMAGES_TRIED = 8


def compute_ceiling(overlap: Counts, card: Card) -> dict[str, float]:
    """Compute the IoU of each class that any file holds."""
    names, (kept, either) = [one.name for one in card.classes], overlap.tolist()
    return {name: round(kept[label] / either[label], 6) for label, name in enumerate(names) if either[label]}


def audit_ceiling(
    ceiling: Mapping[str, float], card: Card, samples: Sequence[Sample], table: StatisticsTable, params: PrepareParams
) -> list[Finding]:
    """Return a finding for each class below `MIN_CEILING`, with a larger size at which some of its images reach that."""
    names = [one.name for one in card.classes]
    weak = [label for label, name in enumerate(names) if ceiling.get(name, 1) < MIN_CEILING]
    if not weak:
        return []
    reader = build_label_reader(card)

    def report(label: int) -> Finding:
        detail = f"IoU of the truth itself {format_score(ceiling[names[label]])}"
        images = np.flatnonzero(table.pixels[: table.images, label]).tolist()
        images = images[:: max(-(-len(images) // MAX_IMAGES_TRIED), 1)]
        sizes = [params.size, *(factor * params.size for factor in SIZE_FACTORS)]
        for smaller, size in pairwise(sizes):
            if size > MAX_SIZE_PX or smaller >= table.sizes[images].max(initial=0):
                break
            overlap = np.zeros((2, len(names)), np.int64)
            for image in images:
                stored = reader.read(samples[image])
                overlap += measure_overlap(stored, resize_labels(stored, size, params.fit), len(names))
            iou = overlap[0, label] / overlap[1, label]
            if iou >= MIN_CEILING:
                detail += f"; about {format_score(iou)} at prepare.size {size}"
                break
        return Finding("too fine for prepare.size", names[label], detail)

    return parallel_map(report, weak)
