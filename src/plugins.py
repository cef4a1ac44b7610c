"""plugins: record which files of the project's own, in plugins/, the other stages use, and what they hold."""

from typing import TYPE_CHECKING

from losslab import stage

if TYPE_CHECKING:
    from losslab.params import Params


def main(params: "Params") -> None:
    from losslab.io.files import write_text
    from losslab.plugins.usage import describe_usage, get_usage_path

    for name, text in describe_usage(params.model_dump()).items():
        write_text(get_usage_path(name), text)


if __name__ == "__main__":
    stage.run_stage(main)
