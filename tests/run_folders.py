"""Run folders as commands leave them, written by the store in milliseconds, and served."""

from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

from gantlet.core.estimate import Estimate, Outcome, Spend, Trial
from gantlet.report.blocks import Report, Row, Verdict
from gantlet.run.execute import write_report
from gantlet.run.store import Run
from gantlet.view.page import View
from gantlet.view.server import Server

COMPARE = {
    "command": "compare",
    "models": ["gan:latent=32,width=128", "flow:layers=8"],
    "data": "digits:validation=180,limit=none",
    "budget": {"flops": 2e11},
    "seeds": [0, 1, 2],
}
FACTS = {
    "started": "2026-01-02T03:04:05+00:00",
    "command": "gantlet compare gan flow --data digits",
    "gantlet": "0.2.0",
    "commit": "abc1234",
    "packages": {"torch": "2.13.0"},
    "machine": {"device": "a processor", "threads": 1, "peak": 1e11},
}


def numbers(model="gan", *, shift=0.0, seed=0, n=3):
    """Returns rows of a report: n numbers with intervals, and one without."""
    rows = [
        Row(
            data="digits",
            model=model,
            seed=seed,
            name=f"metric {k}",
            estimate=Estimate(
                value=k + shift, low=k + shift - 0.25, high=k + shift + 0.25, n=100, method="mean"
            ),
        )
        for k in range(n)
    ]
    bare = Estimate(value=7.0 + shift, n=1, method="one run")
    return [*rows, Row(data="digits", model=model, seed=seed, name="time", estimate=bare)]


def outcome(k, failure=None):
    """Returns the outcome of the k-th trial."""
    trial = Trial(parts={"model": f"gan:latent={k}", "data": "digits"}, seed=k)
    error = None if failure is None else f"{failure} for a reason"
    clock = {"training CPU time": Estimate(value=2.0, n=1, unit="s", method="one run")}
    spend = Spend(flops=1e9, examples=100, steps=10, seconds=3.0)
    return Outcome(trial=trial, spend=spend, clock=clock, error=error, failure=failure)


def make_run(
    folder,
    question=None,
    *,
    trials=2,
    done=None,
    failures=(),
    claim="gan and flow are not significantly different. More follows.",
    rows=None,
    logged=True,
    ended="finished",
    report=True,
):
    """Writes a run folder.

    Args:
        folder: The folder.
        question: The configuration.
        trials: Number of trials.
        done: How many of them were run; all by default.
        failures: Kinds of failure of the first trials.
        claim: First claim of the report.
        rows: Rows of the report.
        logged: Whether sessions are logged, as earlier versions did not.
        ended: How the session ended, or None for one that was killed.
        report: Whether there is a report.
    """
    run = Run.create(folder, COMPARE if question is None else question, FACTS)
    done = trials if done is None else done
    if logged:
        run.log("started", trials=trials, todo=trials, at=FACTS["started"])
    for k in range(done):
        found = outcome(k, failures[k] if k < len(failures) else None)
        run.record(found)
        run.log("finished", trial=found.trial.key, error=found.error, failure=found.failure)
    if logged and ended is not None:
        run.log("ended", how=ended, seconds=100.0, cpu=60.0)
    if report:
        made = Report(
            title="A run",
            command=str(run.question.get("command", "compare")),
            question=run.question,
            verdicts=[Verdict(claim=claim)],
            rows=numbers() if rows is None else rows,
        )
        write_report(made, run)
    return run


def change(path, old, new):
    """Changes a file as a bad disk or an editor would."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def relabelled(rows, **changes):
    """Returns rows with other labels."""
    return [replace(row, **changes) for row in rows]


@contextmanager
def serving(root):
    """Serves the runs below a folder at a free port; yields the server."""
    with Server(View(root), 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
