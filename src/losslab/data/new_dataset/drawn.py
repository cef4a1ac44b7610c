"""What is known of masks that were drawn from annotations."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from losslab.data.annotations.model import Annotations
from losslab.data.new_dataset.pairs import FilePairs


@dataclass(frozen=True, kw_only=True)
class DrawnMasks:
    """Masks that were drawn from annotations: a mask holds the number of a label, 0 for background, and 255 for void."""

    pairs: FilePairs
    annotations: Annotations
    numbers: Mapping[str, int]
    shapes: int
    groups: Mapping[str, Sequence[str]] | None = None
    """Labels of each class where classes overlap: a mask is then a folder with a file for each."""
    annotators: Sequence[str] = ()
    """Names of the folders of several annotators."""
    lost: Counter[str] = field(default_factory=Counter)
    """What was left out or cut off, and how many of it there are."""
    absent: Sequence[str] = ()
    """Annotated images that are not in the folder of images."""
    empty: int = 0
    """Images without an annotation that are taken as background."""
    skipped: int = 0
    """Images without an annotation that are left out."""
    fewer_votes: int = 0
    """Images that not all annotators annotated."""
    disputed: float = 0.0
    """Share of all pixels of which no majority has one opinion, 0 to 1."""
