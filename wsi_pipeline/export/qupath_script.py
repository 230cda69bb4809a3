"""The Groovy script that one Run brings a run's results into QuPath with: type, pixel size, objects, a map on top.

It keeps to names that QuPath 0.6, 0.7 and the development head have in common, and to Groovy 2.4's grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from wsi_pipeline.geometry import Mpp

SLIDE_ENTRY = "1"
"""Id of the slide in the project, for which alone the script runs."""

Shown = Literal["classes", "darker is more", "colourful is more", "picture"]
"""How a map is laid over the slide.

Clear where it is white or grey in the last case, else: classes: at two thirds; picture: opaque; the others: the more
opaque the more there is, by the scale's own order (viridis and cividis from yellow to dark; from white to blue or red).
"""


class LaidMap(NamedTuple):
    """A map as the script lays it over the slide: its project entry, and slide px per map px along x and y."""

    entry: str
    name: str
    shown: Shown
    scale_x: float
    scale_y: float


_LIGHTEST, _DARKEST = 217, 30
"""Luma (0.299 R + 0.587 G + 0.114 B) of the lightest and the darkest colour of viridis and cividis: 215-219, 29-30."""

_TEMPLATE = """\
// Brings the results of wsi-her2 into QuPath 0.6 or newer. Research use only.
//
// Open the slide (the first image of this project), then Automate > Project scripts > import_results, and Run.
// The first Run sets the image type and the pixel size, adds cells and tiles, and lays the first map over the slide.
// Each further Run shows the next map, then none. The key C hides and shows maps, D cells and tiles.

import groovy.transform.CompileStatic
import java.awt.image.BufferedImage
import javafx.application.Platform
import javafx.beans.value.ChangeListener
import qupath.lib.gui.scripting.QPEx
import qupath.lib.gui.viewer.overlays.BufferedImageOverlay
import qupath.lib.io.PathIO
import qupath.lib.regions.ImageRegion
import qupath.lib.regions.RegionRequest

import static qupath.lib.scripting.QP.*

// What to add: 'cells', 'tiles' (with the cells measured in them), 'network tiles' (classified by a network).
def KINDS = [@KINDS@]

def FILES = [@FILES@]
def SCORES = [@SCORES@]
// Entry in the project, name, look, slide pixels per map pixel along x and y.
def MAPS = [@MAPS@]
def LARGEST = 8000   // pixels of a map along its longer side, so that it fits into memory
def MARK = 'wsi-her2 map: '

def project = getProject()
def entry = getProjectEntry()
if (project == null || entry == null) {
    println 'Open the project, then the slide in it, and run this script again.'
    return
}
if (entry.getID() != '@SLIDE@') {
    println 'Nothing done for ' + entry.getImageName() + ': open the slide, the first image of the project.'
    return
}

setImageType('@IMAGE_TYPE@')
setPixelSizeMicrons(@MPP_X@, @MPP_Y@)
SCORES.each { key, value ->
    if (entry.respondsTo('getMetadata'))
        entry.getMetadata().put(key, value)
    else
        entry.putMetadataValue(key, value)   // QuPath before 0.6
}

// The results lie beside the project, wherever the run folder was moved. An object that is there is not added again.
def runFolder = project.getPath().toFile().getParentFile()
def present = getAllObjects(false).collect { it.getID() } as Set
KINDS.each { kind ->
    int added = 0
    FILES[kind].each { name ->
        def file = new File(runFolder, name)
        if (!file.isFile()) {
            println 'Missing: ' + file
            return
        }
        def objects = PathIO.readObjects(file).findAll { !present.contains(it.getID()) }
        addObjects(objects)
        added += objects.size()
    }
    println 'Added ' + added + ' ' + kind + '.'
}
fireHierarchyUpdate()
entry.saveImageData(getCurrentImageData())
project.syncChanges()

