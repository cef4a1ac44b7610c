"""losslab: which loss and which architecture segment my data best, and whether the difference is real."""


def __getattr__(name: str) -> str:
    """Return `__version__`, which only those who ask for it pay for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("losslab")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
