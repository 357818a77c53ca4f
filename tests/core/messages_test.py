import pickle

import numpy as np
import pytest

from mmdist.config import schema
from mmdist.core import messages
from tests.distribution import fake_prior


def test_messages_survive_pickling():
  request = fake_prior.request(3, 'generic')
  answer = fake_prior.FakePrior(fake_prior.recipe('generic').spec).score(
    fake_prior.request(0)
  )
  state = messages.ProxyState(2, {'lora/a': np.arange(3.0)})
  recipe = fake_prior.recipe('normal')
  for message, array in (
    (request, lambda m: m.images),
    (answer, lambda m: m.cotangent),
    (state, lambda m: m.arrays['lora/a']),
  ):
    copy = pickle.loads(pickle.dumps(message))
    np.testing.assert_array_equal(array(copy), array(message))
  assert pickle.loads(pickle.dumps(request)).terms == request.terms
  assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_a_spec_keeps_its_own_copy_of_a_configurations_options():
  config = schema.PriorConfig(directory='mine', weight=2.0)
  config.memory.batched = True
  options = messages.copy_options(config, lora='/a/lora.safetensors')
  config.rank, config.memory.batched = 99, False
  assert type(options) is messages.PriorOptions
  assert options == messages.PriorOptions(
    directory='mine',
    lora='/a/lora.safetensors',
    memory=messages.MemoryOptions(batched=True),
  )


def test_messages_cannot_be_changed_on_their_way():
  request = fake_prior.request(0)
  with pytest.raises(AttributeError):
    request.step = 1


def test_concepts_are_summed_unless_a_request_says_otherwise():
  assert fake_prior.request(0).mode == 'sum'
