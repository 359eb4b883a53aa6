"""Autograd through the unmodified host.

The host loads and runs everything under ``inference_mode`` and picks kernels
without a backward; these helpers undo that for the time of a training run, and
put everything back afterwards.
"""

import inspect
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule

# What a host has to offer for gradients to be exact, and since when it does.
REQUIRED = {
    "comfy.model_management.in_training (differentiable kernels)": (comfy.model_management, "in_training"),
    "ModelPatcher.set_injections": (ModelPatcher, "set_injections"),
    "ModelPatcher.is_dynamic": (ModelPatcher, "is_dynamic"),
    "a differentiable attention_pytorch": (attention_pytorch, "__wrapped__"),
}


def require_host() -> None:
    """Raise ValueError on a ComfyUI that lacks what exact gradients need, rather than train on wrong ones."""
    missing = [what for what, (owner, name) in REQUIRED.items() if not hasattr(owner, name)]
    if missing:
        raise ValueError(f"This ComfyUI is too old to train in: it has no {', no '.join(missing)}; update it to 0.30 or newer.")


@contextmanager
def training_mode():
    """Gradients on; host kernels stay its fast ones, see ``differentiable_kernels``."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def differentiable_kernels():
    """The host computes in a way that has a gradient (its own ``in_training`` switch, and ``attention_for_training``).

    Around every model call that carries gradient, in forward and in its recomputation alike.
    """
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True
    try:
        yield
    finally:
        comfy.model_management.in_training = before


def managed(network: nn.Module) -> ModelPatcher:
    """A network of ours under the host's memory management, at home on the CPU and differentiable through there."""
    make_tensors_normal(network)
    return ModelPatcher(network, comfy.model_management.get_torch_device(), torch.device("cpu"))


@contextmanager
def resident(*patchers: ModelPatcher):
    """Loaded by the host inside, back on the CPU afterwards; their weights are differentiable through."""
    with moving_weights():
        comfy.model_management.load_models_gpu(patchers)
    for patcher in patchers:
        make_tensors_normal(patcher.model)
    try:
        yield
    finally:
        release(*patchers)


def release(*patchers: ModelPatcher) -> None:
    """Unload what the host has loaded of ``patchers``."""
    with moving_weights():
        for patcher in patchers:
            comfy.model_management.unload_model_and_clones(patcher)


def moving_weights():
    """Context in which the host loads and unloads: under inference mode, as it always does.

    For what it loads, it unloads models of other nodes. Weights made under inference mode that are moved outside of it
    are lost for autograd and for inference alike.
    """
    return torch.inference_mode()


def static_clone(patcher: ModelPatcher, name: str, vae_dtype: torch.dtype | None = None) -> ModelPatcher:
    """A clone of a MODEL or a VAE whose weights stay where they were loaded between forward and backward.

    vae_dtype: in which the VAE computes; a MODEL knows its own. Raises ValueError, naming the input ``name``, if its
    loader cannot give a clone.
    """
    if not patcher.is_dynamic():
        return patcher.clone()
    try:
        clone = patcher.clone(disable_dynamic=True)
    except RuntimeError as error:
        raise ValueError(
            f"{name}: ComfyUI streams its weights and knows no file to load them from for training; load it with a core node "
            "that reads one file, or start ComfyUI with --disable-dynamic-vram."
        ) from error
    if vae_dtype is not None:
        _cast_to_own_types(clone.model, vae_dtype)
    elif clone.model.manual_cast_dtype is None:
        _cast_to_own_types(clone.model, clone.model.get_dtype())
    return clone


def _cast_to_own_types(network: nn.Module, dtype: torch.dtype) -> None:
    """Cast what the host noted a type for and left in the file's, as it would cast it on every use."""
    for module in network.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if hasattr(module, noted := f"{name}_comfy_model_dtype"):
                cast = tensor.detach().to(getattr(module, noted) or dtype)
                setattr(module, name, nn.Parameter(cast, False) if isinstance(tensor, nn.Parameter) else cast)


@contextmanager
def frozen(module: nn.Module):
    """No parameter of ``module`` collects gradients inside; flags are restored afterwards."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def attention_for_training(patcher: ModelPatcher):
    """Inside ``differentiable_kernels`` attention has a gradient; elsewhere it is the host's own or the user's override.

    patcher: a clone that the caller owns.
    """
    options, key = patcher.model_options["transformer_options"], "optimized_attention_override"
    users, differentiable = options.get(key), inspect.unwrap(attention_pytorch)

    def attend(func, *args, **kwargs) -> Tensor:
        if comfy.model_management.in_training:
            return differentiable(*args, **kwargs)
        return users(func, *args, **kwargs) if users else func(*args, **kwargs)

    options[key] = attend
    try:
        yield
    finally:
        del options[key]
        if users:
            options[key] = users


def forget_compilation(patcher: ModelPatcher) -> None:
    """Train on the modules themselves: what the host's Torch Compile Model has compiled would be compiled anew for every
    noise level, as the adapter's gate depends on it.

    patcher: a clone that the caller owns.
    """
    patcher.remove_wrappers_with_key(WrappersMP.APPLY_MODEL, COMPILE_KEY)
    for name, value in list(patcher.object_patches.items()):
        if isinstance(value, OptimizedModule):
            del patcher.object_patches[name]


def as_normal_tensors(value: Any) -> Any:
    """Return ``value`` with every inference tensor in it, at any depth of lists, tuples and dicts, as a normal tensor.

    Autograd cannot save a tensor made under ``inference_mode`` for backward. The normal one shares its storage; only a
    tensor subclass, such as quantised weights, is copied.
    """
    if isinstance(value, Tensor):
        return _as_normal_tensor(value)
    if isinstance(value, dict):
        return {key: as_normal_tensors(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_normal_tensors(item) for item in value)
    return value


def make_tensors_normal(model: nn.Module) -> None:
    """Exchange, in place, the inference tensors among parameters, buffers and the plain tensors of the latent format.

    The normal tensors share the storage of those they replace. Call this once the host has loaded the weights.
    """
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_inference():
                module._parameters[name] = _as_normal_parameter(parameter)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_inference():
                module._buffers[name] = _as_normal_tensor(buffer)
    for holder in (model, getattr(model, "latent_format", None)):
        for name, value in vars(holder).items() if holder is not None else ():
            if isinstance(value, Tensor):
                setattr(holder, name, _as_normal_tensor(value))


@torch.inference_mode()
def restore_quantised(model: nn.Module) -> None:
    """Weights of 8 bits as the host's loaders make them: under inference mode it can only move those."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None and type(weight.data) is not Tensor and not weight.is_inference():
                restored = nn.Parameter(weight.clone(), requires_grad=False)
                vars(restored).update(vars(weight))
                module._parameters[name] = restored


@torch.inference_mode(False)
def _as_normal_tensor(tensor: Tensor) -> Tensor:
    if not tensor.is_inference():
        return tensor
    if type(tensor) not in (Tensor, nn.Parameter):
        return tensor.clone()
    alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return alias.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


@torch.inference_mode(False)
def _as_normal_parameter(parameter: nn.Parameter) -> nn.Parameter:
    normal = nn.Parameter(_as_normal_tensor(parameter.data), requires_grad=False)
    vars(normal).update(vars(parameter))  # the host keeps notes on its parameters
    return normal
