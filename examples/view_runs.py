"""Two small runs, the page that lists them, and what differs between them."""

from pathlib import Path

import gantlet

for components in (2, 20):
    gantlet.compare(
        [f"gmm:components={components}"],
        data="moons:n=600,held_out=200",
        metrics=["energy"],
        probes=[],
        seeds=1,
        samples=200,
        out=f"runs/gmm-{components}",
    )

shown = gantlet.view("runs", out="runs/index.html")
for run in shown.runs:
    print(f"{run.state:9} {run.question}")
print(f"Page: {Path('runs/index.html').resolve()}")

# Without a test: the report says what that means.
two = shown.compare("runs/gmm-2", "runs/gmm-20")
for verdict in two.verdicts:
    print(verdict.claim)
