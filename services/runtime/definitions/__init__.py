"""Workflow definitions as users write them: read, checked whole, and made ready to evaluate.

``lint`` finds every fault of a definition; ``references`` and ``expressions`` are what step inputs and conditions are
made of; ``dependencies`` says which step waits for which.
"""
