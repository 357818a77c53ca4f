"""How much memory a prior will need, told before anything is loaded.

Weights are counted from the headers of their files. Activations are counted by
running the networks on PyTorch's meta device, which has shapes and no numbers.
For a fit, every output of a layer that its backward pass may want is added up.
A score has no backward pass and looks at all texts at once: for it, the tensors
that live at a time are counted. What libraries keep for themselves (a CUDA
context is about half a GiB) is not in it.
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
import pathlib
from typing import Any

import diffusers
import safetensors
import torch

from mmdist.core import guidance_kinds
from mmdist.core import messages
from mmdist.priors import denoisers
from mmdist.priors import devices
from mmdist.priors import directory as files
from mmdist.priors import families
from mmdist.priors import image_codec
from mmdist.priors import live_bytes
from mmdist.priors import locate
from mmdist.priors import memory_needs
from mmdist.priors import proxy as proxies
from mmdist.priors import single_file
from mmdist.priors import text_encoders

_META_SIZE = 4  # Bytes of a number on the meta device: float32.


def estimate(
  spec: messages.PriorSpec, num_views: int, num_texts: int = 1
) -> memory_needs.Footprint:
  """Estimates a prior's memory without loading a weight.

  Args:
    spec: of the prior.
    num_views: views that it looks at in a step.
    num_texts: different texts that it is asked for, view words aside.

  Raises:
    FileNotFoundError, UserError: as `families.read_family`.
  """
  options = spec.options
  directory = locate.locate(options.directory, options.base)
  family = families.read_family(pathlib.Path(directory))
  # A text in pieces is as long to the network as so many texts.
  reading = dataclasses.replace(
    family, texts=family.texts * options.prompt_chunks
  )
  device = devices.planned_device(options.device)
  dtype = devices.resolve_dtype(options.dtype, device)
  size = dtype.itemsize
  text_size = devices.DTYPES[options.memory.text_dtype].itemsize
  with torch.device('meta'):
    network = _build(
      getattr(diffusers, family.denoiser_config['_class_name']),
      family.denoiser_config,
    )
  activations = max(
    count_outputs(network, lambda: _run(network, reading, num_views), size),
    _count_score(network, reading, num_views * num_rows(options, num_texts))
    * size
    // _META_SIZE,
  )
  vae = 0
  if family.codec == 'vae':
    config = files.read_json(family.directory / 'vae' / 'config.json')
    vae_size = image_codec.vae_dtype(config, dtype).itemsize
    vae = _count(family.directory, 'vae') * vae_size
    encoding = _count_encoder(family, num_views, vae_size)
    activations = max(activations, encoding)
    if not options.memory.checkpoint_encoder:
      activations += encoding
  return memory_needs.Footprint(
    denoiser=_count(family.directory, family.denoiser) * size,
    text=sum(
      _count(family.directory, text.component) * text_size
      for text in family.texts
    ),
    vae=vae,
    proxy=_proxy_bytes(network, options, num_texts),
    activations=activations,
    offloaded=options.memory.offload_text and not is_on_cpu(spec),
    dtype=_name_dtype(dtype, device),
  )


def _name_dtype(dtype: torch.dtype, device: torch.device) -> str:
  """Returns a dtype in words, with a warning where a device emulates it."""
  name = str(dtype).removeprefix('torch.')
  if dtype == torch.bfloat16 and not devices.has_bfloat16(device):
    return f'{name}, which this {device.type} emulates slowly'
  return name


def _build(kind: Any, config: Mapping[str, Any]) -> Any:
  """Builds a network of diffusers from what its class knows of a config."""
  known = inspect.signature(kind.__init__).parameters
  # It would warn of the others, some of which are the family's own.
  return kind.from_config({k: v for k, v in config.items() if k in known})


def _count(directory: pathlib.Path, component: str) -> int:
  """Returns how many numbers the weight files of a component hold."""
  total = 0
  for path in files.weight_files(directory, component)[0]:
    with safetensors.safe_open(path, 'pt') as file:
      for name in single_file.names_of(directory, component, file.keys()):
        total += torch.Size(file.get_slice(name).get_shape()).numel()
  return total


def count_outputs(
  module: torch.nn.Module, run: Callable[[], object], size: int
) -> int:
  """Adds up the outputs of all layers while `run` runs, in bytes.

  Args:
    module: whose layers are watched.
    run: runs the module.
    size: bytes of a number.
  """
  total = 0

  def add(layer: torch.nn.Module, inputs: tuple, output: object) -> None:
    nonlocal total
    del layer, inputs
    if isinstance(output, torch.Tensor):
      total += output.numel() * size

  hooks = [
    layer.register_forward_hook(add)
    for layer in module.modules()
    if not any(layer.children())
  ]
  try:
    with torch.no_grad():
      run()
  finally:
    for hook in hooks:
      hook.remove()
  return total


def num_rows(options: messages.PriorOptions, num_texts: int) -> int:
  """Returns how many texts the largest pass of a score has for each view.

  Args:
    options: of the prior. Its base is taken to be guided.
    num_texts: that it is asked for.
  """
  base = guidance_kinds.KINDS[options.objective].rows(num_texts)
  if not options.has_proxy:
    return base
  is_guided = options.proxy_guidance_scale != 1
  if options.proxy_per == 'concept':
    largest, total = 1 + is_guided, num_texts * (1 + is_guided)
  else:
    largest = total = num_texts + is_guided
  return base + total if options.memory.batched else max(base, largest)


def _count_score(network: Any, family: families.Family, batch_size: int) -> int:
  return live_bytes.peak(lambda: _run(network, family, batch_size))


def _run(
  network: Any, family: families.Family, batch_size: int
) -> torch.Tensor:
  config = network.config
  name = type(network).__name__
  kind = denoisers.NETWORKS[name]
  latents = family.image_size // family.codec_factor
  width = config[kind.text_width] or config['cross_attention_dim']
  pooled = config.get('pooled_projection_dim')
  if config.get('addition_embed_type') == 'text_time':
    added = 6 * config['addition_time_embed_dim']
    pooled = config['projection_class_embeddings_input_dim'] - added
  if config.get('encoder_hid_dim'):
    width = config['encoder_hid_dim']
  length = sum(text.length for text in family.texts)
  if kind.has_mask:
    pooled = length

  def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(batch_size, *shape, device='meta')

  prompt_embeds = text_encoders.PromptEmbeds(
    zeros(length, width), zeros(pooled) if pooled else None
  )
  return denoisers.run(
    network,
    zeros(denoisers.latent_channels(name, config), latents, latents),
    zeros(),
    prompt_embeds,
    family.image_size,
  )


def _count_encoder(family: families.Family, num_views: int, size: int) -> int:
  config = files.read_json(family.directory / 'vae' / 'config.json')
  with torch.device('meta'):
    vae = _build(image_codec.vae_class(config), config)
  pixels = torch.zeros(
    num_views, 3, family.image_size, family.image_size, device='meta'
  )
  return count_outputs(vae, lambda: image_codec.encode_mean(vae, pixels), size)


def _proxy_bytes(
  network: torch.nn.Module, options: messages.PriorOptions, num_texts: int
) -> int:
  """Returns the bytes of a LoRA on every target: weight, gradient, moments.

  Where each text has a LoRA, one at a time has gradients.
  """
  if not options.has_proxy:
    return 0
  total = 0
  for name, module in network.named_modules():
    weight = getattr(module, 'weight', None)
    if weight is None or not _is_target(name):
      continue
    out, into, *kernel = weight.shape
    total += options.rank * (out + into * torch.Size(kernel).numel())
  num_proxies = num_texts if options.proxy_per == 'concept' else 1
  return 4 * total * (3 * num_proxies + 1)


def _is_target(name: str) -> bool:
  return any(
    name == target or name.endswith(f'.{target}') for target in proxies.TARGETS
  )


def is_on_cpu(spec: messages.PriorSpec) -> bool:
  """Returns whether a prior will be in the memory of this machine's CPU."""
  return devices.planned_device(spec.options.device).type == 'cpu'
