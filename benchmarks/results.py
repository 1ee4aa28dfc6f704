"""Writing a run down: ``results.json`` with everything, ``results.md`` to read, and the plots."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.plots import draw
from benchmarks.running import Outcome
from benchmarks.tables import page


def write(about: Mapping[str, Any], outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write the run into ``folder``, over what is there."""
    (folder / "results.json").write_text(json.dumps(as_json(about, outcomes), indent=1) + "\n", encoding="utf-8")
    plots = draw(outcomes, folder)
    (folder / "results.md").write_text(page(about, outcomes, plots), encoding="utf-8")


def as_json(about: Mapping[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """``about``; and by contestant its workloads, each with its ``summary`` and every round as it was measured."""
    return {
        "about": dict(about),
        "contestants": [
            {
                "name": outcome.contestant,
                "failures": outcome.failures,
                "workloads": [
                    {**asdict(summary), "measured": [asdict(one) for one in outcome.rounds[summary.workload]]}
                    for summary in outcome.summaries()
                ],
            }
            for outcome in outcomes
        ],
    }
