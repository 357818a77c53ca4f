"""Runs a command on a Ray cluster, and follows what it prints.

  mmdist submit --ray_address=http://HEAD:8265 --job=green -- optimize \\
    --config=generate --config.prompt='a green man' --workdir=/shared/runs/green
  mmdist submit --ray_address=http://HEAD:8265 --job=grid -- sweep \\
    --config=mix:happy_sad --seeds=0,1 --workdir=/shared/runs/grid
  mmdist submit --ray_address=http://HEAD:8265 --job=green --reconnect
  mmdist submit --ray_address=http://HEAD:8265 --job=green --status
  mmdist submit --ray_address=http://HEAD:8265 --job=green --cancel

The job is NAME-attempt-N. This mmdist is sent along; files of flags are read
here. --workdir has to be a folder that every machine sees; the job's log is
kept beside it, in WORKDIR.NAME-attempt-N.log. Ctrl-C leaves the job running.
The same command after a job has ended is its next attempt, and goes on from
the last checkpoint. Ray's token is found where Ray looks for it:
RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.
"""

from collections.abc import Sequence

from mmdist.distribution import job_submission

from . import flag_files
from . import terminal


def main(options: job_submission.Options, words: Sequence[str]) -> None:
  job_submission.run(options, flag_files.read(words), terminal.say)


COMMAND = terminal.Command(
  main, job_submission.Options, words='-- COMMAND [FLAG ...]'
)

if __name__ == '__main__':
  COMMAND.run()
