"""prepare: resize, split and audit the raw data; write arrays that training maps into memory."""

from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab.data.cards import read_card
    from losslab.data.preparing.audit import AuditError, summary
    from losslab.data.preparing.prepare import prepare
    from losslab.files import write_json
    from losslab.models.hub import check_reachable

    stage.forget_downloads(params.dataset)
    check_reachable(params.encoder, params.encoder_weights)
    out, raw = (Path("data") / kind / params.dataset for kind in ("prepared", "raw"))
    try:
        audit = prepare(read_card(params.dataset), raw, params.prepare, out)
    except AuditError as error:
        # A failed stage leaves no out, and a failed experiment not even its folder: what was found is kept elsewhere.
        kept = stage.main_repo() / ".losslab/audits" / f"{params.dataset}.json"
        write_json(kept, error.audit)
        stage.tell(f"audit: {line}" for line in summary(error.audit))
        stage.tell([f"audit: all of it is in {kept}"])
        raise
    stage.tell(f"audit: {line}" for line in summary(audit))
    if audit["findings"]:
        stage.tell([f"audit: all of it is in {out}/audit.json"])
    stage.say("prepare: " + ", ".join(f"{count} {split}" for split, count in audit["images"].items()) + " images")


if __name__ == "__main__":
    stage.run(main)
