"""A prior in a few lines of numpy: deterministic, stateful, breakable.

Its answer depends on everything a request carries and on the number of fits, so
an executor that loses, repeats or reorders a call changes the answer.
"""

import dataclasses
import os
import pathlib
import time

import numpy as np

from mmdist.core import messages


class FakePrior:
  """Moves images towards a target that every fit moves.

  `spec.options.directory` says how it misbehaves: 'raise_score', 'raise_fit',
  'die_score', 'slow_fit:FILE' (writes FILE once a fit is over), 'sleep'.
  """

  def __init__(self, spec: messages.PriorSpec):
    if spec.options.directory == 'raise_build':
      raise FileNotFoundError('no unet/ in raise_build')
    self._spec = spec
    self._target = np.zeros((1, 1, 1, 3), np.float32)
    self._num_fits = 0
    self._shown = []  # The requests of the step that it is in.

  def score(self, request: messages.ScoreRequest) -> messages.ScoreGradient:
    if request.proxy_step != self._num_fits:
      raise ValueError(f'{self._num_fits} fits, {request.proxy_step} expected')
    self._misbehave('score')
    if request.is_first:
      self._shown = []
    if sum(len(one.images) for one in self._shown) != request.first_view:
      raise ValueError(f'view {request.first_view} is not the next one')
    self._shown.append(request)
    rng = np.random.default_rng(request.seed)
    shape = (request.num_views_of_step, *request.images.shape[1:])
    noise = rng.standard_normal(shape).astype(np.float32)[request.rows]
    levels = request.noise_levels[:, None, None, None]
    difference = request.images - self._target + levels * noise
    weight = np.float32(sum(term.weight for term in request.terms))
    return messages.ScoreGradient(
      step=request.step,
      prior=self._spec.name,
      channel=self._spec.options.channel,
      cotangent=weight * difference,
      proxy_step=self._num_fits,
      metrics={
        'norm_0': float(np.linalg.norm(difference)),
        'process': float(os.getpid()),
        'threads': float(os.environ.get('OMP_NUM_THREADS', 0)),
      },
    )

  def fit(self):
    if self._spec.options.directory.startswith('slow_fit:'):
      time.sleep(0.5)
      pathlib.Path(self._spec.options.directory.partition(':')[2]).touch()
    self._misbehave('fit')
    if not self._shown[-1].is_last:
      raise ValueError('a fit before the last part of a step')
    rate = np.float32(self._shown[-1].proxy_learning_rate)
    images = np.concatenate([one.images for one in self._shown])
    mean = images.mean((0, 1, 2), keepdims=True)
    self._target = self._target + rate * (mean - self._target)
    self._num_fits += 1
    return {'proxy_loss': float(np.abs(mean - self._target).mean())}

  def _misbehave(self, method: str) -> None:
    if self._spec.options.directory == f'raise_{method}':
      raise FloatingPointError(f'the {method}\nexploded')
    if self._spec.options.directory == f'die_{method}':
      os._exit(1)
    if self._spec.options.directory == f'sleep_{method}':
      time.sleep(30)

  def save_proxy(self) -> messages.ProxyState:
    return messages.ProxyState(self._num_fits, {'lora/target': self._target})

  def restore_proxy(self, state: messages.ProxyState) -> None:
    self._num_fits = state.step
    self._target = np.array(state.arrays['lora/target'])


def recipe(name: str, behaviour: str = 'well') -> messages.PriorRecipe:
  """Returns the recipe of a fake prior; 'normal' looks at normals."""
  channel = 'normal' if name == 'normal' else 'rgb'
  return messages.PriorRecipe(
    messages.PriorSpec(
      name, messages.PriorOptions(channel=channel, directory=behaviour)
    ),
    FakePrior,
  )


def request(step: int, name: str = '') -> messages.ScoreRequest:
  """Returns the request of one step, different for every step and prior."""
  rng = np.random.default_rng([step, *name.encode()])
  return messages.ScoreRequest(
    step=step,
    images=rng.uniform(size=(2, 4, 4, 3)).astype(np.float32),
    terms=(
      messages.Term(
        ('a man , front view', 'a man , side view'), 'a man', 1.0, 4.0
      ),
    ),
    noise_levels=rng.uniform(size=2).astype(np.float32),
    seed=step,
    proxy_step=step,
    proxy_learning_rate=0.1,
  )


def part(
  request: messages.ScoreRequest, first: int, count: int
) -> messages.ScoreRequest:
  """Returns a part of the views of a request for a whole step."""
  rows = slice(first, first + count)
  return dataclasses.replace(
    request,
    images=request.images[rows],
    terms=tuple(
      dataclasses.replace(term, prompts=term.prompts[rows])
      for term in request.terms
    ),
    noise_levels=request.noise_levels[rows],
    first_view=first,
    num_views=len(request.images),
  )


def requests(step: int, *names: str) -> dict[str, messages.ScoreRequest]:
  return {name: request(step, name) for name in names}
