"""The exceptions that are meant for the person at the keyboard."""


class InputError(ValueError):
    """Something given to losslab is wrong: the message says what, where, and what would be right, in one line."""


class DivergedError(InputError):
    """A loss, or the net's output, was not finite: told with the epoch, the step, the term and a remedy."""


def find_exhausted_memory(error: BaseException) -> str | None:
    """Which memory ran out, where an error is of that."""
    if "out of memory" in str(error):  # torch's, of several types
        return "the device's memory"
    told = ("can't allocate memory", "Cannot allocate memory")
    return "memory" if isinstance(error, MemoryError) or any(text in str(error) for text in told) else None
