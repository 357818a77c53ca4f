"""mmdist: many diffusion priors optimise one 3D avatar together.

```python
import mmdist

happy = mmdist.avatar('a portrait of a happy man')
sad = mmdist.avatar('a portrait of a sad man')
run = mmdist.optimize(0.6 * happy + 0.4 * sad, workdir='runs/both')
run.mesh('head.glb')
picture = run.render('front')
run = mmdist.open_run('runs/both')  # The same, later.
```

A prior of one's own is a diffusers directory, `priors={'generic':
mmdist.Prior('DIR')}`. Every setting is a field of `mmdist.RunConfig`.
`mmdist.sweep` makes many runs at once. On a command line, `mmdist optimize`
does the same as `mmdist.optimize`; `mmdist --help` lists the commands. A run of
300 steps with the embedded priors takes minutes on a laptop, and leaves a
turntable, a mesh and a report in its folder.

Read `mmdist.loop` first: the one loop where renders, scores and updates meet;
then `mmdist.core.messages`, all that crosses between the learner and a prior,
`mmdist.objectives.concept`, `mmdist.priors.score`, `mmdist.learner.distill` and
`mmdist.config.schema`, every setting. What is computed, and where each number
comes from, is in `docs/method.md`; what lives where is in
`docs/architecture.md`.

The names below are loaded when they are first used. So a process that runs a
prior never imports JAX, and `import mmdist` alone loads neither JAX nor torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mmdist.core.version import VERSION as __version__

# The public names, and where each is.
_PUBLIC = {
  'ComposedObjective': 'mmdist.objectives.concept',
  'Concept': 'mmdist.objectives.concept',
  'Leg': 'mmdist.trajectories.legs',
  'Prior': 'mmdist.config.schema:PriorConfig',
  'RayOptions': 'mmdist.api.executors',
  'Rays': 'mmdist.core.arrays',
  'Renders': 'mmdist.core.arrays',
  'Representation': 'mmdist.core.representation',
  'Run': 'mmdist.api.opened_run',
  'RunConfig': 'mmdist.config.schema',
  'ScoreGradient': 'mmdist.core.messages',
  'ScoreRequest': 'mmdist.core.messages',
  'avatar': 'mmdist.objectives.concept',
  'errors': 'mmdist.core.errors:',
  'film_codes': 'mmdist.api.filming',
  'grid': 'mmdist.sweeps.cells',
  'open_run': 'mmdist.api.opened_run',
  'optimize': 'mmdist.api.optimization',
  'personalize': 'mmdist.api.personalizing',
  'sweep': 'mmdist.sweeps.sweeping',
  'trajectory': 'mmdist.trajectories.trajectory_run',
}

__all__ = [
  'ComposedObjective',
  'Concept',
  'Leg',
  'Prior',
  'RayOptions',
  'Rays',
  'Renders',
  'Representation',
  'Run',
  'RunConfig',
  'ScoreGradient',
  'ScoreRequest',
  '__version__',
  'avatar',
  'errors',
  'film_codes',
  'grid',
  'open_run',
  'optimize',
  'personalize',
  'sweep',
  'trajectory',
]

if TYPE_CHECKING:
  from mmdist.api.executors import RayOptions
  from mmdist.api.filming import film_codes
  from mmdist.api.opened_run import Run
  from mmdist.api.opened_run import open_run
  from mmdist.api.optimization import optimize
  from mmdist.api.personalizing import personalize
  from mmdist.config.schema import PriorConfig as Prior
  from mmdist.config.schema import RunConfig
  from mmdist.core import errors
  from mmdist.core.arrays import Rays
  from mmdist.core.arrays import Renders
  from mmdist.core.messages import ScoreGradient
  from mmdist.core.messages import ScoreRequest
  from mmdist.core.representation import Representation
  from mmdist.objectives.concept import ComposedObjective
  from mmdist.objectives.concept import Concept
  from mmdist.objectives.concept import avatar
  from mmdist.sweeps.cells import grid
  from mmdist.sweeps.sweeping import sweep
  from mmdist.trajectories.legs import Leg
  from mmdist.trajectories.trajectory_run import trajectory


def __getattr__(name: str) -> Any:
  """Loads a public name; says which is nearest to one that does not exist."""
  if name not in _PUBLIC:
    from mmdist.core import names

    hint = names.did_you_mean(name, _PUBLIC) or '.'
    raise AttributeError(
      f"mmdist has no '{name}'{hint} It has: {', '.join(sorted(_PUBLIC))}."
    )
  module, _, attribute = _PUBLIC[name].partition(':')
  value = importlib.import_module(module)
  if not _PUBLIC[name].endswith(':'):
    value = getattr(value, attribute or name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *_PUBLIC})