def viewer = QPEx.getCurrentViewer()
if (viewer == null) {
    println 'No window: no map is shown.'
    return
}
def layers = viewer.getCustomOverlayLayers()
def before = layers.findAll { it.toString().startsWith(MARK) }
int next = before ? MAPS.findIndexOf { MARK + it[1] == before[-1].toString() } + 1 : 0
def overlay = null
if (next < MAPS.size()) {
    def (id, name, look, scaleX, scaleY) = MAPS[next]
    try {
        def server = project.getImageList().find { it.getID() == id }.getServerBuilder().build()
        int level = 0
        while (level + 1 < server.nResolutions()
                && Math.max(server.getWidth(), server.getHeight()) / server.getDownsampleForResolution(level) > LARGEST)
            level++
        def pixels = server.readRegion(RegionRequest.createInstance(server, server.getDownsampleForResolution(level)))
        server.close()
        // Each level halves the last and rounds up, so its pixels are exactly a power of two wide.
        int width = Math.round(pixels.getWidth() * (1 << level) * scaleX)
        int height = Math.round(pixels.getHeight() * (1 << level) * scaleY)
        def region = ImageRegion.createInstance(0, 0, width, height, 0, 0)
        overlay = new BufferedImageOverlay(viewer.getOverlayOptions(), region, transparent(pixels, look)) {
            String toString() { MARK + name }
        }
        println 'Shown: ' + name + '. Run again for ' + (next + 1 < MAPS.size() ? MAPS[next + 1][1] : 'none') + '.'
    } catch (Exception error) {
        println 'The map ' + name + ' cannot be shown: ' + error
    }
} else if (before)
    println 'No map is shown. Run again for ' + MAPS[0][1] + '.'
Platform.runLater {
    layers.removeAll(before)
    if (overlay != null) {
        layers.add(overlay)
        // A map belongs to this slide alone, so it goes when the viewer turns to another image.
        if (viewer.respondsTo('imageDataProperty'))
            viewer.imageDataProperty().addListener({ value, old, now -> layers.remove(overlay) } as ChangeListener)
    }
}

@CompileStatic
static BufferedImage transparent(BufferedImage pixels, String look) {
    int width = pixels.getWidth(), height = pixels.getHeight()
    BufferedImage shown = new BufferedImage(width, height, BufferedImage.TYPE_INT_ARGB)
    int[] row = new int[width]
    for (int y = 0; y < height; y++) {
        pixels.getRGB(0, y, width, 1, row, 0, width)
        for (int x = 0; x < width; x++)
            row[x] = (row[x] & 0xffffff) | (opacity(row[x], look) << 24)
        shown.setRGB(0, y, width, 1, row, 0, width)
    }
    return shown
}

@CompileStatic
static int opacity(int rgb, String look) {
    int red = (rgb >> 16) & 0xff, green = (rgb >> 8) & 0xff, blue = rgb & 0xff
    if ((rgb & 0xffffff) == 0xffffff)
        return 0
    if (look == 'classes')
        return 0xaa
    if (look == 'picture')
        return 0xff
    double share
    if (look == 'darker is more')
        share = (@LIGHTEST@ - 0.299d * red - 0.587d * green - 0.114d * blue) / (@LIGHTEST@ - @DARKEST@)
    else
        share = (Math.max(red, Math.max(green, blue)) - Math.min(red, Math.min(green, blue))) / 150.0d
    return (int) Math.round(220 * Math.sqrt(Math.min(1.0d, Math.max(0.0d, share))))
}
"""


def run_script(
    files: Mapping[str, Sequence[str]], maps: Iterable[LaidMap], mpp: Mpp, image_type: str, scores: Mapping[str, str]
) -> str:
    """Return the script.

    `files`: kind of object to names relative to the run folder; cells and their tiles are added by default, network
    tiles where there is nothing else. `mpp`: um per slide px. `scores` become metadata of the slide.
    """
    usual = [kind for kind, names in files.items() if names and kind != "network tiles"]
    laid = [
        f"[{_quoted(row.entry)}, {_quoted(row.name)}, {_quoted(row.shown)}, {row.scale_x!r}d, {row.scale_y!r}d]"
        for row in maps
    ]
    values = {
        "KINDS": ", ".join(map(_quoted, usual or [kind for kind, names in files.items() if names])),
        "FILES": ", ".join(f"{_quoted(kind)}: [{', '.join(map(_quoted, names))}]" for kind, names in files.items()),
        "SCORES": ", ".join(f"{_quoted(key)}: {_quoted(value)}" for key, value in scores.items()) or ":",
        "MAPS": "".join(f"\n    {row}," for row in laid) + ("\n" if laid else ""),
        "SLIDE": SLIDE_ENTRY,
        "IMAGE_TYPE": image_type,
        "MPP_X": repr(mpp.x),
        "MPP_Y": repr(mpp.y),
        "LIGHTEST": f"{_LIGHTEST}.0d",
        "DARKEST": f"{_DARKEST}.0d",
    }
    # One pass, so that a score text that looks like a placeholder stays a text.
    return re.sub("@([A-Z_]+)@", lambda found: values[found[1]], _TEMPLATE)


def _quoted(text: str) -> str:
    """Return `text` as a Groovy string in single quotes, in which $ means itself."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"
