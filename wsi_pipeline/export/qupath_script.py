"""The Groovy script that brings a run's objects into QuPath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_TEMPLATE = """\
// Brings the results of wsi-her2 into QuPath. Research use only.
//
// Open the slide (the first image of this project), then Automate > Project scripts > import_results, Run.
// QuPath's own H-score counts tiles and cells alike: import one kind at a time.

import qupath.lib.io.PathIO

import static qupath.lib.scripting.QP.*

String KIND = 'tiles'   // 'tiles' or 'cells'

def FILES = [tiles: [@TILES@], cells: [@CELLS@]]
def SCORES = [@SCORES@]

def project = getProject()
def entry = getProjectEntry()
if (project == null || entry == null) {
    println 'Open the project, then the slide in it, and run this script again.'
    return
}
if (entry.getID() != '1') {
    println 'Skipped ' + entry.getImageName() + ': the objects belong to the slide, not to its maps.'
    return
}

setImageType('@IMAGE_TYPE@')
SCORES.each { key, value ->
    if (entry.respondsTo('getMetadata'))
        entry.getMetadata().put(key, value)
    else
        entry.putMetadataValue(key, value)   // QuPath before 0.6
}

// The results lie beside the project's folder, wherever the run folder was moved.
def runFolder = project.getPath().toFile().getParentFile().getParentFile()
def present = getAllObjects(false).collect { it.getID() } as Set
int added = 0
FILES[KIND].each { name ->
    def file = new File(runFolder, name)
    if (!file.isFile()) {
        println 'Missing: ' + file
        return
    }
    def objects = PathIO.readObjects(file).findAll { !present.contains(it.getID()) }
    addObjects(objects)
    added += objects.size()
}
fireHierarchyUpdate()
entry.saveImageData(getCurrentImageData())
project.syncChanges()
println 'Added ' + added + ' ' + KIND + '.'
"""


def import_script(tiles: Sequence[str], cells: Sequence[str], image_type: str, scores: Mapping[str, str]) -> str:
    """Return the script; `tiles` and `cells` are file names relative to the run folder, `scores` become metadata.

    It finds the run folder from the project, does nothing for the maps, and may be run twice: an object is added once.
    """
    pairs = ", ".join(f"{_quoted(key)}: {_quoted(value)}" for key, value in scores.items())
    values = {
        "@TILES@": ", ".join(map(_quoted, tiles)),
        "@CELLS@": ", ".join(map(_quoted, cells)),
        "@SCORES@": pairs or ":",
        "@IMAGE_TYPE@": image_type,
    }
    # One pass, so that a score text that looks like a placeholder stays a text.
    parts = _TEMPLATE.split("@")
    return "".join(values.get(f"@{part}@", part) for part in parts)


def _quoted(text: str) -> str:
    """Return `text` as a Groovy string in single quotes, in which $ means itself."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"
