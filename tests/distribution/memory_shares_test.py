import pytest

from mmdist.core import errors
from mmdist.distribution import memory_shares

GIB = 2**30


def share(machine, device, priors, needed, free) -> memory_shares.Share:
  return memory_shares.Share(
    machine, device, priors, int(needed * GIB), int(free * GIB)
  )


def test_what_the_processes_of_one_device_need_is_added_up():
  alone = [
    share('a', 'GPU 0', ['generic'], 6, 10),
    share('a', 'GPU 1', ['normal'], 6, 10),
    share('b', 'GPU 0', ['subject'], 6, 10),
    share('b', 'machine', ['small'], 6, 10),
  ]
  memory_shares.check(alone)
  memory_shares.check([])
  # Free memory may be read while another of them already takes some.
  with pytest.raises(errors.UserError) as told:
    memory_shares.check([*alone, share('b', 'GPU 0', ['other'], 3, 8)])
  assert str(told.value) == (
    'on machine b the priors other, subject need about 9.0 GiB and this GPU 0 '
    'has 8.0 GiB free; take a smaller dtype, more of a GPU for each '
    '(num_gpus), or other machines (node_labels, resources).'
  )
