"""The command line as a program: its help, its exit status, and what it says of errors."""

import os
import re
import signal
import sys
import warnings
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from blursim_jax.cli.commands import compare, evaluate, matrix, sweep
from blursim_jax.cli.files import Interruption, UserError, printable

app = typer.Typer(
    name="blursim",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> NoReturn:
    """Run the command line: bad input is one line on stderr and exit status 2."""
    # Decoders warn about what they also raise errors for.
    warnings.filterwarnings("ignore")
    # A parent process may have closed standard streams. A file opened later must not get their descriptors.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Names of files may be undecodable. Messages go to a copy of descriptor 2, which decoding silences.
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    sys.stderr = open(os.dup(2), "w", buffering=1, errors="backslashreplace")
    if hasattr(signal, "SIGPIPE"):
        # End silently, as other programs do, if nobody reads the output.
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
    # Raised by XLA, mostly for lack of memory.
    except RuntimeError as error:
        message = str(error).partition("\n")[0]
    # The library names its arguments, not the command's options. Help without a command has no message.
    message = re.sub(r"^(alpha|sobel_kernel_size|data_range): ", lambda m: f"--{m[1].replace('_', '-')}: ", message)
    if message:
        print("Error:", printable(" ".join(message.splitlines())), file=sys.stderr)
    sys.exit(2)


def show_version(wanted: bool) -> None:
    """Print the version, and exit."""
    if wanted:
        from importlib.metadata import version

        print(version("blursim"))
        raise typer.Exit


@app.callback()
def blursim(
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """How alike blurred images are: in the frequency domain (General) and along their edges (Specific).

    BlurSim = (1 - alpha) * General + alpha * Specific: 0 for the same image, the larger the less alike.

    Each command's --help has its options and examples. PNG, JPEG, TIFF, WebP and BMP are read, as luma or by --color.

    [bold]Exit status[/bold]: 0 done; 1 above --fail-above; 2 bad input; 130 interrupted.
    """


for command in (compare, matrix, evaluate, sweep):
    app.command()(command)
