"""What one data agent may read and how much it may use."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MAX_INPUT_ROWS = 1_000_000
MAX_FILE_BYTES = 128 * 2**20
MAX_OUTPUT_ROWS = 10_000
# An entry of the execution log stays below 8 MB, and a document of the store below 16 MB.
MAX_OUTPUT_BYTES = 6 * 2**20
# Below the 30 seconds that a step has by default, so that the agent's own, clearer error comes first.
TIME_LIMIT_SECONDS = 20.0
MEMORY_LIMIT_MB = 512
# One thread makes sums of floating-point numbers and row order reproducible; parallelism comes from the workers.
THREADS = 1


class DataAgentConfig(BaseModel):
    """The configuration of a data agent; every limit has a default, and an unknown setting is refused.

    ``data_folder`` is the only folder whose files a request may name; without it only inline records are read.
    Rows, bytes, seconds and megabytes are per call; ``workers`` is how many calls run at the same time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_folder: Path | None = None
    max_input_rows: int = Field(default=MAX_INPUT_ROWS, ge=1)
    max_file_bytes: int = Field(default=MAX_FILE_BYTES, ge=1)
    max_output_rows: int = Field(default=MAX_OUTPUT_ROWS, ge=1)
    max_output_bytes: int = Field(default=MAX_OUTPUT_BYTES, ge=1024)
    time_limit_seconds: float = Field(default=TIME_LIMIT_SECONDS, gt=0, le=3600)
    memory_limit_mb: int = Field(default=MEMORY_LIMIT_MB, ge=64)
    threads: int = Field(default=THREADS, ge=1, le=64)
    workers: int = Field(default_factory=lambda: max(2, min(4, os.cpu_count() or 1)), ge=1, le=64)
