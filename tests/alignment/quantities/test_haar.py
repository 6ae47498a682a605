"""The control by random rotations: it sees no directions of K, and its rotations are from Haar measure."""

import torch

from nfa.alignment.quantities.feature_matrix import FeatureMatrix
from nfa.alignment.quantities.haar import DRAWS, DRAWS_DECOMPOSED, haar, haar_control
from nfa.alignment.quantities.split import LeftBasis, tie_width
from tests.alignment.comparing import assert_matrix_close
from tests.alignment.quantities.drawing import DOUBLE, draw_pair, generator


def test_haar_control_does_not_see_the_directions_of_k() -> None:
    weight, k = draw_pair((6, 9), 6, 0)
    rotation = haar(6, generator(5))
    basis, powers = LeftBasis(FeatureMatrix(weight), tie_width(weight)), {"1": 1.0, "1/2": 0.5}
    results = [
        haar_control(basis, torch.linalg.eigvalsh(matrix)[None], powers, DOUBLE, seed=1)
        for matrix in (k, rotation @ k @ rotation.T)
    ]
    one, two = results
    assert {("nfc", "cosine", "1"), ("nfc", "cosine", "1/2"), ("directional", None, None)} <= one.means.keys()
    for key, mean in one.means.items():
        assert abs(mean.value - two.means[key].value) < 1e-10, key
        draws = DRAWS_DECOMPOSED if key[2] == "1/2" else DRAWS
        assert abs(mean.stderr - one.deviations[key].value / draws**0.5) < 1e-12


def test_haar_matrices_are_orthogonal_and_centred() -> None:
    source = generator(0)
    draws = torch.stack([haar(4, source) for _ in range(2000)])
    assert_matrix_close(draws[0] @ draws[0].T, torch.eye(4, dtype=torch.float64), 1e-12)
    assert draws.mean(0).abs().max() < 4 * 0.5 / 2000**0.5  # entries have mean 0 and variance 1/4
    assert (draws.square().mean(0) - 0.25).abs().max() < 0.03
