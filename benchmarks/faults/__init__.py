"""Faults: the whole system as processes, a seeded schedule of faults, and a checker that knows nothing of the engine.

``python -m benchmarks.faults --minutes 5`` runs it; ``python -m benchmarks.faults check FOLDER`` judges a recorded run
again. Read ``run.py`` first, then ``checker.py``.
"""
