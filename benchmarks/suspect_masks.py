"""How well `losslab datasets doubt` finds wrong masks, on drawn lesions of which a tenth is wrong (`benchmarks.mask_errors`).

`python -m benchmarks.suspect_masks FOLDER` trains a small net for each of five folds of four datasets, and keeps what the nets
say of images that they never saw in FOLDER/seed-*.npz. It prints the area under the precision-recall curve of losslab's ranking,
of cleanlab's softmin and of Dice on the same probabilities, with cleanlab installed also of its num_pixel_issues, and draws
docs/pictures/suspects.svg.
"""

import sys
import time
from contextlib import chdir
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import yaml
from matplotlib import rc_context
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.mask_errors import KINDS, draw_images
from benchmarks.settings import ROOT
from losslab.cards import read_card
from losslab.data.loading.arrays import PreparedData
from losslab.data.prepare.prepare import prepare
from losslab.data.prepare.splits import split_samples
from losslab.inference.predictor import Predictor
from losslab.inference.tensors import to_probabilities
from losslab.io.files import atomic_write
from losslab.io.yaml import read_yaml
from losslab.params import Params, SplitParams, load
from losslab.plugins import Sample
from losslab.reporting.comparison.markdown import build_table
from losslab.reporting.components.figures import BLUE
from losslab.suspects.folds import VAL_SHARE
from losslab.suspects.scores import compare_probabilities, measure_thresholds, score_mask
from losslab.training import plan_training, train_net

SEEDS = (0, 1, 2, 3)
"""Seeds of the drawn datasets. The score was chosen on 100 and 101; 0 and 1 had been looked at with an earlier one, 2 and 3 not."""
IMAGES, DRAWN_PX, SIZE_PX, FOLDS = 240, 128, 64, 5
NET: dict[str, Any] = {"arch": "unet", "encoder": "tu-mobilenetv3_small_050"}
TRAIN: dict[str, Any] = {"epochs": 15, "batch_size": 8, "lr": 0.003, "precision": "32-true"}
METHODS = ("losslab", "cleanlab's softmin", "1 - Dice")
FIGURE = ROOT / "docs/pictures/suspects.svg"
Numbers = npt.NDArray[np.float64]


