"""download: put the dataset that its card describes into data/raw/<dataset>/fetched."""

from pathlib import Path
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab.cards import read_card
    from losslab.data.download.fetch import fetch
    from losslab.models.hub import check_reachable

    check_reachable(params.encoder, params.encoder_weights)  # now, before data are fetched and prepared in vain
    card = read_card(params.dataset)
    source = params.download.source
    fetched = fetch(
        params.dataset,
        card,
        # A relative source starts at the user's repository, also in a queued experiment.
        None if source is None else stage.find_main_repo() / Path(source).expanduser(),
        Path("data/raw") / params.dataset,
        stage.find_downloads_folder(params.dataset),
        stage.find_main_repo() / "data/manual" / params.dataset,
        lambda line: stage.print_line(f"download: {line}"),
    )
    stage.print_line(f"download: {card.title}, {fetched.files} files {fetched.origin}, licence: {card.licence}")


if __name__ == "__main__":
    stage.run_stage(main)
