"""prepare: resize, split and audit the raw data; write arrays that training maps into memory."""

from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab.cards import read_card
    from losslab.data.prepare.audit import AuditError, summarize_audit
    from losslab.data.prepare.prepare import prepare
    from losslab.io.files import write_json
    from losslab.models.hub import check_reachable

    stage.forget_downloads(params.dataset)
    check_reachable(params.encoder, params.encoder_weights)
    out, raw = (Path("data") / kind / params.dataset for kind in ("prepared", "raw"))
    try:
        audit = prepare(read_card(params.dataset), raw, params.prepare, out)
    except AuditError as error:
        # A failed stage leaves no out, and a failed experiment not even its folder, so the audit is kept elsewhere.
        kept = stage.find_main_repo() / ".losslab/audits" / f"{params.dataset}.json"
        write_json(kept, error.audit)
        stage.print_lines(f"audit: {line}" for line in summarize_audit(error.audit))
        stage.print_lines([f"audit: the complete audit is in {kept}"])
        raise
    stage.print_lines(f"audit: {line}" for line in summarize_audit(audit))
    if audit["findings"]:
        stage.print_lines([f"audit: the complete audit is in {out}/audit.json"])
    stage.print_line(f"prepare: {', '.join(f'{count} {split}' for split, count in audit['images'].items())} images")


if __name__ == "__main__":
    stage.run_stage(main)
