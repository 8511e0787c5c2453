"""The laws that every extractor must keep."""

from dataclasses import fields

import pytest

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.metric import Extractor
from gantlet.core.spec import extractors
from gantlet.testing import check_extractor

SPACES = [
    Space("vector", (2,)),
    Space("vector", (5,), 7),
    Space("image", (1, 8, 8), 17),
    Space("image", (3, 20, 16), 256),
    Space("image", (1, 3, 3)),
]
# Short training, so that the contract takes no minute.
SHORT = {"classifier": "classifier:steps=20"}
# These need a file that is not here; test_inception, test_vision_transformers, test_own_critic
# and test_foreign_extractors hold them to the contract with files of their own.
OUTSIDE = {
    "inception": "inception",
    "dinov2": "dinov2",
    "clip": "clip",
    "onnx": "onnx:path=net.onnx",
    "torchscript": "torchscript:path=net.pt",
    "module": "module:path=package.module:network",
    "lpips": "lpips:path=package.module:backbone",
    "critic": "critic:run=runs/gan",
}


# These need packages; test_packaged_networks holds them to the contract where they are installed.
PACKAGED = {"efficientnet-lite0", "minilm"}
# These see samples of one kind alone; test_vocabularies holds them to the contract on those.
OF_ONE_KIND = {"graph-statistics", "lm", "ngrams", "spectrogram", "walk-embedding"}
# And these images alone; test_perceptual and this hold them to the contract.
OF_IMAGES = {"spatial"}


@pytest.mark.parametrize("name", sorted(OF_ONE_KIND))
@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.label)
def test_samples_of_another_kind_are_refused(name, space):
    with pytest.raises(UserError, match=f"{name} sees .* alone. Got {space.kind}"):
        check_extractor(extractors.make(name), space)


@pytest.mark.parametrize(
    "name",
    sorted(set(extractors.names()) - OUTSIDE.keys() - OF_ONE_KIND - OF_IMAGES - PACKAGED),
)
@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.label)
def test_every_extractor_keeps_the_contract(name, space):
    check_extractor(extractors.make(SHORT.get(name, name)), space)


@pytest.mark.parametrize("name", sorted(OF_IMAGES))
@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.label)
def test_extractors_of_images_keep_the_contract_there(name, space):
    if space.kind == "image":
        check_extractor(extractors.make(name), space)
        return
    with pytest.raises(UserError, match=f"{name} sees images alone. Got {space.kind}"):
        check_extractor(extractors.make(name), space)


@pytest.mark.parametrize("name", extractors.names())
def test_every_extractor_has_a_written_form_and_a_source(name):
    text = OUTSIDE.get(name, name)
    made = extractors.make(text)
    assert isinstance(made, Extractor)
    assert extractors.make(extractors.resolve(text)) == made
    assert "Source:" in type(made).__doc__
    assert "Attributes:" in type(made).__doc__ or not fields(made)
