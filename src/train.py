"""train: fit the net to the training images, keep the epoch with the best val mIoU."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab import models, tracking
    from losslab.data.prepared import Prepared
    from losslab.devices import hardware
    from losslab.files import write_csv
    from losslab.losses.expression import advice
    from losslab.training import EpochRow, plan, train

    began = time.monotonic()
    planned = plan(params, Prepared(Path("data/prepared") / params.dataset))
    if hint := advice(params.loss):
        stage.warn(hint)
    data_md5 = planned.description["data_md5"]
    with tracking.training_run(params, data_md5, hardware(), stage.main_repo(), stage.warn) as run:

        def on_epoch(row: EpochRow) -> None:
            run.log_epoch(row)
            stage.say(
                f"epoch {row['epoch']}/{params.train.epochs}  loss {row['train_loss']:.4f}"
                f"  val loss {row['val_loss']:.4f}  val mIoU {row['val_miou']:.4f}  {time.monotonic() - began:.0f} s"
            )

        trained = train(planned, stage.main_repo() / ".losslab/scratch", on_epoch, sys.stderr.isatty())
        models.save(Path("models"), trained.net, trained.description)
        write_csv(Path("reports/history.csv"), trained.history)
        run.trained(Path("models"), seconds=time.monotonic() - began)


if __name__ == "__main__":
    stage.run(main)
