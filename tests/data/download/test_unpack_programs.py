"""RAR and 7z through the programs that are there, and through one that is made up, so that it is tested everywhere."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from losslab.data.download.archives import unpack
from losslab.errors import InputError
from tests.data.download.packing import content
from tests.data.download.rar import HARDLINK, SYMLINK, make_rar

FILES = {"a.txt": b"one", "deep/er/b.bin": bytes(range(256)) * 40, "deep/ö ü.txt": b"two"}
SIZE = sum(map(len, FILES.values()))
BINARIES = {"bsdtar": ["bsdtar"], "unar": ["unar", "lsar"], "7z": ["7z"]}


@pytest.fixture(params=BINARIES)
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The only one of the programs on the path."""
    programs = [shutil.which(name) for name in BINARIES[request.param]]
    if None in programs:
        pytest.skip(f"{request.param} is not installed")
    (tmp_path / "bin").mkdir()
    for path in filter(None, programs):
        (tmp_path / "bin" / Path(path).name).symlink_to(Path(path).resolve())
    if request.param == "7z":  # a script that finds its parts by itself
        monkeypatch.setenv("PATH", str(Path(str(programs[0])).parent))
        if shutil.which("bsdtar") or shutil.which("unar"):
            hidden = tmp_path / "bin" / "7z"
            hidden.unlink()
            hidden.write_text(f'#!/bin/sh\nexec {programs[0]} "$@"\n')
            hidden.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return str(request.param)


def unpacked(archive: Path, limit: int | None = SIZE) -> dict[str, bytes]:
    folder = archive.parent / "out/side"
    folder.mkdir(parents=True)
    try:
        unpack(archive, folder, limit)
    finally:
        assert [path.name for path in folder.parent.iterdir()] == ["side"]
        assert not [path for path in folder.rglob("*") if path.is_symlink()]
    return content(folder)


def test_rar_is_unpacked_whatever_its_name(tmp_path: Path, program: str) -> None:
    assert unpacked(make_rar(tmp_path / "data.zip", FILES)) == FILES


def test_7z_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (packer := shutil.which("7z")):
        pytest.skip("7z is not installed")
    for name, body in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(body)
    (tmp_path / "in/link").symlink_to("a.txt")
    done = subprocess.run([packer, "a", "-snl", str(tmp_path / "x.7z"), "."], cwd=tmp_path / "in", check=False)
    assert done.returncode == 0
    shutil.rmtree(tmp_path / "in")
    assert unpacked(tmp_path / "x.7z", 2 * SIZE) == FILES | {"link": b"one"}


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_name_that_leaves_the_folder_is_refused(tmp_path: Path, program: str, name: str) -> None:
    with pytest.raises(InputError, match=rf"data.rar: holds '{name}', which leaves the folder"):
        unpacked(make_rar(tmp_path / "data.rar", FILES | {name: b"evil"}))
    assert not list(tmp_path.rglob("evil"))


def test_link_within_a_rar_becomes_a_copy(tmp_path: Path, program: str) -> None:
    archive = make_rar(tmp_path / "data.rar", FILES, {"deep/link": (SYMLINK, "ö ü.txt")})
    assert unpacked(archive, 2 * SIZE) == FILES | {"deep/link": b"two"}


@pytest.mark.parametrize(
    ("kind", "target"), [(SYMLINK, "/etc/passwd"), (SYMLINK, "../../../evil"), (SYMLINK, "nowhere"), (SYMLINK, "er")]
)
def test_link_to_elsewhere_is_refused(tmp_path: Path, program: str, kind: int, target: str) -> None:
    (tmp_path / "evil").write_text("not yours")
    with pytest.raises(InputError, match=r"data.rar: (holds 'deep/x', a link to '.*', which is no file|damaged)"):
        unpacked(make_rar(tmp_path / "data.rar", FILES, {"deep/x": (kind, target)}))


def test_hard_link_within_a_rar_is_a_file(tmp_path: Path, program: str) -> None:
    archive = make_rar(tmp_path / "data.rar", FILES, {"hard": (HARDLINK, "a.txt")})
    assert unpacked(archive, 2 * SIZE) == FILES | {"hard": b"one"}


def test_rar_that_unpacks_to_too_much_is_refused(tmp_path: Path, program: str) -> None:
    with pytest.raises(InputError, match=rf"unpacks to more than the card's {SIZE - 1} bytes; refused"):
        unpacked(make_rar(tmp_path / "data.rar", FILES), SIZE - 1)


def test_rar_that_is_cut_off_anywhere_is_reported(tmp_path: Path) -> None:
    """The programs take one that ends between two files for complete."""
    complete = make_rar(tmp_path / "whole.rar", FILES).read_bytes()
    for length in (*range(8, 200), *range(len(complete) - 200, len(complete))):
        (tmp_path / "data.rar").write_bytes(complete[:length])
        with pytest.raises(InputError, match=r"data.rar: ends too early. Is it complete\?"):
            unpack(tmp_path / "data.rar", tmp_path / "out", SIZE)


