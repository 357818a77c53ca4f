import json

import pytest

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import messages


def example() -> schema.RunConfig:
  config = schema.RunConfig(prompt='a portrait of a "sad" man')
  config.concepts = [
    schema.ConceptConfig('a joker', 1.5),
    schema.ConceptConfig('green', -0.5, ('generic',)),
  ]
  config.priors['personal'] = schema.PriorConfig(weight=0.25)
  return config


def test_a_configuration_survives_json():
  copy = serialization.from_json(serialization.to_json(example()))
  assert copy == example()
  assert isinstance(copy.views.background, tuple)
  assert isinstance(copy.concepts[1].priors, tuple)


def test_missing_fields_keep_their_defaults():
  assert serialization.from_dict({'seed': 3}) == schema.RunConfig(seed=3)


def test_a_file_written_when_a_priors_options_stood_in_another_order_reads():
  text = """{"priors": {"personal": {
    "directory": "me", "lora": "", "lora_scale": 1.0, "channel": "rgb",
    "weight": 2.0, "guidance_scale": 4.0, "prompt_template": "{prompt}",
    "dtype": "float32", "rank": 2, "proxy_guidance_scale": 1.0,
    "objective": "sds", "weighting": "x0", "proxy_noise": "shared",
    "device": "cpu", "num_gpus": 0.5, "memory": {"channels_last": false,
    "batched": true, "checkpoint_encoder": false, "attention_slicing": true,
    "text_dtype": "bfloat16", "offload_text": true}, "enabled": false}}}"""
  prior = serialization.from_json(text).priors['personal']
  assert (prior.rank, prior.weight, prior.num_gpus) == (2, 2.0, 0.5)
  assert (prior.directory, prior.enabled) == ('me', False)
  assert prior.memory == messages.MemoryOptions(
    False, True, False, True, 'bfloat16', True
  )


def test_a_configuration_of_one_lora_reads_as_it_did():
  old = json.loads(serialization.to_json(schema.RunConfig()))
  prior = old['priors']['generic']
  prior |= {'lora': 'mine.safetensors', 'lora_scale': 0.5}
  del prior['loras'], prior['base']
  read = serialization.from_dict(old).priors['generic']
  assert read.all_loras == (('mine.safetensors', 0.5),)
  read.loras = (('hat.safetensors', 2.0),)
  assert read.all_loras == (
    ('mine.safetensors', 0.5),
    ('hat.safetensors', 2.0),
  )


def test_whole_numbers_are_good_floats():
  config = serialization.from_dict({'learner': {'learning_rate': 1}})
  assert isinstance(config.learner.learning_rate, float)


@pytest.mark.parametrize(
  'data, message',
  [
    (
      {'learner': {'learning_rat': 1.0}},
      "no field 'learner.learning_rat'; did you mean 'learning_rate'?",
    ),
    ({'num_steps': 'many'}, "num_steps is 'many'; expected int."),
    ({'num_steps': True}, 'num_steps is True; expected int.'),
    ({'num_steps': 2.5}, 'num_steps is 2.5; expected int.'),
    ({'learner': {'adam_b1': 10**400}}, 'adam_b1 is a number of more than 308'),
    ({'priors': []}, r"priors is '\[\]'; expected a mapping."),
    ({'concepts': 'joker'}, "concepts is 'joker'; expected a list."),
    ({'concepts': [{'txt': ''}]}, r"no field 'concepts\[0\].txt'"),
    ([], r"the configuration is '\[\]'; expected a mapping of fields."),
  ],
)
def test_a_wrong_tree_is_one_line(data, message):
  with pytest.raises(ValueError, match=message):
    serialization.from_dict(data)


def test_the_file_is_named_when_its_text_is_bad():
  with pytest.raises(ValueError, match='runs/a.json is no configuration'):
    serialization.from_json('{"seed": ', 'runs/a.json')
  with pytest.raises(ValueError, match='runs/a.json is no configuration'):
    serialization.from_json('[' * 100_000, 'runs/a.json')


def test_json_holds_nothing_that_only_python_knows():
  assert json.loads(serialization.to_json(example())) == serialization.to_dict(
    example()
  )


def test_differences_name_the_path_and_both_values():
  other = example()
  other.learner.learning_rate = 2e-3
  del other.priors['personal']
  other.concepts[1].text = 'red'
  lines = serialization.differences(example(), other)
  assert 'learner.learning_rate: 0.003 -> 0.002' in lines
  assert 'priors.personal.weight: 0.25 -> absent' in lines
  assert "concepts[1].text: 'green' -> 'red'" in lines


def test_a_configuration_does_not_differ_from_itself():
  config = example()
  config.noise.maximum = float('nan')
  assert serialization.differences(config, config) == []
  assert serialization.differences(example(), example()) == []


def test_a_summary_counts_the_settings_that_have_their_defaults():
  config = schema.RunConfig(seed=3)
  total = len(serialization.flatten(config))
  text = serialization.summarize(config, full=False)
  assert text.endswith(f'\n{total - 1} settings have their defaults')
  # A prior that is gone has fields no more, and so none with a default.
  normal = len(serialization.flatten(config.priors.pop('normal')))
  text = serialization.summarize(config, full=False)
  assert text.endswith(f'\n{total - 1 - normal} settings have their defaults')


def test_print_has_a_line_for_every_value():
  text = serialization.format_config(example())
  assert text.count('\n') + 1 == len(serialization.flatten(example()))
  assert 'concepts[1].priors' in text
  assert '\'a portrait of a "sad" man\'' in text
