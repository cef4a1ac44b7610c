"""plugins: record which files of the project's own, in plugins/, the other stages use, and try what is in them."""

import json
from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab.io.files import write_text
    from losslab.plugins.usage import describe_usage, get_usage_path

    used = describe_usage(params.model_dump())
    if any(json.loads(text) for text in used.values()):
        from losslab.training.trial import try_plugins

        try_plugins(params)
    for name, text in used.items():
        write_text(get_usage_path(name), text)


if __name__ == "__main__":
    stage.run_stage(main)
