"""The `losslab` program. It imports its commands itself, so that Ctrl+C meanwhile ends it as it does later."""

import sys


def main() -> None:
    try:
        from losslab.cli import app
    except KeyboardInterrupt:
        sys.stderr.write("ERROR: interrupted: run the same command again\n")
        sys.exit(130)
    app()


if __name__ == "__main__":
    main()
