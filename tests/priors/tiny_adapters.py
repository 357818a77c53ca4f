"""Tiny adapters of every kind, and what they make of a weight by definition."""

import copy

import peft
import safetensors.torch
import torch

from mmdist.priors import adapters
from mmdist.priors import pipeline as pipelines
from tests.priors import tiny_families


def open_models(folder, families=('sd1', 'sdxl', 'sd3')):
  """Opens a tiny model of each family in float32."""
  return {
    family: pipelines.open_pipeline(
      tiny_families.write(family, folder / family), 'float32', 'cpu'
    )
    for family in families
  }


def merged(model, *loras):
  """Returns the weights of a copy, by network, after a merge."""
  denoiser, text = copy.deepcopy((model.denoiser, model.text))
  adapters.merge_loras(denoiser, text, [(str(f), w) for f, w in loras])
  found = {'': dict(denoiser.named_parameters())}
  for number, module in enumerate(text.modules, 1):
    found[f'text_encoder_{number}'] = dict(module.named_parameters())
  return found


def weights_of(model):
  return {k: v.detach() for k, v in model.denoiser.named_parameters()}


def draw(*shape, seed=0):
  generator = torch.Generator().manual_seed(seed + sum(shape))
  return 0.3 * torch.randn(shape, generator=generator)


def save(path, tensors, metadata=None):
  tensors = {
    k: torch.as_tensor(v).clone().contiguous() for k, v in tensors.items()
  }
  safetensors.torch.save_file(tensors, path, metadata)
  return path


LORA = {'r': 2, 'lora_alpha': 6, 'target_modules': ['to_q', 'to_v']}
PEFT_KINDS = {
  'lora': (peft.LoraConfig, LORA),
  'patterns': (
    peft.LoraConfig,
    LORA
    | {
      'rank_pattern': {'attn2.to_q': 3},
      'alpha_pattern': {'attn1.to_v': 1, r'.*attn2\.to_v': 9},
    },
  ),
  'rslora': (peft.LoraConfig, LORA | {'use_rslora': True}),
  'dora': (peft.LoraConfig, LORA | {'use_dora': True}),
  'bias': (
    peft.LoraConfig,
    LORA | {'lora_bias': True, 'target_modules': ['proj_in', 'linear_1']},
  ),
  'convolutions': (
    peft.LoraConfig,
    LORA | {'target_modules': ['conv1', 'conv_shortcut', 'conv_in']},
  ),
  'dora of convolutions': (
    peft.LoraConfig,
    LORA | {'target_modules': ['conv1', 'proj_in'], 'use_dora': True},
  ),
  'by an expression': (
    peft.LoraConfig,
    LORA | {'target_modules': r'.*down_blocks.*\.to_(q|k)'},
  ),
  'loha': (
    peft.LoHaConfig,
    {'r': 2, 'alpha': 5, 'target_modules': ['to_q', 'conv1']},
  ),
  'loha with cores': (
    peft.LoHaConfig,
    {
      'r': 2,
      'alpha': 5,
      'target_modules': ['conv1'],
      'use_effective_conv2d': True,
    },
  ),
  'lokr': (
    peft.LoKrConfig,
    {'r': 2, 'alpha': 5, 'target_modules': ['to_q', 'conv1']},
  ),
  'lokr of whole matrices': (
    peft.LoKrConfig,
    {'r': 16, 'alpha': 5, 'target_modules': ['to_q', 'ff.net.2']},
  ),
  'lokr with cores': (
    peft.LoKrConfig,
    {
      'r': 2,
      'alpha': 5,
      'target_modules': ['conv1'],
      'use_effective_conv2d': True,
      'decompose_both': True,
    },
  ),
}


def trained_by_peft(module, kind, out, init=None):
  """Saves a random adapter of PEFT; returns what PEFT merges it to."""
  config_class, settings = PEFT_KINDS[kind]
  torch.manual_seed(0)
  model = peft.get_peft_model(
    copy.deepcopy(module), config_class(**settings | (init or {}))
  )
  with torch.no_grad():
    for name, weight in model.named_parameters():
      if 'magnitude' in name:
        weight.mul_(1 + 0.3 * torch.rand_like(weight))
      elif any(part in name for part in ('lora_', 'hada_', 'lokr_')):
        weight.normal_(0, 0.3)
  model.save_pretrained(out)
  return dict(model.merge_and_unload().named_parameters())


# Kohya's and LyCORIS' files, from their definitions.
LINEAR = 'down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q'
CONV = 'down_blocks.0.resnets.0.conv1'


def kohya(layer):
  return f'lora_unet_{layer.replace(".", "_")}'


def product(core, left, right):
  """The Tucker product, a slow loop over the kernel's places."""
  out = torch.zeros(left.shape[1], right.shape[1], *core.shape[2:])
  for row in range(core.shape[2]):
    for column in range(core.shape[3]):
      out[:, :, row, column] = left.T @ core[:, :, row, column] @ right
  return out


def dora(moved, length, dim):
  others = [d for d in range(moved.ndim) if d != dim]
  return length * moved / moved.square().sum(others, keepdim=True).sqrt()


