package qupath.lib.regions

/** The whole of an image at a downsample. */
class RegionRequest {
    double downsample

    static RegionRequest createInstance(Object server, double downsample) { new RegionRequest(downsample: downsample) }
}
