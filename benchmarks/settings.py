"""Settings that all contestants share: data, net and batch size."""

import json
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent
CAMVID = ROOT.parent / "shared/datasets/camvid"
PETS = ROOT.parent / "shared/datasets/oxford_pet"

LR = 1e-3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's mean and standard deviation, as in the notebooks and smp's example; losslab uses those of the data."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one benchmark, passed to contestants as JSON."""

    size: int
    batch_size: int
    images: int
    """Number of training images; half as many are evaluated."""
    epochs: int
    """Number of measured epochs; one more comes first and is not counted."""
    encoder: str
    deterministic: bool = True
    """Whether losslab trains deterministically, as it does by default; False shows the price of that on a GPU."""

    @classmethod
    def from_options(cls, options: Namespace) -> Self:
        """Take the settings from the options of a command."""
        return cls(**{name: getattr(options, name) for name in ("size", "batch_size", "images", "epochs", "encoder")})

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Work:
    """A temporary folder laid out as losslab's repository: params.yaml, data/catalog, data/raw, data/prepared."""

    folder: Path

    @property
    def params(self) -> Path:
        return self.folder / "params.yaml"

    @property
    def raw(self) -> Path:
        return self.folder / "data/raw" / DATASET

    @property
    def files(self) -> Path:
        """Folder of the PNGs, by split."""
        return self.raw / "fetched"

    @property
    def prepared(self) -> Path:
        return self.folder / "data/prepared" / DATASET


DATASET = "bench"
