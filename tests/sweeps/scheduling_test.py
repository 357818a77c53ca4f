import hypothesis
from hypothesis import strategies as st

from mmdist.sweeps import cell_runner
from mmdist.sweeps import scheduling

FINISHED = cell_runner.Outcome('finished')
LOST = cell_runner.Outcome('failed', 'lost', may_pass=True)
WRONG = cell_runner.Outcome('failed', 'wrong words')


class FakeSlots:
  """Slots whose cells take as many rounds as they are told."""

  def __init__(self, count, outcomes=None, rounds=None):
    self._count = count
    self._outcomes = outcomes or {}
    self._rounds = rounds or {}
    self.running = {}
    self.begun = []
    self.idle = 0

  def free(self):
    return self._count - len(self.running)

  def start(self, job):
    assert self.free() and job.name not in {j.name for j in self.running}
    self.begun.append(job)
    self.running[job] = self._rounds.get(job.name, 1)

  def wait(self, seconds):
    del seconds
    self.idle += self.free()
    ended = []
    for job in list(self.running):
      self.running[job] -= 1
      if not self.running[job]:
        del self.running[job]
        outcomes = self._outcomes.get(job.name, [])
        index = job.attempt - 1
        ended.append(
          (job, outcomes[index] if index < len(outcomes) else FINISHED)
        )
    return ended


def test_all_cells_are_run_in_order():
  slots = FakeSlots(2)
  ended = scheduling.run_all('abcde', slots)
  assert [job.name for job in slots.begun] == list('abcde')
  assert {e.kind for e in ended.values()} == {'finished'}
  assert list(ended) == list('abcde')


def test_what_may_pass_is_tried_again_after_the_others():
  slots = FakeSlots(1, {'a': [LOST, LOST]})
  ended = scheduling.run_all('abc', slots)
  assert [job.name for job in slots.begun] == list('abcaa')
  assert ended['a'] == scheduling.Ended('finished', '', 3)


def test_a_cell_that_always_fails_is_given_up():
  told = []
  ended = scheduling.run_all(
    'ab',
    FakeSlots(1, {'a': [LOST] * 9}),
    max_attempts=2,
    tell=lambda job, outcome, again: told.append((job.name, again)),
  )
  assert ended['a'] == scheduling.Ended('failed', 'lost', 2)
  assert ended['b'].kind == 'finished'
  assert told == [('a', True), ('b', False), ('a', False)]


def test_wrong_words_are_not_tried_again():
  slots = FakeSlots(1, {'a': [WRONG]})
  ended = scheduling.run_all('ab', slots)
  assert ended['a'] == scheduling.Ended('failed', 'wrong words', 1)
  assert [job.name for job in slots.begun] == ['a', 'b']


def test_nothing_is_begun_after_a_signal():
  slots, asked = FakeSlots(1, {'b': [cell_runner.Outcome('stopped')]}), []
  ended = scheduling.run_all(
    'abc',
    slots,
    is_stopping=lambda: len(slots.begun) == 2,
    on_poll=lambda: asked.append(True),
  )
  assert [e.kind for e in ended.values()] == ['finished', 'stopped', 'left']
  assert len(asked) == 2


@hypothesis.given(
  st.integers(1, 5),
  st.lists(st.integers(1, 6), min_size=1, max_size=40),
  st.data(),
)
def test_every_cell_ends_once_and_no_slot_waits_in_vain(count, rounds, data):
  names = [f'cell{i}' for i in range(len(rounds))]
  endings = st.lists(st.sampled_from([LOST, FINISHED, WRONG]), max_size=3)
  outcomes = {name: data.draw(endings) for name in names}
  slots = FakeSlots(count, outcomes, dict(zip(names, rounds, strict=True)))
  ended = scheduling.run_all(names, slots, max_attempts=3)
  for name in names:
    attempts = [job.attempt for job in slots.begun if job.name == name]
    assert attempts == list(range(1, ended[name].attempts + 1))
    last = (outcomes[name] + [FINISHED] * 3)[attempts[-1] - 1]
    assert ended[name].kind == last.kind
    assert last is not LOST or len(attempts) == 3
