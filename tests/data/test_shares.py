from collections import Counter
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.data import SPLIT_NAMES, split_sizes
from tunecli.data.shares import share, shared_out
from tunecli.errors import InvalidValueError


@given(
    st.lists(st.integers(0, 5), min_size=5, max_size=60),
    st.floats(0.05, 0.4),
    st.none() | st.floats(0.05, 0.4),
    st.integers(0, 100),
)
def test_parts_are_disjoint_cover_all_and_keep_proportions(
    labels: list[int], validation: float, test: float | None, seed: int
) -> None:
    sizes = split_sizes(len(labels), validation=validation, test=test)
    parts = shared_out(labels, sizes, seed=seed)
    assert sorted(i for part in parts.values() for i in part) == list(range(len(labels)))
    rest, total = Counter(labels), len(labels)
    for name in ("test", "validation"):  # each is taken from what the ones before it left
        size = len(parts[name])
        assert size == getattr(sizes, name)
        taken = Counter(labels[i] for i in parts[name])
        for label, count in rest.items():
            assert floor(count * size / total) <= taken[label] <= ceil(count * size / total)
        rest, total = rest - taken, total - size


def test_seed_alone_tells_the_parts() -> None:
    labels = np.arange(200) % 7
    sizes = split_sizes(200, validation=0.2, test=0.2)
    np.random.seed(1)  # noqa: NPY002  # the state that must not matter
    first, again, other = (shared_out(labels, sizes, seed=seed) for seed in (3, 3, 4))
    for name in SPLIT_NAMES:
        assert first[name].tolist() == again[name].tolist() == sorted(first[name])
        assert first[name].tolist() != other[name].tolist()


def test_samples_of_a_class_are_chosen_at_random() -> None:
    labels = np.zeros(1000)
    sizes = split_sizes(1000, validation=0.2, test=0.2)
    drawn = [set(shared_out(labels, sizes, seed=seed)["test"].tolist()) for seed in range(30)]
    often = Counter(index for part in drawn for index in part)
    assert max(often.values()) < 20  # of 30 draws; 6 are expected
    assert len(often) > 950


def test_split_without_a_part_of_its_own_takes_a_share() -> None:
    assert share(None, name="test", own=None) == 0.2
    assert share(0.3, name="test", own=None) == 0.3
    assert share(None, name="test", own="x_test") is None
    with pytest.raises(
        InvalidValueError,
        match=r"data\.test must not be given, because the data have x_test, but got 0\.3",
    ):
        share(0.3, name="test", own="x_test")
