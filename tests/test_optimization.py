"""Learning rates, the moving average and number formats, each by itself."""

from __future__ import annotations

import pytest
import torch
from scripts.ema import MovingAverage
from scripts.optimization import linear_decay, make_schedule, scale_learning_rate
from scripts.precision import make_scaler, select_precision
from torch import nn

CPU = torch.device("cpu")


def test_the_average_reaches_its_decay_and_goes_on_after_loading() -> None:
    source = nn.Linear(1, 1, bias=False)
    average = MovingAverage(source, decay=0.2)
    average.load_state_dict({"network": {"weight": torch.tensor([[1.0]])}, "updates": 1000})
    with torch.no_grad():
        source.weight.fill_(2.0)
    average.update()
    assert float(average.network.weight) == pytest.approx(0.2 * 1 + 0.8 * 2)
    assert average.state_dict()["updates"] == 1001


def test_an_unknown_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match="learning_rate_rule is 'root'; expected one of"):
        scale_learning_rate(2e-4, batch_size=4, rule="root")


def test_the_learning_rate_is_constant_and_then_falls_to_zero() -> None:
    factors = [linear_decay(epoch, constant_epochs=2, decay_epochs=4) for epoch in range(7)]
    assert factors == [1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    assert linear_decay(999, constant_epochs=2, decay_epochs=0) == 1.0


def test_a_training_that_outlasts_its_learning_rate_is_an_error() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="would be 0 after epoch 6, but max_epochs is 7"):
        make_schedule(optimizer, constant_epochs=2, decay_epochs=4, max_epochs=7)


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in (((9, 0), torch.bfloat16), ((7, 5), torch.float16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        assert select_precision("auto", torch.device("cuda")) == expected
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("scripts.precision._has_native_bf16", lambda found=native: found)
        assert select_precision("auto", CPU) == expected
    assert select_precision("fp16", CPU) == torch.float16
    with pytest.raises(ValueError, match="'half'; expected 'auto' or one of"):
        select_precision("half", CPU)


def test_only_fp16_scales_its_losses() -> None:
    assert make_scaler(precision="fp16", device="cpu").is_enabled()
    assert not make_scaler(precision="bf16", device="cpu").is_enabled()
