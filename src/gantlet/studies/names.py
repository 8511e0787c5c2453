"""The names of scores that reports single out, in one place."""

QUALITY = "energy (pixels)"
"""The distance by which contestants are ranked: needs no network, and no assumption of shape."""

LIKELIHOOD = "likelihood"
TRAINING = "training FLOPs"
SAMPLING = "FLOPs per sample"
SAMPLING_CPU = "CPU time per sample"
DEPTH = "sequential depth of sampling"
INVERSE = "round-trip error fp32"
PARAMETERS = "parameters to sample"
