import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# Tests run side by side; spinning threads would make them crawl.
torch.set_num_threads(1)

# Laws are tested, not how busy the machine is.
settings.register_profile("laws", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laws")

# Tests that `make check` leaves to `make test`, one a line, as `make slow` measured them.
SLOW = Path(__file__).parent / "slow.txt"
TIMES = "GANTLET_TEST_TIMES"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    slow = set(SLOW.read_text().splitlines())
    for item in items:
        if item.nodeid.partition("[")[0] in slow:
            item.add_marker(pytest.mark.slow)


def cpu_seconds():
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    start = cpu_seconds()
    yield
    if TIMES in os.environ:
        with Path(os.environ[TIMES]).open("a") as out:
            out.write(f"{cpu_seconds() - start:.3f} {item.nodeid}\n")


def numpy_state():
    found = np.random.get_state(legacy=False)["state"]  # noqa: NPY002  (to see that it is left alone)
    return found["pos"], found["key"].tobytes()


@pytest.fixture(autouse=True)
def global_random_state_is_left_alone():
    before, numpys = torch.random.get_rng_state(), numpy_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), "a test moved torch's global state"
    assert numpy_state() == numpys, "a test moved NumPy's global state"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GANTLET_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def shared_data():
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GANTLET_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: set GANTLET_DATA to the folder of test data")
    return folder
