"""Measures how well a prior alone follows sentences.

  mmdist evaluate_prior color --num=64
  mmdist evaluate_prior normal --channel=normal --num=64

Samples the prior with captions that name combinations of attributes that it
was never trained on, and renders the very heads that the captions describe.
The judge says how often the asked attributes are seen in the samples, and how
often in the renders; the second is the most that the first can reach.

Normals are lit like clay first, samples and renders alike, and only what
shapes a head (hats, horns, glasses, beards) is asked about: the judge reads
colours.
"""

from collections.abc import Sequence

from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.evaluation import prior_evaluation

from . import terminal


def main(options: prior_evaluation.Options, priors: Sequence[str]) -> None:
  """Prints the numbers of one prior."""
  if len(priors) != 1:
    raise errors.UserError('expected one prior: mmdist evaluate_prior color')
  row = prior_evaluation.evaluate_prior(priors[0], options)
  if options.json:
    print(strict_json.dumps(row, indent=2))
  else:
    print(prior_evaluation.format_row(row))


COMMAND = terminal.Command(main, prior_evaluation.Options, words='PRIOR')

if __name__ == '__main__':
  COMMAND.run()
