"""Makes a prior of your own: pictures in, a new diffusers directory out.

  mmdist personalize --kind=photos --images=PHOTOS \\
    --prompt='a [v] portrait of a man' --class_prompt='a portrait of a man' \\
    --out=runs/me
  mmdist personalize --kind=avatar --subject=runs/green \\
    --prompt='a [v] portrait of a man' --out=runs/green_again
  mmdist personalize --kind=normal --subject=0:3 --out=runs/normal

DreamBooth (docs/method.md, section 5): the prior of `--prior` is fine-tuned on
a few pictures of one subject under an identifier token. `photos` are a folder
of five or more; `avatar` are 60 colour renders and `normal` 60 world-normal
renders of a run's avatar, or of procedural head FAMILY:INDEX.

The paper has no class-prior loss. Without one, a small prior soon draws its
subject for every text, the empty one too. Guidance is the difference between
what a text and the empty text give, so it then holds nothing of the subject,
and an edit loses the likeness. `--class_prompt` names texts whose meaning the
prior keeps.

`--out` appears whole at the end, and holds the prior, samples from before and
after (`report.html`) and a model card. Until then the work lies in
`--out`.training; the same command goes on from there.
"""

from mmdist.training import personalization

from . import terminal


def main(options: personalization.Options) -> None:
  """Personalises a prior and prints where it is."""
  out = personalization.train(options, terminal.say)
  if out:
    print(f'prior:  {out}')
    print(f'report: {out / "report.html"}')


COMMAND = terminal.Command(main, personalization.Options)

if __name__ == '__main__':
  COMMAND.run()
