"""Write the alerts of ``k8s/monitoring/alerts.yaml`` as a PrometheusRule, which the Prometheus Operator reads.

python scripts/prometheus_rule.py            write k8s/components/monitoring/alerts.yaml
python scripts/prometheus_rule.py --check    fail if it is not what the alerts give
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ALERTS = ROOT / "k8s" / "monitoring" / "alerts.yaml"
RULE = ROOT / "k8s" / "components" / "monitoring" / "alerts.yaml"
_HEADER = "# Made by scripts/prometheus_rule.py from k8s/monitoring/alerts.yaml; a test compares them.\n"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it is not up to date")
    check = parser.parse_args(arguments).check
    wanted = rule()
    if RULE.exists() and RULE.read_text(encoding="utf-8") == wanted:
        return 0
    if check:
        print(f"{RULE.relative_to(ROOT)} is not what k8s/monitoring/alerts.yaml gives: run", file=sys.stderr)
        print("python scripts/prometheus_rule.py", file=sys.stderr)
        return 1
    RULE.write_text(wanted, encoding="utf-8")
    return 0


def rule() -> str:
    """The file's content."""
    alerts = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "conclave"},
        "spec": {"groups": alerts["groups"]},
    }
    return _HEADER + yaml.safe_dump(resource, sort_keys=False, width=1_000, allow_unicode=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
