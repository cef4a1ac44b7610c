"""The one exception that is meant for the person at the keyboard."""


class InputError(ValueError):
    """Something given to losslab is wrong: the message says what, where, and what would be right, in one line."""
