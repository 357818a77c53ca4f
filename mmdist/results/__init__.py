"""What a run leaves for people: turntable, sheet, mesh and one report.

`make.make_all` makes everything; the other modules each own one kind of file.
Pictures come from `mmdist.nerf.images`. Every file appears in the run's
folder complete or not at all (`mmdist.core.atomic`).
"""
