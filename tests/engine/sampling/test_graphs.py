"""The bookkeeping of recorded UNet calls, and on a GPU that a replayed call gives what an eager one does."""

import gc
from dataclasses import dataclass, replace
from threading import Thread

import pytest
import torch
from torch import nn

from engine.gpu.compiled_kernels import Kernels
from engine.models.checkpoint import load_checkpoint
from engine.sampling.attachments import Residuals
from engine.sampling.graphs import CudaGraph, Graphs, Inputs, place_of
from engine.sampling.unet_call import UNetCall


class Doubling(nn.Module):
    """A UNet that doubles its input and counts its calls."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 2.0))
        self.calls = 0

    def forward(self, x, t, **told):
        """Twice the state."""
        self.calls += 1
        return (x * self.weight,)


class Kept:
    """A recording without a GPU: the call's function, kept."""

    made = 0

    def __init__(self, unet, call, pool):
        Kept.made += 1
        self.weight, self.pool = unet.weight, pool or object()

    def replay(self, call):
        """What the UNet would give."""
        return call.x * self.weight


@dataclass(frozen=True)
class ByValue:
    """An attachment that is as good as its equals."""

    strength: float


class ByIdentity:
    """An attachment with tensors of its own."""


@pytest.fixture
def graphs():
    """At most two graphs, recorded without a GPU."""
    Kept.made = 0
    return Graphs(most=2, record=Kept)


def call(side=2, value=1.0, **more):
    """A call of this size."""
    return UNetCall(torch.full((1, 4, side, side), value), torch.tensor(5.0), torch.zeros(1, 77, 8), **more)


def run(graphs, unet, times=1, states=(), **of_call):
    """The output of the last of several equal calls."""
    for _ in range(times):
        output = graphs.run(unet, call(**of_call), place_of(unet), states)
    return output


def test_a_call_is_eager_once_then_recorded_then_replayed(graphs):
    unet = Doubling()
    for recorded, value in enumerate([1.0, 2.0, 3.0]):
        assert torch.equal(run(graphs, unet, value=value), torch.full((1, 4, 2, 2), 2 * value))
        assert (unet.calls, Kept.made) == (1, min(recorded, 1))


def test_another_thread_runs_a_call_once_before_it_is_recorded(graphs):
    unet = Doubling()
    run(graphs, unet)
    thread = Thread(target=lambda: run(graphs, unet, times=2))
    thread.start(), thread.join()
    assert (unet.calls, Kept.made) == (2, 1)


def test_a_thread_is_another_one_than_that_which_ended_before_it(graphs):
    unet = Doubling()
    for _ in range(2):  # they mostly have the same number
        thread = Thread(target=run, args=(graphs, unet))
        thread.start(), thread.join()
    assert (unet.calls, Kept.made) == (2, 1)


def test_another_form_is_another_graph(graphs):
    unet = Doubling()
    forms = [{"side": 2}, {"side": 4}, {"residuals": Residuals((torch.zeros(1),), torch.zeros(1))}]
    assert len({call(**form).form for form in forms}) == 3
    for number, form in enumerate(forms, 1):
        run(graphs, unet, times=3, **form)
        assert Kept.made == number


def test_what_a_call_gives_again_is_not_copied_again():
    first = call(pooled=torch.ones(1, 6))
    inputs = Inputs(first)
    assert inputs.take(first)
    inputs.call.pooled.zero_(), inputs.call.context.fill_(7)
    second = replace(first, x=torch.full((1, 4, 2, 2), 3.0))
    assert not inputs.take(second)
    assert torch.equal(inputs.call.x, second.x)
    assert (float(inputs.call.pooled.sum()), float(inputs.call.context.mean())) == (0, 7)
    assert inputs.take(replace(second, context=first.context.clone()))
    assert torch.equal(inputs.call.context, first.context)


def test_a_missing_part_is_not_mistaken_for_another():
    part = torch.zeros(1, 6)
    assert call(pooled=part).form != call(sizes=part).form


