import subprocess
import sys

RULES = "import harness.metrics, harness.stats, harness.stats.onset, harness.cliff, harness.contract"


def modules_after(code):
    code += "; import sys; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(loaded.splitlines()[-1].split())


def test_rules_wait_for_scipy_until_they_need_it():
    loaded = modules_after(RULES)
    assert "numpy" in loaded
    assert not {name.split(".")[0] for name in loaded} & {
        *("scipy", "statsmodels", "sklearn", "pandas", "torch", "transformers", "vllm")
    }


def test_a_verdict_on_a_rate_loads_special_functions_and_no_more_of_scipy():
    loaded = modules_after("import harness.stats; harness.stats.rate_against_bar(59, 60, 0.95)")
    assert "scipy.special" in loaded
    assert not loaded & {"scipy.stats", "scipy.optimize", "scipy.linalg", "sklearn", "statsmodels"}


def test_a_verdict_on_a_mean_loads_nothing_of_scipy():
    loaded = modules_after("import harness.stats; harness.stats.mean_against_bar([0.1, 0.9], [1, 1], 0.5)")
    assert "scipy" not in loaded
