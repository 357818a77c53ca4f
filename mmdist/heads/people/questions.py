"""What can be told from a picture of a person."""

from mmdist.cameras import orbits
from mmdist.heads import judge_questions
from mmdist.heads.people import attributes

VISIBLE_FROM: dict[str, tuple[str, ...]] = {
  **judge_questions.VISIBLE_FROM,
  # A mouth from near says nothing of closed eyes, and eyes nothing of a pucker.
  'expression': ('front',),
  'kind': ('front', 'side', 'low-angle'),
  'age': ('front', 'side'),
  'freckles': ('front', 'nose', 'eyes'),
  'view': orbits.VIEW_WORDS,
}

QUESTIONS = judge_questions.JudgeQuestions(
  traits=attributes.TRAITS, visible_from=VISIBLE_FROM
)
