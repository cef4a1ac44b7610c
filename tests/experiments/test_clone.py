"""A run's clone: its params, its commit, and why it failed."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from dvc.config import Config

from losslab.errors import InputError
from losslab.experiments import clone
from losslab.experiments.clone import (
    commit_run,
    fetch_bundle,
    find_reason,
    make_clone,
    publish_run,
    run_dvc,
    run_dvc_repro,
    was_killed,
    write_bundle,
    write_params,
)
from losslab.experiments.finished_runs import list_experiments
from losslab.io.files import write_text
from losslab.io.git import find_head, find_prefix, read_file_at
from losslab.io.yaml import parse_yaml
from losslab.study.plan import plan_runs, read_study
from tests.study.repository import Repository

LOG = """Running stage 'train':
> python src/train.py
WARNING: ERROR: is not at the start
ERROR: train: train.lr is too high
ERROR: failed to reproduce 'train': failed to run: python src/train.py, exited with 1
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (LOG, "train: train.lr is too high"),
        ("ERROR: failed to parse 'dvc.yaml'\n\n", "failed to parse 'dvc.yaml'"),
        ("Traceback\nKeyError: 3", "KeyError: 3"),
        ("", "it left no output"),
    ],
)
def test_reason_is_the_stages_own_line_else_dvcs_else_the_last(log: str, reason: str) -> None:
    assert find_reason(log) == reason


def test_stage_that_was_killed_differs_from_one_that_failed() -> None:
    for ending, killed in {
        "-9": True,
        "-15": True,
        "137": True,
        "143": True,
        "1": False,
        "13": False,
        "130": False,
    }.items():
        assert was_killed(1, f"failed to run: python src/train.py, exited with {ending}") == killed
    assert was_killed(-9, "") and was_killed(75, "") and not was_killed(0, "exited with -9")


def test_params_are_written_exactly_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("loss: dice # a name\nloss_options: {gamma: 1.0}\ntrain:\n  lr: 1 # a rate\n  ema:\n")
    params = {"loss": "0.5*bce+0.5*dice", "loss_options": {"a": [1e-05, None]}, "train": {"lr": 1.0, "ema": "1e-3"}}
    write_params(path, params)
    text = path.read_text()
    assert parse_yaml(text) == params and isinstance(parse_yaml(text)["train"]["lr"], float)
    assert "# a name" in text and "# a rate" in text
    write_params(path, {"loss": "dice", "loss_options": {}, "train": {"lr": 2}})
    assert parse_yaml(path.read_text()) == {"loss": "dice", "loss_options": {}, "train": {"lr": 2}}


