"""The command-line program: help, exit status and error messages."""

import os
import re
import signal
import sys
import warnings
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from blursim_jax import __version__
from blursim_jax.cli.commands import compare, matrix, sweep
from blursim_jax.cli.evaluation import evaluate
from blursim_jax.cli.files import Interruption, UserError, printable

app = typer.Typer(
    name="blursim",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> NoReturn:
    """Run the command line. Bad input gives one line on stderr and exit status 2."""
    # Decoders also raise errors for what they warn about.
    warnings.filterwarnings("ignore")
    # A parent process may have closed a standard stream. A file opened later must not get its descriptor.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # File names may be undecodable. Image decoding silences descriptor 2, so messages go to a copy of it.
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    sys.stderr = open(os.dup(2), "w", buffering=1, errors="backslashreplace")
    if hasattr(signal, "SIGPIPE"):
        # If nobody reads the output, end silently, as other programs do.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        status = app(prog_name="blursim", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status)
    except Interruption as interruption:
        print(printable(interruption), file=sys.stderr)
        sys.exit(130)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except TyperException as error:
        message = error.format_message()
    except (UserError, OSError, ValueError, TypeError) as error:
        message = str(error)
    except MemoryError:
        message = "not enough memory for images of this size"
    # XLA raises RuntimeError, mostly for lack of memory.
    except RuntimeError as error:
        message = str(error).partition("\n")[0]
    # The library's messages name its arguments. Name the command's options instead.
    # The help that is shown without a command has no message.
    message = re.sub(r"^(alpha|sobel_kernel_size|data_range): ", lambda m: f"--{m[1].replace('_', '-')}: ", message)
    if message:
        print("Error:", printable(" ".join(message.splitlines())), file=sys.stderr)
    sys.exit(2)


def show_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def blursim(
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """How alike blurred images are: in the frequency domain (General) and along their edges (Specific).

    BlurSim = (1 - alpha) * General + alpha * Specific: 0 for the same image, the larger the less alike.

    Each command's --help has its options and examples. PNG, JPEG, TIFF, WebP, AVIF, JPEG 2000,
    BMP, GIF, PPM, PFM, Radiance HDR and OpenEXR are read, as luma or by --color.

    [bold]Exit status[/bold]: 0 done; 1 above --fail-above; 2 bad input; 130 interrupted.
    """


for command in (compare, matrix, evaluate, sweep):
    app.command()(command)
