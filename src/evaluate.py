"""evaluate: score the trained net, or an ensemble, on the val and test images, and on some of those it was trained on."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab import models, tracking
    from losslab.data.loading.arrays import PreparedData
    from losslab.evaluation import describe_evaluation, evaluate_splits, summarize_results, write_examples, write_tables
    from losslab.evaluation.ensemble import build_ensemble
    from losslab.experiments.member_files import open_members
    from losslab.io.files import write_json
    from losslab.stage_inputs import check_model

    began = time.monotonic()
    net, description = models.load("models")
    check_model(description, params)
    stage.forget_finished()
    prepared, settings, reports = PreparedData(Path("data/prepared") / params.dataset), params.evaluate, Path("reports")
    with open_members(settings.ensemble, Path()) as folders:
        ensemble = build_ensemble(folders, settings, prepared, params.dataset)
    if ensemble is not None and (warning := ensemble.warn()):
        stage.print_warning(warning)
    results = evaluate_splits(net, description, prepared, params.dataset, settings, ensemble)
    write_tables(results, reports)
    write_json(reports / "evaluation.json", describe_evaluation(settings, results, ensemble))
    write_examples(results["test"], "test", description, settings.predictions, reports / "predictions")
    tracking.record_stage(Path(), stage.find_main_repo(), stage.print_warning, "evaluate", time.monotonic() - began)
    for line in summarize_results(results):
        stage.print_line(f"evaluate: {line}")


if __name__ == "__main__":
    stage.run_stage(main)
