"""`wsi-her2 settings`: every setting with its value, as YAML that a preset may hold."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def settings(
    preset: Annotated[str | None, typer.Option(help="Settings: a name in configs/, or a YAML file.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override one setting; repeatable.")] = None,
) -> None:
    """Print all settings, their values and the assay profile."""
    import yaml  # noqa: PLC0415 - keeps --help quick

    from wsi_pipeline.config import load_assay, load_settings, parse_override  # noqa: PLC0415

    chosen = load_settings(preset, dict(parse_override(text) for text in set_ or []))
    sys.stdout.write(yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False))
    profile = yaml.safe_dump(load_assay(chosen.assay).model_dump(mode="json"), sort_keys=False)
    sys.stdout.write("# assay profile\n" + "".join(f"# {line}\n" for line in profile.splitlines()))
