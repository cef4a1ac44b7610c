"""What a machine lets a run die of, told in one line with what to change."""

import re

from losslab.errors import InputError, out_of_memory


def explained(error: BaseException, batch_size: int, epochs_done: int) -> InputError | None:
    """The line for memory that ran out or a worker that was killed; None for anything else."""
    kept = (
        f"the checkpoint of epoch {epochs_done} is kept: with the same params, start again and it goes on from there"
        if epochs_done
        else "no epoch was finished yet"
    )
    text = str(error)
    if (where := out_of_memory(error)) is not None:
        return InputError(
            f"out of {where} in epoch {epochs_done + 1}: set train.batch_size below {batch_size} (train.accumulate above its "
            f"value keeps the images per optimizer step), prepare.size lower, or a smaller net; {kept}"
        )
    if killed := re.search(r"DataLoader worker \(pid(?:\(s\))? [^)]*\) (.*?)(?:\. |$)", text):
        return InputError(
            f"epoch {epochs_done + 1}: a process that loads data {killed[1]}, most likely for want of memory or /dev/shm: "
            f"set train.workers lower, 0 loads within the training process; {kept}"
        )
    if "Connection closed by peer" in text or "Connection reset by peer" in text:
        return InputError(
            f"epoch {epochs_done + 1}: another process of this run ended, its own message says why; {kept}"
        )
    return None
