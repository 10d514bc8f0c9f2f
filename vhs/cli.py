"""The command line: the Typer app, and the only place that ends the program."""

from __future__ import annotations

import errno
import gc
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

import typer

from vhs import __version__
from vhs.commands.ablate import ablate
from vhs.commands.compare import compare
from vhs.commands.evalshift import evalshift
from vhs.commands.info import info
from vhs.commands.merge import merge
from vhs.commands.plot import plot
from vhs.commands.prune import prune
from vhs.commands.report import report
from vhs.commands.shard import shard
from vhs.commands.specialize import specialize
from vhs.commands.train import train
from vhs.console import Console
from vhs.errors import Terminated, VhsError
from vhs.options import EXIT_CODES
from vhs.output import ClosedPipe, abandon
from vhs.world import world

COMMANDS: dict[Callable[..., None], str] = {
    shard: "images to WebDataset shards",
    train: "shards to a ViT checkpoint",
    ablate: "remove every head, count what changes",
    evalshift: "accuracy and loss, clean and shifted",
    specialize: "what heads look at, how they differ",
    merge: "parts of a run to its tables",
    prune: "take heads out, say what it costs",
    compare: "do the same heads matter there?",
    plot: "tables to figures",
    report: "tables and maps to one page",
    info: "what is this file?",
}

SHORT = ("plot", "info")
"""Commands that end before a collection of garbage pays: a fifth of a second of `vhs plot` was spent on that."""

app = typer.Typer(
    name="vhs",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)


def _help_of(command: Callable[..., None]) -> str:
    """A command's docstring with its examples first."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    examples = [text for text in paragraphs if text.startswith("Example:")]
    return "\n\n".join(examples + [text for text in paragraphs if text not in examples])


for _command, _words in COMMANDS.items():
    app.command(help=_help_of(_command), short_help=_words, epilog=EXIT_CODES)(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vhs {__version__}")
        raise typer.Exit


@app.callback()
def vhs(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Which attention heads of a vision transformer do what, and which carry it through a distribution shift?

    Example: vhs ablate ckpt.safetensors --shift imagenet-c | vhs plot
    """
    del version  # its callback has spoken
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code. Says what went wrong in one line on stderr."""
    name = next((argument for argument in arguments if not argument.startswith("-")), "")
    console = Console(f"vhs {name}".strip())
    debug = "--debug" in arguments
    try:
        code = app(args=arguments, prog_name="vhs", standalone_mode=False)
        _flush()
        _leave_together()
        return code if isinstance(code, int) else 0
    except (ClosedPipe, BrokenPipeError):
        abandon()
        return 0
    except SystemExit as left:
        if not isinstance(left.__context__, OSError) or left.__context__.errno != errno.EPIPE:
            raise
        abandon()  # click's way out where the reader of its help has gone
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Terminated as stopped:
        return 128 + stopped.number
    except (typer.TyperException, VhsError) as error:
        return _explain(console, error, getattr(error, "exit_code", 2), debug)
    except (OSError, MemoryError) as error:
        return _explain(console, error, 1, debug)
    except Exception as error:
        if debug:
            raise
        console.error(f"a defect of vhs: {type(error).__name__}: {error}. Run it again with --debug and report that.")
        return 1


def _leave_together() -> None:
    """Of several processes on one run: a connection that is open when the interpreter ends may abort it."""
    if world()[1] > 1:
        from vhs.runs import ranks

        ranks.stop()


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _explain(console: Console, error: Exception, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
    if isinstance(error, MemoryError):
        message = "out of memory. Try --max-samples, or a smaller --tile."
    console.error(message or type(error).__name__)
    return code


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise Terminated(number)


def _occupy_closed_streams() -> None:
    """Where stdin, stdout or stderr is closed, the next file opened would get its number, and its output or input."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def run() -> None:
    """The `vhs` console script."""
    _occupy_closed_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _terminate)
    short = bool(sys.argv[1:2]) and sys.argv[1] in SHORT
    if short:
        gc.disable()
    code = main(sys.argv[1:])
    if short and "torch" not in sys.modules:
        gc.freeze()  # the interpreter's last collection would look through all of it; torch's libraries count on that
    try:
        _flush()
    except OSError:  # what stdout did not take before it does not take now; the interpreter need not try again
        abandon()
        code = code or 1
    sys.exit(code)
