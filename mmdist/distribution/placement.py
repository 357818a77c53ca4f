"""Where the actors of a run go: what each reserves, all of it at once.

On a cluster that others use too, two runs that each hold room for some of their
actors may wait for each other for ever. So a run reserves room for all of its
actors at once, and loads nothing before it has that room.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import contextlib
import dataclasses
import itertools
import math
from typing import Any

import ray
from ray._private import state as ray_state
import ray.util
from ray.util import scheduling_strategies

from mmdist.core import saying
from mmdist.distribution import faults
from mmdist.distribution import waiting

_SAY_AFTER_S = 5.0
_SAY_EVERY_S = 30.0
_SLICE_S = 0.5


@dataclasses.dataclass(frozen=True)
class Reservation:
  """What the actor of a prior reserves of its machine.

  Attributes:
    num_cpus: CPUs; 0 reserves one for each of its threads.
    num_gpus: GPUs, or a share of one; 0 reserves none and uses those of its
      machine together with others.
    resources: names that the cluster has for its own resources -> amount.
    node_labels: names -> labels that its machine has to have.
    colocate: 'learner' puts it on the learner's machine; '' anywhere.
  """

  num_cpus: float = 0.0
  num_gpus: float = 0.0
  resources: Mapping[str, float] = dataclasses.field(default_factory=dict)
  node_labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
  colocate: str = ''

  def options(self, num_threads: int) -> dict[str, Any]:
    """Returns Ray's options for an actor with this reservation.

    Args:
      num_threads: torch threads of its prior.
    """
    resources = dict(self.resources)
    if self.colocate == 'learner':
      # A machine has 1 of its own name, which many actors can share.
      resources[this_machine()] = 0.001
    options: dict[str, Any] = {
      'num_cpus': self.num_cpus or max(num_threads, 1),
      'num_gpus': self.num_gpus,
    }
    if resources:
      options['resources'] = resources
    if self.node_labels:
      options['label_selector'] = dict(self.node_labels)
    return options


NOTHING = Reservation()


def this_machine() -> str:
  """Returns Ray's name for a resource that only this machine has."""
  return f'node:{ray.util.get_node_ip_address()}'


def check_room(
  options: Mapping[Any, Mapping[str, Any]],
  cells: Collection[Any] = (),
) -> None:
  """Raises ClusterUnavailable for actors that would wait for ever.

  Each has to fit on some machine, and the machines need room for all of them
  side by side. What other jobs use now is ignored, since they will end.

  Args:
    options: actor -> Ray's options.
    cells: those that are not of priors, but of the cells of a sweep.
  """
  machines = [node for node in ray.nodes() if node['Alive']]
  bundles = [_bundle(one) for one in options.values()]
  for resource in dict.fromkeys(name for bundle in bundles for name in bundle):
    there = [node['Resources'].get(resource, 0.0) for node in machines]
    wanted = [bundle.get(resource, 0.0) for bundle in bundles]
    if math.fsum(wanted) > math.fsum(there):
      raise faults.ClusterUnavailable(
        f'the run reserves {math.fsum(wanted):g} {resource} and Ray has '
        f'{math.fsum(there):g} ({_describe(machines, resource)}); lower their '
        f'{_FIELDS.get(resource, "resources")} or add machines.'
      )
  for (name, one), bundle in zip(options.items(), bundles, strict=True):
    labels = one.get('label_selector', {})
    if not any(_fits(bundle, labels, node) for node in machines):
      wants = ', '.join(f'{amount:g} {name}' for name, amount in bundle.items())
      where = f' with the labels {labels}' if labels else ''
      who = 'prior'
      remedy = 'its num_cpus (priors.NAME.num_cpus), num_gpus or resources'
      if name in cells:
        who, remedy = 'cell', '--cores_per_cell or --gpus_per_cell'
      raise faults.ClusterUnavailable(
        f'a {who} reserves {wants}{where}, and no machine has all of it '
        f'({"; ".join(_describe_all(node, bundle) for node in machines)}); '
        f'lower {remedy}, or add a machine.'
      )
  if not _fit_together(bundles, list(options.values()), machines):
    wants = ', '.join(
      ' and '.join(f'{amount:g} {name}' for name, amount in bundle.items())
      for bundle in bundles
    )
    total = {name: 1.0 for bundle in bundles for name in bundle}
    raise faults.ClusterUnavailable(
      f'the run reserves {wants}, and the machines cannot hold all of it side '
      f'by side ({"; ".join(_describe_all(node, total) for node in machines)}'
      '); lower num_cpus, num_gpus or resources, or add a machine.'
    )


