package qupath.lib.gui.scripting

/** The viewer, null without a window. */
class QPEx {
    static Object viewer

    static Object getCurrentViewer() { viewer }
}
