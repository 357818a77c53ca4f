import dataclasses

import pytest

from mmdist.sweeps import claims

CELLS = {'plain': ('plain-0', 'plain-1'), 'loud': ('loud-0',)}
CLAIM = claims.Claim('loud', 'saturation', 'up', 'Fig. 1')


def make(**changes):
  made = claims.Claim(**dataclasses.asdict(CLAIM) | changes)
  return claims.Comparison('loudness', 'plain', CELLS, (made,))


def test_claims_about_what_is_measured_have_a_file():
  assert make().file_name == 'loudness.md'


@pytest.mark.parametrize(
  'changes, shown',
  [
    ({'preset': 'lound'}, "preset of a claim is 'lound'; did you mean 'loud'"),
    ({'figure': 'beauty'}, "figure of a claim is 'beauty'. Expected one of:"),
    ({'expected': 'more'}, "expected of a claim is 'more'.*: up, down, same"),
  ],
)
def test_a_claim_about_nothing_is_one_line(changes, shown):
  with pytest.raises(ValueError, match=shown):
    make(**changes)


def test_one_reference_tells_no_spread():
  with pytest.raises(ValueError, match="'loud' of x has one cell; expected tw"):
    claims.Comparison('x', 'loud', CELLS, ())


def test_a_table_that_could_lie_elsewhere_is_refused():
  with pytest.raises(ValueError, match='a table of claims is called'):
    claims.Comparison('../x', 'plain', CELLS, ())