def kohya_cases(weights):
  """Returns kind -> layer, parts, and the weight that is to come out."""
  linear, conv = weights[f'{LINEAR}.weight'], weights[f'{CONV}.weight']
  rows, columns = linear.shape
  out, into = conv.shape[:2]
  down, up = draw(2, columns), draw(rows, 2, seed=1)
  pair = {'lora_down.weight': down, 'lora_up.weight': up, 'alpha': 3.0}
  moved = linear + 1.5 * up @ down
  chain = {
    'lora_down.weight': draw(2, into, 3, 3),
    'lora_up.weight': draw(out, 2, 1, 1),
    'alpha': 1.0,
  }
  of_chain = torch.einsum(
    'or,rikl->oikl',
    chain['lora_up.weight'][:, :, 0, 0],
    chain['lora_down.weight'],
  )
  tucker = {
    'lora_down.weight': draw(2, into, 1, 1),
    'lora_mid.weight': draw(3, 2, 3, 3),
    'lora_up.weight': draw(out, 3, 1, 1),
    'alpha': 1.0,
  }
  of_tucker = product(
    tucker['lora_mid.weight'],
    tucker['lora_up.weight'][:, :, 0, 0].T,
    tucker['lora_down.weight'][:, :, 0, 0],
  )
  hada = {
    'hada_w1_a': draw(rows, 2),
    'hada_w1_b': draw(2, columns),
    'hada_w2_a': draw(rows, 2, seed=2),
    'hada_w2_b': draw(2, columns, seed=3),
    'alpha': 1.0,
  }
  of_hada = (hada['hada_w1_a'] @ hada['hada_w1_b']) * (
    hada['hada_w2_a'] @ hada['hada_w2_b']
  )
  cores = {
    'hada_t1': draw(2, 2, 3, 3),
    'hada_w1_a': draw(2, out),
    'hada_w1_b': draw(2, into),
    'hada_t2': draw(2, 2, 3, 3, seed=2),
    'hada_w2_a': draw(2, out, seed=3),
    'hada_w2_b': draw(2, into, seed=4),
    'alpha': 4.0,
  }
  of_cores = product(
    cores['hada_t1'], cores['hada_w1_a'], cores['hada_w1_b']
  ) * product(cores['hada_t2'], cores['hada_w2_a'], cores['hada_w2_b'])
  whole = {
    'lokr_w1': draw(2, 4),
    'lokr_w2': draw(rows // 2, columns // 4),
    'alpha': 7.0,  # Of whole matrices it does not count.
  }
  low = {
    'lokr_w1': draw(2, 2),
    'lokr_w2_a': draw(rows // 2, 3),
    'lokr_w2_b': draw(3, columns // 2),
    'alpha': 1.5,
  }
  of_conv = {'lokr_w1': draw(2, 2), 'lokr_w2': draw(out // 2, into // 2, 3, 3)}
  length = (
    linear.norm(dim=1, keepdim=True) * torch.linspace(0.5, 2, rows)[:, None]
  )
  across = linear.norm(dim=0, keepdim=True) * torch.linspace(0.5, 2, columns)
  of_filters = torch.linspace(0.5, 2, out).view(out, 1, 1, 1)
  return {
    'lora': (LINEAR, pair, moved),
    'dora': (LINEAR, pair | {'dora_scale': length}, dora(moved, length, 0)),
    'dora of columns': (
      LINEAR,
      pair | {'dora_scale': across},
      dora(moved, across, 1),
    ),
    'dora of convolutions': (
      CONV,
      chain | {'dora_scale': of_filters},
      dora(conv + of_chain / 2, of_filters, 0),
    ),
    'locon': (CONV, chain, conv + of_chain / 2),
    'locon with a kernel in the middle': (CONV, tucker, conv + of_tucker / 2),
    'loha': (LINEAR, hada, linear + of_hada / 2),
    'loha with dora': (
      LINEAR,
      hada | {'dora_scale': length},
      dora(linear + of_hada / 2, length, 0),
    ),
    'loha with cores': (CONV, cores, conv + 2 * of_cores),
    'lokr of whole matrices': (
      LINEAR,
      whole,
      linear + torch.kron(whole['lokr_w1'], whole['lokr_w2']),
    ),
    'lokr': (
      LINEAR,
      low,
      linear
      + torch.kron(low['lokr_w1'], low['lokr_w2_a'] @ low['lokr_w2_b']) / 2,
    ),
    'lokr of convolutions': (
      CONV,
      of_conv,
      conv
      + torch.stack(
        [
          torch.kron(
            of_conv['lokr_w1'], of_conv['lokr_w2'][:, :, i // 3, i % 3]
          )
          for i in range(9)
        ],
        -1,
      ).reshape(conv.shape),
    ),
    'a full difference': (CONV, {'diff': draw(*conv.shape)}, None),
  }


PAIR = {
  f'{kohya(LINEAR)}.lora_down.weight': draw(2, 16),
  f'{kohya(LINEAR)}.lora_up.weight': draw(16, 2),
}
