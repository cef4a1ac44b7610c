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
    from losslab.data.loading.arrays import PreparedData
    from losslab.io.files import write_csv
    from losslab.io.hashing import compute_file_md5
    from losslab.losses.expression import find_advice
    from losslab.runtime.devices import describe_hardware, is_main_process
    from losslab.training import EpochRow, open_checkpoint, plan_training, train_net

    began = time.monotonic()
    planned = plan_training(params, PreparedData(Path("data/prepared") / params.dataset))
    stage.forget_finished()
    if not is_main_process():
        with open_checkpoint(
            planned.description, stage.find_checkpoints_folder(), stage.print_warning, main=False
        ) as checkpoint:
            train_net(planned, checkpoint)
        return
    if hint := find_advice(params.loss):
        stage.print_warning(hint)
    if planned.inexact:
        stage.print_warning(
            f"not bit-exact on this device, for want of deterministic versions: {', '.join(planned.inexact)}"
        )
    root, data_md5 = stage.find_main_repo(), planned.description["data_md5"]
    with (
        open_checkpoint(planned.description, stage.find_checkpoints_folder(), stage.print_warning) as checkpoint,
        tracking.track_training(
            params,
            checkpoint.key,
            data_md5,
            describe_hardware(),
            root,
            stage.print_warning,
            resumed=bool(checkpoint.rows),
        ) as run,
    ):

        def on_epoch(row: EpochRow) -> None:
            run.log_epoch(row)
            stage.print_line(
                f"epoch {row['epoch']}/{params.train.epochs}  loss {row['train_loss']:.4f}"
                f"  val loss {row['val_loss']:.4f}  val mIoU {row['val_miou']:.4f}  {time.monotonic() - began:.0f} s"
            )

        for row in checkpoint.rows:
            run.log_epoch(row)
        if checkpoint.rows:
            stage.print_line(f"goes on after epoch {len(checkpoint.rows)}, where this run was interrupted")
        trained = train_net(planned, checkpoint, on_epoch, sys.stderr.isatty())
        models.save(Path("models"), trained.net, trained.description)
        write_csv(Path("reports/history.csv"), trained.history)
        run.log_model(Path("models"), seconds=time.monotonic() - began)
        if "DVC_STAGE" in os.environ:
            checkpoint.finish(
                [compute_file_md5(Path("models") / name) for name in (models.WEIGHTS, models.DESCRIPTION)]
            )
            stage.forget_finished()  # a run that was forced, with outs that DVC knows
        else:
            checkpoint.remove()


if __name__ == "__main__":
    stage.run_stage(main)
