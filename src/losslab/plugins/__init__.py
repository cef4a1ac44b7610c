"""Plug-ins: losses, nets, augmentation, metrics and readers of a project's own, in `plugins/*.py`, or of an installed package.

A decorator makes one of a function or class; losslab finds it by its name from then on. Importing this imports no torch.
A package names its modules with plug-ins as entry points of the group `losslab.plugins`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

__all__ = ["Sample", "augmentation", "loss", "metric", "net", "reader"]

PluginKind = Literal["loss", "net", "augmentation", "metric", "reader"]
FACTS: dict[PluginKind, dict[str, type]] = {
    "loss": {"paper": str, "url": str, "formula": str, "partner": str, "by_design": dict},
    "net": {"stride": int, "smallest": int, "source": str},
    "augmentation": {},
    "metric": {"title": str, "source": str, "higher_is_better": bool, "unit": str},
    "reader": {"requires": tuple, "official_split": bool},
}
"""What each decorator takes besides `name`, with types."""
MARK = "__losslab_plugin__"
"""Attribute of a decorated object."""
Target = TypeVar("Target", bound=Callable[..., Any])


@dataclass(frozen=True)
class PluginMark:
    """What a decorator says of its function or class."""

    kind: PluginKind
    name: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """An image and its mask on disk."""

    name: str
    """What tells the image from all others of the dataset."""
    image: Path
    mask: Path
    """A file; or a folder with a file for each object, whose union is the mask: at each pixel, the largest of their numbers."""
    split: Literal["train", "val", "test"] | None = None
    """The split that the dataset's authors put it in, where they did."""
    valid: Path | None = None
    """A file that is 0 where the mask says nothing, such as outside of a camera's field of view: those pixels are void."""


@overload
def augmentation(target: Target, /) -> Target: ...
@overload
def augmentation(*, name: str | None = None) -> Callable[[Target], Target]: ...
def augmentation(target: Target | None = None, /, **about: Any) -> Any:
    """Make an augmentation recipe of a function that returns a list of albumentations, or a `Compose` of them.

    It may take, by name, `fill` and `void`: the RGB colour and the label of what comes in from outside an image. Images
    are uint8 `[H, W, 3]`, or float32 `[H, W, B]` from 0 to 1 where a card names `bands` (and `fill` has such values); masks
    are uint8 `[H, W]`. Both keep their size. losslab seeds the recipe for each image and epoch.

    Args:
        name: as used in `train.augmentation`; that of the function where it is not given.

    >>> @augmentation
    ... def turned(fill, void):
    ...     import albumentations as A
    ...     return [A.RandomRotate90(p=1.0)]
    """
    return _mark("augmentation", target, about)


@overload
def loss(target: Target, /) -> Target: ...
@overload
def loss(
    *,
    name: str | None = None,
    paper: str = "",
    url: str = "",
    formula: str = "",
    partner: str | None = None,
    by_design: dict[str, str] = ...,
) -> Callable[[Target], Target]: ...
def loss(target: Target | None = None, /, **about: Any) -> Any:
    """Make a loss of a function, or of a class with `compute(batch)` like `losslab.losses.base.Loss`.

    A function takes what it needs of these, by name, and returns a 0-dim tensor; options follow after `*`, each with a
    type and a default, as keys of `loss_options`:

    - `logits` float `[N, C, H, W]`, C being 1 for binary data; 0 at ignored pixels
    - `probabilities` of them, by sigmoid for one logit, else by softmax; 0 at ignored pixels
    - `target` int64 `[N, H, W]`; 0 at ignored pixels
    - `one_hot` of it, `[N, C, H, W]` of 0 and 1, the foreground alone for one logit; 0 at ignored pixels
    - `valid` bool `[N, H, W]`: the pixels that are not ignored

    Args:
        name: as used in `loss`; that of the function where it is not given.
        paper: where it is from; `url` its address, `formula` its LaTeX.
        partner: an expression to use it in, such as `dice+0.1*mine`, for a loss that does not stand alone.
        by_design: checks of `losslab losses check` that it is not meant to pass, each with the reason.

    >>> @loss(paper="Brier 1950")
    ... def brier(probabilities, one_hot, valid, *, power: float = 2.0):
    ...     '''Error of the probabilities, to a power.'''
    ...     error = (probabilities - one_hot).abs() ** power
    ...     return error.sum() / (valid.sum() * probabilities.shape[1]).clamp(min=1)
    """
    return _mark("loss", target, about)


