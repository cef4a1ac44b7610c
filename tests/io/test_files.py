import math
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from losslab.errors import InputError
from losslab.io.files import (
    atomic_write,
    iterate_csv,
    make_folder,
    open_scratch_folder,
    read_csv,
    read_json,
    unlock_folders,
    write_csv,
    write_json,
    write_text,
)


def test_file_or_folder_appears_completely_or_not_at_all(tmp_path: Path) -> None:
    write_text(tmp_path / "out", "old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "out") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert (tmp_path / "out").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folder_replaces_folder_and_leftovers_of_a_killed_run(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / ".out.partial").mkdir()
        (tmp_path / ".out.partial/leftover").write_text("x")
        with atomic_write(tmp_path / "out") as partial:
            partial.mkdir()
            (partial / content).write_text(content)
        assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["out", f"out/{content}"]


def test_scratch_is_empty_first_and_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/leftover").touch()
    with pytest.raises(RuntimeError), open_scratch_folder(tmp_path / "work") as folder:
        assert list(folder.iterdir()) == []
        (folder / "new").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_locked_folders_are_opened_and_links_not_followed(tmp_path: Path) -> None:
    (tmp_path / "work/a/b").mkdir(parents=True)
    (tmp_path / "other").mkdir(mode=0o700)
    (tmp_path / "work/a/link").symlink_to(tmp_path / "other")
    (tmp_path / "work/a/b").chmod(0)
    (tmp_path / "work/a").chmod(0)
    unlock_folders(tmp_path / "work")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "work").rglob("*")}
    assert modes == {"a": 0o755, "b": 0o755, "link": 0o700}


def test_what_losslab_keeps_for_itself_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "old/.losslab").mkdir(0o755, parents=True)
    for repository in ("old", "new"):
        make_folder(tmp_path / repository / ".losslab/study/small/logs")
        write_text(tmp_path / repository / ".losslab/id", "1")
        assert (tmp_path / repository / ".losslab").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / repository).stat().st_mode & 0o077, "but not what is beside it"


def test_tables_are_the_same_on_every_system_and_nan_is_empty(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"a": 1, "b": math.nan}, {"a": "x,y", "b": 0.5}])
    assert (tmp_path / "t.csv").read_bytes() == b'a,b\n1,\n"x,y",0.5\n'
    assert read_csv(tmp_path / "t.csv") == [{"a": "1", "b": ""}, {"a": "x,y", "b": "0.5"}]
    write_csv(tmp_path / "t.csv", [])
    assert read_csv(tmp_path / "t.csv") == []


def test_rows_of_a_large_table_are_written_one_by_one(tmp_path: Path) -> None:
    alive = list[weakref.ref[set[int]]]()

    class Cell(set[int]):
        """An object that a weak reference can watch."""

    def make_rows() -> Iterator[dict[str, object]]:
        for _ in range(50):
            cell = Cell()
            alive.append(weakref.ref(cell))
            yield {"a": cell}
            del cell
            assert sum(one() is not None for one in alive) <= 2

    write_csv(tmp_path / "t.csv", make_rows())
    assert len(list(iterate_csv(tmp_path / "t.csv"))) == 50
    for torn in ("a,b\n1,2\n3", "a,b\n1,2\n3,4,5\n"):
        (tmp_path / "t.csv").write_text(torn, encoding="utf-8")
        with pytest.raises(InputError, match=r"t\.csv: line 3 has not as many columns as the header: the file is torn"):
            read_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,\xff\n")
    with pytest.raises(InputError, match=r"t\.csv: not readable as CSV: 'utf-8' codec can't decode"):
        read_csv(tmp_path / "t.csv")


def test_nan_becomes_null(tmp_path: Path) -> None:
    write_json(tmp_path / "j.json", {"a": [math.nan, 1.5], "b": {"c": "é"}})
    assert read_json(tmp_path / "j.json") == {"a": [None, 1.5], "b": {"c": "é"}}
    assert "é".encode() in (tmp_path / "j.json").read_bytes()
