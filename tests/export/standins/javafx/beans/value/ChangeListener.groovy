package javafx.beans.value

/** Is told of another value. */
interface ChangeListener {
    void changed(Object observable, Object before, Object now)
}
