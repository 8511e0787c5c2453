"""Which operators do work that grows faster than the tensors they touch."""

import re

# Part of the name of an operator that multiplies or factorises, also of one yet to be written.
_HEAVY = re.compile(
    r"conv(?!ert)|attention|linalg|cholesky|fft|lstm|gru|rnn|matmul|einsum|lstsq|logdet|eig"
    r"|(?:^|_)(?:b|hsp|[a-z]*add|[a-z]*addb)?mm(?:_|$)|(?:^|_)(?:mv|dot|vdot|qr|geqrf|ormqr|svd|lu|linear|bilinear)(?:_|$)"
    r"|trilinear|cdist|pdist|_dist$|triangular_solve|transformer|multi_head"
)
# Names that match, but of work that is linear in the tensors: norms, views, checks, gates.
_LIGHT = re.compile(
    r"norm|linalg_cross|linalg_diagonal|check_errors|unpack|upsample|interpolate|cell|conv_tbc_pad"
    r"|qkv|fftshift|fftfreq|linear_interp|rnn_flatten|_use_|is_|pad|weight_norm"
)


def is_heavy(name: str) -> bool:
    """Returns whether an operator of this name is heavy by nature, counted or not.

    Example:
        >>> is_heavy("some_new_attention"), is_heavy("linalg_vector_norm"), is_heavy("relu")
        (True, False, False)
    """
    return bool(_HEAVY.search(name)) and not _LIGHT.search(name)
