"""The bands of images: their names and type, how their values are scaled, and which three of them pictures show."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from losslab.io.yaml import Section

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from losslab.io.windows import Values

MAX_BANDS = 16
BandType = Literal["uint8", "uint16", "float32"]
BandName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]*$", max_length=40)]


class BandFormat(Section):
    """What the image files of a dataset hold."""

    names: list[BandName] = Field(min_length=1, max_length=MAX_BANDS)
    """Names of the bands, in the files' order."""
    dtype: BandType
    """Type of the values in the files."""
    shown: list[Annotated[int, Field(ge=0)]] = Field(min_length=3, max_length=3)
    """Positions of the bands that pictures show as red, green and blue; thrice the same one gives a grey picture."""

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        if len(set(self.names)) < len(self.names):
            raise ValueError("two bands have the same name")
        if max(self.shown) >= len(self.names):
            raise ValueError(f"shown names band {max(self.shown)} of {len(self.names)}, counted from 0")
        return self


class Bands(BandFormat):
    """The format of images, and the range of each band's values, which 0 and 1 stand for."""

    low: list[float]
    high: list[float]
    clip: bool
    """Whether the net sees values beyond the range as its ends."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if not len(self.low) == len(self.high) == len(self.names):
            raise ValueError("names, low and high must be equally many")
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("low must be below high in each band")
        return self

    def scale(self, image: "Values") -> "npt.NDArray[np.float32]":
        """Scale an image `[…, B]` so that each band's range is 0 to 1.

        >>> import numpy as np
        >>> RGB.scale(np.array([[[0, 51, 255]]], np.uint8)).tolist()
        [[[0.0, 0.20000000298023224, 1.0]]]
        """
        import numpy as np

        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        return np.asarray((image.astype(np.float32) - low) / (high - low), np.float32)

    def restore(self, scaled: "npt.NDArray[np.float32]") -> "npt.NDArray[np.float32]":
        """Undo `scale`, in float32."""
        import numpy as np

        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        return np.asarray(scaled * (high - low) + low, np.float32)

    def draw(self, image: "Values") -> "npt.NDArray[np.uint8]":
        """Return an image `[…, B]` as a picture, RGB uint8 `[…, 3]`: the bands `shown`, their ranges as 0 to 255."""
        import numpy as np

        if self == RGB:
            return np.asarray(image, np.uint8)
        scaled = self.scale(image)[..., self.shown]
        return (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)


RGB = Bands(names=["red", "green", "blue"], dtype="uint8", shown=[0, 1, 2], low=[0.0] * 3, high=[255.0] * 3, clip=False)
"""The bands of images whose card names none."""


def read_bands(description: Mapping[str, Any]) -> Bands:
    """Return the bands of a dataset.json or model.json, whose key `bands` is missing for RGB of 8 bits.

    >>> read_bands({}) == RGB
    True
    """
    described = description.get("bands")
    return RGB if described is None else Bands.model_validate(described)


Pair = Annotated[tuple[float, float], BeforeValidator(lambda ends: tuple(ends) if isinstance(ends, list) else ends)]


class PercentileScaling(Section):
    """Scale each band from one percentile of the training images' values to another."""

    percentiles: Pair
    """The percentiles that become 0 and 1: [0.1, 99.9]."""

    @field_validator("percentiles")
    @classmethod
    def _check_ends(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= ends[0] < ends[1] <= 100:
            raise ValueError(f"{list(ends)} must rise, from 0 or more to at most 100")
        return ends


class RangeScaling(Section):
    """Scale each band from one value to another that the card states."""

    range: list[Pair] = Field(min_length=1)
    """The values that become 0 and 1: [0, 10000] for all bands, or such a pair for each."""

    @field_validator("range", mode="before")
    @classmethod
    def _list_pairs(cls, ends: Any) -> Any:
        return [ends] if isinstance(ends, list) and len(ends) == 2 and not isinstance(ends[0], list) else ends

    @field_validator("range")
    @classmethod
    def _check_ends(cls, ranges: list[tuple[float, float]]) -> list[tuple[float, float]]:
        if falling := [list(ends) for ends in ranges if ends[0] >= ends[1]]:
            raise ValueError(f"{falling[0]} must rise")
        return ranges


class MeanScaling(Section):
    """Take a mean off each band and divide it by a standard deviation, both stated; nothing is clipped."""

    mean: list[float]
    """A mean for each band, in the files' units."""
    std: list[Annotated[float, Field(gt=0)]]
    """A standard deviation for each band."""


def _find_scaling_kind(scaling: Any) -> str | None:
    keys = scaling if isinstance(scaling, dict) else type(scaling).model_fields if isinstance(scaling, Section) else ()
    if scaling in ("dtype range", "mean std"):
        return "name"
    return next((kind for kind in ("percentiles", "range", "mean") if kind in keys), None)


class CardBands(Section):
    """What image files hold that are not RGB of 8 bits."""

    names: list[BandName] = Field(min_length=1, max_length=MAX_BANDS)
    """Names of the bands, in the files' order."""
    dtype: BandType
    """Type of the values in the files."""
    scaling: Annotated[
        Annotated[Literal["dtype range", "mean std"], Tag("name")]
        | Annotated[PercentileScaling, Tag("percentiles")]
        | Annotated[RangeScaling, Tag("range")]
        | Annotated[MeanScaling, Tag("mean")],
        Discriminator(
            _find_scaling_kind,
            custom_error_type="wrong_kind",
            custom_error_message="needs dtype range, mean std, or one of the keys percentiles, range, mean (with std)",
        ),
    ] = "dtype range"
    """What becomes 0 and 1: the ends of the type (`dtype range`; 1 for float32), `percentiles` of the training images, or a
    stated `range`. Values beyond are clipped. `mean std` clips nothing: each band's mean is taken off, and it is divided by
    its standard deviation, measured in the training images or stated as `mean` and `std`."""
    shown: list[BandName] | None = None
    """Names of the three bands that pictures show as red, green and blue, or of one that they show in grey; the first
    three, or the first, if this is null."""

    @property
    def format(self) -> BandFormat:
        shown = self.shown or (self.names[:3] if len(self.names) >= 3 else self.names[:1])
        positions = [self.names.index(name) for name in shown]
        return BandFormat(names=self.names, dtype=self.dtype, shown=positions * (3 if len(shown) == 1 else 1))

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        if len(set(self.names)) < len(self.names):
            raise ValueError("two bands have the same name")
        if self.shown is not None and (len(self.shown) not in (1, 3) or not set(self.shown) <= set(self.names)):
            raise ValueError(f"shown must be one or three of {', '.join(self.names)}")
        counts = dict[str, int]()
        if isinstance(self.scaling, RangeScaling) and len(self.scaling.range) > 1:
            counts = {"range": len(self.scaling.range)}
        elif isinstance(self.scaling, MeanScaling):
            counts = {"mean": len(self.scaling.mean), "std": len(self.scaling.std)}
        for key, count in counts.items():
            if count != len(self.names):
                raise ValueError(f"scaling: {key} has {count} values for {len(self.names)} bands")
        return self
