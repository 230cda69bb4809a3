package javafx.application

/** Runs at once what JavaFX runs on its own thread. */
class Platform {
    static void runLater(Runnable work) { work.run() }
}
