"""report: figures, and one page that shows the run to somebody who did not do it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab import tracking
    from losslab.reporting.page import write_report

    began = time.monotonic()
    write_report(Path("models"), Path("reports"), Path("data/prepared") / params.dataset, params.report.examples)
    tracking.record(Path(), stage.main_repo(), stage.warn, "report", time.monotonic() - began)
    stage.say("report: reports/report.html")


if __name__ == "__main__":
    stage.run(main)
