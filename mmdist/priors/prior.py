"""What an actor runs: one frozen model, its proxy, and the last renders.

A prior answers a request in one call and fits its proxy in the next, or after
the last request where a step asks in parts. So the learner has its answer
before the fit begins, and takes its step while the prior is still fitting. The
answer is always that of the proxy before the fit, whether the prior runs in an
actor or in the learner's process.
"""

from collections.abc import Mapping
import dataclasses
import itertools
import math
import os
import time
from typing import Any
import weakref

import numpy as np
import torch

from mmdist.core import errors
from mmdist.core import guidance_kinds
from mmdist.core import messages
from mmdist.core import names
from mmdist.core import shapes
from mmdist.priors import concept_proxies
from mmdist.priors import determinism
from mmdist.priors import fit_draws
from mmdist.priors import guidance_points
from mmdist.priors import locate
from mmdist.priors import noising
from mmdist.priors import pipeline as pipelines
from mmdist.priors import proxy as proxies
from mmdist.priors import schedule as schedules
from mmdist.priors import score as scores
from mmdist.priors import shown as shown_lib


def build(spec: messages.PriorSpec) -> 'DiffusionPrior':
  """Builds a prior in the process that will host it.

  Raises:
    FileNotFoundError, UserError: in one line, what is wrong with the spec or
      with the files it names.
  """
  options = spec.options
  for field, known in (
    ('channel', messages.CHANNELS),
    ('objective', guidance_kinds.OBJECTIVES),
    ('noising', guidance_kinds.NOISINGS),
    ('proxy_noise', messages.PROXY_NOISES),
    ('proxy_per', messages.PROXY_SCOPES),
    ('weighting', messages.WEIGHTINGS),
  ):
    names.check_choice(field, getattr(options, field), known)
  # Before any network is built, since it decides how kernels are chosen.
  configure_torch(spec.num_threads)
  pipeline = _open_shared(spec)
  schedules.check_weighting(pipeline.schedule, options.weighting)
  return DiffusionPrior(spec, pipeline)


# Frozen models of this process, by `PriorSpec.sharing_key`. A model is freed
# with the last prior that uses it.
_shared: weakref.WeakValueDictionary[tuple, pipelines.Pipeline] = (
  weakref.WeakValueDictionary()
)


def _open_shared(spec: messages.PriorSpec) -> pipelines.Pipeline:
  """Opens a prior's frozen model, or returns the one that is open."""
  key, options = spec.sharing_key, spec.options
  pipeline = None if key is None else _shared.get(key)
  if pipeline is None:
    pipeline = pipelines.open_pipeline(
      locate.locate(options.directory, options.base),
      options.dtype,
      options.device,
      memory=options.memory,
      loras=options.all_loras,
      prompt_chunks=options.prompt_chunks,
    )
    if key is not None:
      _shared[key] = pipeline
  return pipeline


# Numbers of the proxies on shared models: their adapters need different names.
_numbers = itertools.count()


def _make_proxy(
  spec: messages.PriorSpec, pipeline: pipelines.Pipeline
) -> proxies.Proxy | concept_proxies.ConceptProxies | None:
  options, unet = spec.options, pipeline.denoiser
  if not options.has_proxy:
    return None
  adapter = proxies.ADAPTER
  # On a model that others share, its adapters are told apart by their names.
  if spec.sharing_key is not None:
    adapter = f'proxy{next(_numbers)}'
  records = options.memory.cuda_graphs
  if options.proxy_per == 'concept':
    return concept_proxies.ConceptProxies(unet, options.rank, adapter, records)
  return proxies.Proxy(unet, options.rank, adapter=adapter, records=records)


def configure_torch(num_threads: int) -> None:
  """Makes torch answer the same bits whenever it is asked the same.

  Bits differ between numbers of threads, so that number is part of a run.

  Args:
    num_threads: of torch in this process; 0 leaves them as they are.
  """
  if num_threads > 0:
    torch.set_num_threads(num_threads)
  # CUDA reads this when its first kernel runs.
  os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
  torch.use_deterministic_algorithms(True, warn_only=True)
  # The flag above would otherwise fill every new buffer with NaN.
  deterministic: Any = torch.utils.deterministic  # Its types lack this flag.
  deterministic.fill_uninitialized_memory = False
  torch.backends.cudnn.benchmark = False


