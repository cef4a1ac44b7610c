"""report: draw figures, and write a page that explains the run to somebody who did not do it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab import tracking
    from losslab.io.files import read_json
    from losslab.reporting.run.page import write_report
    from losslab.stage_inputs import check_evaluation, check_model

    began = time.monotonic()
    check_model(read_json(Path("models/model.json")), params)
    check_evaluation(read_json(Path("reports/evaluation.json")), params)
    write_report(Path("models"), Path("reports"), Path("data/prepared") / params.dataset, params.report.examples)
    tracking.record_stage(Path(), stage.find_main_repo(), stage.print_warning, "report", time.monotonic() - began)
    stage.print_line("report: reports/report.html")


if __name__ == "__main__":
    stage.run_stage(main)
