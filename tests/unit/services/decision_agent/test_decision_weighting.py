"""Weights, checked against figures worked out by hand."""

import pytest


def weights(decide, rows, **options):
    return decide(data=rows, **options)["weights"]


def test_given_weights_are_divided_by_their_sum(decide, table):
    answer = decide(data=table((1, 2), (2, 1)), weights={"c0": 3, "c1": 2})
    assert answer["weights"] == {"c0": 0.6, "c1": 0.4}
    assert "the weights summed to 5, not 1: each was divided by the sum" in answer["warnings"]
    assert answer["conventions"]["weights"] == "given, divided by their sum"


def test_weights_that_sum_to_one_are_taken_as_they_are(decide, table):
    answer = decide(data=table((1, 2, 3), (2, 1, 0)), weights={"c0": 0.1, "c1": 0.2, "c2": 0.7})
    assert answer["weights"] == {"c0": 0.1, "c1": 0.2, "c2": 0.7}
    assert answer["conventions"]["weights"] == "given"
    assert not [w for w in answer["warnings"] if "weights" in w]


def test_weights_may_stand_with_the_criteria(decide, table):
    rows = table((1, 2), (2, 1))
    answer = decide(data=rows, criteria=[{"name": "c0", "weight": 0.25}, {"name": "c1", "weight": 0.75}])
    assert answer["weights"] == {"c0": 0.25, "c1": 0.75}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"criteria": ["c0", "c1"], "weights": {"c0": 1}}, "'c1'"),
        ({"criteria": ["c0"], "weights": {"c0": 1, "c1": 1}}, "'c1'"),
        ({"weights": {"c0": 1, "c1": -1}}, "at least 0"),
        ({"weights": {"c0": 0, "c1": 0}}, "all weights are 0"),
        ({"criteria": [{"name": "c0", "weight": 1}, "c1"]}, "'c1'"),
        ({"criteria": [{"name": "c0", "weight": 1}], "weights": "entropy"}, "given twice"),
    ],
)
def test_bad_weights_are_refused(refusal, table, options, named):
    error = refusal(data=table((1, 2), (2, 1)), **options)
    assert error.code == "InvalidWeights"
    assert named in str(error)


def test_a_huge_weight_does_not_overflow(decide, table):
    answer = decide(data=table((1, 2), (2, 1)), weights={"c0": 1.5e308, "c1": 1.5e308})
    assert answer["weights"] == {"c0": 0.5, "c1": 0.5}


def test_entropy_by_hand(decide, table):
    # c0: shares 1/4, 3/4, entropy 0.811278 bits of 1; c1: shares 1/8, 7/8, entropy 0.543564.
    found = weights(decide, table((1, 1), (3, 7)), weights="entropy")
    assert found == pytest.approx({"c0": 0.188722 / 0.645158, "c1": 0.456436 / 0.645158}, abs=1e-5)


def test_entropy_takes_zero_log_zero_for_zero(decide, table):
    # c1 is all in one place, so its entropy is 0 and it says everything it can: 1 - 0.
    found = weights(decide, table((1, 0), (3, 5)), weights="entropy")
    assert found == pytest.approx({"c0": 0.188722 / 1.188722, "c1": 1 / 1.188722}, abs=1e-5)


def test_a_constant_criterion_gets_no_weight_from_entropy_or_critic(decide, table):
    rows = table((2, 1, 4), (2, 3, 3), (2, 2, 9))
    for how in ("entropy", "critic"):
        found = weights(decide, rows, weights=how)
        assert found["c0"] == 0.0
        assert sum(found.values()) == pytest.approx(1.0)
        assert min(found["c1"], found["c2"]) > 0.1


def test_entropy_of_negative_values_is_refused(refusal, table):
    error = refusal(data=table((-1, 1), (2, 3)), weights="entropy")
    assert error.code == "WeightingUndefined"
    assert "'c0'" in str(error)


def test_critic_by_hand(decide, table):
    # Min-max values: c0 0, 1/2, 1 (deviation 0.5); c1 0, 1, 1 (deviation 0.57735); c2, a cost, turned round is c0.
    # r01 = r12 = 0.866025, r02 = 1, so C = 0.5 * 0.133975, 0.57735 * 0.267949, 0.5 * 0.133975.
    answer = decide(data=table((0, 0, 2), (1, 2, 1), (2, 2, 0)), weights="critic", costs=["c2"])
    assert answer["weights"] == pytest.approx({"c0": 0.232051, "c1": 0.535898, "c2": 0.232051}, abs=1e-6)
    assert answer["conventions"]["weights"].startswith("CRITIC (Diakoulaki 1995)")


def test_critic_of_two_criteria_by_hand(decide, table):
    # The same c0 and c1: the correlation is shared, so the deviations decide: 0.5 against 0.57735.
    found = weights(decide, table((0, 0), (1, 2), (2, 2)), weights="critic")
    assert found == pytest.approx({"c0": 0.5 / 1.0773503, "c1": 0.5773503 / 1.0773503}, abs=1e-6)


@pytest.mark.parametrize("how", ["entropy", "critic"])
def test_where_the_data_say_nothing_weights_are_equal_and_that_is_said(decide, table, how):
    answer = decide(data=table((3, 3), (3, 3)), weights=how)
    assert answer["weights"] == {"c0": 0.5, "c1": 0.5}
    assert [w for w in answer["warnings"] if "equal weights were used" in w]


def test_critic_of_criteria_in_full_agreement_is_equal(decide, table):
    answer = decide(data=table((1, 10), (2, 20), (4, 40)), weights="critic")
    assert answer["weights"] == {"c0": 0.5, "c1": 0.5}
    assert "CRITIC weights are undefined where all criteria agree: equal weights were used" in answer["warnings"]


@pytest.mark.parametrize("how", ["entropy", "critic"])
def test_a_single_varying_criterion_has_all_the_weight(decide, table, how):
    assert weights(decide, table((3, 1), (3, 2)), weights=how) == {"c0": 0.0, "c1": 1.0}
