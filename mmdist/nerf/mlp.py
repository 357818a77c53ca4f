"""The networks of the conditional NeRF; the code joins every layer."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from mmdist.nerf import activations
from mmdist.nerf import products

_hidden_init = nn.initializers.he_normal()
# First outputs are close to zero: a thin, uniform density of one grey, from
# which any head can form.
_output_init = nn.initializers.variance_scaling(0.1, 'fan_in', 'normal')
_code_init = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal')


class CodedDense(nn.Module):
  """A dense layer whose input is joined by the identity latent code.

  With the layer's input x [..., D] and the code z [C],

    y = [x, z] [W; U] + b = x W + (z U + b).

  z is the same for every sample of a render, so z U + b is a bias that is
  computed once, instead of C more columns for every sample: the same numbers
  for a fraction of the work.

  Attributes:
    features: size of the output.
    kernel_init: initialiser of W.
    product: computes x W.
  """

  features: int
  kernel_init: nn.initializers.Initializer = _hidden_init
  product: products.Product = products.PRODUCTS['float32']

  @nn.compact
  def __call__(
    self, x: jax.Array, latent_code: jax.Array, more: jax.Array | None = None
  ) -> jax.Array:
    """Applies the layer.

    Args:
      x: [N, S, D].
      latent_code: [C], or one per ray as [N, C] (pretraining).
      more: [N, S, E] more inputs, behind x: as if they were joined, which
        would copy both.

    Returns:
      [N, S, features].
    """
    width, size = self.features, x.shape[-1]
    num_inputs = size + (0 if more is None else more.shape[-1])
    kernel = self.param('kernel', self.kernel_init, (num_inputs, width))
    code_kernel = self.param(
      'code_kernel', _code_init, (latent_code.shape[-1], width)
    )
    bias = self.param('bias', nn.initializers.zeros, (width,))
    coded_bias = latent_code @ code_kernel + bias
    if latent_code.ndim > 1:
      coded_bias = coded_bias[:, None, :]
    result = self.product(x, kernel[:size]) + coded_bias
    if more is not None:
      result += self.product(more, kernel[size:])
    return result


class DensityMLP(nn.Module):
  """Encoded positions -> raw densities, and features for the colour.

  The proposal network is one of these, the trunk of the NeRF another. From
  depth 5 on, the encoding joins the middle layer again, as in mip-NeRF.

  Attributes:
    depth: hidden layers.
    width: their size.
    activation: follows every hidden layer.
    product: of the hidden layers; the output's is always float32.
  """

  depth: int
  width: int
  activation: activations.Activation = activations.activation('squareplus')
  product: products.Product = products.PRODUCTS['float32']

  @nn.compact
  def __call__(
    self, encoded: jax.Array, latent_code: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Maps [N, S, D] encodings and a code to ([N, S], [N, S, width])."""
    x = encoded
    for i in range(self.depth):
      joins = self.depth >= 5 and i == self.depth // 2
      layer = CodedDense(self.width, product=self.product)
      x = self.activation(layer(x, latent_code, encoded if joins else None))
    output = CodedDense(1, kernel_init=_output_init)
    return output(x.astype(jnp.float32), latent_code)[..., 0], x


class ColorMLP(nn.Module):
  """Features of the trunk -> colours in [0, 1].

  What is constant along a ray, such as the encoded view direction, comes
  joined to the code.

  Attributes:
    width: size of the one hidden layer.
    activation: follows it.
    product: of the hidden layer; the output's is always float32.
  """

  width: int
  activation: activations.Activation = activations.activation('squareplus')
  product: products.Product = products.PRODUCTS['float32']

  @nn.compact
  def __call__(self, features: jax.Array, latent_code: jax.Array) -> jax.Array:
    """Maps [N, S, D] features and a code to [N, S, 3] colours."""
    layer = CodedDense(self.width, product=self.product)
    x = self.activation(layer(features, latent_code))
    output = CodedDense(3, kernel_init=_output_init)
    return nn.sigmoid(output(x.astype(jnp.float32), latent_code))
