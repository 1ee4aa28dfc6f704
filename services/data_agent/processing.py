"""``process_data``: the source, then operation after operation, each into a table of its own."""

from services.data_agent.config import DataAgentConfig
from services.data_agent.faults import where
from services.data_agent.joining import join_sql
from services.data_agent.loading import Loader
from services.data_agent.operation_sql import operation_sql
from services.data_agent.operations import Join, Operation
from services.data_agent.requests import AppliedOperation, ProcessDataInput, ProcessDataOutput
from services.data_agent.results import rows_output
from services.data_agent.sandbox import Sandbox, Session
from services.data_agent.sources import reads_file
from services.data_agent.sql import identifier
from services.data_agent.tables import Table, table_named


def process_data(request: ProcessDataInput, config: DataAgentConfig, sandbox: Sandbox) -> ProcessDataOutput:
    """Run the operations in order.

    Raises:
        CapabilityError: what reading the sources raises; for an operation, its place in the request, and the columns
            that it could use, are in the message and the details.
    """
    joins = {index: operation for index, operation in enumerate(request.operations) if isinstance(operation, Join)}
    sources = [request.data_source, *(join.other for join in joins.values())]
    from_files = any(map(reads_file, sources))
    with sandbox.session(reads_files=from_files, time_limit=request.timeout_seconds) as session:
        loader = Loader(config)
        loaded = loader.load(session, request.data_source, "step_0")
        table, notes = loaded.table, loaded.notes
        joined: dict[int, Table] = {}
        for index, join in joins.items():
            with where(_place(index, join), []):
                other = loader.load(session, join.other, f"joined_{index}")
            joined[index] = other.table
            notes += [f"{_place(index, join)}: {note}" for note in other.notes]
        if from_files:
            session.seal()
        applied = []
        for index, operation in enumerate(request.operations):
            before = table.rows
            with where(_place(index, operation), table.names, operation=index, op=operation.op):
                table = _apply(session, operation, table, joined.get(index), index, config.max_input_rows)
            applied.append(AppliedOperation(index=index, op=operation.op, rows_before=before, rows_after=table.rows))
        select = f"SELECT {table.select_list} FROM {identifier(table.name)}"
        rows = rows_output(session, select, table.columns, config, max_rows=request.max_rows)
    return ProcessDataOutput(
        **{**rows.model_dump(), "notes": notes + rows.notes}, total_rows=table.rows, operations=applied
    )


def _apply(
    session: Session, operation: Operation, table: Table, joined: Table | None, index: int, max_rows: int
) -> Table:
    if isinstance(operation, Join) and joined is not None:
        select = join_sql(session, operation, table, joined, max_rows)
    else:
        select = operation_sql(operation, table, session)
    name = f"step_{index + 1}"
    session.execute(f"CREATE TEMP TABLE {identifier(name)} AS {select}")
    session.execute(f"DROP TABLE {identifier(table.name)}")
    return table_named(session, name)


def _place(index: int, operation: Operation) -> str:
    return f"operation {index} ({operation.op})"
