"""The bands of images: their names and type, how their values are scaled, and which three of them pictures show."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

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
