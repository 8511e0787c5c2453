"""The article's comparison of GLOW and progressive GAN, taken apart with counted numbers.

Source: Odena, 2019, "Open Questions about Generative Adversarial Networks",
https://distill.pub/2019/gan-open-problems/, question 1: the flow took 17 times more GPU-days and 4
times more parameters to make images of 16 times fewer pixels.
"""

import math
from dataclasses import dataclass
from typing import final

from gantlet.studies.published.glow import GlowRun
from gantlet.studies.published.progan import ProGanRun
from gantlet.studies.published.rows import PublishedRow
from gantlet.studies.published.run import Run, Stated

_ARTICLE = "Odena, 2019"
GLOW_DAYS = Stated(value=40 * 14, source=_ARTICLE)
PROGAN_DAYS = Stated(value=8 * 4, source=_ARTICLE)

# A user with eight GPUs and the authors' own command: 1300 of the code's epochs in four days.
USER = Stated(value=1300, source="a user in openai/glow #14")
_USER_GPUS, _USER_DAYS = 8, 4
# The code makes as many steps in an epoch as 50,000 images would take at 64 a step on each GPU;
# of images of 256 pixels, it then takes one a step on each GPU.
_EPOCH, _SMALL_BATCH, _LARGE_BATCH = 50_000, 64, 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How many times more GLOW takes than progressive GAN; every field is a ratio.

    Attributes:
        gpu_days: Of GPU-days, as the article gives them.
        gpu_days_of_authors: Of GPU-days, as the authors of both give them.
        parameters: Of parameters in training, counted.
        sample_parameters: Of parameters that a sample needs, counted.
        pixels: Of pixels, the other way round.
        image: Of operations for one training image, against the last stage of growth, counted.
        mean_image: Of operations for one training image, against the mean over growth, counted.
        sample: Of operations for one sample, counted.
        images: Of images shown in the article's GPU-days, at the speed of one user.
    """

    gpu_days: float
    gpu_days_of_authors: float
    parameters: float
    sample_parameters: float
    pixels: float
    image: float
    mean_image: float
    sample: float
    images: float

    @property
    def slowness(self) -> float:
        """Ratio of seconds for one operation, at the speed of one user: what is left over."""
        return self.gpu_days / (self.images * self.mean_image)


def compare_article(glow: PublishedRow, progan: PublishedRow) -> Comparison:
    """Returns the article's comparison from the rows of both models."""
    images = _stated(ProGanRun(), "images")
    return Comparison(
        gpu_days=GLOW_DAYS.value / PROGAN_DAYS.value,
        gpu_days_of_authors=_gpu_days(GlowRun()) / _gpu_days(ProGanRun()),
        parameters=_number(glow, "train_parameters") / _number(progan, "train_parameters"),
        sample_parameters=_number(glow, "sample_parameters")
        / _number(progan, "sample_parameters"),
        pixels=(1024 / 256) ** 2,
        image=_number(glow, "step") / _number(progan, "step"),
        mean_image=_number(glow, "step") * images / _number(progan, "total"),
        sample=_number(glow, "sample") / _number(progan, "sample"),
        images=GLOW_DAYS.value * _images_per_gpu_day() / images,
    )


def _images_per_gpu_day() -> float:
    steps = math.ceil(_EPOCH / (_SMALL_BATCH * _USER_GPUS))
    return USER.value * steps * _LARGE_BATCH / _USER_DAYS


def _gpu_days(run: Run) -> float:
    return _stated(run, "gpus") * _stated(run, "days")


def _stated(run: Run, name: str) -> float:
    stated: Stated | None = getattr(run.claims, name)
    return math.nan if stated is None else stated.value


def _number(row: PublishedRow, name: str) -> float:
    value: float | None = getattr(row, name).value
    return math.nan if value is None else value
