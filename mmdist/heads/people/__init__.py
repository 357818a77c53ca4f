"""People: heads on free human meshes, dressed procedurally."""
