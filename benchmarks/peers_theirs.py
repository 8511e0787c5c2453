"""What other programs say of two sets, for benchmarks/peers.py.

Run by it, with the Python of an environment that has torch-fidelity, torchmetrics, clean-fid and
prdc, and nothing of Gantlet: python peers_theirs.py WHAT A B [NETWORK.pt]. A and B are .npy files
of features, or folders of images; the first set is the generated one. Prints one JSON object: the
numbers.
"""

import json
import sys
from collections.abc import Callable, Mapping

import numpy as np
import torch

NEIGHBOURS = 3


def fidelity_fid(x: np.ndarray, y: np.ndarray) -> Mapping[str, float]:
    from torch_fidelity import metric_fid as m

    a, b = (m.fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y))
    return {
        "frechet": m.fid_statistics_to_metric(a, b, verbose=False)["frechet_inception_distance"]
    }


def fidelity_kid(x: np.ndarray, y: np.ndarray) -> Mapping[str, float]:
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(*map(torch.from_numpy, (x, y)), verbose=False)
    return {"kid": found["kernel_inception_distance_mean"]}


def fidelity_neighbours(x: np.ndarray, y: np.ndarray) -> Mapping[str, float]:
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(*map(torch.from_numpy, (x, y)), verbose=False)
    return {"precision": found["precision"], "recall": found["recall"]}


def fidelity_all(x: np.ndarray, y: np.ndarray) -> Mapping[str, float]:
    return {**fidelity_fid(x, y), **fidelity_kid(x, y), **fidelity_neighbours(x, y)}


class Known(torch.nn.Module):
    """Takes features for images, so that a metric of images sees them as they are."""

    num_features = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def torchmetrics_of(x: np.ndarray, y: np.ndarray, which: str) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    Known.num_features = x.shape[1]
    makes = {"fid": FrechetInceptionDistance, "kid": KernelInceptionDistance}
    metric = makes[which](feature=Known(), normalize=True)
    for z, real in ((x, False), (y, True)):
        for part in torch.from_numpy(z).split(500):
            metric.update(part[:, :, None, None], real=real)
    found = metric.compute()
    return float(found[0] if which == "kid" else found)


def clean_fid(x: np.ndarray, y: np.ndarray) -> Mapping[str, float]:
    from cleanfid.fid import fid_from_feats

    return {"frechet": float(fid_from_feats(x, y))}


def clean_kid(x: np.ndarray, y: np.ndarray) -> Mapping[str, float]:
    from cleanfid.fid import kernel_distance

    np.random.seed(0)  # noqa: NPY002, TID251  (what clean-fid draws from)
    return {"kid": kernel_distance(x, y)}


def prdc(x: np.ndarray, y: np.ndarray) -> Mapping[str, float]:
    from prdc import compute_prdc

    return compute_prdc(real_features=y, fake_features=x, nearest_k=NEIGHBOURS)


FEATURES: Mapping[str, Callable[[np.ndarray, np.ndarray], Mapping[str, float]]] = {
    "torch-fidelity fid": fidelity_fid,
    "torch-fidelity kid": fidelity_kid,
    "torch-fidelity neighbours": fidelity_neighbours,
    "torch-fidelity all": fidelity_all,
    "torchmetrics fid": lambda x, y: {"frechet": torchmetrics_of(x, y, "fid")},
    "torchmetrics kid": lambda x, y: {"kid": torchmetrics_of(x, y, "kid")},
    "clean-fid fid": clean_fid,
    "clean-fid kid": clean_kid,
    "prdc neighbours": prdc,
}


def images(fake: str, real: str, network: str) -> Mapping[str, float]:
    """Returns what torch-fidelity says of two folders through a given network."""
    import torch_fidelity

    class Network(torch_fidelity.FeatureExtractorBase):
        """A network by the public interface of torch-fidelity."""

        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list)
            self.run = torch.jit.load(network)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("pooled",)

        @staticmethod
        def get_default_feature_layer_for_metric(_metric: str) -> str:
            return "pooled"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, shown: torch.Tensor) -> tuple[torch.Tensor]:
            return (self.run(shown.float()),)

    torch_fidelity.register_feature_extractor("given", Network)
    found = torch_fidelity.calculate_metrics(
        input1=fake,
        input2=real,
        feature_extractor="given",
        fid=True,
        kid=True,
        prc=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        batch_size=16,
        verbose=False,
        samples_find_deep=False,
    )
    return {
        "frechet": found["frechet_inception_distance"],
        "kid": found["kernel_inception_distance_mean"],
        "precision": found["precision"],
        "recall": found["recall"],
    }


def main() -> None:
    torch.set_num_threads(1)
    what, fake, real, *network = sys.argv[1:]
    if network:
        found = images(fake, real, *network)
    else:
        found = FEATURES[what](*(np.load(path) for path in (fake, real)))
    print(json.dumps({k: float(v) for k, v in found.items()}))


if __name__ == "__main__":
    main()
