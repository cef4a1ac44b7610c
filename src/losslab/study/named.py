"""A study by its name, or by an alias that it was run as."""

from pathlib import Path

from losslab.study import card as cards
from losslab.study.plan import Study, read_study
from losslab.study.state import State


def named_study(name: str, root: Path, sets: tuple[str, ...] = (), alias: str | None = None) -> Study:
    """Read a study, see `read_study`; of an alias, with the sets that it was run with.

    Raises:
        InputError: one line; there is none of this name, or its card cannot be.
    """
    if name not in cards.names(root / cards.STUDIES) and alias is None and not sets:
        origin = State(root, name).origin()
        if origin[2] == name:
            return read_study(origin[0], root, *origin[1:])
    return read_study(name, root, sets, alias)
