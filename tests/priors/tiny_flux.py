"""What the authors of Flux call its layers, and tiny LoRAs of them."""

import torch

from tests.priors import tiny_adapters as tiny

# Two float32 orders of the same sums.
TOLERANCE = {'rtol': 1e-5, 'atol': 1e-5}
QKV = ('attn.to_q', 'attn.to_k', 'attn.to_v')
ADDED = ('attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj')
# Written out by hand: the authors' name, and the layers that it is cut into.
NAMES = {
  'img_in': ('x_embedder',),
  'txt_in': ('context_embedder',),
  'time_in.in_layer': ('time_text_embed.timestep_embedder.linear_1',),
  'time_in.out_layer': ('time_text_embed.timestep_embedder.linear_2',),
  'vector_in.in_layer': ('time_text_embed.text_embedder.linear_1',),
  'vector_in.out_layer': ('time_text_embed.text_embedder.linear_2',),
  'guidance_in.in_layer': ('time_text_embed.guidance_embedder.linear_1',),
  'guidance_in.out_layer': ('time_text_embed.guidance_embedder.linear_2',),
  'final_layer.linear': ('proj_out',),
  'final_layer.adaLN_modulation.1': ('norm_out.linear',),
  **{
    f'double_blocks.0.{name}': tuple(
      f'transformer_blocks.0.{layer}' for layer in layers
    )
    for name, layers in {
      'img_attn.qkv': QKV,
      'txt_attn.qkv': ADDED,
      'img_attn.proj': ('attn.to_out.0',),
      'txt_attn.proj': ('attn.to_add_out',),
      'img_mlp.0': ('ff.net.0.proj',),
      'img_mlp.2': ('ff.net.2',),
      'txt_mlp.0': ('ff_context.net.0.proj',),
      'txt_mlp.2': ('ff_context.net.2',),
      'img_mod.lin': ('norm1.linear',),
      'txt_mod.lin': ('norm1_context.linear',),
    }.items()
  },
  **{
    f'single_blocks.0.{name}': tuple(
      f'single_transformer_blocks.0.{layer}' for layer in layers
    )
    for name, layers in {
      'linear1': (*QKV, 'proj_mlp'),
      'linear2': ('proj_out',),
      'modulation.lin': ('norm.linear',),
    }.items()
  },
}
# Norms, whose weight is a scale there.
SCALES = {
  f'{block}.0.{name}': f'{ours}.0.attn.{layer}'
  for block, ours, norms in (
    (
      'double_blocks',
      'transformer_blocks',
      {
        'img_attn.norm.query_norm': 'norm_q',
        'img_attn.norm.key_norm': 'norm_k',
        'txt_attn.norm.query_norm': 'norm_added_q',
        'txt_attn.norm.key_norm': 'norm_added_k',
      },
    ),
    (
      'single_blocks',
      'single_transformer_blocks',
      {'norm.query_norm': 'norm_q', 'norm.key_norm': 'norm_k'},
    ),
  )
  for name, layer in norms.items()
}
LAST_NORM = 'final_layer.adaLN_modulation.1'
SINGLE = 'single_blocks.0.linear1'
ALPHA = 3.0
RANK = 2


def weight_of(before, name):
  """The weight that the authors' network would have."""
  whole = torch.cat([before[f'{layer}.weight'] for layer in NAMES[name]])
  return whole.roll(len(whole) // 2, 0) if name == LAST_NORM else whole


def authors_state(network):
  """Returns all weights of a network in the authors' names."""
  ours, theirs = network.state_dict(), {}
  for number in range(
    max(network.config.num_layers, network.config.num_single_layers)
  ):
    block = f'blocks.{number}.'
    for name, layers in NAMES.items():
      inner = [layer.replace('blocks.0.', block) for layer in layers]
      for part in ('weight', 'bias'):
        rows = [ours.get(f'{layer}.{part}') for layer in inner]
        if rows[0] is None:
          continue
        whole = torch.cat(rows)
        if name == LAST_NORM:
          whole = torch.cat(whole.chunk(2)[::-1])
        theirs[f'{name.replace("blocks.0.", block)}.{part}'] = whole
    for name, layer in SCALES.items():
      scale = ours.get(f'{layer.replace("blocks.0.", block)}.weight')
      if scale is not None:
        theirs[f'{name.replace("blocks.0.", block)}.scale'] = scale
  assert sum(t.numel() for t in theirs.values()) == sum(
    t.numel() for t in ours.values()
  )
  return theirs


def expected_of(before, name, whole):
  """Returns diffusers' weights of one of the authors' network."""
  if name == LAST_NORM:
    whole = whole.roll(len(whole) // 2, 0)
  sizes = [len(before[f'{layer}.weight']) for layer in NAMES[name]]
  parts = whole.split(sizes)
  return {
    f'{layer}.weight': part
    for layer, part in zip(NAMES[name], parts, strict=True)
  }


def random_pairs(before, names=tuple(NAMES)):
  """Returns name -> down [R, in] and up [out, R], each of other numbers."""
  pairs = {}
  for seed, name in enumerate(names):
    rows, columns = weight_of(before, name).shape
    pairs[name] = (
      tiny.draw(RANK, columns, seed=2 * seed),
      tiny.draw(rows, RANK, seed=2 * seed + 1),
    )
  return pairs


def check(found, before, expected):
  for name, weight in before.items():
    torch.testing.assert_close(
      found[name], expected.get(name, weight), **TOLERANCE, msg=name
    )
    if name in expected:
      assert (found[name] - weight).abs().max() > 1e-3, name
