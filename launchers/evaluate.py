"""Measures how well runs follow their prompts.

  mmdist evaluate RUN [RUN ...] [--json] [--out=FILE] [--start]
  mmdist evaluate RUN [RUN ...] --digest

Every number is measured on the newest checkpoint, from the fixed views of
`mmdist.evaluation.agreement`. A mix is judged by all its concepts, and each
has a line of its own below the table. `--start` measures the head that a run
began from instead; what a run is worth is the difference between its score and
that one. `--out` writes the list that `--json` prints; a number that cannot be
measured (nothing is seen that it is of) is null there. `--digest` judges
nothing: it prints one sha256 over all arrays of the newest checkpoint (learner,
optimiser, step, every proxy with its optimiser and count of fits), so that two
runs can be compared by anyone. The configuration is not in it.

With models that you have (folders as transformers writes them) and with a
subject that is known, there are more numbers:

  --clip=DIR       clip_score, 100 x cosine with the prompt, and r_precision:
                   how often the prompt is nearer than those of the other runs,
                   or of --prompts=FILE
  --pickscore=DIR  pickscore; of further runs of the same prompt, too, how far
                   they are preferred over the first one
  --truth=5:2      psnr, ssim and normal_error_deg against procedural head 2 of
                   family 5, for a NeRF that should show it
                   (of the world that the judge knows)
  --subject=5:2    identity_agreement, for an edit of that head: how far the
                   judge still sees in it what the sentence does not change,
                   and identity_rank, its place among 99 strangers
"""

from collections.abc import Sequence
import pathlib

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.evaluation import evaluation_table
from mmdist.evaluation import run_evaluation
from mmdist.run import opening

from . import terminal

USAGE = 'RUN [RUN ...]'


def main(options: run_evaluation.Options, runs: Sequence[str]) -> None:
  """Prints the table, or with --json the list."""
  if not runs:
    raise errors.UserError(
      f'expected the folders of runs: mmdist evaluate {USAGE}'
    )
  if options.digest:
    for run in runs:
      step, digest = opening.digest(run)
      print(f'{digest}  {step}  {run}')
    return
  if options.out and not pathlib.Path(options.out).parent.is_dir():
    raise FileNotFoundError(
      f'--out={options.out} is in a folder that does not exist; make it first.'
    )
  rows = run_evaluation.evaluate(runs, options)
  text = strict_json.dumps(rows, indent=2)
  if options.out:
    atomic.write_text(options.out, text + '\n')
  print(text if options.json else evaluation_table.format_table(rows))


COMMAND = terminal.Command(main, run_evaluation.Options, words=USAGE)

if __name__ == '__main__':
  COMMAND.run()
