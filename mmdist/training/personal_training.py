"""One personalisation: steps, samples, checkpoints and the final report."""

import csv
import hashlib
import itertools
import json
import pathlib
import shutil
import time

import numpy as np
import safetensors
import safetensors.torch

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import progress
from mmdist.core import strict_json
from mmdist.data import concept_images
from mmdist.data import sheets
from mmdist.priors import adapters
from mmdist.priors import digest
from mmdist.priors import families
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from mmdist.priors import sample
from mmdist.priors.training import dreambooth
from mmdist.results import report as report_lib
from mmdist.run import device_setup
from mmdist.training import personalization

CHECKPOINT = 'training.safetensors'
_STEPS = {'photos': 400, 'avatar': 400, 'normal': 800}  # MagicMirror, A.2.
# Learning rate by whether the prior is an embedded one. That of embedded ones
# was chosen on an earlier version of their weights; the other is the paper's,
# for a large model (MagicMirror, A.2).
_RATES = {True: 2e-4, False: 3e-6}
_SAMPLES_PER_PROMPT = 4
_SAMPLER_STEPS = 25
_GUIDANCE = 4.0


class PersonalTraining:
  """One personalisation, resumable.

  Attributes:
    step: optimiser steps behind it.
  """

  def __init__(
    self,
    options: personalization.Options,
    directory: str,
    family: families.Family,
    prompt: str,
    concept: concept_images.ConceptSet,
    work: pathlib.Path,
  ):
    """Opens the prior, draws samples of it as it is, and resumes.

    Args:
      options: see `personalization.Options`.
      directory: of the prior to start from.
      family: what that directory declares.
      prompt: what the pictures are called.
      concept: the pictures.
      work: folder of the checkpoint and of samples.

    Raises:
      UserError: the checkpoint is damaged, or of other settings or pictures.
    """
    self._options, self._directory = options, directory
    self._prompt, self._concept, self._work = prompt, concept, work
    # Only the embedded priors, and those made from them, declare tokens.
    self._is_embedded = bool(family.settings.get('identifier_tokens'))
    self._num_steps = options.num_steps or _STEPS[options.kind]
    self._rate = options.learning_rate or _RATES[self._is_embedded]
    priors.configure_torch(device_setup.share_cores(1).prior)
    self._pipeline = pipelines.open_pipeline(
      directory, options.dtype, options.device, train=True
    )
    self._losses: list[float] = []
    of_class = self._sample_class() if options.class_prompt else None
    self._sample_sheet('before')
    self._stream = concept_images.ConceptStream(
      concept, options.batch_size, options.seed, of_class=of_class
    )
    self._tuner = dreambooth.FineTuner(self._pipeline, self._tuning())
    self._resume()

  @property
  def step(self) -> int:
    """Optimiser steps behind it."""
    return self._tuner.step

  def _tuning(self) -> dreambooth.FineTuning:
    options = self._options
    return dreambooth.FineTuning(
      num_steps=self._num_steps,
      learning_rate=self._rate,
      train_text_encoder=options.train_text_encoder,
      class_weight=options.class_weight if options.class_prompt else 0.0,
      lora_rank=options.lora_rank,
      seed=options.seed,
    )

  def run(self, start: float) -> bool:
    """Trains to the end, or until time is up, and saves.

    Args:
      start: when the time began that `max_minutes` allow, in seconds of
        `time.monotonic`.

    Returns:
      Whether the end was reached.

    Raises:
      NotFinite: a loss or a gradient is not finite; the checkpoint is sound.
    """
    options, saved = self._options, time.monotonic()
    with progress.Progress(self._num_steps, self.step) as shown:
      while self.step < self._num_steps:
        self._losses.append(self._tuner.descend(next(self._stream)))
        shown.update(f'loss {np.mean(self._losses[-20:]):.4f}')
        now = time.monotonic()
        if now - saved > options.save_every_s:
          self._save()
          saved = now
        if options.max_minutes and now - start > 60 * options.max_minutes:
          self._save()
          return False
    self._save()
    return True

  def write_result(self) -> pathlib.Path:
    """Writes the whole result beside the checkpoint; returns its folder."""
    self._tuner.finish()
    folder = self._work / 'finished'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if self._options.lora_rank:
      self._pipeline.denoiser.save_lora_adapter(
        folder / 'lora', adapter_name=adapters.NAME, safe_serialization=True
      )
      adapters.merge(self._pipeline.denoiser, 1.0)
    self._sample_sheet('after')
    # The files of embedded priors are float16. A large model moves at so small
    # a rate that float16 would round its changes away.
    dtype = 'float16' if self._is_embedded else 'float32'
    pipelines.save_pipeline(self._pipeline, folder, dtype)
    for name in ('before.png', 'after.png', 'pictures.png'):
      shutil.copy(self._work / name, folder / name)
    with atomic.replacing(folder / 'losses.csv') as path:
      with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['step', 'loss'])
        writer.writerows(enumerate(self._losses))
    (folder / 'README.md').write_text(self._card(), encoding='utf-8')
    report_lib.write_report(folder / 'report.html', self._report(folder))
    return folder

  def _sample_class(self) -> concept_images.ConceptSet:
    """Draws pictures of the class from the prior as it is, once."""
    options = self._options
    texts = itertools.cycle(options.class_prompt)
    prompts = tuple(itertools.islice(texts, options.num_class_images))
    # The file's name says what it was drawn from: before there is a checkpoint,
    # the same folder may be used with another class.
    made_from = [prompts, options.seed, digest.weight_digests(self._directory)]
    name = hashlib.sha256(strict_json.dumps(made_from).encode()).hexdigest()[
      :16
    ]
    path = self._work / f'class-{name}.npy'
    if not path.is_file():
      images = sample.sample(
        self._pipeline, prompts, _GUIDANCE, _SAMPLER_STEPS, options.seed
      )
      opaque = np.ones((*images.shape[:3], 1), np.float32)
      rgba = np.uint8(np.round(255 * np.concatenate([images, opaque], -1)))
      with atomic.replacing(path) as temporary:
        np.save(temporary, rgba)
    return concept_images.ConceptSet(np.load(path), prompts)

  def _sample_sheet(self, name: str) -> None:
    """Samples the prompt itself and variations of it, a row each."""
    path = self._work / f'{name}.png'
    # Once there is a checkpoint, the sheets belong to it. Before, they may be
    # of another command in the same folder, or one of them may be missing.
    has_begun = (self._work / CHECKPOINT).is_file()
    if name == 'before' and has_begun and path.is_file():
      return
    prompts = [
      p for p in self._variations() for _ in range(_SAMPLES_PER_PROMPT)
    ]
    pictures = sample.sample(
      self._pipeline, prompts, _GUIDANCE, _SAMPLER_STEPS, seed=1
    )
    sheets.save_grid(path, pictures, columns=_SAMPLES_PER_PROMPT, zoom=2)
    if name == 'before':
      rgba = self._concept.rgba[:24].astype(np.float32) / 255
      shown = rgba[..., :3] * rgba[..., 3:] + 0.75 * (1 - rgba[..., 3:])
      sheets.save_grid(self._work / 'pictures.png', shown, columns=8)

  def _variations(self) -> list[str]:
    """Returns the prompt, and it with additions whose words the prior knows."""
    wanted = [
      self._prompt,
      f'{self._prompt} with a red hat',
      f'{self._prompt} with green skin',
      f'{self._prompt} with long blond hair',
    ]
    known = []
    for prompt in wanted:
      try:
        self._pipeline.text.check(prompt)
      except errors.UserError:  # It has a word that this prior does not know.
        continue
      known.append(prompt)
    return known

  def _save(self) -> None:
    metadata = {
      'stream': strict_json.dumps(self._stream.get_state()),
      'losses': strict_json.dumps(self._losses),
      'settings': strict_json.dumps(self._settings()),
    }
    with atomic.replacing(self._work / CHECKPOINT) as path:
      safetensors.torch.save_file(self._tuner.save(), path, metadata)

  def _settings(self) -> dict:
    """Returns what a resumed training must share with this one."""
    return {
      'prior': digest.weight_digests(self._directory),
      'prompt': self._prompt,
      'num_steps': self._num_steps,
      'learning_rate': self._rate,
      'lora_rank': self._options.lora_rank,
      'train_text_encoder': self._options.train_text_encoder,
      'class_weight': self._tuning().class_weight,
      'dtype': str(self._pipeline.dtype).removeprefix('torch.'),
      'seed': self._options.seed,
    }

  def _resume(self) -> None:
    path = self._work / CHECKPOINT
    if not path.is_file():
      return
    try:
      with safetensors.safe_open(path, 'pt') as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
      raise errors.UserError(
        f'{path} is damaged ({error}); delete it to start over.'
      ) from error
    settings = json.loads(metadata['settings'])
    changed = [k for k, v in self._settings().items() if settings.get(k) != v]
    if changed:
      raise errors.UserError(
        f'{self._work} was begun with another {", ".join(changed)}; give the '
        'same, or another --out.'
      )
    self._stream.set_state(json.loads(metadata['stream']))
    self._tuner.restore(tensors)
    self._losses = json.loads(metadata['losses'])

  def _card(self) -> str:
    options = self._options
    source = {
      'photos': f'{len(self._concept.prompts)} pictures of one subject',
      'avatar': f'{len(self._concept.prompts)} colour renders of an avatar',
      'normal': f'{len(self._concept.prompts)} world normals of one head',
    }[options.kind]
    moved = (
      f'a LoRA of rank {options.lora_rank}, merged (alone in `lora/`)'
      if options.lora_rank
      else 'all weights of the denoiser'
    )
    text = ' and the text encoder' if options.train_text_encoder else ''
    preserved = (
      f' Prior preservation: {options.num_class_images} samples of '
      f'{", ".join(map(strict_json.dumps, options.class_prompt))}, weight '
      f'{options.class_weight:g}.'
      if options.class_prompt
      else ''
    )
    digests = '\n'.join(
      f'- `{name}`: `{value}`'
      for name, value in self._settings()['prior'].items()
    )
    return (
      f'# A personalised prior\n\nPrompt it with "{self._prompt}".\n\n'
      f'Made by mmdist from {source} (`pictures.png`): DreamBooth, '
      f'{self._num_steps} steps of {options.batch_size}, learning rate '
      f'{self._rate:g}, moving {moved}{text}, seed {options.seed}.'
      f'{preserved}\n\nIt began as the prior with these weight files '
      f'(sha256):\n\n{digests}\n\nIf the pictures show a person, so does what '
      'it draws: ask them before you pass it on.\n'
    )

  def _report(self, folder: pathlib.Path) -> report_lib.Report:
    return report_lib.Report(
      title=self._prompt,
      facts={
        'kind': self._options.kind,
        'pictures': str(len(self._concept.prompts)),
        'steps': str(self._num_steps),
        'rows of samples': '; '.join(self._variations()),
      },
      pictures={
        'What it learned from': folder / 'pictures.png',
        'Before': folder / 'before.png',
        'After': folder / 'after.png',
      },
      downloads={},
      metrics=[
        {'step': step, 'loss': loss} for step, loss in enumerate(self._losses)
      ],
      config={k: v for k, v in self._settings().items() if k != 'prior'},
    )
