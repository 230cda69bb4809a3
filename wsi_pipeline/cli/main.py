"""The `wsi-her2` command: sub-commands, one line per error, exit codes."""

from __future__ import annotations

import sys

import typer

from wsi_pipeline.cli import doctor, info, run, settings
from wsi_pipeline.errors import EXIT_INTERRUPTED, ResourceError, WsiHer2Error

app = typer.Typer(
    name="wsi-her2",
    help="HER2 scoring of whole-slide images. Research use only, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)
app.command("settings")(settings.settings)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except WsiHer2Error as error:
        _fail(str(error), error.exit_code, error if debug else None)
    except MemoryError as error:
        failure = ResourceError("memory", "is exhausted", "use fewer workers: --set engine.workers=1")
        _fail(str(failure), failure.exit_code, error if debug else None)
    except KeyboardInterrupt as error:
        _fail("interrupted; nothing was kept", EXIT_INTERRUPTED, error if debug else None)


def _fail(sentence: str, code: int, error: BaseException | None) -> None:
    """Print one line (and the traceback under --debug) on stderr and end with `code`."""
    if error is not None:
        import traceback  # noqa: PLC0415

        traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"wsi-her2: {' '.join(sentence.split())}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