def test_old_rar_is_followed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAR 4: a head of 13 bytes, a file of 5, the end."""
    head = b"\xcf\x90\x73\x00\x00\x0d\x00" + bytes(6)
    name = b"a"
    file = b"\0\0\x74\x00\x80" + (32 + len(name)).to_bytes(2, "little") + (5).to_bytes(4, "little")
    file = file.ljust(32, b"\0") + name + b"hello"
    complete = b"Rar!\x1a\x07\x00" + head + file + b"\xc4\x3d\x7b\x00\x40\x07\x00"
    monkeypatch.setenv("PATH", "")
    for length in range(8, len(complete) + 1):
        (tmp_path / "data.rar").write_bytes(complete[:length])
        complaint = "needs bsdtar" if length == len(complete) else "ends too early"
        with pytest.raises(InputError, match=complaint):
            unpack(tmp_path / "data.rar", tmp_path / "out", SIZE)


def test_damaged_content_is_reported_in_the_programs_words(tmp_path: Path, program: str) -> None:
    if program == "bsdtar":
        pytest.skip("libarchive 3.6 does not check what is stored without compression in a RAR 5")
    archive = make_rar(tmp_path / "data.rar", FILES)
    packed = archive.read_bytes()
    archive.write_bytes(packed.replace(bytes(range(256)) * 2, bytes(512), 1))
    with pytest.raises(
        InputError, match=rf"damaged, encrypted, or not supported by {program} \({program}: .+\)"
    ) as caught:
        unpacked(archive)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hidden", [[], ["-mhe=on"]], ids=["content", "names"])
def test_encrypted_archive_is_reported(tmp_path: Path, hidden: list[str]) -> None:
    if not (packer := shutil.which("7z")):
        pytest.skip("7z is not installed")
    (tmp_path / "a.txt").write_text("secret")
    done = subprocess.run([packer, "a", "-pword", *hidden, "x.7z", "a.txt"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    with pytest.raises(InputError, match=r"x.7z: damaged, encrypted, or not supported by .*7z"):
        unpacked(tmp_path / "x.7z")


FAKE = """#!/bin/sh
# $1 is -t to list, or -x to unpack into $5.
[ "$1" = -t ] && { cat NAMES; exit 0; }
cd "$5" || exit 1
"""


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, names: str = "a.txt\n") -> Path:
    """A bsdtar that is none; returns an archive for it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "names").write_text(names)
    (tmp_path / "bin/bsdtar").write_text(FAKE.replace("NAMES", str(tmp_path / "names")) + does + "\n")
    (tmp_path / "bin/bsdtar").chmod(0o755)
    for tool in ("cat", "mkdir", "ln", "mkfifo", "sleep", "chmod", "head"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return make_rar(tmp_path / "data.rar", FILES)


def test_whatever_a_program_unpacks_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = fake(tmp_path, monkeypatch, "mkdir d; echo one > d/a; chmod 0 d/a; chmod 500 d")
    assert unpacked(archive) == {"d/a": b"one\n"}
    assert (tmp_path / "out/side/d/a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("does", "complaint"),
    [
        ("ln -s /etc/passwd x", "holds 'x', a link to '/etc/passwd', which is not in the archive; refused"),
        ("mkdir d; ln -s d x", "holds 'x', a link to 'd', which is not in the archive; refused"),
        ("ln -s x x", "holds 'x', a link to 'x', which is not in the archive; refused"),
        ("mkfifo x", "holds 'x', which is a device; refused"),
        ("ln ../../users x", "holds 'x', a hard link that leaves the folder; refused"),
        ("echo first; echo 'No such compression' >&2; exit 3", r"supported by bsdtar \(bsdtar: No such compression\)"),
        ("exit 3", r"supported by bsdtar \(bsdtar: failed without a message\)"),
    ],
)
def test_what_a_program_must_not_leave_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, complaint: str
) -> None:
    (tmp_path / "users").write_text("not yours")
    (tmp_path / "users").chmod(0o600)
    with pytest.raises(InputError, match=complaint):
        unpacked(fake(tmp_path, monkeypatch, does))
    assert (tmp_path / "users").stat().st_mode & 0o777 == 0o600


def test_copies_of_links_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = fake(tmp_path, monkeypatch, "head -c 9000 /dev/zero > a; for n in 1 2 3; do ln -s a $n; done")
    with pytest.raises(InputError, match="unpacks to more than the card's 20000 bytes"):
        unpacked(archive, 20_000)


def test_name_that_a_program_lists_is_checked_before_it_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = fake(tmp_path, monkeypatch, f"echo unpacked > {tmp_path}/done", "a\n../evil\n")
    with pytest.raises(InputError, match=r"holds '\.\./evil', which leaves the folder"):
        unpacked(archive)
    assert not (tmp_path / "done").exists()


def test_program_is_ended_when_there_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    does = f"head -c 99999 /dev/zero > a; echo $$ > {tmp_path}/pid; sleep 600"
    with pytest.raises(InputError, match="unpacks to more than the card's"):
        unpacked(fake(tmp_path, monkeypatch, does))
    if (tmp_path / "pid").exists():
        wait_for_end(int((tmp_path / "pid").read_text()))


def test_next_program_is_tried_when_the_first_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = fake(tmp_path, monkeypatch, "echo half > half; exit 1")
    (tmp_path / "bin/7z").write_text('#!/bin/sh\n[ "$1" = l ] || echo whole > "${4#-o}/whole"\n')
    (tmp_path / "bin/7z").chmod(0o755)
    assert unpacked(archive) == {"whole": b"whole\n"}


def test_without_a_program_what_to_install_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_rar(tmp_path / "data.rar", FILES)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"data.rar: needs bsdtar, unar or 7z: apt install libarchive-tools"):
        unpacked(archive)


def test_program_ends_with_the_process_that_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed stage must leave nothing that writes into the folder of the next one."""
    archive = fake(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 600")
    code = (
        "import sys; from pathlib import Path; from losslab.data.download.archives import unpack; "
        "unpack(Path(sys.argv[1]), Path(sys.argv[2]), 99)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code, str(archive), str(tmp_path / "out")], env=environment)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    wait_for_end(int((tmp_path / "pid").read_text()))


def wait_for_end(pid: int) -> None:
    """Returns when the process has ended; without an end the test hangs until it is stopped."""
    status = Path(f"/proc/{pid}/stat")
    for _ in range(2000):
        try:
            os.kill(pid, 0)
            if status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} goes on")