_MOST_TRIES = 10_000  # Where packing is undecided after these, Ray decides.


def _fit_together(
  bundles: Sequence[Mapping[str, float]],
  options: Sequence[Mapping[str, Any]],
  machines: Sequence[Mapping[str, Any]],
) -> bool:
  """Returns False if no way to deal bundles out to machines has room for all.

  Sums do not tell: 3, 3 and 2 CPUs find no room on two machines of 4.
  """
  free = [dict(node['Resources']) for node in machines]
  # The largest first: they have the fewest places.
  order = sorted(
    range(len(bundles)), key=lambda i: sum(bundles[i].values()), reverse=True
  )
  tries = 0

  def place(number: int) -> bool:
    nonlocal tries
    if number == len(order):
      return True
    bundle = bundles[order[number]]
    labels = options[order[number]].get('label_selector', {})
    for left, node in zip(free, machines, strict=True):
      tries += 1
      if tries > _MOST_TRIES:
        return True
      if not _fits(bundle, labels, {**node, 'Resources': left}):
        continue
      for name, amount in bundle.items():
        left[name] -= amount
      if place(number + 1):
        return True
      for name, amount in bundle.items():
        left[name] += amount
    return False

  return place(0)


def choose_machines(
  count: int,
  options: Mapping[str, Any],
  others: Mapping[Any, Mapping[str, Any]],
) -> list[str]:
  """Returns machines for the other hosts of a learner, none of them this one.

  Args:
    count: how many, each another one.
    options: Ray's, of an actor on each of them.
    others: actor -> Ray's options, of those that need room beside them.

  Returns:
    Their Ray ids, of which each is the label `NODE` of its machine.

  Raises:
    ClusterUnavailable: there are too few, or no room for the others then.
  """
  here = ray.get_runtime_context().get_node_id()
  bundle = _bundle(options)
  there = [n for n in ray.nodes() if n['Alive'] and n['NodeID'] != here]
  fitting = [node['NodeID'] for node in there if _fits(bundle, {}, node)]
  if len(fitting) < count:
    wants = ', '.join(f'{amount:g} {name}' for name, amount in bundle.items())
    raise faults.ClusterUnavailable(
      f'learner.num_hosts={count + 1} wants {count} machine(s) beside this '
      f'one, with {wants} each; of the {len(there)} others in the cluster '
      f'{len(fitting)} have that. Add machines, or lower learner.num_hosts.'
    )
  tried = itertools.islice(
    itertools.combinations(fitting, count), _MOST_CHOICES
  )
  for chosen in tried:
    with contextlib.suppress(faults.ClusterUnavailable):
      check_room({**others, **on_machines(options, chosen)})
      return list(chosen)
  # Why not even the first of them would do.
  check_room({**others, **on_machines(options, fitting[:count])})
  raise RuntimeError('there was room after all')


def on_machines(
  options: Mapping[str, Any], machines: Sequence[str]
) -> dict[Any, dict[str, Any]]:
  """Returns ('host', rank) -> the options of an actor on one machine each."""
  return {
    ('host', rank): {**options, 'label_selector': {NODE: machine}}
    for rank, machine in enumerate(machines, start=1)
  }


_MOST_CHOICES = 200
NODE = 'ray.io/node-id'  # A label that Ray gives to each machine.
_FIELDS = {'CPU': 'num_cpus', 'GPU': 'num_gpus'}


def _bundle(options: Mapping[str, Any]) -> dict[str, float]:
  """Returns resource -> amount of an actor's options."""
  bundle = {
    'CPU': float(options.get('num_cpus', 0.0)),
    'GPU': float(options.get('num_gpus', 0.0)),
    **options.get('resources', {}),
  }
  return {name: amount for name, amount in bundle.items() if amount}


def _fits(
  bundle: Mapping[str, float],
  labels: Mapping[str, str],
  node: Mapping[str, Any],
) -> bool:
  has_room = all(
    # Less than Ray counts in, for what was taken away and put back.
    node['Resources'].get(name, 0.0) >= amount - 1e-6
    for name, amount in bundle.items()
  )
  known = node.get('Labels', {})
  return has_room and all(known.get(k) == v for k, v in labels.items())


