"""`python -m convscope` and the command `convscope`."""

import sys


def entry() -> None:
    """Run the command line; Ctrl-C ends it quietly, also while modules are being imported."""
    try:
        from convscope.cli.main import main

        code = main()
    except KeyboardInterrupt:
        code = 130
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        code = 130  # Python 3.11 wraps a Ctrl-C that comes while a class is being made
    sys.exit(code)


if __name__ == "__main__":
    entry()
