package qupath.lib.scripting

/** What a script asks of the open slide; the driver sets `project` and `entry`. Only the names that QuPath has. */
class QP {
    static Map state = [objects: [], type: null, pixel: null, saved: 0, synced: 0, project: null, entry: null]

    static Object getProject() { state.project }
    static Object getProjectEntry() { state.entry }
    static Object getCurrentImageData() { 'the image' }
    static Collection getAllObjects(boolean root) { state.objects }
    static void addObjects(Collection added) { state.objects.addAll(added) }
    static void fireHierarchyUpdate() { }
    static void setImageType(String type) { state.type = type }
    static boolean setPixelSizeMicrons(Number width, Number height) {
        state.pixel = [width, height]
        true
    }
}