def measure_dataset(seed: int, folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Draw a dataset, train a net for each fold, and return what the nets say of the images that they never saw."""
    drawn = draw_images(seed, IMAGES, DRAWN_PX)
    own = folder / "data/raw/lesions/own"
    for kind in ("images", "masks"):
        (own / kind).mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(drawn):
        cv2.imwrite(str(own / f"images/{number:04d}.png"), np.ascontiguousarray(each.image[..., ::-1]))
        cv2.imwrite(str(own / f"masks/{number:04d}.png"), each.mask)
    probabilities = np.zeros((IMAGES, 3, SIZE_PX, SIZE_PX), np.float16)
    masks, began = np.zeros((IMAGES, SIZE_PX, SIZE_PX), np.uint8), time.monotonic()
    with chdir(folder):
        for fold in tqdm(range(FOLDS), desc=f"seed {seed}", unit=" folds"):
            params, prepared = _write_params(fold), PreparedData(Path(f"data/prepared/fold-{fold}"))
            prepare(read_card("lesions"), Path("data/raw/lesions"), params.prepare, prepared.folder)
            trained = train_net(plan_training(params, prepared))
            predictor = Predictor(trained.net, trained.description)
            images, labels = (prepared.rows("test", what) for what in ("images", "masks"))
            for index, name in enumerate(prepared.names("test")):
                logits = predictor.compute_logits(torch.from_numpy(images.read([index])))
                probabilities[int(name)] = to_probabilities(logits)[0].numpy()
                masks[int(name)] = labels.read([index])[0]
    return {
        "probabilities": probabilities,
        "masks": masks,
        "errors": np.array([each.error or "" for each in drawn]),
        "overlap": np.array([each.overlap for each in drawn]),
        "minutes": np.array((time.monotonic() - began) / 60),
    }


def _write_params(fold: int) -> Params:
    card, content = (read_yaml(ROOT / path) for path in ("data/catalog/synthetic_lesions.yaml", "params.yaml"))
    card |= {"source": {"own": None}, "layout": "folders", "images": IMAGES}
    split = {"method": "kfold", "val": VAL_SHARE, "folds": FOLDS, "fold": fold}
    content |= {"dataset": "lesions", "seed": 0, **NET}
    content["prepare"] |= {"size": SIZE_PX, "split": content["prepare"]["split"] | split}
    content["train"] |= TRAIN
    for path, part in (("data/catalog/lesions.yaml", card), ("params.yaml", content)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(yaml.safe_dump(part), encoding="utf-8")
    return load(Path("params.yaml"))


def score_dataset(found: dict[str, npt.NDArray[Any]]) -> dict[str, Numbers]:
    """Return for each method the doubt in each image: the larger, the more."""
    masks, probabilities = found["masks"], found["probabilities"].astype(np.float32)
    background, folds = int(np.bincount(masks.ravel()).argmax()), find_folds(len(masks))
    parts = list(zip(masks, probabilities, strict=True))
    thresholds = [measure_thresholds([parts[n] for n in np.flatnonzero(folds == fold)], 3) for fold in range(FOLDS)]
    scores = [
        score_mask(compare_probabilities(*part, thresholds[fold]), background)
        for part, fold in zip(parts, folds, strict=True)
    ]
    columns = [each.doubt for each in scores], [-each.softmin for each in scores], [-each.dice for each in scores]
    doubts = dict(zip(METHODS, map(np.array, columns), strict=True))
    if find_spec("cleanlab") is not None:
        rank = import_module("cleanlab.segmentation.rank")
        shares = probabilities / probabilities.sum(axis=1, keepdims=True)
        options = {"method": "num_pixel_issues", "n_jobs": 1, "verbose": False}
        doubts["cleanlab's num_pixel_issues"] = -rank.get_label_quality_scores(masks.astype(int), shares, **options)[0]
    return doubts


def find_folds(count: int) -> npt.NDArray[np.int64]:
    """Find the fold that each image was tested in, which follows from the split's seed."""
    samples = [Sample(name=f"{number:04d}", image=Path(), mask=Path()) for number in range(count)]
    folds = np.zeros(count, np.int64)
    for fold in range(FOLDS):
        split = SplitParams(method="kfold", val=VAL_SHARE, test=0.2, seed=0, folds=FOLDS, fold=fold)
        folds[[int(sample.name) for sample in split_samples(samples, split, {}, str)["test"]]] = fold
    return folds


def list_precisions(wrong: npt.NDArray[np.bool_], doubt: Numbers) -> tuple[Numbers, Numbers]:
    """Return recall and precision after each image of the ranking, the most doubtful first."""
    hits = np.cumsum(wrong[np.argsort(-doubt, kind="stable")])
    return hits / max(hits[-1], 1), hits / np.arange(1, len(hits) + 1)


def measure_area(wrong: npt.NDArray[np.bool_], doubt: Numbers) -> float:
    """Measure the area under the precision-recall curve, as average precision."""
    recall, precision = list_precisions(wrong, doubt)
    return float((np.diff(recall, prepend=0) * precision).sum())


def report(datasets: dict[int, dict[str, npt.NDArray[Any]]]) -> str:
    """Write the areas of all methods, over all errors and for each kind beside the right masks, as Markdown."""
    rows, scores = [], {seed: score_dataset(found) for seed, found in datasets.items()}
    for method in next(iter(scores.values())):
        areas: dict[str, list[float]] = {name: [] for name in ("all", *KINDS)}
        for seed, found in datasets.items():
            errors, doubt = found["errors"], scores[seed][method]
            areas["all"].append(measure_area(errors != "", doubt))
            for kind in KINDS:
                kept = (errors == kind) | (errors == "")
                areas[kind].append(measure_area(errors[kept] == kind, doubt[kept]))
        seeds = " ".join(f"{area:.3f}" for area in areas["all"])
        rows.append([method, f"{np.mean(areas['all']):.3f}", seeds, *(f"{np.mean(areas[kind]):.2f}" for kind in KINDS)])
    overlaps = [np.mean([f["overlap"][f["errors"] == kind].mean() for f in datasets.values()]) for kind in KINDS]
    rows.append(["IoU of the wrong mask's lesion with the right one", "", "", *(f"{value:.2f}" for value in overlaps)])
    minutes = " ".join(f"{found['minutes']:.1f}" for found in datasets.values())
    table = build_table(["AUPRC", "mean", f"seeds {', '.join(map(str, datasets))}", *KINDS], rows, 1)
    return f"{table}\n\nMinutes of training for each dataset: {minutes}.\n"


def draw_curves(datasets: dict[int, dict[str, npt.NDArray[Any]]], path: Path) -> None:
    """Draw the precision-recall curves over all datasets, each ranked by itself; the same bytes each time."""
    with rc_context({"svg.hashsalt": "losslab", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.2, 3), layout="constrained")
        scores = {seed: score_dataset(found) for seed, found in datasets.items()}
        for axes, method in zip(figure.subplots(1, 3, sharey=True), METHODS, strict=True):
            for seed, found in datasets.items():
                axes.plot(*list_precisions(found["errors"] != "", scores[seed][method]), color=BLUE, lw=1)
            axes.set(title=method, xlabel="recall", xlim=(0, 1.01), ylim=(0, 1.03))
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylabel("precision")
        with atomic_write(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})


def main(folder: Path) -> None:
    datasets: dict[int, dict[str, npt.NDArray[Any]]] = {}
    for seed in SEEDS:
        path = folder / f"seed-{seed}.npz"
        if not path.exists():
            found = measure_dataset(seed, folder / f"seed-{seed}")
            with atomic_write(path) as partial, partial.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **found)
        datasets[seed] = dict(np.load(path))
    draw_curves(datasets, FIGURE)
    print(report(datasets))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]).resolve())
