"""The life of one run: its folder, checkpoints, signals and reports."""
