"""Build hook: the wheel carries the files of this repository that `losslab init` writes; an editable install has them here."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProjectFiles(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            files = self.config["project-files"]
            build_data["force_include"] |= {path: f"losslab/project/template/{path}" for path in files}
