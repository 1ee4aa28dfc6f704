"""Conclave's services. Each folder with an ``app.py`` is one; its ``app.py`` shows what it listens to.

The way of a decision:

1. ``edge`` turns ``POST /executions`` into ``execution.start.v1`` and waits for the answer. (Any program may publish
   the same message itself.)
2. ``orchestrator/intake.py`` checks the definition and puts the start into the mailbox of
   ``orchestrator/committer.py``, which has ``orchestrator/engine`` decide what follows, appends that to the
   execution's log, and publishes ``step.run.v1`` to the agent types' queues.
3. An agent service takes it: ``runtime/hosting`` has the agent perform the action and publishes ``step.results.v1`` to
   the execution's shard.
4. The orchestrator takes the result (intake, committer, engine, log), publishes what became ready, and at the end
   ``execution.completed.v1``.
5. ``edge`` shows all of it from the log.

The life of an agent: ``edge`` (or any program) publishes ``agent.create.v1``; ``registry`` writes the agent down, has
the hosts of its type take it, and answers; hosts say with every heartbeat how their agents do. What nobody could
handle, with its reason, is kept by ``dead_letters``.

Who gets in, and what is on record: ``access`` keeps API keys, of which the edge reads the hashes and gives the
commands; ``auditor`` takes the broker's copies of every command, answer, end and refusal, and what the edge says of
requests, and appends them to a hash chain.

How it all does: every process tells ``monitor`` what it counted and whether it is ready; ``monitor`` adds that up over
windows of time, looks at queues and store itself, names what is wrong, and answers the edge.

``runtime`` is no service: it is what they are all made of (the buses, the store, the codec, the service table).
"""
