"""The networks of the conditional NeRF; the code joins every layer."""

from collections.abc import Callable

from flax import linen as nn
import jax
import jax.numpy as jnp

# The b of squareplus: it rounds the kink within about half a unit of 0, and
# pre-activations have a standard deviation of about 1.
_SMOOTHNESS = 0.25
_hidden_init = nn.initializers.he_normal()
# First outputs are close to zero: a thin, uniform density of one grey, from
# which any head can form.
_output_init = nn.initializers.variance_scaling(0.1, 'fan_in', 'normal')
_code_init = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal')


def squareplus(x: jax.Array) -> jax.Array:
  """A smooth ReLU, (x + sqrt(x^2 + 1/4)) / 2.

  Normals are gradients of the density, so with ReLUs they jump wherever a unit
  switches. Their derivative does not see these jumps, so that the gradient of a
  normal prior would be wrong by factors. (The paper, after mip-NeRF 360, has
  ReLUs.)

  Source: Barron 2021, 'Squareplus: A Softplus-Like Algebraic Rectifier'.
  """
  return 0.5 * (x + jnp.sqrt(x * x + _SMOOTHNESS))


ACTIVATIONS = {'squareplus': squareplus, 'relu': nn.relu}


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
  """

  features: int
  kernel_init: nn.initializers.Initializer = _hidden_init

  @nn.compact
  def __call__(self, x: jax.Array, latent_code: jax.Array) -> jax.Array:
    """Applies the layer.

    Args:
      x: [N, S, D].
      latent_code: [C], or one per ray as [N, C] (pretraining).

    Returns:
      [N, S, features].
    """
    width = self.features
    kernel = self.param('kernel', self.kernel_init, (x.shape[-1], width))
    code_kernel = self.param(
      'code_kernel', _code_init, (latent_code.shape[-1], width)
    )
    bias = self.param('bias', nn.initializers.zeros, (width,))
    coded_bias = latent_code @ code_kernel + bias
    if latent_code.ndim > 1:
      coded_bias = coded_bias[:, None, :]
    return x @ kernel + coded_bias


class DensityMLP(nn.Module):
  """Encoded positions -> raw densities, and features for the colour.

  The proposal network is one of these, the trunk of the NeRF another. From
  depth 5 on, the encoding joins the middle layer again, as in mip-NeRF.

  Attributes:
    depth: hidden layers.
    width: their size.
    activation: follows every hidden layer.
  """

  depth: int
  width: int
  activation: Callable = squareplus

  @nn.compact
  def __call__(
    self, encoded: jax.Array, latent_code: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Maps [N, S, D] encodings and a code to ([N, S], [N, S, width])."""
    x = encoded
    for i in range(self.depth):
      if self.depth >= 5 and i == self.depth // 2:
        x = jnp.concatenate([x, encoded], -1)
      x = self.activation(CodedDense(self.width)(x, latent_code))
    raw = CodedDense(1, kernel_init=_output_init)(x, latent_code)
    return raw[..., 0], x


class ColorMLP(nn.Module):
  """Features of the trunk -> colours in [0, 1].

  What is constant along a ray, such as the encoded view direction, comes
  joined to the code.

  Attributes:
    width: size of the one hidden layer.
    activation: follows it.
  """

  width: int
  activation: Callable = squareplus

  @nn.compact
  def __call__(self, features: jax.Array, latent_code: jax.Array) -> jax.Array:
    """Maps [N, S, D] features and a code to [N, S, 3] colours."""
    x = self.activation(CodedDense(self.width)(features, latent_code))
    x = CodedDense(3, kernel_init=_output_init)(x, latent_code)
    return nn.sigmoid(x)
