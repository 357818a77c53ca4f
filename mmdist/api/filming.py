"""`mmdist.film_codes`: what a search space holds, as a film and a sheet."""

import os
import pathlib

from mmdist.results import codes_film
from mmdist.results import remake


def film_codes(
  nerf: str | os.PathLike,
  out: str | os.PathLike,
  *,
  num_subjects: int = 6,
  frames: int = 16,
  resolution: int = 128,
  seed: int = 0,
) -> dict[str, pathlib.Path]:
  """Films a pretrained conditional NeRF while its latent code glides.

  The code goes from one training subject to the next and back to the first, in
  a loop. What is in the files: `mmdist.results.codes_film`.

  Args:
    nerf: an embedded name, such as 'people_nerf', or a folder that `mmdist
      pretrain` wrote.
    out: folder of the files; made if need be.
    num_subjects: at whose codes it stops, 2 or more.
    frames: of the film from one subject to the next, 2 to 240.
    resolution: H = W of a picture, 8 to 1024.
    seed: decides which subjects.

  Returns:
    'video', 'animation' and 'sheet', each with its file. Without ffmpeg there
    is no video.

  Raises:
    FileNotFoundError: there is no such NeRF.
    UserError: it is damaged or of one subject only, another process works in
      `out`, or a number is out of bounds.
    PermissionError: nothing can be written in `out`.
  """
  options = remake.Options(
    out=os.fspath(out),
    num_subjects=num_subjects,
    frames=frames,
    resolution=resolution,
    seed=seed,
  )
  return codes_film.make(nerf, options)
