"""The errors that are meant for the person who started something.

A launcher prints these in one line, and so those of the operating system and a
prior that runs out of memory. Every other exception is a mistake in a program
and keeps its traceback.
"""


class UserError(ValueError):
  """Something that a person can mend: a value, a file, a folder, a setting.

  The text is one line: what is wrong with its value, what was expected, and
  what to do.
  """


class NotFinite(FloatingPointError):
  """A number that has to be finite is NaN or infinite.

  Such a number is never replaced. The text names step and place; whether the
  step is left out or ends the run is `faults.on_nonfinite` of the run.
  """


class HostLost(UserError):
  """One of the hosts that a learner is computed on is gone or silent.

  The arrays that the others hold are sound; no step can be taken any more.
  """
