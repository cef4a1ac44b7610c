"""The exceptions that are meant for the person at the keyboard."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

MAX_QUOTED = 200
"""Characters of a value that an error shows."""
MASK = "***"
"""Text in the place of a credential."""
_CREDENTIALS = (
    (re.compile(r"(?<=://)\S*@"), f"{MASK}@"),  # to the last @: a password may have / and @
    (re.compile(r"(?<![^\s'\"(=])[^\s:/@'\"(=]+:[^\s/@]+@(?=[\w\[])"), f"{MASK}@"),  # no scheme: a proxy's address
    (
        re.compile(r"([?&;][\w.%-]*(?:passw|pwd|secret|token|key|sig|cred|auth)[\w.%-]*=)[^\s&;#'\"]+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (re.compile(r"\bBearer \S+"), f"Bearer {MASK}"),
)
"""Patterns of credentials, and what stands in their place."""


class InputError(ValueError):
    """Something given to losslab is wrong: the message says what, where, and what would be right, in one line."""


class DivergedError(InputError):
    """A loss, or the net's output, was not finite: the message names the epoch, the step, the term and a remedy."""


class Terminated(KeyboardInterrupt):
    """A signal asked this process to end, such as that of a scheduler: the run can go on later."""


def quote(value: object) -> str:
    """Write a value as an error shows it: its repr, cut to 200 characters.

    >>> quote("unit"), len(quote("unit" * 1000))
    ("'unit'", 201)
    """
    return shorten(repr(value))


def shorten(text: str) -> str:
    """Cut a text of others to 200 characters, without credentials: half of a URL does not show where its password is.

    >>> shorten("http://me:secret@host/" + "x" * 1000)[:20]
    'http://***@host/xxxx'
    """
    text = mask_credentials(text)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"


def mask_credentials(text: str) -> str:
    """Mask users, passwords and tokens in the URLs of a text."""
    for pattern, masked in _CREDENTIALS:
        text = pattern.sub(masked, text)
    return text


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests the known name nearest to a wrong one; empty if none is near.

    >>> suggest_name("dise", ["bce", "dice"]), suggest_name("xyz", ["bce", "dice"])
    ('; did you mean dice?', '')
    """
    return "".join(f"; did you mean {each}?" for each in get_close_matches(name, list(known), 1))


def find_exhausted_memory(error: BaseException) -> str | None:
    """Return which memory ran out, or None for an error that is not about memory."""
    if "out of memory" in str(error):  # torch's, of several types
        return "device memory"
    texts = (
        "can't allocate memory",
        "Cannot allocate memory",
        "Insufficient memory",
    )  # torch's, the system's, OpenCV's
    return "memory" if isinstance(error, MemoryError) or any(text in str(error) for text in texts) else None


def find_killed_worker(error: BaseException) -> str | None:
    """Return how a process that loads data ended, or None for another error.

    torch raises this one in the main thread, in the middle of whatever that is doing: let nobody take it for their own.
    """
    match = re.search(r"DataLoader worker \(pid(?:\(s\))? [^)]*\) (.*?)(?:\. |$)", str(error))
    return match[1] if match else None


def describe_failure(error: Exception, memory: str | None, path: Path | None = None) -> str | None:
    """Say in a line why a stage or a command failed; return None for a bug, which keeps its traceback.

    Args:
        memory: what to change when memory runs out.
        path: the file that an error of the system is about, if it names none.
    """
    if not isinstance(error, InputError) and (where := find_exhausted_memory(error)) is not None:
        return f"out of {where}" + (f": {memory}" if memory else "")
    return describe_error(error, path) if isinstance(error, (InputError, OSError)) else None


def describe_error(error: InputError | OSError, path: Path | None = None) -> str:
    """Say what is wrong and with which file: `path` where the system does not name one."""
    if isinstance(error, InputError):
        return str(error)
    named, reason = error.filename or path, error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):  # of a copy, the second file is written
        named = error.filename2 or named
    return f"{named}: {reason}" if named else reason
