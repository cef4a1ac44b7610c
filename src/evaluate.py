"""evaluate: score the trained net on the val and test images."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from tqdm import tqdm

    from losslab import evaluation, models, tracking
    from losslab.data.prepared import Prepared

    began = time.monotonic()
    net, description = models.load("models")
    stage.forget_finished()
    prepared = Prepared(Path("data/prepared") / params.dataset)
    results = {}
    for split in evaluation.SCORED:
        with tqdm(total=len(prepared.names(split)), desc=f"evaluate {split}", unit=" images", disable=None) as bar:
            results[split] = evaluation.evaluate(
                net, description, prepared, split, params.evaluate.batch_size, bar.update
            )
    reports = Path("reports")
    evaluation.write_tables(results, reports)
    evaluation.write_predictions(
        results["test"], prepared, "test", description["palette"], params.evaluate.predictions, reports / "predictions"
    )
    tracking.record(Path(), stage.main_repo(), stage.warn, "evaluate", time.monotonic() - began)
    for split, result in results.items():
        per_class = ", ".join(
            f"{name} {iou:.3f}" for name, iou in zip(result.classes, result.scores["iou"], strict=True)
        )
        stage.say(f"evaluate: {split} mIoU {result.scores['miou']:.4f} (IoU: {per_class})")


if __name__ == "__main__":
    stage.run(main)
