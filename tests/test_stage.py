"""Each stage script, run as DVC runs it, with bad params: one line, exit code 1, nothing written."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from losslab import stage
from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.experiments.clone import STAGES
from losslab.io.files import write_json
from losslab.params import load
from losslab.stage import find_checkpoints_folder, find_downloads_folder, forget_downloads, forget_finished
from losslab.training.plan import RECORDED_PARAMS
from tests.conftest import ROOT, TINY_CHANGES, merge, write_params
from tests.fork_server import start_server


def run_stage(stage: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(start_server() / "python"), str(ROOT / "src" / f"{stage}.py")]
    env = {**os.environ, "DVC_ROOT": str(folder), "MLFLOW_TRACKING_URI": "", **environment}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("stage", STAGES)
def test_bad_params_end_every_stage_with_one_line(stage: str, tmp_path: Path) -> None:
    write_params(tmp_path, {"report": {"examples": "many"}})
    before = sorted(tmp_path.rglob("*"))
    done = run_stage(stage, tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"ERROR: {stage}: params.yaml: report.examples is 'many'; it must be a whole number"
    ]
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        ("prepare", "lacks train/images, train/masks"),
        ("train", "no prepared data; run dvc repro prepare"),
        ("evaluate", "no such file; the train stage writes it"),
        ("report", "models/model.json: no such file; if an earlier stage writes it, run dvc repro"),
    ],
)
def test_stage_without_its_input_says_which(stage: str, complaint: str, tmp_path: Path) -> None:
    write_params(tmp_path, TINY_CHANGES)
    done = run_stage(stage, tmp_path)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_unknown_encoder_is_an_error_before_the_data_is_touched(tmp_path: Path) -> None:
    write_params(tmp_path, TINY_CHANGES | {"encoder": "resnet81"})
    done = run_stage("download", tmp_path)
    assert done.returncode == 1
    assert "encoder: 'resnet81' is unknown to smp and timm (timm's names start with tu-)" in done.stderr
    assert "; similar names: resnet18" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data/raw").exists()


def test_stage_refuses_what_the_one_before_made_with_other_params(tmp_path: Path, tiny_data: PreparedData) -> None:
    write_params(tmp_path, merge(TINY_CHANGES, {"arch": "simple_cnn", "encoder": None, "prepare": {"limit": 5}}))
    (tmp_path / "data/prepared").mkdir()
    (tmp_path / "data/prepared/tiny").symlink_to(tiny_data.folder)
    params = load(tmp_path / "params.yaml")
    run = params.model_dump(include=RECORDED_PARAMS)
    write_json(tmp_path / "models/model.json", {"size": 64, "fit": "stretch", "run": run})
    write_json(tmp_path / "reports/evaluation.json", {"tta": "flip"})
    for name, said in (
        ("train", "audit.json: these data were prepared with prepare.limit null, but params.yaml has 5: run"),
        (
            "report",
            "reports/evaluation.json: the scores were computed with evaluate.tta flip, but params.yaml has none: run",
        ),
    ):
        (line,) = run_stage(name, tmp_path).stderr.splitlines()
        assert said in line


def test_python_without_the_packages_is_an_error_that_says_how_to_get_them(tmp_path: Path) -> None:
    write_params(tmp_path, {})
    command = [sys.executable, "-S", "-E", str(ROOT / "src/download.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Run `make setup`, then `. .venv/bin/activate`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("known_by", ["dvc.lock", ".dvc/cache/runs/5b/5bb7/4d01", None])
def test_checkpoint_of_a_finished_run_goes_when_dvc_knows_all_its_outs(
    known_by: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if known_by is not None:
        Path(known_by).parent.mkdir(parents=True, exist_ok=True)
        Path(known_by).write_text(
            "outs:\n- path: models/x\n  md5: aaa\n- path: models/y\n  md5: bbb\n", encoding="utf-8"
        )
    find_checkpoints_folder().mkdir(parents=True)
    names = {"1.aaa.bbb.finished", "2.bbb.aaa.finished", "3.aaa.ccc.finished", "4.ckpt"}
    for name in names:
        (find_checkpoints_folder() / name).touch()
    forget_finished()
    left = {"3.aaa.ccc.finished", "4.ckpt"} if known_by is not None else names
    assert {path.name for path in find_checkpoints_folder().iterdir()} == left


@pytest.mark.parametrize("fetching", [False, True])
def test_archives_go_when_prepare_begins_unless_they_are_in_use(
    fetching: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for dataset in ("mine", "other"):
        find_downloads_folder(dataset).mkdir(parents=True)
        (find_downloads_folder(dataset) / "data.zip").touch()
    lock = FileLock(find_downloads_folder("mine").with_name("mine.lock"))
    if fetching:
        lock.acquire()
    forget_downloads("mine")
    lock.release()
    assert find_downloads_folder("mine").exists() == fetching
    assert (find_downloads_folder("other") / "data.zip").exists()
    forget_downloads("none")
    assert not find_downloads_folder("none").with_name("none.lock").exists()


def test_leftovers_of_a_killed_download_go_when_prepare_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC may restore the dataset from its cache, so that no other download clears them away."""
    monkeypatch.chdir(tmp_path)
    for name in (".fetched.partial/a", ".unpacked.partial/files", "fetched", "own"):
        (tmp_path / "data/raw/mine" / name).mkdir(parents=True)
    forget_downloads("mine")
    assert sorted(path.name for path in (tmp_path / "data/raw/mine").iterdir()) == ["fetched", "own"]


