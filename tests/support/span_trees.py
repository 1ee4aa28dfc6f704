"""Spans of one trace as a tree, to be compared with one written by hand."""

from collections.abc import Iterable, Sequence

from tests.support.otlp_receiver import ReceivedSpan

Branch = tuple[str, "Tree"]
Tree = list[Branch]


def tree(spans: Sequence[ReceivedSpan], under: str = "") -> Tree:
    """The spans under a parent, in the order in which they began: ``SERVICE KIND NAME [step/attempt]``, and ``!`` where
    one failed.

    Raises:
        AssertionError: a span whose parent is neither here nor ``under``, or two of one id.
    """
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans), "two spans of one id"
    orphans = [said(span) for span in spans if span.parent_id not in ids and span.parent_id != under]
    assert not orphans, f"spans whose parents never came: {orphans}"
    return _below(spans, under)


def _below(spans: Iterable[ReceivedSpan], parent: str) -> Tree:
    below = sorted((span for span in spans if span.parent_id == parent), key=lambda span: (span.start, said(span)))
    return [(said(span), _below(spans, span.span_id)) for span in below]


def without_repeats(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
    """Of runs of one attempt, that which ended first, in the order in which they came: two orchestrators may send one
    when a shard goes from one to the other, and the first success is what counts."""
    first: dict[tuple[str, str], ReceivedSpan] = {}
    for span in spans:
        run = (span.parent_id, said(span))
        if run not in first or span.end < first[run].end:
            first[run] = span
    return [span for span in spans if span is first[span.parent_id, said(span)]]


def said(span: ReceivedSpan) -> str:
    step = span.attributes.get("conclave.step")
    which = f" {step}/{span.attributes['conclave.attempt']}" if step else ""
    return f"{span.service} {span.kind} {span.name}{which}{' !' if span.failed else ''}"


def assert_nested_in_time(spans: Sequence[ReceivedSpan]) -> None:
    """What is under an execution, an attempt or an agent's work lies within its time. An execution goes on after the
    request that started it has been answered, and no child begins before its parent."""
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        parent = by_id.get(span.parent_id)
        assert span.start <= span.end
        if parent is None:
            continue
        assert parent.start <= span.start, f"{said(span)} began before {said(parent)}"
        if span.name != "execution":
            assert parent.covers(span), f"{said(span)} ended after {said(parent)}"
