"""The `wsi-her2` command: sub-commands, one line per error, exit codes."""

from __future__ import annotations

import gc
import logging
import sys
from typing import Any

import typer

from wsi_pipeline.cli import (
    batch,
    bench,
    calibrate,
    doctor,
    evaluate,
    explain,
    info,
    models,
    run,
    settings,
    stain,
    study,
    train,
)
from wsi_pipeline.cli.streams import patient_streams
from wsi_pipeline.engine.interrupts import interruptible
from wsi_pipeline.errors import EXIT_INTERRUPTED, OutputError, ResourceError, UsageError, WsiHer2Error
from wsi_pipeline.holding import quiet_for_good

app = typer.Typer(
    name="wsi-her2",
    help="HER2 scoring of whole-slide images. Research use only, not for diagnosis.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("batch")(batch.batch)
app.command("bench")(bench.bench)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)
app.command("settings")(settings.settings)
app.command("stain")(stain.stain)
app.command("explain")(explain.explain)
app.command("evaluate")(evaluate.evaluate)
app.command("calibrate")(calibrate.calibrate)
app.command("study")(study.study)
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")


USAGE_MISTAKE: Any = typer.BadParameter.__bases__[0]
"""What typer raises for options that it cannot read; click or typer itself defines it, by version."""


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        with patient_streams():
            code = _command()
    except OSError as error:  # the command is through, but what it printed is not
        code = _fail(f"stdout: cannot be written: {error.strerror}", OutputError.exit_code, None)
    gc.freeze()  # Python would look for garbage in all that was imported, which takes it a fifth of a second
    sys.exit(code)


def _command() -> int:
    """Run the command line and return its exit code."""
    debug = "--debug" in sys.argv
    quiet_for_good()
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # damage is told by our errors, once
    if not debug:  # what libraries leave unfinished when a run fails would print tracebacks beside the one sentence
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    code = 0
    try:
        code = interruptible(lambda: app(sys.argv[1:] or ["--help"], standalone_mode=False)) or 0
    except WsiHer2Error as error:
        return _fail(str(error), error.exit_code, error if debug else None)
    except USAGE_MISTAKE as error:
        where = error.ctx.command_path if error.ctx else "wsi-her2"
        return _fail(f"{error.format_message()} ({where} --help lists the options)", UsageError.exit_code, None)
    except MemoryError as error:
        failure = ResourceError("memory", "is exhausted", "use fewer workers: --set engine.workers=1")
        return _fail(str(failure), failure.exit_code, error if debug else None)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this code without a word
        return _fail("interrupted; nothing was kept", EXIT_INTERRUPTED, None)
    return code


def _fail(sentence: str, code: int, error: BaseException | None) -> int:
    """Print one line (and the traceback under --debug) on stderr and return `code`."""
    if error is not None:
        import traceback  # noqa: PLC0415

        traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"wsi-her2: {' '.join(sentence.split())}\n")
    return code


if __name__ == "__main__":
    main()
