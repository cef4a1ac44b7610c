"""Small runs whose scores per image tell how far scores spread: what `losslab doubt` assumes is measured on them.

`python -m benchmarks.doubt_runs FOLDER` trains two small nets with two losses and several seeds on drawn lesions, and on the pets
and the CamVid frames beside the project where they are, and writes FOLDER/<dataset>/<net>-<loss>-s<seed>/per_image.csv.
"""

import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from benchmarks.settings import CAMVID, PETS, ROOT
from losslab.cards import read_card
from losslab.data.download.fetch import fetch
from losslab.data.loading.arrays import PreparedData
from losslab.data.prepare.prepare import prepare
from losslab.evaluation import evaluate_splits, write_tables
from losslab.io.yaml import read_yaml
from losslab.params import Params, load
from losslab.training import plan_training, train_net

NETS: dict[str, dict[str, Any]] = {
    "unet": {"arch": "unet", "encoder": "tu-mobilenetv3_small_050"},
    "simple_segnet": {"arch": "simple_segnet", "encoder": None},
}
LOSSES = ("cross_entropy", "dice")
SEEDS = {"unet": range(3), "simple_segnet": range(8)}
"""Net → seeds; the small one costs a fifth."""
EPOCHS = {"synthetic_lesions": 5, "oxford_pet_binary": 5, "camvid6": 8}
TEST_LESIONS = 400
SOURCES = {"synthetic_lesions": None, "oxford_pet_binary": PETS, "camvid6": CAMVID}
"""Dataset → the folder that it is read from; None: it is drawn."""


def train_all(folder: Path) -> None:
    for dataset, source in SOURCES.items():
        if source is None or source.exists():
            _train_dataset(folder.resolve() / dataset, dataset, source)


def _train_dataset(folder: Path, dataset: str, source: Path | None) -> None:
    params = _write_params(folder, dataset, NETS["unet"], LOSSES[0], 0)
    card = read_card(dataset, folder / "data/catalog")
    raw, prepared = folder / "data/raw" / dataset, folder / "data/prepared" / dataset
    with chdir(folder):
        fetch(dataset, card, source, raw, folder / "downloads")
        prepare(card, raw, params.prepare, prepared)
        runs = [(net, loss, seed) for net in NETS for loss in LOSSES for seed in SEEDS[net]]
        for net, loss, seed in tqdm(runs, desc=dataset, unit=" runs"):
            out = folder / f"{net}-{loss}-s{seed}"
            if (out / "per_image.csv").exists():
                continue
            params, data = _write_params(folder, dataset, NETS[net], loss, seed), PreparedData(prepared)
            trained = train_net(plan_training(params, data))
            write_tables(evaluate_splits(trained.net, trained.description, data, dataset, params.evaluate), out)


def _write_params(folder: Path, dataset: str, net: dict[str, Any], loss: str, seed: int) -> Params:
    content, card = (read_yaml(ROOT / path) for path in ("params.yaml", f"data/catalog/{dataset}.yaml"))
    split = {"method": "random", "val": 0.1, "test": 0.5} if dataset == "oxford_pet_binary" else {}
    content |= {"dataset": dataset, "loss": loss, "seed": seed, **net}
    content["prepare"] |= {"size": 64, "audit": "warn", "split": content["prepare"]["split"] | split}
    content["train"] |= {"epochs": EPOCHS[dataset], "batch_size": 8, "lr": 0.003, "precision": "32-true"}
    content["evaluate"] |= {"predictions": 0}
    if dataset == "synthetic_lesions":
        card["source"]["images"] |= {"test": TEST_LESIONS}
        card["images"] = sum(card["source"]["images"].values())
    for path, part in ((f"data/catalog/{dataset}.yaml", card), ("params.yaml", content)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(yaml.safe_dump(part), encoding="utf-8")
    return load(folder / "params.yaml")


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_all(Path(sys.argv[1]))
