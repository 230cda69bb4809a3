"""Which device, precision and backend a network gets, and that a wish is fulfilled or refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)

from pydantic import ValidationError  # noqa: E402

from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.models import machine as machine_module  # noqa: E402
from wsi_pipeline.models import runtime  # noqa: E402
from wsi_pipeline.models.lane import device_lane  # noqa: E402
from wsi_pipeline.models.manifest import ARCHITECTURES  # noqa: E402
from wsi_pipeline.models.options import ModelOptions  # noqa: E402
from wsi_pipeline.models.runtime import Runtime, choose_runtime  # noqa: E402

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a function that pretends what this machine has."""

    def pretend(*, cuda: int = 0, capability: int = 9, bf16: bool = True, openvino: tuple[str, ...] = ()) -> None:
        monkeypatch.setattr(machine_module, "_has_driver", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _index: (capability, 0))
        monkeypatch.setattr(runtime, "processor_has_bf16", lambda: bf16)
        monkeypatch.setattr(runtime, "openvino_precisions", lambda: frozenset(openvino))

    return pretend


def choice(architecture: str, **options: Any) -> tuple[str, str, str]:
    made = choose_runtime(architecture, ModelOptions(**options))  # type: ignore[arg-type]
    assert made.why
    return made.device, made.precision, made.backend


def test_a_processor_gets_what_was_measured_to_be_best(machine: Machine) -> None:
    machine(openvino=("fp32", "bf16"))
    assert choice("ihcnet") == ("cpu", "bf16", "openvino")
    assert choice("ihcnet-light") == ("cpu", "fp32", "openvino")
    assert choice("pspstain") == choice("pspstain-light") == ("cpu", "bf16", "torch")
    machine()
    assert choice("ihcnet") == ("cpu", "bf16", "torch")
    assert choice("ihcnet-light") == ("cpu", "fp32", "torch")
    machine(bf16=False, openvino=("fp32",))
    assert choice("ihcnet") == ("cpu", "fp32", "openvino")
    assert choice("pspstain") == ("cpu", "fp32", "torch")


def test_cuda_is_taken_where_it_is(machine: Machine) -> None:
    machine(cuda=2, openvino=("fp32", "bf16"))
    for architecture in ("ihcnet", "pspstain", "pspstain-light"):
        assert choice(architecture) == ("cuda:0", "bf16", "torch")
    assert choice("ihcnet-light") == ("cuda:0", "fp16", "torch")
    assert choice("pspstain", device="cuda:1", precision="fp32") == ("cuda:1", "fp32", "torch")
    assert choice("pspstain", device="cpu") == ("cpu", "bf16", "torch")
    assert choice("ihcnet", backend="openvino") == ("cpu", "bf16", "openvino")
    machine(cuda=1, capability=7)
    assert choice("ihcnet") == ("cuda:0", "fp16", "torch")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("backend", ["auto", "torch", "openvino"])
def test_what_was_asked_for_is_what_one_gets(machine: Machine, architecture: str, precision: str, backend: str) -> None:
    machine(bf16=False, openvino=("fp32", "bf16"))
    device, got, runs = choice(architecture, precision=precision, backend=backend, device="cpu")
    assert (device, got) == ("cpu", precision)
    if backend != "auto" and architecture.startswith("ihcnet"):
        assert runs == backend


@pytest.mark.parametrize(
    ("has", "wish", "sentence"),
    [
        ({}, {"device": "cuda"}, r"device cuda: torch finds 0 CUDA devices .use device auto or cpu"),
        ({"cuda": 1}, {"device": "cuda:1"}, r"device cuda:1: torch finds 1 CUDA devices"),
        ({}, {"backend": "openvino"}, r'is not installed .type: pip install .*\[openvino\]"'),
        ({"cuda": 1, "openvino": ("fp32",)}, {"backend": "openvino", "device": "cuda"}, "runs on processors"),
        ({}, {"precision": "fp16"}, "precision fp16: needs a CUDA device"),
        ({"openvino": ("fp32",)}, {"precision": "bf16", "backend": "openvino"}, "OpenVINO has none"),
        ({"cuda": 1, "capability": 7}, {"precision": "bf16"}, r"cuda:0 does not compute in bf16 .use fp16"),
    ],
)
def test_a_wish_that_cannot_be_fulfilled_is_refused(
    machine: Machine, has: dict[str, Any], wish: dict[str, str], sentence: str
) -> None:
    machine(**has)
    with pytest.raises(UsageError, match=sentence) as refused:
        choice("ihcnet", **wish)
    assert "\n" not in str(refused.value)


def test_bf16_without_openvinos_falls_to_torch_when_nobody_asked_for_openvino(machine: Machine) -> None:
    machine(bf16=True, openvino=("fp32",))
    assert choice("ihcnet", precision="bf16") == ("cpu", "bf16", "torch")


@pytest.mark.parametrize("wrong", [{"device": "gpu"}, {"device": "cuda:"}, {"precision": "int8"}, {"batch_tiles": 0}])
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ModelOptions(**wrong)


def test_this_machine_runs_every_architecture() -> None:
    for architecture in ARCHITECTURES:
        made = choose_runtime(architecture, ModelOptions())
        assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own bytes
        assert set(made.describe()) == {"device", "precision", "backend", "why"}


def test_the_choice_of_weights_and_options_need_no_torch() -> None:
    modules = ", ".join(f"wsi_pipeline.models.{name}" for name in ("options", "choosing", "runtime"))
    program = f"import sys, {modules}; print([name for name in ('torch', 'openvino') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_openvino_cannot_report_its_use_to_its_makers() -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    program = (
        "import sys; from wsi_pipeline.models.openvino_backend import processor_precisions;"
        "print(sorted(processor_precisions())[-1], sys.modules['openvino_telemetry'],"
        "'openvino.tools.ovc.telemetry_stub' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["fp32", "None", "True"]


def held_at_once(devices: tuple[str, str]) -> bool:
    """Return whether two threads can be on their devices at the same time."""
    meeting = threading.Barrier(2)
    met = []

    def work(device: str) -> None:
        with device_lane(device):
            try:
                meeting.wait(timeout=0.5)
            except threading.BrokenBarrierError:
                return
            met.append(device)

    threads = [threading.Thread(target=work, args=(device,)) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(met) == 2


def test_one_thread_at_a_time_is_on_a_device() -> None:
    assert not held_at_once(("cuda:0", "cuda:0"))
    assert held_at_once(("cuda:0", "cuda:1"))
    assert held_at_once(("cpu", "cpu"))


def test_a_lane_is_free_again_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), device_lane("cuda:3"):
        raise ZeroDivisionError
    with device_lane("cuda:3"):
        pass


def test_plain_runtime_is_the_processor_in_fp32() -> None:
    assert Runtime().describe() | {"why": ""} == {"device": "cpu", "precision": "fp32", "backend": "torch", "why": ""}
    assert Runtime(precision="bf16").dtype == torch.bfloat16
