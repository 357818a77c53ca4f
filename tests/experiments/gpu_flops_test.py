import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import gpu_flops
from mmdist.nerf import products

X = np.ones((4, 8), np.float32)
KERNEL = np.ones((8, 16), np.float32)
ONE = 2.0 * 4 * 8 * 16  # FLOPs of a product.


def test_products_are_counted_as_often_as_they_run():
  assert gpu_flops.count(jnp.matmul, X, KERNEL) == ONE

  def often(xs, kernel):
    return jax.lax.map(lambda x: x @ kernel, xs)

  assert gpu_flops.count(often, np.stack([X] * 5), KERNEL) == 5 * ONE


def test_what_nobody_reads_is_not_counted():
  """Of a product's two derivatives, which are written together, one is read."""
  product = products.PRODUCTS['float32']
  of_x = jax.jit(jax.grad(lambda x, k: jnp.sum(product(x, k) ** 2)))
  assert gpu_flops.count(of_x, X, KERNEL) == 2 * ONE
  of_both = jax.jit(jax.grad(lambda x, k: jnp.sum(product(x, k) ** 2), (0, 1)))
  assert gpu_flops.count(of_both, X, KERNEL) == 3 * ONE