def test_the_least_recently_used_graph_goes(graphs):
    unet = Doubling()
    for side in (2, 4, 2, 8):
        run(graphs, unet, times=2, side=side)
    assert (len(graphs), Kept.made) == (2, 3)
    run(graphs, unet, side=2)
    assert Kept.made == 3
    run(graphs, unet, times=2, side=4)
    assert Kept.made == 4


def test_living_graphs_share_their_memory(graphs):
    unet = Doubling()
    run(graphs, unet, times=2, side=2)
    run(graphs, unet, times=2, side=4)
    first, second = graphs._kept.values()
    assert first.pool is second.pool


def test_weights_merged_in_place_keep_a_graph_and_moved_ones_do_not(graphs):
    unet = Doubling()
    run(graphs, unet, times=2)
    unet.weight.data.mul_(2)
    assert torch.equal(run(graphs, unet), torch.full((1, 4, 2, 2), 4.0))
    assert (unet.calls, Kept.made) == (1, 1)
    kept = unet.weight.data
    unet.weight.data = kept.clone()
    run(graphs, unet, times=2)
    assert (unet.calls, Kept.made) == (2, 2)


def test_other_kernels_are_another_graph():
    unet, in_use, Kept.made = Doubling(), [None], 0
    graphs = Graphs(record=Kept, kernels=lambda: in_use[-1])
    run(graphs, unet, times=3)
    assert (unet.calls, Kept.made) == (1, 1)
    in_use.append("compiled")
    run(graphs, unet, times=3)
    assert (unet.calls, Kept.made) == (2, 2)


def test_graphs_of_a_dropped_unet_are_dropped(graphs):
    unet = Doubling()
    run(graphs, unet, times=2)
    assert len(graphs) == 1
    del unet
    gc.collect()
    graphs.drop_dead()
    assert len(graphs) == 0


def test_attachments_that_compare_by_value_share_a_graph(graphs):
    unet = Doubling()
    for strength, made in ((1.0, 1), (1.0, 1), (1.5, 2)):
        run(graphs, unet, times=2, states=((ByValue(strength), ()),))
        assert Kept.made == made


def test_an_attachment_with_tensors_has_graphs_of_its_own_that_end_with_it(graphs):
    unet = Doubling()
    one, other = ByIdentity(), ByIdentity()
    for attachment, state, made in ((one, "on", 1), (one, "off", 2), (other, "on", 3)):
        run(graphs, unet, times=2, states=((attachment, state),))
        assert Kept.made == made
    del attachment, one
    graphs.drop_dead()
    assert len(graphs) == 1


def test_changing_a_call_reaches_every_tensor():
    full = call(
        pooled=torch.ones(1), sizes=torch.ones(1, 6), residuals=Residuals((torch.ones(2), torch.ones(3)), torch.ones(4))
    )
    changed = full.mapped(lambda tensor: tensor + 1)
    assert changed.form == full.form
    for before, after in zip(full.tensors(), changed.tensors(), strict=True):
        assert torch.equal(after, before + 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@torch.inference_mode()
def test_a_replayed_call_is_the_eager_one_to_the_bit(toy):
    unet = load_checkpoint(toy, torch.device("cuda"), Kernels()).unet
    config, dtype = unet.config, next(unet.parameters()).dtype
    generator = torch.Generator("cuda").manual_seed(0)

    def drawn(*shape, dtype=dtype):
        return torch.randn(shape, generator=generator, device="cuda").to(dtype)

    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    given = UNetCall(
        drawn(2, 4, 12, 16),
        torch.tensor(500.0, device="cuda"),
        drawn(2, 77, config.cross_attention_dim),
        drawn(2, pooled, dtype=torch.float32),
        torch.tensor([[96.0, 128, 0, 0, 96, 128]] * 2, device="cuda"),
    )
    eager = given.on(unet)
    recorded = CudaGraph(unet, given.mapped(torch.zeros_like), None)
    for x in (given.x, given.x * 2, given.x):
        torch.cuda.set_sync_debug_mode("error")
        replayed = recorded.replay(replace(given, x=x))
        torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(replayed, replace(given, x=x).on(unet))
    assert torch.equal(replayed, eager)
