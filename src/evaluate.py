"""evaluate: score the trained net on the val and test images, and on some of those it was trained on."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.cards import SplitName
    from losslab.params import Params


def main(params: "Params") -> None:
    from tqdm import tqdm

    from losslab import models, tracking
    from losslab.cards import read_card
    from losslab.data.loading.arrays import PreparedData
    from losslab.evaluation import (
        build_original_targets,
        build_prepared_targets,
        evaluate_split,
        write_examples,
        write_tables,
    )
    from losslab.io.files import write_json

    began = time.monotonic()
    net, description = models.load("models")
    stage.forget_finished()
    prepared, how = PreparedData(Path("data/prepared") / params.dataset), params.evaluate
    images = {split: len(prepared.names(split)) for split in ("train", "val", "test")}
    images["train"] = min(images["train"], images["val"])
    results, truths = {}, {}
    splits: list[SplitName] = ["train", "val", "test"]
    for split in splits:
        if how.resolution == "original":
            raw = Path("data/raw") / params.dataset
            truths[split] = build_original_targets(prepared, split, read_card(params.dataset), raw)
        else:
            truths[split] = build_prepared_targets(prepared, split)
        with tqdm(total=images[split], desc=f"evaluate {split}", unit=" images", disable=None) as bar:
            results[split] = evaluate_split(
                net,
                description,
                prepared,
                split,
                how.batch_size,
                bar.update,
                tta=how.tta,
                truths=truths[split],
                tolerances=None if split == "train" else how.tolerances,
                most=images[split],
            )
    reports = Path("reports")
    write_tables(results, reports)
    write_json(reports / "evaluation.json", how.model_dump(include={"resolution", "tta", "tolerances"}))
    write_examples(
        results["test"], truths["test"], "test", description["palette"], how.predictions, reports / "predictions"
    )
    tracking.record_stage(Path(), stage.find_main_repo(), stage.print_warning, "evaluate", time.monotonic() - began)
    for split, result in results.items():
        scores = result.pixels.compute()
        per_class = ", ".join(f"{name} {iou:.3f}" for name, iou in zip(result.classes, scores["iou"], strict=True))
        stage.print_line(f"evaluate: {split} mIoU {scores['miou']:.4f} (IoU: {per_class})")


if __name__ == "__main__":
    stage.run_stage(main)
