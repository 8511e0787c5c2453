"""torch-fidelity's FID, KID, precision and recall on a given network, for benchmarks/eyes.py.

Run by it, with the Python of an environment that has torch-fidelity and nothing of Gantlet:
python fidelity_peer.py IMAGES.npz NETWORK.pt. The network is TorchScript, from bytes as float32 to
vectors. Prints one JSON object: CPU seconds after imports, those of the network, the numbers.
"""

import json
import resource
import sys

import numpy as np
import torch
import torch_fidelity
from torch.utils.data import TensorDataset

SEEN: dict[str, float] = {"network": 0.0}
BATCH = 16


def cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


class Images(TensorDataset):
    """Images as bytes, one tensor for each."""

    def __getitem__(self, index: int) -> torch.Tensor:
        return super().__getitem__(index)[0]


class Network(torch_fidelity.FeatureExtractorBase):
    """The network that Gantlet uses, by the public interface of torch-fidelity."""

    def __init__(self, name: str, features_list: list[str], **_: object) -> None:
        super().__init__(name, features_list)
        self.run = torch.jit.load(sys.argv[2])

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("pooled",)

    @staticmethod
    def get_default_feature_layer_for_metric(_metric: str) -> str:
        return "pooled"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        start = cpu_seconds()
        found = self.run(images.float())
        SEEN["network"] += cpu_seconds() - start
        return (found,)


def main() -> None:
    torch.set_num_threads(1)
    start = cpu_seconds()
    archive = np.load(sys.argv[1])
    fake, real = (
        Images(torch.from_numpy(archive[k]).permute(0, 3, 1, 2).contiguous())
        for k in ("fake", "real")
    )
    torch_fidelity.register_feature_extractor("given", Network)
    found = torch_fidelity.calculate_metrics(
        input1=fake,
        input2=real,
        feature_extractor="given",
        fid=True,
        kid=True,
        kid_subset_size=min(1000, len(fake)),
        prc=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        batch_size=BATCH,
        verbose=False,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told = {
        "CPU seconds": round(cpu_seconds() - start, 1),
        "of these the network": round(SEEN["network"], 1),
        "peak memory, GiB": round(peak, 2),
        "numbers": {k: round(float(v), 6) for k, v in found.items()},
        "versions": {"torch-fidelity": torch_fidelity.__version__, "torch": torch.__version__},
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
