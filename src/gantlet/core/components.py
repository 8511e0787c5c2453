"""The registries: every kind of component that can be named on the command line."""

from typing import TYPE_CHECKING, Any

from gantlet.core.registry import Registry

if TYPE_CHECKING:
    from gantlet.core.dataset import Dataset
    from gantlet.core.family import Family, Fitted
    from gantlet.core.measure import Extractor, Metric, Probe, TrainMetric
    from gantlet.core.solver import Solver
    from gantlet.core.toy import Toy
from gantlet.core.trial import REAL

families: "Registry[Family | Fitted]" = Registry(
    "family",
    "gantlet.families",
    {
        "realnvp": "flow:arch=realnvp",
        "glow": "flow:arch=glow",
        "nsf": "flow:coupling=spline",
        "normalizing-flow": "flow",
        "flow-matching": "diffusion",
        "rectified-flow": "diffusion",
        "autoregressive": "ar",
        "transformer": "ar:net=transformer",
        "made": "ar:net=made",
        "beta-vae": "vae:beta=4",
        "r3gan": "gan",
        "dcgan": "gan:net=conv,loss=ns,penalty=none",
        # Half the penalty is taken: 20 is the paper's weight of 10.
        "wgan-gp": "gan:loss=wgan,penalty=gp,gamma=20",
        "sngan": "gan:loss=hinge,penalty=none,spectral=true",
        "gaussian-mixture": "gmm",
    },
    {
        "ddpm": "The nearest is diffusion, which is trained by flow matching.",
        "ddim": "The nearest is diffusion, which is sampled by an ordinary differential equation.",
        "edm": "The nearest is diffusion, which is trained by flow matching.",
        "score": "The nearest is diffusion, which is trained by flow matching.",
        "wgan": "The nearest is wgan-gp, with a penalty in place of clipped weights.",
        "pixelcnn": "The nearest is ar:net=transformer.",
        "maf": "The nearest is ar:net=made.",
        "iaf": "The nearest is flow:arch=realnvp.",
    },
)
solvers: "Registry[Solver]" = Registry(
    "solver",
    "gantlet.solvers",
    {"eg": "extragradient", "ogda": "optimistic", "omd": "optimistic", "gd": "sgd"},
)
datasets: "Registry[Dataset]" = Registry(
    "data set",
    "gantlet.datasets",
    {
        "fashion": "fashion-mnist",
        "fmnist": "fashion-mnist",
        "fashionmnist": "fashion-mnist",
        "cifar": "cifar10",
        "cifar-10": "cifar10",
        "stl-10": "stl10",
        "two-moons": "moons",
        "imagefolder": "images",
        "image": "images",
        "sounds": "audio",
        "txt": "text",
    },
)
extractors: "Registry[Extractor]" = Registry(
    "extractor",
    "gantlet.features",
    {
        "inception-v3": "inception",
        "inceptionv3": "inception",
        "dino": "dinov2",
        "raw": "pixels",
    },
    {
        "vgg": "Export your network: --features torchscript:path=FILE or onnx:path=FILE.",
        "resnet": "Export your network: --features torchscript:path=FILE or onnx:path=FILE.",
    },
)
metrics: "Registry[Metric | TrainMetric]" = Registry(
    "metric",
    "gantlet.metrics",
    {
        "fd": "frechet",
        "is": "inception-score",
        "swd": "sliced-wasserstein",
        "max-swd": "max-sliced-wasserstein",
        "msssim": "ms-ssim",
        "classifier-two-sample-test": "c2st",
        "alpha": "alpha-precision",
        "beta": "beta-recall",
    },
    {
        "fid": "FID is frechet on inception features: --metric frechet --features inception.",
        "fid-infinity": "It is frechet-infinity on inception features: --metric frechet-infinity "
        "--features inception.",
        "fd-dinov2": "It is frechet on dinov2 features: --metric frechet --features dinov2.",
        "fad": "It is frechet on features of sounds: --metric frechet --features spectrogram.",
        "nll": "Likelihood is measured on every trained model that has one; see gantlet compare.",
        "bpd": "Likelihood is measured on every trained model that has one; see gantlet compare.",
        "prc": "Ask for both: --metric precision --metric recall, or --metric prd.",
        "wasserstein": "The nearest are sliced-wasserstein and max-sliced-wasserstein.",
    },
)
probes: "Registry[Probe]" = Registry(
    "probe", "gantlet.probes", {"nll": "likelihood", "bpd": "likelihood", "params": "parameters"}
)
toys: "Registry[Toy]" = Registry(
    "toy game", "gantlet.toys", {"dirac-gan": "dirac", "bilinear": "saddle"}
)
studies: "Registry[Any]" = Registry("study", "gantlet.studies")

REGISTRIES: "dict[str, Registry[Any]]" = {
    "families": families,
    "solvers": solvers,
    "datasets": datasets,
    "features": extractors,
    "metrics": metrics,
    "probes": probes,
    "toys": toys,
    "studies": studies,
}
"""Every registry by the name of what it holds, in the plural."""


def label(model: str) -> str:
    """Returns a model as people name it, without the options that are at their default.

    Example:
        >>> label("gan:latent=32,loss=hinge")
        'gan:loss=hinge'
    """
    return "held-out real data" if model == REAL else families.short(model)
