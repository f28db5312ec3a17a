"""Noise by specification: each form is the function it names."""

import numpy as np
import pytest

from ntk_air import noise

LABELS = np.random.default_rng(0).integers(0, 10, 500)
INPUTS = np.random.default_rng(1).standard_normal((500, 4))
EXTRA = {"worst": (LABELS + 1) % 10}
KW = {"num_classes": 10, "seed": 3}


@pytest.mark.parametrize(
    ("spec", "draw"),
    [
        ("symmetric:0.4", lambda: noise.symmetric(LABELS, 0.4, **KW)),
        ("uniform:0.4", lambda: noise.symmetric(LABELS, 0.4, include_true_class=True, **KW)),
        ("asymmetric:0.4", lambda: noise.asymmetric(LABELS, 0.4, **KW)),
        ("pair_flip:.45", lambda: noise.pair_flip(LABELS, 0.45, **KW)),
        ("instance: 0.3", lambda: noise.instance_dependent(INPUTS, LABELS, 0.3, **KW)),
        ("human:worst", lambda: noise.recorded(LABELS, EXTRA["worst"], 10)),
        ("human_transition:random1", lambda: noise.human_cifar10(LABELS, "random1", 3)),
        (" none ", lambda: noise.recorded(LABELS, LABELS, 10)),
    ],
)
def test_each_form_is_the_function_it_names(spec, draw):
    noisy, expected = noise.apply(spec, LABELS, inputs=INPUTS, extra_labels=EXTRA, **KW), draw()
    np.testing.assert_array_equal(noisy.labels, expected.labels)
    np.testing.assert_array_equal(noisy.transition, expected.transition)
    assert noisy.rate == expected.rate


BAD = """symmetric symmetric: symmetric:many symmetric:0.4:0.1 symmetric=0.4 Symmetric:0.4 0.4 :0.4
none:0.1 human human: worst human_transition human_transition:best"""


@pytest.mark.parametrize("spec", ["", *BAD.split()])
def test_bad_forms_list_the_good_ones(spec):
    with pytest.raises(ValueError, match="expected one of none, symmetric:RATE") as caught:
        noise.apply(spec, LABELS, **KW)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "kwargs", "words"),
    [
        ("symmetric:1.5", {}, "rate is 1.5"),
        ("symmetric:nan", {}, "rate is nan"),
        ("instance:0.3", {}, "pass inputs"),
        ("human:worst", {}, "human_transition:worst"),
        ("human:best", {"extra_labels": EXTRA}, "holds worst"),
        ("human_transition:worst", {"num_classes": 2}, "10 classes"),
        ("asymmetric:0.4", {"num_classes": 20}, "mapping"),
        ("none", {"num_classes": 5}, "expected labels in 0..4"),
    ],
)
def test_what_is_missing_is_named(spec, kwargs, words):
    with pytest.raises(ValueError, match=words):
        noise.apply(spec, LABELS, **{**KW, **kwargs})
