"""What can be told from a picture of a clay head."""

from mmdist.cameras import orbits
from mmdist.heads import judge_questions
from mmdist.heads.clay import clay_attributes

QUESTIONS = judge_questions.JudgeQuestions(
  traits=clay_attributes.TRAITS,
  visible_from={**judge_questions.VISIBLE_FROM, 'view': orbits.VIEW_WORDS},
)
