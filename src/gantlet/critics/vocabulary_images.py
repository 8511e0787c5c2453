"""Measurements of single images that have a name, each as blind to the others as it can be."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

# Keeps logarithms finite: an amplitude that no eye sees, for pixels in [0, 1].
_TINY = 1e-3
_BLOCK = 8  # of JPEG files
# Noise of single pixels does not matter to how colours go together.
_COARSE = 8
_IMAGES = 1024  # that are measured together
# Tones that are told apart in each colour, and the lowest frequencies, in cycles a pixel.
_TONES, _LOWEST = 32, 0.1


def image_probes(x: Tensor) -> dict[str, Tensor]:
    """Returns measurements of images by name, each of shape ``(n,)``, float64.

    Args:
        x: Images, shape ``(n, c, h, w)`` with 1 or 3 channels, values in [0, 1].
    """
    parts = [_measured(block.double()) for block in torch.split(x, _IMAGES)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _measured(x: Tensor) -> dict[str, Tensor]:
    luma = x.mean(1)
    coarse = adaptive_avg_pool2d(luma[:, None], 4).flatten(1)
    found = {
        "brightness": luma.mean((1, 2)),
        "contrast": (coarse.std(1) + _TINY).log(),
        "fine detail": fine_detail(luma),
        "edge density": edge_density(luma),
        "colour count": colour_count(x),
        "mirror symmetry": _agreement(luma.flatten(1), luma.flip(2).flatten(1)),
        **_nyquist(luma),
    }
    if min(luma.shape[1:]) >= 2 * _BLOCK:
        found["block edges"] = block_edges(luma)
    found["middle seam"] = _seam(luma)
    if min(luma.shape[1:]) * _LOWEST > 1:
        found["coarse structure"] = coarse_structure(luma)
    return found | (_colour(x, coarse) if x.shape[1] == 3 else {})


def fine_detail(luma: Tensor) -> Tensor:
    """Returns the log ratio of amplitudes above 0.35 cycles a pixel to those of 0.1 to 0.25.

    A ratio, so that contrast does not matter; the frequencies of checkerboards are left out.
    """
    fy, fx = _frequencies(luma)
    is_edge = ((fy == 0.5) & ((fx == 0) | (fx == 0.5))) | ((fx == 0.5) & (fy == 0))
    return _beside_middle(luma, ((fy**2 + fx**2).sqrt() > 0.35) & ~is_edge)


def coarse_structure(luma: Tensor) -> Tensor:
    """Returns the log ratio of amplitudes below 0.1 cycles a pixel to those of 0.1 to 0.25.

    Waves longer than ten pixels; the mean of the image, frequency zero, is left out.
    """
    fy, fx = _frequencies(luma)
    radius = (fy**2 + fx**2).sqrt()
    return _beside_middle(luma, (radius > 0) & (radius < _LOWEST))


def edge_density(luma: Tensor) -> Tensor:
    """Returns the share of pixels that differ from the next by more than the image's deviation.

    In units of the deviation, so that contrast does not matter; next down or to the right.
    """
    least = luma.flatten(1).std(1)[:, None, None] + _TINY
    across, down = luma.diff(dim=2)[:, :-1].abs(), luma.diff(dim=1)[:, :, :-1].abs()
    found: Tensor = (torch.maximum(across, down) > least).double().mean((1, 2))
    return found


def colour_count(x: Tensor) -> Tensor:
    """Returns the log of how many colours an image has, 32 tones of each channel told apart."""
    tones = (x.flatten(2) * _TONES).floor().clamp(0, _TONES - 1)
    place = _TONES ** torch.arange(x.shape[1], device=x.device)
    code = (tones * place[:, None]).sum(1).sort(1).values
    return (1.0 + (code.diff(dim=1) > 0).sum(1)).double().log()


def _frequencies(luma: Tensor) -> tuple[Tensor, Tensor]:
    h, w = luma.shape[1:]
    fy, fx = (torch.fft.fftfreq(k, device=luma.device).abs() for k in (h, w))
    return fy[:, None], fx[None]


def _beside_middle(luma: Tensor, band: Tensor) -> Tensor:
    """Returns the log ratio of amplitudes in a band to those of 0.1 to 0.25 cycles a pixel."""
    fy, fx = _frequencies(luma)
    radius = (fy**2 + fx**2).sqrt()
    power = torch.fft.fft2(luma).abs() ** 2 / luma[0].numel()
    middle = power[:, (radius >= 0.1) & (radius <= 0.25)].mean(1)
    ratio: Tensor = (power[:, band].mean(1) + _TINY**2) / (middle + _TINY**2)
    return ratio.log() / 2


def block_edges(luma: Tensor) -> Tensor:
    """Returns how much larger steps across the edges of 8x8 blocks are than others, as a log."""
    across, inside = luma.new_zeros(len(luma)), luma.new_zeros(len(luma))
    for axis in (1, 2):
        size = luma.shape[axis]
        steps = luma.diff(dim=axis).abs()
        place = torch.arange(1, size, device=luma.device)
        edge = (place % _BLOCK == 0) & (place != size // 2)
        edge = edge if bool(edge.any()) else place % _BLOCK == 0
        # Beside an edge the block is as it was: only next neighbours are a fair comparison.
        beside = ((place % _BLOCK == 1) | (place % _BLOCK == _BLOCK - 1)) & (place > 1)
        other = 3 - axis
        across += steps.index_select(axis, edge.nonzero()[:, 0]).mean((axis, other))
        inside += steps.index_select(axis, beside.nonzero()[:, 0]).mean((axis, other))
    return ((across + _TINY) / (inside + _TINY)).log()


def _nyquist(luma: Tensor) -> dict[str, Tensor]:
    """Returns the signed amplitudes of patterns that repeat every two pixels."""
    h, w = luma.shape[1:]
    rows = torch.tensor([1.0, -1.0]).repeat(h)[:h].to(luma)
    columns = torch.tensor([1.0, -1.0]).repeat(w)[:w].to(luma)
    return {
        "checkerboard": (luma * rows[:, None] * columns).mean((1, 2)),
        "column stripes": (luma * columns).mean((1, 2)),
        "row stripes": (luma * rows[:, None]).mean((1, 2)),
    }


def _seam(luma: Tensor) -> Tensor:
    """Returns how much larger the step between the two halves is than those beside it.

    Where the middle is the edge of a block, other edges of blocks take the place of its
    neighbours.
    """
    steps = luma.diff(dim=2).abs().mean(1)
    middle = luma.shape[2] // 2
    others = [place for place in range(_BLOCK, luma.shape[2], _BLOCK) if place != middle]
    if middle % _BLOCK or not others:
        others = [middle - 1, middle + 1]
    beside = steps[:, [place - 1 for place in others]].mean(1)
    return ((steps[:, middle - 1] + _TINY) / (beside + _TINY)).log()


def _colour(x: Tensor, coarse: Tensor) -> dict[str, Tensor]:
    red, green, blue = x.unbind(1)
    a, b = (red - green) / 2**0.5, (2 * blue - red - green) / 6**0.5
    strength = (a**2 + b**2).mean((1, 2))
    even, odd = (a**2 - b**2).mean((1, 2)), (2 * a * b).mean((1, 2))
    floor = strength + _TINY**2
    return {
        "saturation": floor.log() / 2 - (coarse.std(1) + _TINY).log(),
        "red against green": a.mean((1, 2)),
        "blue against yellow": b.mean((1, 2)),
        "hue axis": even / floor,
        "hue diagonal": odd / floor,
        "colour agreement": _colour_agreement(x),
    }


def _colour_agreement(x: Tensor) -> Tensor:
    red, green, blue = adaptive_avg_pool2d(x, min(_COARSE, *x.shape[2:])).flatten(2).unbind(1)
    found = [_agreement(red, green), _agreement(green, blue), _agreement(red, blue)]
    return torch.stack(found).mean(0)


def _agreement(a: Tensor, b: Tensor) -> Tensor:
    """Returns the correlation of each row of ``a`` with that of ``b``, as Fisher's z."""
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    size = (a.norm(dim=1) * b.norm(dim=1)).clamp_min(_TINY**2)
    found: Tensor = (a * b).sum(1) / size
    return found.clamp(-0.999, 0.999).atanh()
