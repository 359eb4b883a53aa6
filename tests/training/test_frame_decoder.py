"""Single frames are those of the whole clip, with its gradient, for the VAE of every family."""

import comfy.model_management
import comfy.taesd.taehv
import pytest
import torch
from torch import nn

from devkit.tiny_vaes import VAES

CPU = torch.device("cpu")
CHUNKED = ("hunyuan", "cogvideo")
CLAMP_MARGIN = 1e-4  # raw values of the host's decode and ours differ by up to 5e-6


@pytest.fixture(scope="module")
def vaes():
    """Name -> VAE, built when first asked for."""
    built = {}
    return lambda name: built.get(name) or built.setdefault(name, VAES[name].build())


@pytest.fixture
def decoder(pack, vaes):
    """(name, options) -> FrameDecoder, ready to decode."""
    return lambda name, **options: ready(pack, vaes(name), **options)


def ready(pack, vae, **options):
    """A FrameDecoder whose weights are where the VAE decodes."""
    frame_decoder = pack.training.decoding.frame_decoder.FrameDecoder(vae, CPU, **options)
    with torch.inference_mode():
        frame_decoder.network.to(vae.device)
    frame_decoder.prepare()
    return frame_decoder


def random_latents(name, frames=None):
    shape = list(VAES[name].latents)
    if frames:
        shape[2:] = frames, 1, 1
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def full_decode(vae, latents):
    """All frames [F, 3, H, W] as the user's VAE Decode gives them, in 0..1."""
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)  # some versions of LTX-Video add noise
        frames = vae.decode(latents)
    return frames.flatten(0, -4).movedim(-1, 1).clamp(0, 1).clone()


def gradient(images, latents, weights=None):
    """The gradient of a sum of the pixels, weighted at random unless ``weights`` [N, 3, H, W] are given."""
    weights = random_weights(images) if weights is None else weights
    return torch.autograd.grad((images * weights).sum(), latents)[0]


def random_weights(images):
    return torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)


def weights_off_the_clamp(decoder, latents, frames):
    """Random weights of the pixels, 0 where two decodes that only round differently may have different gradients.

    The gradient of a clamp to 0..1 jumps from 1 to 0 at its ends, so a pixel as close to an end as rounding reaches
    has it on one side of the jump in one decode and on the other side in the other. All other pixels count, clamped
    ones too.
    """
    with torch.no_grad():
        raw = host_decode(decoder, latents)[frames]
        lower, upper = (decoder.vae.process_output(raw + change).clamp(0, 1) for change in (-CLAMP_MARGIN, CLAMP_MARGIN))
    settled = ((lower > 0) & (upper < 1)) | (lower == upper)
    assert settled.float().mean() > 0.99
    return random_weights(raw) * settled


def host_decode(decoder, latents):
    """Raw frames [F, 3, H, W], not yet 0..1, by the host's own decode of the whole clip."""
    network = decoder.network
    if isinstance(network, comfy.taesd.taehv.TAEHV):
        network.parallel = True  # the host's frame-by-frame mode cuts the gradient
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = network.decode(latents.to(decoder.vae.device))
    if isinstance(network, comfy.taesd.taehv.TAEHV):
        network.parallel = False
    return clip if clip.ndim == 4 else clip[0].movedim(1, 0)


def host_gradient(decoder, latents, frames, weights):
    """Through the host's own decode of the whole clip."""
    clip = host_decode(decoder, latents).clone()
    return gradient(decoder.vae.process_output(clip).clamp(0, 1)[frames], latents, weights)


def assert_close(ours, theirs, tolerance=1e-4):
    assert (ours - theirs).norm() <= tolerance * theirs.norm()