def test_clone_takes_nothing_uncommitted_along_and_gives_back_an_experiment(
    repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, folder = repository.root, tmp_path_factory.mktemp("slots") / "slot"
    run, baseline = plan_runs(repository.read())[0], find_head(repository.root)
    (root / "params.yaml").write_text("dirty: 1\n")
    (root / ".dvc/config.local").write_text("['remote \"s\"']\nurl = ssh://host/s\npassword = p\n")
    make_clone(folder, root, root, baseline, root / ".dvc/cache", Path())
    assert "dirty" not in (folder / "params.yaml").read_text()
    local = folder / ".dvc/config.local"
    assert str(root / ".dvc/cache") in local.read_text() and "password = p" in local.read_text()
    assert local.stat().st_mode & 0o777 == 0o600
    write_params(folder / "params.yaml", run.params)
    (folder / "dvc.lock").write_text("stages: {}\n")
    commit_run(folder, "m")
    publish_run(folder, root, run.name, baseline)
    ((name, parent, revision),) = list_experiments(root)
    assert (name, parent) == (run.name, baseline)
    assert parse_yaml(read_file_at(root, revision, "params.yaml")) == run.params
    assert (root / "params.yaml").read_text() == "dirty: 1\n"
    write_bundle(folder, folder.with_suffix(".bundle"), baseline)
    fetch_bundle(folder.with_suffix(".bundle"), root, "other", baseline)
    assert {entry[2] for entry in list_experiments(root)} == {revision} and len(list_experiments(root)) == 2
    make_clone(folder, root, root, baseline, root / ".dvc/cache", Path())
    assert parse_yaml((folder / "params.yaml").read_text()) == parse_yaml(read_file_at(root, "HEAD", "params.yaml"))


def test_stages_run_the_code_of_their_clone(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository.root
    package = root / "src/losslab/__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("")
    (root / "src/stage.py").write_text("import losslab; open('path.txt', 'w').write(losslab.__file__)")
    (root / "dvc.yaml").write_text("stages: {stage: {cmd: python src/stage.py}}")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # without, Python looks beside the script first
    assert run_dvc_repro(root, [], {"DVC_SITE_CACHE_DIR": str(root / ".dvc/site")}, own_group=True) == 0
    assert (root / "path.txt").read_text() == str(package)


def test_clone_whose_dvc_was_killed_while_it_wrote_its_record_runs_again(repository: Repository) -> None:
    record = repository.root / ".dvc/tmp/rwlock"
    record.parent.mkdir(exist_ok=True)
    for whole in ('{"read": {}}', "{}"):  # it may be another process's
        record.write_text(whole)
        clone.drop_torn_lock(repository.root)
        assert record.read_text() == whole
    record.write_text("")
    (repository.root / "dvc.yaml").write_text("stages: {stage: {cmd: echo done > done.txt}}")
    assert run_dvc_repro(repository.root, [], {"DVC_SITE_CACHE_DIR": str(repository.root / ".dvc/site")}) == 0


def test_commit_needs_no_identity(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("HOME", str(repository.root))
    (repository.root / "dvc.lock").write_text("")
    commit_run(repository.root, "without a name")
    done = subprocess.run(
        ["git", "log", "-1", "--format=%an %s"], cwd=repository.root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "losslab without a name"


def test_commit_that_is_not_there_is_one_line(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("slots") / "slot"
    with pytest.raises(InputError) as error:
        make_clone(folder, repository.root, repository.root, "0" * 40, folder, Path())
    assert "\n" not in str(error.value)


def test_why_outs_cannot_be_pushed_is_one_line(repository: Repository) -> None:
    (repository.root / ".dvc/config").write_text("[core]\nremote = s\n['remote \"s\"']\nurl = /proc/nope\n")
    md5 = hashlib.md5(b"").hexdigest()
    (repository.root / "out.dvc").write_text(f"outs: [{{path: out, md5: {md5}, size: 0, hash: md5}}]\n")
    write_text(repository.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:], "")
    with pytest.raises(InputError, match=r"^dvc push: .*No such file or directory: '/proc/nope'$"):
        run_dvc(repository.root, "push")


@pytest.mark.parametrize("prefix", [".", "segmentation/lesions"])
@pytest.mark.parametrize("depth", [None, 1, 2])
@pytest.mark.parametrize("bundled", [False, True])
def test_run_comes_back_to_a_project_in_a_subfolder_or_a_shallow_clone(
    prefix: str, depth: int | None, bundled: bool, tmp_path: Path
) -> None:
    top = tmp_path / "origin"
    project = Repository(top / prefix, top)
    (top / "README.md").write_text("beside the project")
    for number in range(2):
        (project.root / "data/catalog/note.txt").write_text(str(number))
        project.commit()
    if depth is not None:
        subprocess.run(
            ["git", "clone", "-q", "--depth", str(depth), f"file://{top}", str(tmp_path / "shallow")], check=True
        )
        top, project.root = tmp_path / "shallow", tmp_path / "shallow" / prefix
    root, baseline = project.root, find_head(project.root)
    (root / ".dvc/config.local").write_text("['remote \"s\"']\nurl = ssh://host/s\npassword = p\n")
    source = root
    if bundled:
        source = tmp_path / "source.bundle"
        write_bundle(root, source)
    slot = tmp_path / "slots/slot"
    clone = make_clone(slot, source, root, baseline, root / ".dvc/cache", find_prefix(root))
    assert clone == slot / prefix and "password = p" in (clone / ".dvc/config.local").read_text()
    run = plan_runs(read_study("small", root))[0]
    write_params(clone / "params.yaml", run.params)
    (clone / "dvc.lock").write_text("stages: {}\n")
    commit_run(clone, "m")
    if bundled:
        write_bundle(clone, tmp_path / "result.bundle", baseline)
        fetch_bundle(tmp_path / "result.bundle", root, run.name, baseline)
    else:
        publish_run(clone, root, run.name, baseline)
    ((name, parent, revision),) = list_experiments(root)
    assert (name, parent) == (run.name, baseline)
    assert parse_yaml(read_file_at(root, revision, "params.yaml")) == run.params
    again = make_clone(tmp_path / "again", root, root, revision, root / ".dvc/cache", find_prefix(root))
    assert parse_yaml((again / "params.yaml").read_text()) == run.params, "an experiment can be cloned too"


def test_path_of_the_cache_may_have_any_letters(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    path, cache = tmp_path / ".dvc/config.local", "/home/jörg/a, b #1 100%25 'x'/cache"
    path.write_text("['remote \"s3\"']\n    password = pässwörd\n", encoding="utf-8")
    clone._configure_dvc(path, {"core__check_update": "false", "cache__dir": cache})
    read = Config(str(tmp_path / ".dvc"), validate=False).load_one("local")
    assert (read["cache"]["dir"], read["core"]["check_update"]) == (cache, "false")
    assert read["remote"]["s3"]["password"] == "pässwörd"
