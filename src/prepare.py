"""prepare: resize, split and audit the raw data; write arrays that training maps into memory."""

from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab.data.cards import read_card
    from losslab.data.prepare import prepare
    from losslab.models.hub import check_reachable

    check_reachable(params.encoder, params.encoder_weights)
    audit = prepare(
        read_card(params.dataset),
        Path("data/raw") / params.dataset,
        params.prepare.size,
        params.prepare.split,
        Path("data/prepared") / params.dataset,
    )
    stage.say("prepare: " + ", ".join(f"{count} {split}" for split, count in audit["images"].items()) + " images")
    for reason, skipped in audit["skipped"].items():
        stage.say(f"prepare: skipped {skipped['count']}, {reason}: {', '.join(skipped['examples'])}")
    if audit["duplicates"]["across_splits"]:
        stage.warn(f"{audit['duplicates']['across_splits']} images stand in more than one split; see audit.json")


if __name__ == "__main__":
    stage.run(main)
