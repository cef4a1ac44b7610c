"""The data of a run, as MLflow knows them: one dataset for each split, and the one that a metric was measured on."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losslab.cards import SPLITS, SplitName
from losslab.io.files import JsonObject, read_json
from losslab.io.yaml import read_yaml

CARD_KEYS = ("title", "home", "licence")
GROUP_SPLITS: dict[str, SplitName] = {"train": "train", "val": "val", "best_val": "val", "test": "test"}
"""First part of a metric's name → split that it was measured on."""


@dataclass(frozen=True)
class RunData:
    """The prepared data of a run."""

    dataset: str
    md5: str
    """Checksum by which dvc.lock knows the prepared data."""

    def find_measured(self, metric: str) -> JsonObject:
        """Return name and digest of the dataset that a metric was measured on; nothing for one that needs no images.

        >>> RunData("pets", "1f.dir").find_measured("best_val/miou")
        {'dataset_name': 'pets/val', 'dataset_digest': '1f.dir'}
        """
        group, _, rest = metric.partition("/")
        if not rest or group not in GROUP_SPLITS:
            return {}
        return {"dataset_name": f"{self.dataset}/{GROUP_SPLITS[group]}", "dataset_digest": self.md5}

    def build_inputs(self, folder: Path) -> list[Any]:
        """Build MLflow's inputs of a run, one for each split: images, classes and the card.

        Args:
            folder: what has the card in data/catalog, and dataset.json below data/prepared; what is missing is left out.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        card = f"data/catalog/{self.dataset}.yaml"
        prepared = folder / "data/prepared" / self.dataset / "dataset.json"
        about = read_json(prepared) if prepared.is_file() else {}
        named = read_yaml(folder / card) if (folder / card).is_file() else {}
        shared: JsonObject = {key: about[key] for key in ("classes", "size", "fit") if key in about}
        shared |= {key: named[key] for key in CARD_KEYS if named.get(key)}
        inputs = []
        for split in SPLITS:
            counts = {"num_images": about["images"][split]} if "images" in about else {}
            dataset = Dataset(
                name=f"{self.dataset}/{split}",
                digest=self.md5,
                source_type="local",
                source=json.dumps({"uri": card}),
                schema=_build_schema(about) if about else None,
                profile=json.dumps(counts | shared),
            )
            inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", split)]))
        return inputs


def build_metrics(values: Mapping[str, Any], step: int, data: RunData, model_id: str | None = None) -> list[Any]:
    """Build MLflow's metrics, each with the dataset that it was measured on; None and NaN are left out.

    Those of a logged model are the run's too.

    `train_loss` becomes `train/loss`: MLflow shows metrics in groups.
    """
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    known = {
        re.sub(r"^(train|val)_", r"\1/", key): float(value)
        for key, value in values.items()
        if value is not None and value == value
    }
    return [Metric(key, value, now, step, model_id, **data.find_measured(key)) for key, value in known.items()]


def log_datasets(client: Any, run_id: str, data: RunData, folder: Path) -> None:
    """Log the data of a run as its inputs; those that it has already stay as they are."""
    from mlflow.exceptions import MlflowException

    inputs = data.build_inputs(folder)
    try:
        client.log_inputs(run_id, inputs)
    except MlflowException:  # another run has named the same data first, at the same time
        client.log_inputs(run_id, inputs)


def _build_schema(about: JsonObject) -> str:
    """Build what MLflow's pages show of arrays, in the form of its TensorDatasetSchema."""
    side = -1 if about["fit"] == "tile" else about["size"]
    bands = about.get("bands", {"names": "RGB", "dtype": "uint8"})

    def describe(name: str, dtype: str, *shape: int) -> str:
        spec = {"dtype": dtype, "shape": [-1, side, side, *shape]}
        return json.dumps([{"name": name, "type": "tensor", "tensor-spec": spec}])

    arrays = {
        "features": describe("images", bands["dtype"], len(bands["names"])),
        "targets": describe("masks", "uint8"),
    }
    return json.dumps({"mlflow_tensorspec": arrays})