@overload
def net(target: Target, /) -> Target: ...
@overload
def net(
    *, name: str | None = None, stride: int = 32, smallest: int = 1, source: str = ""
) -> Callable[[Target], Target]: ...
def net(target: Target | None = None, /, **about: Any) -> Any:
    """Make an arch of `build(num_classes, in_channels, *, ...)`, a function or a class, which returns a `torch.nn.Module`.

    Options follow after `*`, each with a type and a default, as keys of `arch_options`.

    The module turns images float `[N, in_channels, H, W]` into logits `[N, num_classes, H, W]`; H and W are multiples of
    `stride` and at least `smallest`, as losslab pads images and crops logits.

    Args:
        name: as used in `arch`; that of the function where it is not given.
        source: the paper.

    >>> @net(stride=1)
    ... def pixel_classifier(num_classes, in_channels):
    ...     '''One convolution of a pixel.'''
    ...     from torch import nn
    ...     return nn.Conv2d(in_channels, num_classes, 1)
    """
    return _mark("net", target, about)


@overload
def metric(target: Target, /) -> Target: ...
@overload
def metric(
    *,
    name: str | None = None,
    title: str = "",
    source: str = "",
    higher_is_better: bool = True,
    unit: str = "points",
) -> Callable[[Target], Target]: ...
def metric(target: Target | None = None, /, **about: Any) -> Any:
    """Make a metric of a function, of each class from its pixels, or of each image; what it takes by name decides.

    Of a class: float64 arrays `[..., C]` of the pixels that are `hit` (true and predicted), `truth` and `predicted`, of
    which it returns scores of the same shape, NaN where a class has none. It is called with all pixels of a split, and,
    when runs are compared, with those that are left without each image.

    Of an image: `prediction` and `target` uint8 `[H, W]`, labels; `valid` bool `[H, W]`, the pixels that count;
    `probabilities` float32 `[C, H, W]`, of all classes; `classes`, their names. It returns a float, NaN for none.

    Options follow after `*`, as in a loss.

    Args:
        name: as used in `evaluate.metrics`; that of the function where it is not given.
        title: as reports name it; the name where it is not given.
        source: the paper.
        higher_is_better: whether the larger of two scores is the better one.
        unit: `points` for shares, which are shown as hundredths; else the unit's name, such as `pixels`.

    >>> @metric(title="false discovery rate", higher_is_better=False)
    ... def false_discovery(hit, predicted):
    ...     '''Share of the predicted pixels that are wrong.'''
    ...     import numpy as np
    ...     return (predicted - hit) / np.where(predicted > 0, predicted, np.nan)
    """
    return _mark("metric", target, about)


@overload
def reader(target: Target, /) -> Target: ...
@overload
def reader(
    *, name: str | None = None, requires: tuple[str, ...] = (), official_split: bool = False
) -> Callable[[Target], Target]: ...
def reader(target: Target | None = None, /, **about: Any) -> Any:
    """Make a reader of a layout of files of a function that takes `folder`, and returns or yields a `Sample` each.

    Args:
        name: as used in a card's `layout`; that of the function where it is not given.
        requires: files and folders that each folder in this layout has: a download finds its root by them.
        official_split: whether it says which split an image is in.

    >>> @reader(requires=("slides",))
    ... def slides(folder):
    ...     '''A folder for each slide, with image.png and mask.png.'''
    ...     for slide in (folder / "slides").iterdir():
    ...         yield Sample(slide.name, slide / "image.png", slide / "mask.png")
    """
    return _mark("reader", target, about)


def _mark(kind: PluginKind, target: Any, about: dict[str, Any]) -> Any:
    def decorate(decorated: Any) -> Any:
        setattr(decorated, MARK, PluginMark(kind, about.pop("name", None), about))
        return decorated

    return decorate if target is None else decorate(target)
