"""Settings: defaults in code, presets in `configs/` that list only what differs, and overrides by dotted name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.engine.interface import EngineOptions
from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.options import ModelOptions
from wsi_pipeline.scoring.rule import RuleOptions
from wsi_pipeline.stain.compartment import NuclearStainOptions
from wsi_pipeline.stain.quality import QualityOptions
from wsi_pipeline.tiling import TilingOptions
from wsi_pipeline.tissue.mask import TissueOptions

SMALLEST_CHUNK = 16
"""Side of a map's chunk, map px, below which a map would be thousands of files."""


class OutputOptions(BaseModel):
    """What is written beside the tables and maps."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    cells_geojson_limit: int = Field(
        50_000, ge=0, description="cells are also written as GeoJSON up to this number (200,000 need 2 GB in QuPath)"
    )
    overlay_px: int = Field(1600, ge=200, description="longest side of the overlay picture, px")


class Settings(BaseSettings):
    """All settings of a run. Environment variables such as WSI_HER2_RULE__MIN_CELLS come before defaults only."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="WSI_HER2_", env_nested_delimiter="__", env_ignore_empty=True
    )

    assay: str = Field("default", description="assay profile: a name in configs/assays, or a YAML file")
    tiling: TilingOptions = TilingOptions()
    tissue: TissueOptions = TissueOptions()
    cells: CellOptions = CellOptions()
    nuclear_stain: NuclearStainOptions = NuclearStainOptions()
    rule: RuleOptions = RuleOptions()
    engine: EngineOptions = EngineOptions()
    evidence: str = Field(
        "auto",
        pattern="^(auto|cells|tiles|both)$",
        description="what the score rests on; auto: cells, and the tile classifier beside them where there is one",
    )
    models: ModelOptions = ModelOptions()
    quality: QualityOptions = QualityOptions()
    output: OutputOptions = OutputOptions()

    @model_validator(mode="after")
    def _maps_fit_tiles(self) -> Settings:
        """Refuse tiles that are not made of whole map px, and regions too small for a chunk of a map."""
        tiling = self.tiling
        if tiling.tile_px % tiling.map_px:
            raise ValueError(f"tiling.tile_px ({tiling.tile_px}) must be a multiple of tiling.map_px ({tiling.map_px})")
        if tiling.tile_px * tiling.region_tiles < SMALLEST_CHUNK * tiling.map_px:
            raise ValueError(f"a region must be at least {SMALLEST_CHUNK} map px wide: raise tiling.region_tiles")
        return self


def config_folder() -> Path:
    """Return the folder of presets and assay profiles: in an installed package, or at the top of the source tree."""
    shipped = Path(__file__).parent / "_shipped" / "configs"
    return shipped if shipped.is_dir() else Path(__file__).parents[1] / "configs"


def load_settings(preset: str | None, overrides: dict[str, Any]) -> Settings:
    """Return the settings of `preset` (a name in configs/, a YAML file, or None) with dotted `overrides`.

    Raises UsageError for an unknown preset, an unknown name or a value out of range.
    """
    values = _read_yaml(_find(preset, "")) if preset else {}
    for name, value in overrides.items():
        _set_dotted(values, name, value)
    try:
        return Settings(**values)
    except ValidationError as error:
        raise UsageError("settings", _first_problem(error), "wsi-her2 settings lists all names and values") from error
    except SettingsError as error:
        raise UsageError("settings", str(error), "correct or unset the WSI_HER2_ environment variable") from error


def load_assay(name: str) -> AssayProfile:
    """Return the assay profile `name` (in configs/assays, or a YAML file). Raises UsageError."""
    path = _find(name, "assays")
    try:
        return AssayProfile(**_read_yaml(path))
    except ValidationError as error:
        raise UsageError(path, _first_problem(error), "correct the assay profile") from error


def parse_override(text: str) -> tuple[str, Any]:
    """Return (dotted name, value) of "name=value", the value read as YAML. Raises UsageError."""
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise UsageError(f"--set {text}", "is not NAME=VALUE", "for example --set rule.min_cells=200")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}", f"{value!r} is not a YAML value") from error


def settings_hash(settings: Settings, assay: AssayProfile, weights: Mapping[str, str] | None = None) -> str:
    """Return the SHA-256 of everything that can change the numbers (how the work is spread cannot).

    `weights`: network -> SHA-256 of its tensors.
    """
    content = settings.model_dump(mode="json", exclude={"engine", "output"}) | {
        "profile": assay.model_dump(mode="json"),
        "weights": dict(weights or {}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _find(name: str, subfolder: str) -> Path:
    """Return the YAML file called `name`, as a path or as a name in configs/`subfolder`."""
    given = Path(name)
    if given.suffix in {".yaml", ".yml"}:
        if given.is_file():
            return given
        raise UsageError(given, "no such file")
    folder = config_folder() / subfolder
    path = folder / f"{name}.yaml"
    if path.parent == folder and path.is_file():
        return path
    known = ", ".join(sorted(entry.stem for entry in folder.glob("*.yaml"))) or "none"
    raise UsageError(name, f"is not in {folder.name}/", f"there are: {known}; or name a .yaml file")


def _read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file. Raises UsageError."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(path, "cannot be read as YAML") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(path, "does not hold a mapping of names to values")
    return values


def _set_dotted(values: dict[str, Any], name: str, value: Any) -> None:
    """Set `name` ("rule.min_cells") in nested `values`."""
    *parents, last = name.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {name}", f"{parent} is a value, not a group")
    values[last] = value


def _first_problem(error: ValidationError) -> str:
    """Return the first validation problem as one sentence that quotes the value."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    value = first["input"]
    quoted = f" ({value!r})" if isinstance(value, str | int | float | bool) else ""
    return f"{name}{quoted}: {first['msg']}" if name else str(first["msg"])
