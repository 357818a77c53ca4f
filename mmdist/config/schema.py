"""The configuration of a run: one typed dataclass per room.

Defaults come from `docs/method.md`, whose section is cited where it says more.
The dataclasses are mutable because `ml_collections.config_flags` sets their
fields (`--config.learner.learning_rate=2e-3`); a run treats them as constants.
"""

import dataclasses

from mmdist.core import messages

# What some of the fields may be; those of a prior are in `core.messages`.
NOISE_SCHEDULES = ('fixed', 'linear', 'sqrt', 'refine')
TRAINABLE = ('all', 'code')
COMPUTE = ('float32', 'bfloat16')
ON_NONFINITE = ('stop', 'reject')
COLOCATE = ('', 'learner')
TEXTURE_SIZES = (64, 8192)  # Besides 0.


@dataclasses.dataclass
class NerfConfig:
  """The conditional NeRF (docs/method.md, section 3).

  `heads` is the small one of the embedded default; see
  `mmdist.nerf.field.PRESETS` for `preface`, the paper's.
  """

  code_size: int = 32  # C, joined to the input of every layer.
  nerf_depth: int = 5
  nerf_width: int = 64
  proposal_depth: int = 2
  proposal_width: int = 32
  num_proposal_samples: int = 32
  num_nerf_samples: int = 16
  num_proposal_passes: int = 1  # 2 in quality mode.
  position_levels: int = 5  # On six icosahedron axes; `preface` has 12 on 3.
  viewdir_levels: int = 0  # 4 in `preface`; the heads are matte.
  icosahedron_axes: bool = True
  icosahedron_subdivisions: int = 1  # 1: 6 axes; 2: 21, mip-NeRF 360's.
  density_scale: float = 10.0
  activation: str = 'squareplus'  # Or 'relu': see `mmdist.nerf.mlp`.


@dataclasses.dataclass
class ViewsConfig:
  """Which views a step renders (docs/method.md, section 4)."""

  num_views: int = 2  # V per step.
  resolution: int = 64  # H = W.
  background: tuple[float, float] = (0.35, 1.0)  # Grey drawn per view.
  # How much likelier than others a kind of view is. Expressions are made at the
  # mouth, and the back of the head is seen least.
  emphasis: dict[str, float] = dataclasses.field(
    default_factory=lambda: {'mouth': 4.0, 'eyes': 1.0, 'back': 1.5}
  )
  use_view_words: bool = True
  # Priors of one channel share out the views of a step instead of each looking
  # at all of them: the same sum on average, for a part of the passes.
  deal: bool = False
  # Parts that a step's views are cut into: priors score one part while the
  # learner renders the next or takes the one before back. At most num_views.
  # Where it does not divide them, two sizes of parts are compiled.
  micro_batches: int = 1
  # Opens what every prior of colours reads that has no prefix of its own. The
  # paper's is "A DSLR photo of" (MagicMirror, A.3).
  prompt_prefix: str = ''


@dataclasses.dataclass
class PriorConfig(messages.PriorOptions):
  """One diffusion prior and its proxy (docs/method.md, section 2).

  What the prior itself reads is inherited; here is what the learner's side
  makes of it.
  """

  weight: float = 1.0  # Lambda of Eq. 4 for the normal prior.
  guidance_scale: float = 8.0  # s in uncond + s (cond - uncond).
  # What is guided away from, in place of the empty text; a concept may have its
  # own. What each kind of guidance makes of it: docs/method.md, section 2.
  negative_prompt: str = ''
  # In 'csd', the factor on the negative text as a share of guidance_scale, and
  # how it changes in the course of the run; see mmdist.objectives.schedules.
  negative_share: float = 1.0
  negative_schedule: str = ''
  prompt_template: str = '{prompt}'  # '{target}' is whom the text is about.
  # Opens what this prior reads. '': views.prompt_prefix for a prior that looks
  # at colours, none for one that looks at normals.
  prompt_prefix: str = ''
  # What its actor reserves on a machine of the cluster. It has as many threads
  # as CPUs; 0 takes its share of the learner's cores.
  num_cpus: int = 0
  num_gpus: float = 0.0  # May be a fraction; 0 shares those that are there.
  resources: dict[str, float] = dataclasses.field(default_factory=dict)
  node_labels: dict[str, str] = dataclasses.field(default_factory=dict)
  colocate: str = ''  # 'learner': on the learner's machine.
  enabled: bool = True


@dataclasses.dataclass
class ConceptConfig:
  """One signed term of the composed objective (MagicMirror, Eq. 5)."""

  text: str = ''
  weight: float = 1.0  # alpha > 0, or -beta < 0.
  priors: tuple[str, ...] = ()  # Empty: every enabled prior.
  name: str = ''  # What grids and tables call it.
  # A factor on the weight as the run goes on, such as 'linear(1, 0)'; see
  # mmdist.objectives.schedules. Empty: constant.
  schedule: str = ''
  negative_prompt: str = ''  # Empty: that of each prior.


@dataclasses.dataclass
class NoiseConfig:
  """The noise level t of the score (docs/method.md, section 2).

  The paper's range is 0.02 to 0.8. Below 0.5 the embedded priors ignore the
  text and reproduce the image; a hat that was asked for appeared only with t
  above 0.5.
  """

  minimum: float = 0.5
  maximum: float = 0.98
  schedule: str = 'linear'  # One of NOISE_SCHEDULES.
  final_maximum: float = 0.8  # Where the annealed maximum ends.


