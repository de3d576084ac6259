import pytest

from pipeline.errors import ConfigError
from pipeline.sae.lucid.options import LucidOptions


def test_defaults_are_the_papers() -> None:
    options = LucidOptions()
    assert (options.shared_width, options.private_width) == (1536, 4608)
    assert (options.k_shared, options.k_private) == (16, 32)
    assert (options.alpha, options.beta, options.gamma) == (1.0, 0.5, 0.3)
    assert (options.epsilon, options.iterations, options.guidance.lambda_global) == (0.1, 10, 0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"latents": 40, "k_shared": 11, "k_private": 8},
            "k_shared = 11 is more than the 10 shared latents of latents = 40 at shared_ratio = 0.25; "
            "lower k_shared or raise latents",
        ),
        (
            {"latents": 40, "k_shared": 8, "k_private": 31},
            "k_private = 31 is more than the 30 private latents",
        ),
        (
            {"latents": 40, "shared_ratio": 1.0, "k_shared": 8, "k_private": 33},
            "k_shared [+] k_private = 41 is more than the 40 latents",
        ),
        ({"k_shraed": 8}, "sae.k_shraed: no such option"),
        ({"guidance": {"lambda_global": -1}}, "sae.guidance.lambda_global: .*greater than or equal to 0.*-1"),
        ({"alignment": "gsl"}, "sae.alignment: .*'none', 'transport_cost' or 'global_lock'.*'gsl'"),
        ({"epsilon": 0}, "sae.epsilon: .*greater than 0"),
        ({"shared_ratio": 0}, "sae.shared_ratio: .*greater than 0"),
    ],
)
def test_impossible_options_are_refused_by_key_value_and_remedy(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LucidOptions.parse(values, "sae")


def test_a_single_dictionary_may_use_the_whole_budget() -> None:
    options = LucidOptions(latents=40, shared_ratio=1.0, k_shared=8, k_private=32)
    assert (options.shared_width, options.private_width) == (40, 0)