class DiffusionPrior:
  """A `messages.Prior` made of a diffusers directory.

  Attributes:
    spec: what it was built from.
    pipeline: the frozen model.
    proxy: its proxy, or those of its concepts; None where the kind of guidance
      has none.
  """

  def __init__(self, spec: messages.PriorSpec, pipeline: pipelines.Pipeline):
    self.spec = spec
    self.pipeline = pipeline
    self.proxy = _make_proxy(spec, pipeline)
    self._strict = determinism.Strict(spec.name)
    # Without a proxy that would count its fits, they do nothing; but each
    # request says how many it expects, so they are counted here.
    self._num_empty_fits = 0
    self._shown: list[shown_lib.Shown] = []  # In the step that it is in.

  @property
  def proxy_step(self) -> int:
    """Fits behind the proxy, which counts them itself."""
    return self._num_empty_fits if self.proxy is None else self.proxy.step

  def score(self, request: messages.ScoreRequest) -> messages.ScoreGradient:
    """Answers, and remembers the renders for `fit`.

    Raises:
      UserError: the request does not fit together, or expects a proxy with
        another number of fits behind it.
      NotFinite: the answer is not finite.
    """
    start = time.monotonic()
    # Before the networks run, which may take seconds.
    self._check(request)
    answer = self._strict.call(
      lambda: scores.score(
        self.pipeline,
        self.proxy,
        request,
        self.spec.options.weighting,
        self.spec.options.proxy_guidance_scale,
        guidance_points.Choice.of(self.spec.options),
      )
    )
    self._check_finite(request, answer)
    # Only now: after an answer that failed there must be nothing to fit.
    self._shown = shown_lib.before(self._shown, request)
    self._shown.append(
      shown_lib.Shown(
        request, answer.noised, answer.sizes, time.monotonic() - start
      )
    )
    return messages.ScoreGradient(
      step=request.step,
      prior=self.spec.name,
      channel=self.spec.options.channel,
      cotangent=answer.cotangent,
      proxy_step=self.proxy_step,
      metrics=shown_lib.metrics(self._shown),
    )

  def fit(self) -> Mapping[str, float]:
    """Fits the proxy once, unsigned, on the renders of the step last scored.

    Unsigned, because the proxy is to learn what the renders look like. That
    does not depend on whether a concept is wanted or unwanted.

    Returns:
      `proxy_loss` and `proxy_seconds`; nothing without a proxy. Where each
      concept has one, `proxy_loss` is their mean, and `proxy_loss_i` is that of
      term i.

    Raises:
      RuntimeError: no step was scored to its end since the last fit.
      NotFinite: the fit is not finite. Its proxy has not moved; of several
        proxies, those of other concepts may have.
    """
    if not shown_lib.is_complete(self._shown):
      raise RuntimeError(
        f'prior {self.spec.name!r} was asked to fit before it was asked to '
        'score; each fit needs all renders of one step.'
      )
    # Taken away at once, so that no step is ever fitted twice, even if this
    # fit fails.
    shown, self._shown = self._shown, []
    if self.proxy is None:
      self._num_empty_fits += 1
      return {}
    start = time.monotonic()
    # What the fit reads of a request is the same in all parts of a step.
    request = shown[-1].request
    try:
      losses = self._fit_proxy(self.proxy, request, shown_lib.join(shown))
    except FloatingPointError as error:
      raise errors.NotFinite(
        f'step {request.step}, prior {self.spec.name!r}: {error}.'
      ) from error
    return {**losses, 'proxy_seconds': time.monotonic() - start}

  def save_proxy(self) -> messages.ProxyState:
    """Returns a copy of the proxy and its optimiser, or of a count alone."""
    if self.proxy is None:
      state = messages.ProxyState(self._num_empty_fits, {})
    else:
      state = self.proxy.save()
    # 'auto' is another one on another machine, which the learner has to know.
    dtype = str(self.pipeline.dtype).removeprefix('torch.')
    return dataclasses.replace(state, dtype=dtype)

  def restore_proxy(self, state: messages.ProxyState) -> None:
    """Goes back to a saved proxy, and forgets the renders last scored.

    Raises:
      UserError: the state is of a proxy with other layers or another rank, or
        of any proxy where this prior has none.
    """
    if self.proxy is not None:
      self.proxy.restore(state)
    elif state.arrays:
      raise errors.UserError(
        f'prior {self.spec.name!r} runs {self.spec.options.objective}, which '
        f'has no proxy, but was given one of {len(state.arrays)} arrays.'
      )
    else:
      self._num_empty_fits = state.step
    # What was scored with another proxy is not to be fitted by this one.
    self._shown = []

  def close(self) -> None:
    """Takes the proxy out of the frozen model, which others may share."""
    if self.proxy is not None:
      self.proxy.remove()

  def _fit_proxy(
    self,
    proxy: proxies.Proxy | concept_proxies.ConceptProxies,
    request: messages.ScoreRequest,
    shown: noising.Noised,
  ) -> dict[str, float]:
    # Sorted, so that the order of concepts never changes a bit.
    texts = sorted(term.plain_prompt for term in request.terms)
    losses = {
      label: self._fit_member(member, label, request, shown)
      for label, member in proxy.members(texts).items()
    }
    metrics = {'proxy_loss': math.fsum(losses.values()) / len(losses)}
    if isinstance(proxy, concept_proxies.ConceptProxies):
      proxy.step += 1
      for index, term in enumerate(request.terms):
        label = concept_proxies.label_of(term.plain_prompt)
        metrics[f'proxy_loss_{index}'] = losses[label]
    return metrics

  def _fit_member(
    self,
    member: proxies.Member,
    label: str,
    request: messages.ScoreRequest,
    shown: noising.Noised,
  ) -> float:
    # The latents are those that were scored, so that images are encoded once a
    # step. The texts come from the same draw, whichever noise is used.
    noised, texts = fit_draws.draw_fit(
      self.pipeline, shown, request, member.texts, label
    )
    if self.spec.options.proxy_noise == 'shared':
      noised = shown  # As MagicMirror, Eq. 3, is written.
    inputs = pipelines.inputs_of(
      self.pipeline,
      noised.noisy,
      noised.timestep,
      self.pipeline.text.encode(texts),
    )
    target = schedules.training_target(
      noised.latents,
      noised.noise,
      noised.alpha_t,
      noised.sigma_t,
      self.pipeline.schedule.prediction_type,
    )

    # The loss that any diffusion model is trained with, here at the texts
    # without view words. It is handed over as a function, since the proxy
    # switches its adapters on while it runs.
    def loss_of_proxy(target: torch.Tensor, *given: Any) -> torch.Tensor:
      noise_pred = pipelines.predict_at(self.pipeline, *given)
      return (noise_pred - target).square().mean()

    # Torch refuses an operation before any weight of the proxy has moved.
    return self._strict.call(
      lambda: member.proxy.fit(
        loss_of_proxy, request.proxy_learning_rate, (target, *inputs)
      )
    )

  def _check(self, request: messages.ScoreRequest) -> None:
    shapes.check_shape('images', request.images, ('V', 'H', 'W', 3))
    num_views = request.images.shape[0]
    shapes.check_shape('noise_levels', request.noise_levels, (num_views,))
    counts = [len(term.prompts) for term in request.terms]
    if not counts or any(count != num_views for count in counts):
      raise errors.UserError(
        f'request has {counts} prompts per term for {num_views} views; '
        'expected one per view, and one term or more.'
      )
    # The same request answered by another proxy would be another answer. An
    # executor that lost or repeated a fit is noticed here, not in the results.
    if request.proxy_step != self.proxy_step:
      raise errors.UserError(
        f'step {request.step} expects a proxy of prior {self.spec.name!r} with '
        f'{request.proxy_step} fits behind it; it has {self.proxy_step}. '
        'Restore the proxy of that step.'
      )
    before = shown_lib.count_views(shown_lib.before(self._shown, request))
    if request.first_view != before:
      raise errors.UserError(
        f'step {request.step} asks prior {self.spec.name!r} about its views '
        f'from {request.first_view} on, after {before} of them; expected the '
        'parts of a step in their order.'
      )

  def _check_finite(
    self, request: messages.ScoreRequest, answer: scores.Answer
  ) -> None:
    """Raises NotFinite that names the terms, or the images."""
    if np.isfinite(answer.cotangent).all():
      return
    # NaN in one image reaches every term, so the terms are named only where
    # the images are sound.
    finite_images = np.isfinite(request.images).all()
    guilty = [repr(request.terms[i].plain_prompt) for i in answer.broken]
    cause = ', '.join(guilty) if finite_images else 'its images, as given'
    raise errors.NotFinite(
      f'step {request.step}, prior {self.spec.name!r}: the answer is not '
      f'finite for {cause or "the sum of its concepts"}.'
    )
