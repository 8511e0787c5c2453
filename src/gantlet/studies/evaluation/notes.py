"""What is to be said of the files behind an evaluation."""

from gantlet.studies.evaluation.inputs import Role
from gantlet.studies.evaluation.sets import Asked, other_set, real_set


def notes_on(asked: Asked) -> tuple[str, ...]:
    """Returns what of the files of all sets was left out, converted or guessed: a clause each."""
    texts: tuple[tuple[str | None, Role], ...] = (
        *((fake, "fake") for fake in asked.fakes),
        (asked.train, "train"),
        (asked.pairs, "fake"),
    )
    others = (other_set(asked, text, role) for text, role in texts if text is not None)
    return tuple(dict.fromkeys(c.note for c in (real_set(asked), *others) if c.note))
