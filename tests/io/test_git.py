"""Git at the root of a repository, in a subfolder of it, and in a shallow clone."""

from pathlib import Path

import pytest

from losslab.errors import InputError
from losslab.io.git import find_commit, find_head, find_prefix, find_repository, list_changes, read_file_at, run_git

NAME = 'größe "ä".txt'


def commit(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-m", "change")
    return find_head(folder)


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository of two commits, whose subfolder `Ordner` holds the same files as its root."""
    for variable in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(variable, "tester")
    for variable in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(variable, "/dev/null")
    folder = tmp_path / "origin"
    folder.mkdir()
    run_git(folder, "init", "--initial-branch", "main")
    for text in ("old", "new ü"):
        commit(folder, {f"{place}{name}": text for place in ("", "Ordner/") for name in ("a.txt", NAME)})
    return folder


@pytest.fixture(params=["origin", "origin/Ordner", "shallow", "shallow/Ordner"])
def folder(request: pytest.FixtureRequest, origin: Path, tmp_path: Path) -> Path:
    run_git(tmp_path, "clone", "--depth", "1", f"file://{origin}", "shallow")
    return tmp_path / str(request.param)


def test_commit_and_prefix_are_those_of_the_repository(folder: Path, origin: Path) -> None:
    head = find_head(folder)
    assert head == find_head(origin) and len(head) == 40
    assert find_prefix(folder) == Path("Ordner" if folder.name == "Ordner" else ".")
    assert find_commit(folder, "main") == find_commit(folder, head[:12]) == head


def test_file_is_read_relative_to_the_folder(folder: Path) -> None:
    (folder / NAME).write_text("changed", encoding="utf-8")
    assert read_file_at(folder, "HEAD", NAME) == "new ü"
    with pytest.raises(FileNotFoundError, match="none"):
        read_file_at(folder, "HEAD", "none.txt")


def test_changes_are_relative_to_the_folder(folder: Path) -> None:
    assert list_changes(folder, ["."]) == []
    for name in (NAME, "neu ß.txt"):
        (folder / name).write_text("changed", encoding="utf-8")
    assert sorted(list_changes(folder, ["."])) == sorted([NAME, "neu ß.txt"])
    assert list_changes(folder, ["a.txt"]) == []
    assert list_changes(folder, ["."], since="HEAD") == [NAME]  # what Git does not track has not changed


def test_changes_since_an_older_commit_are_all_files_that_differ(origin: Path) -> None:
    assert sorted(list_changes(origin, ["Ordner"], since="HEAD~1")) == ["Ordner/a.txt", f"Ordner/{NAME}"]
    assert sorted(list_changes(origin / "Ordner", ["."], since="HEAD~1")) == ["a.txt", NAME]


def test_shallow_clone_lacks_older_commits(origin: Path, tmp_path: Path) -> None:
    run_git(tmp_path, "clone", "--depth", "1", f"file://{origin}", "shallow")
    older = find_commit(origin, "HEAD~1")
    assert older is not None and find_commit(tmp_path / "shallow", older) is None
    with pytest.raises(FileNotFoundError):
        read_file_at(tmp_path / "shallow", older, "a.txt")
    with pytest.raises(InputError, match=r"^git diff: bad object "):
        list_changes(tmp_path / "shallow", ["."], since=older)


def test_unknown_commit_is_none_and_no_option(origin: Path) -> None:
    run_git(origin, "tag", "v1")
    assert find_commit(origin, "v1") == find_head(origin)
    assert find_commit(origin, "none") is None and find_commit(origin, "--all") is None


def test_folder_without_a_repository_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^git rev-parse: not a git repository"):
        find_head(tmp_path)
    with pytest.raises(InputError, match="not a git repository"):
        list_changes(tmp_path, ["."])
    assert find_commit(tmp_path, "HEAD") is None
    with pytest.raises(FileNotFoundError):
        read_file_at(tmp_path, "HEAD", "a.txt")


def test_repository_without_a_commit_has_no_head(tmp_path: Path) -> None:
    run_git(tmp_path, "init")
    with pytest.raises(InputError, match="git rev-parse: Needed a single revision"):
        find_head(tmp_path)


def test_error_is_the_line_that_git_gives_as_the_reason(origin: Path) -> None:
    with pytest.raises(InputError, match=r"^git checkout: pathspec 'none' did not match any file.s. known to git$"):
        run_git(origin, "checkout", "none")


@pytest.mark.parametrize("hooks", [".git/hooks", "hooks"])
def test_hooks_are_not_run(hooks: str, origin: Path) -> None:
    (origin / hooks).mkdir(exist_ok=True)
    for name in ("pre-commit", "post-checkout"):
        (origin / hooks / name).write_text(f"#!/bin/sh\ntouch '{origin}/ran'\nexit 1\n", encoding="utf-8")
        (origin / hooks / name).chmod(0o755)
    run_git(origin, "config", "core.hooksPath", hooks)
    commit(origin, {"a.txt": "newer"})
    run_git(origin, "checkout", "-b", "other")
    assert not (origin / "ran").exists()


def test_repository_of_a_calling_hook_is_not_used(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git hands its hooks variables that would send every other Git command to the same repository and index."""
    other = tmp_path / "other"
    other.mkdir()
    run_git(other, "init")
    head = commit(other, {"b.txt": "b"})
    for variable, path in {"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index"}.items():
        monkeypatch.setenv(variable, str(origin / path))
    assert find_head(other) == head and run_git(other, "ls-files") == "b.txt\n"


def test_messages_of_git_are_not_in_the_users_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a folder outside of a repository would be an error wherever Git speaks another language."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert run_git(tmp_path, "-c", "alias.language=!echo $LC_ALL", "language") == "C\n"
    assert find_repository(tmp_path) is None
    run_git(tmp_path, "init", "-q")
    (tmp_path / "Größe").mkdir()
    assert find_repository(tmp_path / "Größe") == tmp_path
