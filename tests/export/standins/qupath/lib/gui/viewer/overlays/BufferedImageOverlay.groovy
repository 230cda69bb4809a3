package qupath.lib.gui.viewer.overlays

import java.awt.image.BufferedImage
import qupath.lib.regions.ImageRegion

/** An image that is stretched over a region of the slide. */
class BufferedImageOverlay {
    final Object options
    final ImageRegion region
    final BufferedImage image

    BufferedImageOverlay(Object options, ImageRegion region, BufferedImage image) {
        assert options == 'options'
        this.options = options
        this.region = region
        this.image = image
    }
}
