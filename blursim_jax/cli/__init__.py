"""The command `blursim`: compare images, score folders, see what the options do.

The command needs the extra `cli`. Slow imports are inside functions, so that help is shown at once.
"""

import sys
from typing import NoReturn

EXTRA = "pip install 'blursim[cli]'"


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    try:
        from blursim_jax.cli.app import run

        run()
    except ModuleNotFoundError as error:
        print(f"blursim: {error.name} is not installed; the command needs {EXTRA}", file=sys.stderr)
        sys.exit(2)
