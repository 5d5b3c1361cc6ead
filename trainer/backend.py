"""Backend: a model in training, its gradients and its steps; whole on each rank, or sharded by ZeRO.

`Whole` is plain PyTorch; of several ranks each has all of it, and their gradients are added up. `Sharded` is
ZeRO 1 to 3. Whoever trains sees only `Trained`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from trainer.config import ScaleConfig
from trainer.errors import ConfigError
from trainer.lanes import Rows, lane, side_by_side
from trainer.lora import (
    adapted_layers,
    adapted_parameters,
    fold,
    load_trained,
    merge,
    merged_weights,
    trained_weights,
)
from trainer.masters import Masters
from trainer.models import Precision, default_device, device_of, round_to_bf16
from trainer.ranks import ALONE, Ranks

Model = TypeVar("Model", bound=nn.Module)
Model_co = TypeVar("Model_co", bound=nn.Module, covariant=True)
Result = TypeVar("Result")
P = ParamSpec("P")
SHARDS = "zero"


class Trained(Protocol[Model_co]):
    """A model and its optimiser. Every rank makes the same calls in the same order."""

    layout: str
    """How checkpoints hold it; one of another layout cannot be gone on from."""

    @property
    def model(self) -> Model_co: ...

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    def __call__(
        self, read: Callable[Concatenate[Model_co, P], Result], *args: P.args, **options: P.kwargs
    ) -> Result:
        """`read(model, ...)`, in which sharded weights are there. It returns tensors or tuples of them."""

    def abreast(
        self, one: Callable[[Rows], Result], rows: Rows, lengths: Sequence[int], *, padded: bool = True
    ) -> list[Result]:
        """`one(part)` of the parts of some rows, of which several may run at once; in their order.

        `one` may read and go backward; what it changes besides must be its own. `padded`: a part reads each
        of its rows to the length of its longest; otherwise `lengths` is what it reads.
        """

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of this rank's part of a loss that is a sum over the ranks."""

    def step(self) -> float:
        """Clips and steps; the norm before the clip. Where it is not finite the training must end.

        `Whole` leaves the weights as they were then; `Sharded` may not.
        """

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names and whole tensors as they are published, adapters merged; one at a time, on every rank.

        To be read to the end.
        """

    def round_to_bf16(self) -> None:
        """Gives the weights the values of the bf16 file, so that what is judged is what is saved.

        The end of a training: under ZeRO the optimiser does not see it.
        """

    def state(self) -> dict[str, Any]:
        """What a resume needs and every rank has alike."""

    def save_shards(self, folder: Path) -> None:
        """Writes what each rank has of its own, if it has any."""

    def load(self, state: Mapping[str, Any], folder: Path | None) -> None:
        """Goes on from `state` and the shards in `folder`."""


def through(
    model: Model | Trained[Model],
    read: Callable[Concatenate[Model, P], Result],
    *args: P.args,
    **options: P.kwargs,
) -> Result:
    """`read(model, ...)`; a model in training is read through its backend."""
    return read(model, *args, **options) if isinstance(model, nn.Module) else model(read, *args, **options)


def abreast(
    model: nn.Module | Trained[Any],
    one: Callable[[Rows], Result],
    rows: Rows,
    lengths: Sequence[int],
    *,
    padded: bool = True,
) -> list[Result]:
    """`one(part)` of the parts of some rows, in their order, for a model that is read."""
    if isinstance(model, nn.Module):
        return side_by_side(one, rows, lengths, device_of(model), padded=padded)
    return model.abreast(one, rows, lengths, padded=padded)


def bf16_copy(trained: Trained[nn.Module], ranks: Ranks) -> dict[str, Tensor]:
    """The weights as they are published, on the CPU of the first rank; nothing on the others."""
    copies = {}
    for name, tensor in trained.weights():
        if ranks.first:
            dtype = torch.bfloat16 if tensor.is_floating_point() else None
            copies[name] = tensor.detach().to("cpu", dtype, copy=True)
    return copies


def make_trained(
    model: Model,
    optimizer: torch.optim.Optimizer,
    *,
    max_grad_norm: float,
    scale: ScaleConfig = ScaleConfig(),  # noqa: B008 - immutable
    ranks: Ranks = ALONE,
) -> Trained[Model]:
    """Puts a model, on its `loading_device`, and its optimiser behind the backend of [scale].

    Args:
        optimizer: over the parameters that learn.
        max_grad_norm: global norm that gradients are clipped to; 0 is off.
    """
    if scale.zero_stage == 0:
        return Whole(model, optimizer, max_grad_norm=max_grad_norm, precision=scale.precision, ranks=ranks)
    return Sharded(model, optimizer, max_grad_norm=max_grad_norm, scale=scale, ranks=ranks)


def loading_device(scale: ScaleConfig) -> torch.device:
    """Where a model for `make_trained` is loaded: under ZeRO-3 a GPU may have no room for all of it."""
    return torch.device("cpu") if scale.zero_stage == 3 else default_device()


class Whole(Generic[Model]):
    """Plain PyTorch. ZeRO stage 0 is by definition no sharding, so DeepSpeed would add nothing.

    With `bf16` the model has bf16 weights from here on, and the optimiser steps on their fp32 masters.
    """

    def __init__(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float,
        precision: Precision = "bf16",
        ranks: Ranks = ALONE,
    ) -> None:
        self.model = model
        self._masters = Masters(model, optimizer) if precision == "bf16" else None
        self.layout = "whole weights"
        self.optimizer = optimizer
        self._max_grad_norm = max_grad_norm or float("inf")
        self._ranks = ranks

    def __call__(
        self, read: Callable[Concatenate[Model, P], Result], *args: P.args, **options: P.kwargs
    ) -> Result:
        return read(self._of_lane(), *args, **options)

    def _of_lane(self) -> Model:
        """Whoever only reads may share one model."""
        if lane()[0] == 0 or not torch.is_grad_enabled() or self._masters is None:
            return self.model
        return cast(Model, self._masters.twin)

    def abreast(
        self, one: Callable[[Rows], Result], rows: Rows, lengths: Sequence[int], *, padded: bool = True
    ) -> list[Result]:
        if self._masters is None:  # whose gradients are added up in order
            return [one(rows)]
        found = side_by_side(one, rows, lengths, device_of(self.model), padded=padded)
        self._masters.settle()
        return found

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> float:
        parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        gradients = [one.grad for one in parameters if one.grad is not None]
        self._ranks.add(*gradients)
        norm = nn.utils.get_total_norm(gradients)
        if bool(torch.isfinite(norm)):
            if float(norm) + 1e-6 > self._max_grad_norm:  # else PyTorch would multiply them all by 1
                nn.utils.clip_grads_with_norm_(parameters, self._max_grad_norm, norm)
            self.optimizer.step()
            if self._masters:
                self._masters.publish()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from merged_weights(self.model)

    def round_to_bf16(self) -> None:
        merge(self.model)
        round_to_bf16(self.model.parameters())

    def state(self) -> dict[str, Any]:
        exact = {name: self._exact(weight) for name, weight in trained_weights(self.model).items()}
        return {"model": exact, "optimizer": self.optimizer.state_dict()}

    def save_shards(self, folder: Path) -> None:
        pass

    def load(self, state: Mapping[str, Any], folder: Path | None) -> None:
        load_trained(self.model, state["model"], self._exact)
        if self._masters:
            self._masters.publish()
        self.optimizer.load_state_dict(state["optimizer"])

    def _exact(self, weight: nn.Parameter) -> Tensor:
        return self._masters.of(weight) if self._masters else weight.detach()


class Sharded(Generic[Model]):
    """DeepSpeed ZeRO: 1 shards the optimiser's state, 2 the gradients too, 3 the weights too.

    The engine holds fp32 weights; bf16 is autocast in the forward pass, exactly as in `Whole`, so the stages
    differ by rounding only. AdamW is torch's fused one, on the CPU too, so that nothing has to be compiled.
    """

    def __init__(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float,
        scale: ScaleConfig,
        ranks: Ranks,
    ) -> None:
        self.model = model
        self.layout = f"shards of zero_stage {scale.zero_stage} on {ranks.size} processes"
        self._ranks = ranks
        self._deepspeed = _deepspeed()
        root, config = _Root(model), zero_config(scale, max_grad_norm)
        if scale.zero_stage == 3:
            # One weight after another, so that no GPU ever holds them all.
            self._deepspeed.zero.Init(module=root, config_dict_or_path=config)
            for buffer in root.buffers():
                buffer.data = buffer.data.to(default_device())
        self._engine, self.optimizer, _, _ = self._deepspeed.initialize(
            model=root, optimizer=optimizer, config=config
        )

    def __call__(
        self, read: Callable[Concatenate[Model, P], Result], *args: P.args, **options: P.kwargs
    ) -> Result:
        # By keyword, where DeepSpeed's hooks look for no tensors.
        result: Result = self._engine(read=read, args=args, options=options)
        return result

    def abreast(
        self, one: Callable[[Rows], Result], rows: Rows, lengths: Sequence[int], *, padded: bool = True
    ) -> list[Result]:
        return [one(rows)]

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss * self._ranks.size)  # DeepSpeed takes the mean over the ranks

    def step(self) -> float:
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from merged_weights(self.model, self._gathered())

    def _gathered(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            if hasattr(tensor, "ds_id"):
                with self._deepspeed.zero.GatheredParameters([tensor]):
                    yield name, tensor.detach()
            else:
                yield name, tensor.detach()

    def round_to_bf16(self) -> None:
        for _, layer in adapted_layers(self.model):
            sharded = [one for one in adapted_parameters(layer) if hasattr(one, "ds_id")]
            with self._deepspeed.zero.GatheredParameters(sharded, modifier_rank=0):
                fold(layer)
        round_to_bf16(getattr(one, "ds_tensor", one) for one in self.model.parameters())

    def state(self) -> dict[str, Any]:
        return {}

    def save_shards(self, folder: Path) -> None:
        self._engine.save_checkpoint(str(folder), tag=SHARDS, save_latest=False)

    def load(self, state: Mapping[str, Any], folder: Path | None) -> None:
        assert folder is not None
        self._engine.load_checkpoint(str(folder), tag=SHARDS)


class _Root(nn.Module):
    """What DeepSpeed calls: any reading of the model is one forward pass to its hooks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *, read: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        return read(self.model, *args, **options)


def zero_config(scale: ScaleConfig, max_grad_norm: float) -> dict[str, Any]:
    """DeepSpeed's configuration of a stage. Batch sizes are ours: a step is whatever came before it."""
    zero: dict[str, Any] = {"stage": scale.zero_stage}
    if scale.zero_stage == 3:
        zero["overlap_comm"] = False  # refused where the caller decides when to step
    waiting = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if scale.offload != "none":
        zero["offload_optimizer"] = waiting
    if scale.offload == "weights":
        zero["offload_param"] = waiting
    return {
        "zero_optimization": zero,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": max_grad_norm,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }


def _deepspeed() -> Any:
    """The package, told not to look for compilers: none of its own operators is used here."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")  # which it asks for, with no launcher too
    try:
        import deepspeed
        import deepspeed.ops
    except ImportError as error:
        raise ConfigError(
            f"scale.zero_stage needs DeepSpeed, which cannot be imported ({error}). Install it, or set 0."
        ) from error
    vars(deepspeed.ops).setdefault("__compatible_ops__", {})
    # One line for every collective of a training, about names that DeepSpeed has to change.
    warnings.filterwarnings("ignore", "`torch.distributed", FutureWarning)
    return deepspeed
