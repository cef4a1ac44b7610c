"""`losslab init`: a project in a folder, in a Git repository of its own or in one that is there."""

from dataclasses import dataclass
from pathlib import Path

from losslab.errors import InputError
from losslab.formats import format_list
from losslab.io.files import write_bytes
from losslab.io.git import find_repository, run_git
from losslab.project.code import RECORD, is_losslabs_own, write_record
from losslab.project.template import is_needed, merge, read_template


@dataclass(frozen=True)
class NewProject:
    """What `create_project` has done."""

    root: Path
    written: list[str]
    kept: list[str]
    """Files that were there with other content, and were left as they are."""
    has_new_repository: bool


def create_project(folder: Path) -> NewProject:
    """Make a folder a project: write what is missing, and change nothing that is there.

    Raises InputError, and writes nothing, where the folder is a project already, or where a file that the pipeline needs
    is there with other content.
    """
    folder = folder.resolve()
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir():
        raise InputError(f"{above}: it is a file; name a folder")
    if (folder / RECORD).exists():
        raise InputError(f"{folder}: it is a losslab project; `losslab upgrade` moves it to the installed losslab")
    repository = find_repository(above)
    if repository is not None and is_losslabs_own(repository):
        raise InputError(f"{folder}: it is in losslab's own repository; name a folder outside it")
    files = read_template(folder, repository or folder, folder.name)
    contents = {path: merge(path, folder / path, content) for path, content in files.items()}
    clashing = [path for path in contents if (folder / path).exists() and contents[path] is None]
    if needed := [path for path in clashing if is_needed(path)]:
        raise InputError(
            f"{folder}: {format_list(needed)} would have to be losslab's, and a file of this name is there: nothing was "
            "written; name another folder, such as a new one in it"
        )
    written = []
    for path, content in contents.items():
        if content is not None and not ((folder / path).exists() and (folder / path).read_bytes() == content):
            write_bytes(folder / path, content)
            written.append(path)
    if repository is None:
        run_git(folder, "init", "-q", "-b", "main")
    ours = {path: content for path, content in files.items() if path not in clashing}
    write_record(folder, folder.name, ours)  # last: all is there
    return NewProject(folder, written, clashing, repository is None)