def test_prepare_forgets_what_was_downloaded(tmp_path: Path) -> None:
    write_params(tmp_path, TINY_CHANGES)
    (tmp_path / ".losslab/downloads/tiny").mkdir(parents=True)
    run_stage("prepare", tmp_path)
    assert not (tmp_path / ".losslab/downloads/tiny").exists()


def test_download_prints_files_licence_and_source(tmp_path: Path) -> None:
    write_params(tmp_path, TINY_CHANGES)
    assert run_stage("download", tmp_path).stdout == "download: Tiny lesions, 22 files drawn here, licence: CC0-1.0\n"
    assert len(list((tmp_path / "data/raw/tiny/fetched").rglob("*.bmp"))) == 22


def test_manual_step_is_one_line(tmp_path: Path) -> None:
    write_params(tmp_path, {"dataset": "ph2", "prepare": {"split": {"method": "random"}}})
    done = run_stage("download", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("ERROR: download: ph2: PH2Dataset.rar cannot be fetched by a program: fill in the form at ")
    assert f"put it at {tmp_path}/data/manual/ph2/PH2Dataset.rar" in line


@pytest.mark.parametrize(
    "error",
    [
        "MemoryError()",
        "RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you')",
        "OSError(12, 'Cannot allocate memory')",
        "Exception('(-4:Insufficient memory) Failed to allocate 10800000000 bytes')",
    ],
)
def test_memory_that_runs_out_in_any_stage_is_one_line(error: str, tmp_path: Path) -> None:
    write_params(tmp_path, {})
    code = f"from losslab import stage\ndef main(params): raise {error}\nstage.run_stage(main)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "ERROR: -c: out of memory: lower train.batch_size, evaluate.batch_size or prepare.size"
    ]


def test_two_stages_never_work_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is told which process to wait for. What the first has forked does not keep the folder after its end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "LOCK_TIMEOUT_S", 0.0)
    fork = "forked = os.fork()\nif forked: print(forked, flush=True)\ninput()"
    code = f"import os\nfrom losslab import stage\nlock = stage._lock_folder()\n{fork}"
    first = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout is not None and first.stdin is not None
    forked = int(first.stdout.readline())
    message = rf"^process {first.pid} \(-c\) works in this folder: .*`dvc exp run --temp`"
    try:
        with pytest.raises(InputError, match=message):
            stage._lock_folder()
        first.kill()
        first.wait()
        os.kill(forked, 0)
        stage._lock_folder().close()
    finally:
        os.kill(forked, signal.SIGKILL)
        first.stdin.close()
        first.stdout.close()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_stage_whose_params_change_while_it_runs_fails(rank: str, tmp_path: Path) -> None:
    """The check is for the process that writes."""
    write_params(tmp_path, {})
    (tmp_path / "dvc.yaml").write_text("stages: {-c: {params: [loss]}}", encoding="utf-8")
    change = "os.system(\"sed -i 's/^loss: .*/loss: dice/' params.yaml\")"
    code = f"import os\nfrom losslab import stage\ndef main(params): {change}\nstage.run_stage(main)"
    env = {**os.environ, "LOCAL_RANK": rank}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == (rank == "0")
    assert done.stderr.splitlines() == [
        "ERROR: -c: params.yaml changed while this stage ran (loss was cross_entropy, is dice now), so DVC records nothing; "
        "run dvc repro again"
    ] * (rank == "0")


@pytest.mark.parametrize("signals", [1, 2])
def test_interrupted_stage_ends_with_one_line_also_when_interrupted_again(signals: int, tmp_path: Path) -> None:
    write_params(tmp_path, {})
    interrupt = "os.kill(os.getpid(), signal.SIGINT)"
    code = (
        "import atexit, os, signal\nfrom losslab import stage\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"atexit.register(lambda: {interrupt if signals == 2 else None})\n"
        f"def main(params): {interrupt}\nstage.run_stage(main)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == ({1: 130, 2: -signal.SIGINT}[signals], "ERROR: -c: interrupted\n")


def test_terminated_stage_ends_by_the_signal(tmp_path: Path) -> None:
    """DVC then says `exited with -15`, by which a study knows that the run can go on."""
    write_params(tmp_path, {})
    code = "from losslab import stage, errors\ndef main(params): raise errors.Terminated\nstage.run_stage(main)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "ERROR: -c: interrupted\n")


def test_system_without_a_folder_for_temporary_files_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Python then names no file: it is not one that an earlier stage writes."""
    write_params(tmp_path, TINY_CHANGES)
    monkeypatch.chdir(tmp_path)

    def fail(_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    with pytest.raises(SystemExit) as ended:
        stage.run_stage(fail)
    assert ended.value.code == 1
    assert capsys.readouterr().err.endswith(": No usable temporary directory found in ['/tmp']\n")
