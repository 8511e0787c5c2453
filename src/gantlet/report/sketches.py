"""Sounds and graphs as small grey images, for grids of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gantlet.report.pictures import Bytes

_HEIGHT, _WIDTH = 48, 72  # of a spectrogram
_DEPTH = 8.0  # nats below the loudest that are black
_SIDE = 96  # of a drawing of a graph
_FRAME = 256
_STEPS = 60


def spectrograms(waves: NDArray[Any]) -> Bytes:
    """Returns the spectrograms of sounds, time to the right, frequency up, louder is lighter.

    They end where the longest of the sounds ends.

    Args:
        waves: Shape ``(n, numbers)``.

    Returns:
        Shape ``(n, 48, 72, 1)``.
    """
    heard = np.flatnonzero((waves != 0).any(0))
    end = int(heard[-1]) + 1 if len(heard) else 1
    padded = np.pad(waves[:, :end], [(0, 0), (0, max(_FRAME - end, 0))])
    starts = np.linspace(0, padded.shape[1] - _FRAME, _WIDTH).astype(int)
    pieces = padded[:, starts[:, None] + np.arange(_FRAME)] * np.hanning(_FRAME)
    power = np.abs(np.fft.rfft(pieces, axis=2)) ** 2
    # Neighbouring frequencies together, so that there is one row for each group.
    edges = np.linspace(0, power.shape[2], _HEIGHT + 1).astype(int)[:-1]
    rows = np.log(np.add.reduceat(power, edges, axis=2) + 1e-9)
    top = rows.max((1, 2), keepdims=True)
    light = np.clip(1 + (rows - top) / _DEPTH, 0, 1)
    image: Bytes = (255 * light).round().astype(np.uint8)
    return image.transpose(0, 2, 1)[:, ::-1, :, None]


def drawings(graphs: NDArray[Any]) -> Bytes:
    """Returns graphs drawn as points and lines, nodes that are joined near to each other.

    Args:
        graphs: Symmetric matrices, shape ``(n, nodes, nodes)``, with 1 on the diagonal where there
            is a node.

    Returns:
        Shape ``(n, 96, 96, 1)``.
    """
    return np.stack([_drawing(graph > 0) for graph in graphs])[..., None]


def _drawing(graph: NDArray[np.bool_]) -> Bytes:
    picture = Image.new("L", (_SIDE, _SIDE), 255)
    there = graph.diagonal()
    edge = graph[np.ix_(there, there)].copy()
    np.fill_diagonal(edge, val=False)
    if len(edge):
        place = _layout(edge.astype(float))
        low, high = place.min(0), place.max(0)
        spots = 4 + (place - low) / np.maximum(high - low, 1e-9) * (_SIDE - 9)
        pen = ImageDraw.Draw(picture)
        for a, b in np.argwhere(np.triu(edge)).tolist():
            pen.line([*spots[a].tolist(), *spots[b].tolist()], fill=150)
        for x, y in spots.tolist():
            pen.ellipse([x - 1, y - 1, x + 1, y + 1], fill=0)
    return np.asarray(picture)


def _layout(edge: NDArray[Any]) -> NDArray[Any]:
    """Returns places of nodes in the plane, shape ``(nodes, 2)``.

    Source: Fruchterman and Reingold, 1991, https://doi.org/10.1002/spe.4380211102.
    Differs from the paper: nodes start at the second and third eigenvector of the Laplacian, so
        that the same graph is always drawn alike.
    """
    n = len(edge)
    _, vectors = np.linalg.eigh(np.diag(edge.sum(1)) - edge)
    # Every node has a place of its own to start from, however alike some are.
    turn = np.arange(n) * 2.399963
    place = np.zeros((n, 2))
    place[:, : max(min(n - 1, 2), 0)] = vectors[:, 1:3]
    place += 1e-2 * np.stack([np.cos(turn), np.sin(turn)], 1)
    wished = n**-0.5
    for step in range(_STEPS):
        apart = place[:, None] - place
        far = np.maximum(np.hypot(apart[..., 0], apart[..., 1]), 1e-6)
        push = wished**2 / far**2 - edge * far / wished
        move = (apart * push[..., None]).sum(1)
        size = np.maximum(np.hypot(move[:, 0], move[:, 1]), 1e-9)[:, None]
        place += move / size * np.minimum(size, 0.1 * (1 - step / _STEPS))
    return place