def _describe(machines: Sequence[Mapping[str, Any]], resource: str) -> str:
  """Returns how much of a resource each machine has, and how much is free."""
  free = _free()
  return ', '.join(
    f'{node["NodeManagerHostname"]} {_amount(node, resource, free)}'
    for node in machines
  )


def _describe_all(node: Mapping[str, Any], bundle: Mapping[str, float]) -> str:
  free = _free()
  has = ', '.join(f'{_amount(node, name, free)} {name}' for name in bundle)
  return f'{node["NodeManagerHostname"]} has {has}'


def _amount(
  node: Mapping[str, Any], resource: str, free: Mapping[str, Mapping]
) -> str:
  """Returns e.g. '8', or '8 (3 free)' where others use some of it."""
  there = node['Resources'].get(resource, 0.0)
  left = free.get(node.get('NodeID', ''), {}).get(resource, 0.0)
  is_used = node.get('NodeID') in free and left != there
  return f'{there:g} ({left:g} free)' if is_used else f'{there:g}'


def _free() -> Mapping[str, Mapping[str, float]]:
  """Returns machine -> resource -> how much of it nobody uses now."""
  if not ray.is_initialized():
    return {}
  # Ray's own `status` command asks in the same way; there is no public one.
  return ray_state.available_resources_per_node()


class Room:
  """Room for all actors of a run, reserved at once.

  Args:
    options: actor -> Ray's options, without where it goes.
  """

  def __init__(self, options: Mapping[Any, Mapping[str, Any]]):
    self._index = {name: index for index, name in enumerate(options)}
    self._bundles = [_bundle(one) for one in options.values()]
    self._patience: waiting.Patience | None = None  # While some is missing.
    labels = [dict(one.get('label_selector', {})) for one in options.values()]
    self._group = ray.util.placement_group(
      self._bundles,
      strategy='PACK',
      **({'bundle_label_selector': labels} if any(labels) else {}),
    )

  def wait(
    self,
    check_stop: Callable[[], None] = lambda: None,
    tell: Callable[[str], None] = saying.say,
  ) -> None:
    """Returns when there is room; tells now and then what it waits for.

    Args:
      check_stop: called now and then; may raise.
      tell: called with a line for a person.
    """
    while not self._group.wait(_SLICE_S):
      check_stop()
      self._tell_what_is_missing(tell)
    self._patience = None

  def is_whole(self, tell: Callable[[str], None] = saying.say) -> bool:
    """Returns whether all of the room is there, now.

    A machine that is lost takes its part away, until Ray finds room elsewhere.

    Args:
      tell: called now and then with what is missing, for a person.
    """
    state = ray.util.placement_group_table(self._group)['state']
    if state == 'CREATED':
      self._patience = None
      return True
    self._tell_what_is_missing(tell)
    return False

  def _tell_what_is_missing(self, tell: Callable[[str], None]) -> None:
    if self._patience is None:
      self._patience = waiting.Patience(_SAY_EVERY_S, _SAY_AFTER_S)
    if waited := self._patience.due():
      tell(f'waiting for room, {waited} so far: {self._missing()}')

  def _missing(self) -> str:
    """Returns what is reserved, and how much of it is free."""
    free = ray.available_resources()
    machines = [node for node in ray.nodes() if node['Alive']]
    names = dict.fromkeys(name for bundle in self._bundles for name in bundle)
    return '; '.join(
      f'{math.fsum(b.get(name, 0.0) for b in self._bundles):g} {name} wanted, '
      f'{free.get(name, 0.0):g} free ({_describe(machines, name)})'
      for name in names
    )

  def place(self, name: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of an actor with its place in the reservation.

    Args:
      name: which of the actors.
      options: Ray's, that were given for it.
    """
    strategy = scheduling_strategies.PlacementGroupSchedulingStrategy(
      self._group, placement_group_bundle_index=self._index[name]
    )
    # The reservation was made by these labels, and Ray takes them once only.
    placed = {k: v for k, v in options.items() if k != 'label_selector'}
    return placed | {'scheduling_strategy': strategy}

  def close(self) -> None:
    """Gives the room back."""
    ray.util.remove_placement_group(self._group)
