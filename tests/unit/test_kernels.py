"""Which kernels of OpenBLAS suit a processor, and which run."""

import os
import subprocess
import sys

import pytest

from gantlet.commands import doctor
from gantlet.compute import kernels

AVX512 = "avx avx2 avx512f avx512cd avx512bw avx512dq avx512vl"
NO_OPENBLAS = not kernels.running()


@pytest.mark.parametrize(
    ("vendor", "flags", "wanted"),
    [
        ("AuthenticAMD", AVX512, "SkylakeX"),
        ("HygonGenuine", AVX512, "SkylakeX"),
        ("GenuineIntel", AVX512, None),
        ("AuthenticAMD", AVX512.replace("avx512vl", ""), None),
        ("AuthenticAMD", "avx avx2 fma", None),
        ("", AVX512, None),
    ],
)
def test_only_processors_that_are_misjudged_get_other_kernels(vendor, flags, wanted):
    assert kernels.core_type({"vendor_id": vendor, "flags": flags}) == wanted


def test_the_first_processor_is_read(tmp_path):
    source = tmp_path / "cpuinfo"
    source.write_text("processor\t: 0\nvendor_id\t: A\nflags\t\t: a b: c\n\nvendor_id\t: B\n")
    assert kernels.processor(source) == {"processor": "0", "vendor_id": "A", "flags": "a b: c"}
    assert kernels.processor(tmp_path / "none") == {}
    assert kernels.core_type({}) is None


def test_what_the_user_chose_stays_and_numpy_must_not_be_there(monkeypatch):
    monkeypatch.setattr(kernels, "core_type", lambda _: "SkylakeX")
    given = {kernels.CORE_TYPE: "Haswell"}
    kernels.choose(given)
    assert given == {kernels.CORE_TYPE: "Haswell"}
    found = {}
    kernels.choose(found)
    assert not found, "NumPy is loaded here: it is too late"
    monkeypatch.delitem(sys.modules, "numpy")
    kernels.choose(found)
    assert found == {kernels.CORE_TYPE: "SkylakeX"}


def test_a_program_of_the_users_own_is_told_what_to_set(monkeypatch):
    monkeypatch.delenv(kernels.CORE_TYPE, raising=False)
    monkeypatch.setattr(kernels, "processor", lambda: {"vendor_id": "A", "flags": AVX512})
    assert kernels.setting() == "OPENBLAS_CORETYPE=SkylakeX"
    monkeypatch.setenv(kernels.CORE_TYPE, "Zen")
    assert not kernels.setting()


PROGRAM = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from gantlet.compute import kernels

def cores():
    import numpy
    return kernels.running()["numpy"]

if __name__ == "__main__":
    kernels.core_type = lambda _: "Nehalem"
    kernels.choose()
    assert "numpy" not in sys.modules and "torch" not in sys.modules
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        print(cores(), pool.submit(cores).result())
"""


@pytest.mark.skipif(NO_OPENBLAS or not kernels.processor().get("vendor_id"), reason="no x86")
def test_numpy_and_workers_run_what_was_chosen(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    free = {k: v for k, v in os.environ.items() if k != kernels.CORE_TYPE}
    done = subprocess.run(
        [sys.executable, script], env=free, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("Nehalem Nehalem\n", 0), done.stderr


def test_doctor_warns_of_slower_kernels():
    amd = {"vendor_id": "AuthenticAMD", "flags": AVX512}
    (said,) = doctor.slow_kernels(amd, {"numpy": "Zen", "scipy": "SkylakeX"})
    assert said.startswith("The OpenBLAS of numpy runs the kernels of Zen, at half the speed")
    assert said.endswith("set OPENBLAS_CORETYPE=SkylakeX before Python starts.")
    assert not list(doctor.slow_kernels(amd, {"numpy": "SkylakeX"}))
    assert not list(doctor.slow_kernels({"flags": "avx2"}, {"numpy": "Haswell"}))
