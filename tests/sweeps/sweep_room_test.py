import dataclasses

import pytest

from experiments import mix
from mmdist.core import messages
from mmdist.distribution import gpu_plan
from mmdist.run import memory_estimate
from mmdist.sweeps import cells
from mmdist.sweeps import planning
from mmdist.sweeps import sweep_room
from mmdist.sweeps import sweep_run

COLOR, NORMAL = 'color', 'normal'


def plan_of(*changes) -> planning.Plan:
  """Returns the plan of cells that ask two models; each changes fields."""
  made = cells.listed(
    mix.get_config(),
    [{'seed': seed, **change} for seed, change in enumerate(changes)],
  )
  recipes = {
    cell.name: [
      messages.PriorRecipe(
        messages.PriorSpec(
          name, messages.copy_options(cell.config.priors[name]), files=files
        ),
        None,
      )
      for name, files in (('generic', COLOR), ('normal', NORMAL))
    ]
    for cell in made
  }
  states = {cell.name: 'new' for cell in made}
  return planning.Plan(cells.Grid((), made), states, recipes, {}, None)


def settings(**changes) -> sweep_run.Settings:
  return dataclasses.replace(
    sweep_run.Settings('ray', None, cores=2, most=3), **changes
  )


def by_files(needs: sweep_room.Needs) -> dict[str, dict]:
  return {key[0]: one for key, one in needs.models.items()}


@pytest.fixture
def gpus(monkeypatch):
  """Sets how many GPUs this machine has, all for learners as well."""

  def have(count):
    names = tuple(map(str, range(count)))
    monkeypatch.setattr(gpu_plan, 'visible', lambda: names)
    monkeypatch.setattr(gpu_plan, 'learner_uses_gpus', lambda: bool(count))

  have(0)
  return have


def test_models_and_one_cell_are_reserved_and_room_made_for_all_cells(gpus):
  needs = sweep_room.needs_of(plan_of({}, {}, {}, {}), settings())
  assert len(needs.at_least) == 3 and sweep_room.SLOT in needs.at_least
  cpus = sorted(one['num_cpus'] for one in needs.at_once.values())
  assert cpus == [1, 1, 2, 2, 2]
  on_a_cluster = sweep_room.needs_of(
    plan_of({}, {}), settings(address='10.0.0.1:6379')
  )
  assert on_a_cluster.at_once == on_a_cluster.at_least
  inline = sweep_room.needs_of(plan_of({}), settings(executor='inline'))
  assert list(inline.at_least) == [sweep_room.SLOT]


def test_a_model_reserves_the_most_that_any_cell_asks_of_it(gpus):
  needs = sweep_room.needs_of(
    plan_of(
      {'priors.generic.num_cpus': 3},
      {'priors.generic.resources': {'fast': 1}},
      {'priors.normal.node_labels': {'rack': 'a'}},
    ),
    settings(address='10.0.0.1:6379'),
  )
  models = by_files(needs)
  assert models[COLOR]['num_cpus'] == 3
  assert models[COLOR]['resources'] == {'fast': 1}
  assert models[NORMAL]['label_selector'] == {'rack': 'a'}


def test_cells_and_priors_share_the_only_gpu(gpus):
  gpus(1)
  needs = sweep_room.needs_of(plan_of({}), settings())
  assert not needs.gpus and not needs.slot.visible_gpus
  assert [one['num_gpus'] for one in needs.models.values()] == [0, 0]


@pytest.fixture
def memory(monkeypatch):
  """An estimate by which three learners have half of a GPU of 1,000 MiB."""
  estimate = memory_estimate.MemoryEstimate({}, {}, [], num_learners=3)
  monkeypatch.setattr(
    gpu_plan,
    'memory_of',
    lambda gpus: [gpu_plan.GpuMemory(500 * 2**20, 1000 * 2**20)] * len(gpus),
  )
  return estimate


def fraction(needs: sweep_room.Needs) -> str | None:
  variables = needs.slot.options()['runtime_env']['env_vars']
  return variables.get('XLA_PYTHON_CLIENT_MEM_FRACTION')


def test_learners_on_one_gpu_are_limited_to_their_part_of_its_memory(
  gpus, memory, monkeypatch
):
  monkeypatch.delenv('XLA_PYTHON_CLIENT_MEM_FRACTION', raising=False)
  given = settings(memory=memory)
  assert fraction(sweep_room.needs_of(plan_of({}, {}, {}), given)) is None
  gpus(1)
  needs = sweep_room.needs_of(plan_of({}, {}, {}), given)
  assert fraction(needs) == '0.167'
  # A share that Ray gives out is also one of memory.
  needs = sweep_room.needs_of(plan_of({}), settings(num_gpus=0.25, most=1))
  assert fraction(needs) == '0.250'
  needs = sweep_room.needs_of(
    plan_of({}), settings(num_gpus=0.5, address='10.0.0.1:6379')
  )
  assert fraction(needs) == '0.500'
  monkeypatch.setenv('XLA_PYTHON_CLIENT_MEM_FRACTION', '.12')
  assert fraction(needs) == '.12'


def test_on_several_gpus_each_model_has_one_and_the_cells_see_the_others(gpus):
  gpus(4)
  needs = sweep_room.needs_of(plan_of({}), settings())
  assert needs.gpus == ('2', '3')
  assert [one['num_gpus'] for one in needs.models.values()] == [1, 1]
  assert needs.slot.visible_gpus == '0,1'
  variables = needs.slot.options()['runtime_env']['env_vars']
  assert variables[gpu_plan.VISIBLE] == '0,1'


def test_a_prior_on_the_cpu_is_given_no_gpu(gpus):
  gpus(4)
  needs = sweep_room.needs_of(
    plan_of({'priors.normal.device': 'cpu'}), settings()
  )
  assert needs.gpus == ('3',)
  assert by_files(needs)[NORMAL]['num_gpus'] == 0


def test_cells_that_reserve_gpus_are_kept_apart_from_priors_by_ray(gpus):
  gpus(4)
  needs = sweep_room.needs_of(plan_of({}, {}), settings(num_gpus=1.0, most=2))
  assert sorted(needs.gpus) == ['0', '1', '2', '3']
  assert not needs.slot.visible_gpus
  assert [one['num_gpus'] for one in needs.models.values()] == [1, 1]
  with pytest.raises(ValueError, match='reserve 5 GPUs .* this machine has 4'):
    sweep_room.needs_of(
      plan_of({}, {}, {}, {}, {}), settings(num_gpus=1.0, most=5)
    )


def test_on_a_cluster_cells_do_not_take_the_gpus_that_priors_reserve(gpus):
  gpus(1)
  plan = plan_of({'priors.generic.num_gpus': 1})
  on_a_cluster = settings(address='10.0.0.1:6379')
  with pytest.raises(ValueError, match='--gpus_per_cell=1, or a share'):
    sweep_room.needs_of(plan, on_a_cluster)
  needs = sweep_room.needs_of(
    plan, dataclasses.replace(on_a_cluster, num_gpus=0.5)
  )
  assert needs.at_least[sweep_room.SLOT]['num_gpus'] == 0.5
