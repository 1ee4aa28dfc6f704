# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""The workloads as graphs of LangGraph: every node echoes the text into the state and adds itself to the count."""

import operator
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from step_counter import count_step


def latest(_: str, new: str) -> str:
    """Members of a fan write at the same time, which needs a rule."""
    return new


class State(TypedDict):
    text: Annotated[str, latest]
    done: Annotated[int, operator.add]


async def echo(state: State) -> State:
    count_step()
    return {"text": state["text"], "done": 1}


def chain_of(steps: int) -> StateGraph:
    graph = StateGraph(State)
    for number in range(steps):
        graph.add_node(f"step{number}", echo)
        graph.add_edge(f"step{number - 1}" if number else START, f"step{number}")
    graph.add_edge(f"step{steps - 1}", END)
    return graph


def fan_of(steps: int) -> StateGraph:
    def members(state: State) -> list[Send]:
        return [Send("member", {"text": state["text"], "done": 0}) for _ in range(steps - 2)]

    graph = StateGraph(State)
    for name in ("first", "member", "join"):
        graph.add_node(name, echo)
    graph.add_edge(START, "first")
    graph.add_conditional_edges("first", members, ["member"])
    graph.add_edge("member", "join")
    graph.add_edge("join", END)
    return graph
