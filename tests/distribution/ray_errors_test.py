import ray

from launchers import error_lines
from mmdist.distribution import code_shipping
from mmdist.distribution import faults
from mmdist.distribution import ray_errors


class NeverBegan(ray.exceptions.RayActorError):
  """Ray's error of an actor whose class could not be imported."""

  actor_init_failed = True

  def __init__(self, text):
    super().__init__()
    self.text = text

  def __str__(self):
    return self.text


def raised(error) -> faults.PriorFault:
  fault = ray_errors.fault_of(error, 'generic', None, 1.0)
  fault.__cause__ = ray_errors.cause_of(error)
  return fault


def test_a_worker_without_mmdist_is_one_line_with_its_remedy():
  fault = raised(
    NeverBegan(
      'The actor died:\n'
      "ModuleNotFoundError: No module named 'mmdist.distribution'\n"
    )
  )
  assert isinstance(fault, faults.PriorFailed)
  assert isinstance(fault.__cause__, code_shipping.OtherCode)
  line = error_lines.explain(fault)
  assert line and 'a worker has no mmdist' in line
  assert 'leave --ship_code on' in line


def test_another_import_that_fails_is_told_as_it_is():
  fault = raised(NeverBegan("It died:\nImportError: No module named 'mmd'"))
  assert isinstance(fault, faults.PriorFailed)
  assert "No module named 'mmd'" in str(fault)
  assert not isinstance(fault.__cause__, code_shipping.OtherCode)