@dataclasses.dataclass
class LearnerConfig:
  """How the 3D representation moves."""

  # Lower rates were too slow for the embedded NeRF: at 1e-3 a hat that was
  # asked for did not appear.
  learning_rate: float = 3e-3
  final_learning_rate_ratio: float = 0.2  # Exponential decay to this share.
  # Rate of the code, divided by that of the weights. A step along the code
  # changes the whole head; a step of the weights changes it in places.
  code_learning_rate_ratio: float = 10.0
  adam_b1: float = 0.9
  adam_b2: float = 0.99
  proxy_learning_rate_ratio: float = 2.0  # LR_LoRA / LR_NeRF.
  opacity_weight: float = 1e-2  # l1 on accumulated opacity.
  regularizer_weight: float = 1.0  # The representation's own loss.
  trainable: str = 'all'  # Or 'code', the latent code alone.
  start_code: str = 'mean'  # 'mean', 'random' or a subject's number.
  # Rays at a time on each device. Few fit into the caches of a CPU; a GPU wants
  # thousands.
  chunk_size: int = 16
  # Render again in the second half of a step. Without, the first half keeps the
  # results of the matrix products of all rays: a quarter less to compute, and
  # much more memory.
  remat: bool = True
  # With it, so many chunks are not rendered again, of each device and each part
  # of a step: these take the memory of their products, the others do not.
  num_kept_chunks: int = 0
  # A ray whose opacity stays below this is not computed: it shows what is
  # behind it, and has no part in the gradient. 0 computes all of them.
  empty_opacity: float = 1e-3
  # Of the products of hidden layers; their sums are float32. Or 'bfloat16'.
  compute: str = 'float32'
  num_devices: int = 0  # On each host; 0: all that it has.
  # Hosts that render side by side, each a process. See docs/cluster.md for how
  # they are started.
  num_hosts: int = 1
  # In how many parts parameters and Adam's moments are split over the devices;
  # each device holds all of them with 1.
  num_shards: int = 1


@dataclasses.dataclass
class CheckpointConfig:
  """What survives a run, and what a lost prior is made again from."""

  every: int = 50  # Steps between checkpoints; 0: only after the last step.
  keep: int = 3  # Newest checkpoints that are kept.
  keep_every: int = 0  # Multiples that are kept for good; 0: none.
  snapshot_every: int = 10  # In memory: what a lost prior replays, at most.


@dataclasses.dataclass
class FaultsConfig:
  """How many failures a run tolerates before it stops."""

  on_nonfinite: str = 'stop'  # Or 'reject': leave the step out.
  max_rejected: int = 5  # In a row.
  # Seconds to wait for an answer at most: only a deadline finds a prior that
  # hangs. The deadline is deadline_factor times the median of the answers, but
  # at least deadline_floor_s, and five times that for a process's first ones.
  deadline_s: float = 1800.0
  deadline_factor: float = 20.0
  deadline_floor_s: float = 120.0
  build_deadline_s: float = 1800.0  # For a prior to start and to load.
  max_losses: int = 5  # Of one prior within the window.
  window_s: float = 3600.0


@dataclasses.dataclass
class ResultsConfig:
  """What is made of the avatar at the end, and shown meanwhile."""

  preview_every: int = 25  # Steps; 0: no preview.
  turntable_views: int = 40
  resolution: int = 160  # H = W of turntable and sheet.
  mesh_resolution: int = 128  # Grid points per axis.
  texture_size: int = 1024  # Texels of a side; 0: colours at the vertices.
  judge: str = 'judge'  # Who says how far it shows what was asked; '': nobody.
  # A project of Weights & Biases that numbers and previews go to as well; ''
  # needs no such package.
  wandb: str = ''


def _default_priors() -> dict[str, PriorConfig]:
  return {
    'generic': PriorConfig(),
    'normal': PriorConfig(
      directory='normal',
      channel='normal',
      prompt_template='a [w] face map of {target}',
    ),
  }


@dataclasses.dataclass
class RunConfig:
  """Everything that decides a run; printed, stored, compared on resume."""

  prompt: str = 'a portrait of a happy man with green skin and a red hat'
  concepts: list[ConceptConfig] = dataclasses.field(default_factory=list)
  mode: str = 'sum'  # 'sum', 'perp' or 'renorm'; see composition.
  num_steps: int = 300
  seed: int = 0
  nerf_assets: str = 'nerf'  # A path, or the name of embedded weights.
  nerf: NerfConfig = dataclasses.field(default_factory=NerfConfig)
  views: ViewsConfig = dataclasses.field(default_factory=ViewsConfig)
  noise: NoiseConfig = dataclasses.field(default_factory=NoiseConfig)
  priors: dict[str, PriorConfig] = dataclasses.field(
    default_factory=_default_priors
  )
  learner: LearnerConfig = dataclasses.field(default_factory=LearnerConfig)
  checkpoints: CheckpointConfig = dataclasses.field(
    default_factory=CheckpointConfig
  )
  faults: FaultsConfig = dataclasses.field(default_factory=FaultsConfig)
  results: ResultsConfig = dataclasses.field(default_factory=ResultsConfig)
