"""What the formats of finished detectors share."""

import math
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from todus.errors import TodusError
from todus.slicing.labels import Choice
from todus.slicing.walk import BACKGROUND, Cut

# What to do instead with a file whose checkpoint the OD API trained.
BY_CHECKPOINT = (
    'limit its checkpoint: python -m model -m NAME --categories "person car" '
    "(python -m model --list prints the names)"
)


class Cutting(NamedTuple):
    """What is asked of a cut.

    Attributes:
      choices: the classes that remain, in their order.
      shifts: name -> what is added to the class's logit.
      at: the score on which the shifted thresholds lie.
      approximate: accept scores that change.
    """

    choices: Sequence[Choice]
    shifts: Dict[str, float]
    at: float = 0.5
    approximate: bool = False

    @property
    def names(self) -> List[str]:
        return [choice.name for choice in self.choices]

    @property
    def indices(self) -> List[int]:
        return [choice.index for choice in self.choices]

    def columns(self, axis: int, first: int) -> Cut:
        """The cut of scores along an axis.

        Args:
          axis: of the classes.
          first: number of columns before them, such as 1 for a background; they stay.
        """
        columns = list(range(first)) + [first + index for index in self.indices]
        owners = [BACKGROUND] * first + list(range(len(self.indices)))
        return Cut(axis, np.array(columns), np.array(owners))

    def shifted(self, first: int) -> List[List[float]]:
        """[column before, column after, threshold before, threshold after] of the shifted."""
        before = {name: sigmoid(logit(self.at) - shift) for name, shift in self.shifts.items()}
        return [
            [first + choice.index, first + place, before[choice.name], self.at]
            for place, choice in enumerate(self.choices)
            if self.shifts.get(choice.name)
        ]

    def shift_of(self, owners: np.ndarray) -> np.ndarray:
        """What is added to the logits of columns with these owners."""
        by_class = [self.shifts.get(choice.name, 0.0) for choice in self.choices]
        return np.array([by_class[owner] if owner >= 0 else 0.0 for owner in owners])


class Finished:
    """A finished file of a detector.

    Attributes:
      kind: the format's name in messages.
      classes: the number of classes, without a background.
      runtime: what runs it, a key of check.RUNTIMES.
    """

    kind = ""
    classes = 0
    runtime = ""

    def labels(self) -> Optional[List[str]]:
        """The names that the file itself has, by index; None where it has none."""
        return None

    def cut(self, wanted: Cutting) -> bytes:
        """The limited file's content. Raises TodusError where it cannot be limited."""
        raise NotImplementedError

    def prove(
        self, made: bytes, wanted: Cutting, images: Sequence[str]
    ) -> Optional[Dict[str, Any]]:
        """Compares the cut file with this one in a runtime; None where there is none.

        Raises TodusError where the results differ.
        """
        raise NotImplementedError

    def comparison(
        self, wanted: Cutting, cut: Cut, first: int, images: Sequence[str]
    ) -> Dict[str, Any]:
        """What the formats give alike to proof.compare.

        Args:
          wanted: what is asked of the cut.
          cut: of the scores.
          first: number of columns before the classes.
          images: of the user.
        """
        return {
            "kind": self.runtime,
            "axis": cut.axis,
            "columns": cut.columns.tolist(),
            "indices": wanted.indices,
            "shifted": wanted.shifted(first),
            "images": [str(Path(image).absolute()) for image in images],
        }

    def description(self) -> Dict[str, Any]:
        """The start of a FILE.json, where the file has none."""
        return {}

    def next_command(self, target: Path) -> str:
        """What to type after the cut; "" for no particular command."""
        return ""

    def notes(self) -> List[str]:
        """What the user should know of the last cut, a line each."""
        return []


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def biases_to_shift(plan) -> List:
    """The biases of a plan's predictors, where each class's logit can be shifted once.

    Raises TodusError where a predictor has none.
    """
    with_bias = [each for each in plan.predictors if each.bias is not None]
    if len(with_bias) == len(plan.predictors):
        return with_bias
    if not with_bias and len(plan.added) >= 1:
        return plan.added
    raise TodusError("its class predictors have no biases, so --threshold cannot shift its scores")
