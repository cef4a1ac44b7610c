"""train: fit the net to the training images, keep the epoch with the best val mIoU."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab import models, tracking
    from losslab.data.loading.arrays import PreparedData
    from losslab.io.files import read_json, write_csv
    from losslab.stage_inputs import check_data
    from losslab.training import plan_training, train_run

    began = time.monotonic()
    prepared = Path("data/prepared") / params.dataset
    plan = plan_training(params, PreparedData(prepared))
    check_data(read_json(prepared / "audit.json")["settings"], params)
    with train_run(plan, tracking.track_training, Path("models"), began) as trained:
        if trained is not None:  # None in the processes that only help to compute
            models.save(Path("models"), trained.net, trained.description)
            write_csv(Path("reports/history.csv"), trained.history)


if __name__ == "__main__":
    stage.run_stage(main)
