"""The agent as a host sees it: its capability, its minimal request, its configuration."""

import json

import jsonschema
import pytest

from services.decision_agent.agent import DecisionAgent
from services.runtime.agent import CapabilityError

CITIES = [
    {"id": 7, "city": "Oslo", "rent": 20.0, "parks": 9, "flat": True},
    {"id": 8, "city": "Rome", "rent": 15.0, "parks": 4, "flat": False},
    {"id": 9, "city": "Bonn", "rent": 10.0, "parks": 8, "flat": True},
]


async def test_the_smallest_request_on_an_output_of_process_data():
    agent = DecisionAgent("d1")
    await agent.start()
    output = {"records": CITIES, "columns": [{"name": "id", "type": "BIGINT"}], "row_count": 3, "notes": []}
    answer = await agent.perform("make_decision", {"data": output})
    # rent: 1, 0.5, 0; parks: 1, 0, 0.8; half of each.
    assert answer["scores"] == {"7": 1.0, "9": 0.4, "8": 0.25}
    assert answer["winner"] == "7"
    assert answer["method"] == "weighted_sum"
    assert answer["weights"] == {"rent": 0.5, "parks": 0.5}
    assert answer["conventions"]["alternatives_named_by"] == "column 'id'"
    assert answer["conventions"]["criteria_from"].startswith("assumed: every numeric column")
    assert answer["conventions"]["method_from"] == "default: no method was named"
    assert answer["warnings"] == ["no directions were given, so more is taken as better in every criterion"]
    assert "no criteria were given, so every numeric column counts" in answer["rationale"]


def test_a_plain_list_of_records_is_data_too(decide):
    assert decide(data=CITIES)["scores"] == decide(data={"records": CITIES})["scores"]


def test_nothing_numeric_to_decide_by_is_refused_with_the_columns(refusal):
    error = refusal(data=[{"id": 1, "city": "Oslo"}, {"id": 2, "city": "Rome"}])
    assert error.code == "NoCriteria"
    assert "'id', 'city'" in str(error)


def test_no_records_and_no_data_are_refused(refusal):
    assert refusal(data=[]).code == "NoAlternatives"
    assert refusal().code == "InvalidInputs"


async def test_misspelt_fields_are_named():
    agent = DecisionAgent("d1")
    await agent.start()
    with pytest.raises(CapabilityError, match="wieghts") as caught:
        await agent.perform("make_decision", {"data": CITIES, "wieghts": {"rent": 1}})
    assert caught.value.code == "InvalidInputs"


def test_the_input_schema_checks_a_request_before_it_runs():
    capability = DecisionAgent("d1").describe().capability("make_decision")
    validator = jsonschema.Draft202012Validator(capability.input_schema)
    good = {"data": CITIES, "method": "topsis", "criteria": ["rent", {"name": "parks", "direction": "cost"}]}
    assert not list(validator.iter_errors(good))

    def faulty_path(**changes):
        return sorted({"/".join(map(str, error.absolute_path)) for error in validator.iter_errors(good | changes)})

    assert faulty_path(method="topsi") == ["method"]
    assert faulty_path(v=1.5) == ["v"]
    assert faulty_path(criteria=[{"name": "rent", "direction": "up"}]) == ["criteria"]
    assert faulty_path(table={"rules": []}) == ["table"]
    assert faulty_path(surprise=1) == [""]
    assert list(validator.iter_errors({"method": "topsis"})), "neither data nor facts"


def test_the_output_schema_fits_every_method(decide):
    capability = DecisionAgent("d1").describe().capability("make_decision")
    validator = jsonschema.Draft202012Validator(capability.output_schema)
    table = {"rules": [{"when": {"rent": "> 12"}, "then": {"score": 1}}]}
    answers = [
        *(decide(data=CITIES, method=m) for m in ("weighted_sum", "topsis", "vikor", "promethee_ii")),
        decide(data=CITIES, thresholds={"rent": {"max": 16}}),
        decide(data=CITIES, table=table),
        decide(facts={"rent": 13}, table=table),
    ]
    assert len({answer["method"] for answer in answers}) == 6
    for answer in answers:
        validator.validate(answer)


# ---- configuration


