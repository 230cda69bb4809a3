package qupath.lib.io

import groovy.json.JsonSlurper
import java.util.zip.GZIPInputStream

/** Reads objects as QuPath does: id, type and class of each. */
class PathIO {
    static List readObjects(File file) {
        file.withInputStream { raw ->
            new JsonSlurper().parse(new GZIPInputStream(raw), 'UTF-8').features.collect {
                new Expando(getID: { -> UUID.fromString(it.id) }, type: it.properties.objectType,
                        name: it.properties.classification.name)
            }
        }
    }
}
