"""The exceptions that are meant for the person at the keyboard."""


class InputError(ValueError):
    """Something given to losslab is wrong: the message says what, where, and what would be right, in one line."""


class DivergedError(InputError):
    """A loss, or the net's output, was not finite: told with the epoch, the step, the term and a remedy."""