def test_the_configuration_gives_method_and_weights(decide):
    config = {"method": "topsis", "weights": {"rent": 3, "parks": 1}, "costs": ["rent"]}
    answer = decide(config, data=CITIES)
    assert answer["method"] == "topsis"
    assert answer["weights"] == {"rent": 0.75, "parks": 0.25}
    assert [c["direction"] for c in answer["criteria"]] == ["cost", "benefit"]
    assert answer["conventions"]["from_configuration"] == ["costs", "weights"]
    assert answer["conventions"]["method_from"] == "the agent's configuration"


def test_the_request_wins_over_the_configuration(decide):
    config = {"method": "topsis", "normalisation": "minmax", "weights": {"rent": 3, "parks": 1}}
    answer = decide(config, data=CITIES, method="weighted_sum", weights="equal", criteria=["parks", "rent"])
    assert answer["method"] == "weighted_sum"
    assert answer["weights"] == {"parks": 0.5, "rent": 0.5}
    assert "from_configuration" not in answer["conventions"]


def test_an_option_configured_for_another_method_is_left_aside(decide):
    config = {"method": "vikor", "v": 0.7}
    assert decide(config, data=CITIES)["conventions"]["v"] == 0.7
    assert "v" not in decide(config, data=CITIES, method="topsis")["conventions"]


def test_configured_weights_serve_the_criteria_asked_for(decide):
    config = {"weights": {"rent": 2, "parks": 1, "noise": 5}}
    answer = decide(config, data=CITIES, criteria=["rent", "parks"])
    assert answer["weights"] == pytest.approx({"rent": 2 / 3, "parks": 1 / 3})


def test_asked_weights_replace_those_of_configured_criteria(decide):
    config = {"criteria": [{"name": "rent", "direction": "cost", "weight": 9}, {"name": "parks", "weight": 1}]}
    answer = decide(config, data=CITIES, weights={"rent": 1, "parks": 3})
    assert answer["weights"] == {"rent": 0.25, "parks": 0.75}
    assert answer["criteria"][0]["direction"] == "cost"


def test_asked_rules_win_over_a_configured_method(decide):
    answer = decide({"method": "topsis"}, facts={"x": 1}, table={"rules": [{"when": {"x": 1}, "then": {"y": 2}}]})
    assert answer["method"] == "rules"
    assert answer["outputs"] == [{"alternative": "facts", "output": {"y": 2}}]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"methd": "topsis"}, "'methd'"),
        ({"method": "topsi"}, "method"),
        ({"data": []}, "'data'"),
        ({"v": 2}, "v: "),
    ],
)
def test_a_bad_configuration_is_refused_at_once(config, named):
    with pytest.raises(CapabilityError) as caught:
        DecisionAgent("d1", config)
    assert caught.value.code == "InvalidConfiguration"
    assert named in str(caught.value)


# ---- options and methods


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "weighted_sum", "v": 0.5}, "'v'"),
        ({"method": "vikor", "normalisation": "sum"}, "'normalisation'"),
        ({"method": "topsis", "preference": {"function": "usual"}}, "'preference'"),
        ({"method": "rules", "criteria": ["rent"]}, "'criteria'"),
        ({"criteria": [{"name": "rent", "preference": {}}]}, "'rent'"),
    ],
)
def test_an_option_of_another_method_is_refused(refusal, options, named):
    error = refusal(data=CITIES, **options)
    assert error.code == "InvalidInputs"
    assert named in str(error)


def test_thresholds_and_rules_name_their_method(decide):
    assert decide(data=CITIES, thresholds={"rent": {"max": 16}})["method"] == "threshold"
    assert decide(data=CITIES, table={"rules": [{"then": {"x": 1}}]})["method"] == "rules"


def test_an_answer_is_json_that_the_store_can_keep(decide):
    answer = decide(data=CITIES, method="vikor")
    assert json.loads(json.dumps(answer)) == answer


def test_top_lists_the_best_and_says_so(decide):
    answer = decide(data=CITIES, top=1)
    assert [place["alternative"] for place in answer["ranking"]] == ["7"] == list(answer["scores"])
    assert list(answer["contributions"]) == ["7"]
    assert answer["alternatives_count"] == 3
    assert "only the best 1 of 3 alternatives are listed, as 'top' asks" in answer["warnings"]


def test_contributions_of_very_many_alternatives_are_cut(decide):
    answer = decide(data=[{"name": f"n{i}", "x": i} for i in range(1200)])
    assert len(answer["ranking"]) == 1200
    assert len(answer["contributions"]) == 1000
    assert "contributions and details are given for the best 1000 alternatives only" in answer["warnings"]
