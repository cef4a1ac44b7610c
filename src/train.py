"""train: fit the net to the training images, keep the epoch with the best val mIoU."""

import os
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
    from losslab.devices import hardware, is_main_process
    from losslab.files import file_md5, write_csv
    from losslab.losses.expression import advice
    from losslab.training import EpochRow, checkpoint_of, plan, train

    began = time.monotonic()
    planned = plan(params, Prepared(Path("data/prepared") / params.dataset))
    stage.forget_finished()
    if not is_main_process():
        with checkpoint_of(planned.description, stage.checkpoints(), stage.warn, main=False) as checkpoint:
            train(planned, checkpoint)
        return
    if hint := advice(params.loss):
        stage.warn(hint)
    if planned.inexact:
        stage.warn(f"not bit-exact on this device, for want of deterministic versions: {', '.join(planned.inexact)}")
    root, data_md5 = stage.main_repo(), planned.description["data_md5"]
    with (
        checkpoint_of(planned.description, stage.checkpoints(), stage.warn) as checkpoint,
        tracking.training_run(
            params, checkpoint.key, data_md5, hardware(), root, stage.warn, resumed=bool(checkpoint.rows)
        ) as run,
    ):

        def on_epoch(row: EpochRow) -> None:
            run.log_epoch(row)
            stage.say(
                f"epoch {row['epoch']}/{params.train.epochs}  loss {row['train_loss']:.4f}"
                f"  val loss {row['val_loss']:.4f}  val mIoU {row['val_miou']:.4f}  {time.monotonic() - began:.0f} s"
            )

        for row in checkpoint.rows:
            run.log_epoch(row)
        if checkpoint.rows:
            stage.say(f"goes on after epoch {len(checkpoint.rows)}, where this run was interrupted")
        trained = train(planned, checkpoint, on_epoch, sys.stderr.isatty())
        models.save(Path("models"), trained.net, trained.description)
        write_csv(Path("reports/history.csv"), trained.history)
        run.trained(Path("models"), seconds=time.monotonic() - began)
        if "DVC_STAGE" in os.environ:
            checkpoint.finish([file_md5(Path("models") / name) for name in (models.WEIGHTS, models.DESCRIPTION)])
            stage.forget_finished()  # a run that was forced, with outs that DVC knows
        else:
            checkpoint.remove()


if __name__ == "__main__":
    stage.run(main)
