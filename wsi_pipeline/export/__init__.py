"""What a run leaves behind: the run folder, maps that QuPath opens, objects, project, overlay picture and tables."""