@pytest.mark.parametrize("name", VAES)
def test_frames_equal_the_full_decode(decoder, vaes, name):
    latents = random_latents(name)
    full = full_decode(vaes(name), latents)
    frame_decoder = decoder(name)
    count = frame_decoder.count(latents)
    assert count == len(full) and full.std() > 0.01
    assert frame_decoder.frame_size(latents) == tuple(full.shape[-2:])
    for frames in ([0], [count // 2], [count - 1], [count - 1, 0, count // 2, 1]):
        images = frame_decoder.decode(latents, frames)
        assert images.shape == full[frames].shape
        assert (images - full[frames]).abs().max() <= 1e-5, frames
    assert (frame_decoder.decode_clip(latents) - full).abs().max() <= 1e-5


@pytest.mark.parametrize("name", VAES)
def test_gradient_is_that_of_the_full_decode(decoder, name):
    latents = random_latents(name).requires_grad_()
    plain, checkpointed = decoder(name), decoder(name, checkpointing=True)
    last = plain.count(latents) - 1
    for frames in ([last], [last, 1]):
        with plain.frozen():
            weights = weights_off_the_clamp(plain, latents, frames)
            theirs = host_gradient(plain, latents, frames, weights)
            assert theirs.norm() > 0
            assert_close(gradient(plain.decode(latents, frames), latents, weights), theirs)
    with checkpointed.frozen():
        assert_close(gradient(checkpointed.decode(latents, frames), latents, weights), theirs)


@pytest.mark.parametrize("name", ["image", "wan 2.1", "hunyuan", "taehv wan 2.1"])
def test_frames_decoded_one_by_one_are_the_same_and_keep_no_activations(decoder, name):
    latents = random_latents(name).requires_grad_()
    together, alone = decoder(name), decoder(name)
    alone.one_by_one = True
    frames = [together.count(latents) - 1, 1]
    kept = []
    with together.frozen(), alone.frozen():
        expected = together.decode(latents, frames)
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
            images = alone.decode(latents, frames)
        assert (images - expected).abs().max() <= 1e-5
        assert [tensor.shape for tensor in kept if tensor.numel()] == [latents.shape] * len(frames)
        weights = weights_off_the_clamp(together, latents, frames)
        theirs = gradient(expected, latents, weights)
        (images * weights).sum().backward()
        assert_close(latents.grad, theirs)


# Long enough that no resolution needs the whole clip. The last column counts back from the clip's end.
@pytest.mark.parametrize(
    "name, length, frame",
    [
        ("wan 2.1", 41, 2),
        ("wan 2.2", 41, 2),
        ("hunyuan 1.5", 12, 2),
        ("ltx", 16, 57),
        ("taehv wan 2.1", 12, 2),
        ("taehv ltx 2", 12, 2),
    ],
)
def test_long_clip_costs_no_more_than_its_frames(decoder, vaes, name, length, frame):
    frame_decoder = decoder(name)
    latents = random_latents(name, length).requires_grad_()
    wanted = [frame_decoder.count(latents) - frame]
    with frame_decoder.frozen(), ConvolutionWork(frame_decoder.network) as work:
        images = frame_decoder.decode(latents, wanted)
    assert (images - full_decode(vaes(name), latents.detach())[wanted]).abs().max() <= 1e-5
    with frame_decoder.frozen():
        weights = weights_off_the_clamp(frame_decoder, latents, wanted)
        assert_close(gradient(images, latents, weights), host_gradient(frame_decoder, latents, wanted, weights))
    if name == "hunyuan 1.5":  # its attention spans the clip
        return
    longer = random_latents(name, length + 1)
    with torch.no_grad(), ConvolutionWork(frame_decoder.network) as more_work:
        frame_decoder.decode(longer, [frame_decoder.count(longer) - frame])
    assert work.values == more_work.values


class ConvolutionWork:
    """Counts what the convolutions of a network put out."""

    def __init__(self, network):
        self.network = network
        self.values = 0

    def __enter__(self):
        self.hooks = [
            module.register_forward_hook(self._count)
            for module in self.network.modules()
            if isinstance(module, (nn.Conv2d, nn.Conv3d)) and module.kernel_size[-1] == 3
        ]
        return self

    def __exit__(self, *error):
        for hook in self.hooks:
            hook.remove()

    def _count(self, module, inputs, output):
        self.values += output.numel()


@pytest.mark.parametrize("name", CHUNKED)
def test_gradient_chunks_cut_the_gradient_of_earlier_chunks(decoder, name):
    latents = random_latents(name).requires_grad_()
    exact = decoder(name)
    last = exact.count(latents) - 1
    chunks = len(exact.source.chunks(latents))
    images = exact.decode(latents, [last])
    with exact.frozen():
        theirs = gradient(images, latents)
        errors = []
        for reach in range(1, chunks + 1):
            truncated = decoder(name, gradient_chunks=reach)
            again = truncated.decode(latents, [last])
            assert torch.equal(again, images)
            errors.append(((gradient(again, latents) - theirs).norm() / theirs.norm()).item())
            assert_close(gradient(truncated.decode(latents, [0]), latents), gradient(exact.decode(latents, [0]), latents))
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.01 and errors[-1] == 0


@pytest.mark.parametrize("name", CHUNKED)
def test_first_gradient_chunk_holds_the_carried_frames_constant(decoder, name):
    """With one chunk the gradient is that of the last chunk alone, in which the carried frames are constants."""
    frame_decoder = decoder(name)
    source = frame_decoder.source
    latents = random_latents(name).requires_grad_()
    *earlier, last = source.chunks(latents)
    cache = None
    with frame_decoder.frozen():
        features = source.features(latents)
        with torch.no_grad():
            for chunk in earlier:
                _, cache = source.run(features, chunk.part, cache)
        alone, _ = source.run(features, last.part, cache)
        expected = frame_decoder.vae.process_output(alone[0, :, -1][None].clone()).clamp(0, 1)
        frame_decoder.gradient_chunks = 1
        ours = frame_decoder.decode(latents, [last.last - 1])
        assert_close(gradient(ours, latents), gradient(expected, latents), 1e-6)


@pytest.mark.parametrize("name", VAES)
def test_network_is_left_as_it_was(decoder, vaes, name):
    latents = random_latents(name)
    frame_decoder = decoder(name)
    full = full_decode(vaes(name), latents)
    before = snapshot(frame_decoder.network)
    frame_decoder.prepare()
    with frame_decoder.frozen():
        frame_decoder.decode(latents.clone().requires_grad_(), [0, 1]).sum().backward()
    assert snapshot(frame_decoder.network) == before
    assert torch.equal(full_decode(vaes(name), latents), full)
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        frame_decoder.decode(latents, [0, 1])
    assert snapshot(frame_decoder.network) == before


def snapshot(network):
    """Everything on the modules that is neither a weight nor PyTorch's own."""
    return {
        (name, key): repr(value)
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_")
    }


@pytest.mark.parametrize(
    "name", ["image", "wan 2.1", "wan 2.2", "hunyuan", "hunyuan 1.5", "cogvideo", "ltx noise", "taehv wan 2.1"]
)
def test_bfloat16(pack, name):
    vae = VAES[name].build(dtype=torch.bfloat16)
    frame_decoder = ready(pack, vae, checkpointing=True)
    latents = random_latents(name).requires_grad_()
    with frame_decoder.frozen():
        images = frame_decoder.decode(latents, [3])
        change = gradient(images, latents)
    assert images.dtype == torch.float32
    assert (images - full_decode(vae, latents.detach())[[3]]).abs().max() <= 0.05
    assert torch.isfinite(change).all() and change.norm() > 0


def test_clip_of_an_even_number_of_latents(decoder, vaes):
    """CogVideoX doubles every frame of such a clip, even the first."""
    latents = random_latents("cogvideo", 4)
    full = full_decode(vaes("cogvideo"), latents)
    frame_decoder = decoder("cogvideo")
    assert frame_decoder.count(latents) == len(full) == 16
    assert (frame_decoder.decode(latents, [15, 2]) - full[[15, 2]]).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["wan 2.1", "hunyuan", "hunyuan 1.5", "cogvideo", "ltx", "taehv wan 2.1"])
def test_single_latent_frame(decoder, vaes, name):
    latents = random_latents(name, 1)
    full = full_decode(vaes(name), latents)
    frame_decoder = decoder(name)
    assert frame_decoder.count(latents) == len(full) == 1
    assert (frame_decoder.decode(latents, [0]) - full).abs().max() <= 1e-5


def test_noise_of_the_decoder_is_the_same_each_time_and_nobody_elses(decoder):
    latents = random_latents("ltx noise")
    frame_decoder = decoder("ltx noise")
    first = frame_decoder.decode(latents, [5])
    state = torch.get_rng_state()
    torch.rand(3)
    later = torch.get_rng_state()
    assert torch.equal(frame_decoder.decode(latents, [5]), first)
    assert torch.equal(torch.get_rng_state(), later) and not torch.equal(state, later)


def test_demo_vae_decodes_only_the_wanted_frames(pack, demo):
    frame_decoder = ready(pack, demo.vae)
    latents = torch.randn(1, 16, 5, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    full = full_decode(demo.vae, latents.detach())
    with frame_decoder.frozen():
        images = frame_decoder.decode(latents, [4, 1])
        assert (images - full[[4, 1]]).abs().max() <= 1e-5
        touched = gradient(images, latents).abs().amax(dim=(0, 1, 3, 4)) > 0
    assert touched.tolist() == [False, True, False, False, True]


@pytest.mark.parametrize(
    "name, shape, expected",
    [
        ("wan 2.1", (1, 4, 3, 2, 2), r"latents: shape \[1, 4, 3, 2, 2\] does not fit .* \[1, 16, frames, height, width\]"),
        ("wan 2.1", (2, 16, 3, 2, 2), r"shape \[2, 16, 3, 2, 2\]"),
        ("image", (1, 4, 3, 2, 2), r"\[frames, 4, height, width\]"),
    ],
)
def test_latents_of_another_vae_are_named(decoder, name, shape, expected):
    frame_decoder = decoder(name)
    for decode in (frame_decoder.decode_clip, lambda latents: frame_decoder.decode(latents, [0])):
        with pytest.raises(ValueError, match=expected):
            decode(torch.zeros(shape))


def test_frame_outside_the_clip_is_named(decoder):
    with pytest.raises(ValueError, match=r"frames: 21 is not one of the 21 frames \(0 to 20\)"):
        decoder("wan 2.1").decode(random_latents("wan 2.1"), [3, 21])
