// Runs a project's script against the stand-ins, and prints what it did as one line of JSON per run.
//
// Arguments: run folder, folder with the levels of each map as ENTRY-LEVEL.png, number of runs, whether there is a
// window, the entry that is open.

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import javax.imageio.ImageIO
import qupath.lib.gui.scripting.QPEx
import qupath.lib.scripting.QP

File folder = new File(args[0]), pictures = new File(args[1])
Map content = new JsonSlurper().parse(new File(folder, 'project.qpproj'), 'UTF-8')

/** A map as QuPath serves it: levels, and the whole of one of them. */
class Server {
    List levels
    boolean open = true

    int getWidth() { levels[0].width }
    int getHeight() { levels[0].height }
    int nResolutions() { levels.size() }
    double getDownsampleForResolution(int level) {
        (getWidth() / (double) levels[level].width + getHeight() / (double) levels[level].height) / 2
    }
    Object readRegion(request) {
        levels[(0..<levels.size()).find { getDownsampleForResolution(it) == request.downsample }]
    }
    void close() { open = false }
}

/** An image of the project. */
class Entry {
    String id
    String imageName
    Map metadata
    File pictures

    String getID() { id }
    void saveImageData(Object data) { QP.state.saved++ }
    Object getServerBuilder() { this }
    Server build() {
        def files = (0..9).collect { new File(pictures, id + '-' + it + '.png') }.findAll { it.isFile() }
        if (!files)
            throw new IOException('no such image')
        new Server(levels: files.collect { ImageIO.read(it) })
    }
}

def entries = content.images.collect {
    new Entry(id: it.entryID, imageName: it.imageName, metadata: [:], pictures: pictures)
}
QP.state.project = new Expando(getPath: { -> new File(folder, 'project.qpproj').toPath() },
        getImageList: { -> entries }, syncChanges: { -> QP.state.synced++ })
QP.state.entry = entries.find { it.getID() == args[4] }

/** A viewer with its overlays. */
class Viewer {
    List layers = ['of another']
    List listeners = []

    List getCustomOverlayLayers() { layers }
    Object getOverlayOptions() { 'options' }
    Object imageDataProperty() { new Expando(addListener: { javafx.beans.value.ChangeListener it -> listeners << it }) }
}
def viewer = new Viewer()
QPEx.viewer = args[3] == 'window' ? viewer : null

def report = { said ->
    def shown = viewer.layers.findAll { !(it instanceof String) }
    println JsonOutput.toJson([
        said: said, type: QP.state.type, pixel: QP.state.pixel, saved: QP.state.saved,
        objects: QP.state.objects.countBy { it.type }, classes: QP.state.objects.collect { it.name } as Set,
        score: QP.state.entry?.metadata?.get('HER2 score'), others: viewer.layers.size() - shown.size(),
        maps: shown.collect { layer ->
            def image = layer.image
            [name: layer.toString(), x: layer.region.x, y: layer.region.y, width: layer.region.width,
             height: layer.region.height, px: [image.width, image.height],
             argb: image.getRGB(0, 0, image.width, image.height, null, 0, image.width).toList()]
        }])
}
(args[2] as int).times {
    def said = new StringWriter()
    def shell = new GroovyShell(this.class.classLoader, new Binding(out: new PrintWriter(said)))
    shell.evaluate(new File(folder, 'scripts/import_results.groovy'))
    report(said.toString())
}
viewer.listeners.each { it.changed(null, 'slide', 'another image') }
report('another image')
