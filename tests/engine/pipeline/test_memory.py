"""Plans forced on the real pipeline: parts leave their device for the host and come back, and no byte changes."""

import gc
from itertools import count
from threading import Event
from time import sleep
from weakref import WeakSet

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from engine.adapters.controlnet import encoder_size
from engine.adapters.controlnet_files import ControlFile
from engine.adapters.lora_merge import Patch
from engine.files.catalogue import Folders
from engine.gpu.block_stream import blocks_of
from engine.gpu.capabilities import Card
from engine.gpu.host_memory import NO_LIMIT, HostMemory
from engine.gpu.offload import WeightGroup, tensors_of
from engine.gpu.residency import Residency, UNetPart
from engine.memory_plan import GIB, LIBRARIES, MemoryPlan, needed
from engine.models.fill import weights_size
from engine.models.upscaler import Upscaler
from engine.pipeline.pipeline import Pipeline
from engine.required_files import CONTROL_NETS, UPSCALER
from engine.sampling.graphs import RunOnce
from tests.engine.picture_models import picture_models
from tests.engine.pipeline.test_pipeline import Watcher, drawn, pixels
from tests.patience import CEILING
from tests.toy import toy_checkpoint, toy_draw

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("settled")]

SMALLER = ("turns", "alone", "streamed")


@pytest.fixture(scope="module")
def pipelines(toy):
    """A pipeline under each plan that is smaller than a processor's own."""
    return {mode: Pipeline("cpu", builtin=toy, least=mode) for mode in SMALLER}


def parts_of(pipeline):
    return pipeline.renderer.residency.parts


@pytest.mark.parametrize(
    "changes",
    [{}, {"image_number": 2}, {"disable_preview": True, "guidance_scale": 1.0}, {"prompt": "another, (red:1.3) one"}],
    ids=str,
)
def test_a_picture_has_the_same_bytes_under_every_plan(pipeline, pipelines, tmp_path, changes):
    drawn(pipeline, tmp_path, task_id="resident", **changes)
    for mode in SMALLER:
        _, ended = drawn(pipelines[mode], tmp_path, task_id=mode, **changes)
        for number in range(changes.get("image_number", 1)):
            resident, planned = (tmp_path / f"{name}-{number}.png" for name in ("resident", mode))
            assert resident.read_bytes() == planned.read_bytes(), mode
        assert ended.drawn_with["memory"]["plan"] == mode
        assert ended.notes == []


def test_where_all_parts_have_room_nothing_is_adopted(pipeline, tmp_path):
    _, ended = drawn(pipeline, tmp_path)
    assert ended.drawn_with["memory"] == {"plan": "resident"}
    assert parts_of(pipeline) == []


def test_what_has_left_holds_nothing_and_parts_are_never_all_there(pipelines, tmp_path):
    drawn(pipelines["alone"], tmp_path, image_seed=3)
    present = [part for part in parts_of(pipelines["alone"]) if part.held]
    assert len(parts_of(pipelines["alone"])) == 3 and 1 <= len(present) < 3
    absent = [part for part in parts_of(pipelines["alone"]) if not part.held]
    tensors = [tensor for part in absent for group in part.groups for tensor in group.tensors]
    assert tensors and all(tensor.untyped_storage().nbytes() == 0 for tensor in tensors)


def test_streamed_blocks_are_there_only_around_their_work(pipelines, tmp_path):
    pipeline = pipelines["streamed"]
    _, ended = drawn(pipeline, tmp_path)
    assert ended.drawn_with["memory"] == {"plan": "streamed", "streamed_blocks": 4, "blocks": 4}
    (unet,) = [part for part in parts_of(pipeline) if isinstance(part, UNetPart)]
    assert len(unet.stream.groups) == 4
    assert sum(group.present for group in unet.stream.groups) < 4


def lora(folder, unet, layers=("attn2.to_k.weight",)):
    """A LoRA of weights inside the first block that is streamed; its file."""
    generator, tensors = torch.Generator().manual_seed(0), {}
    for layer in layers:
        name, weight = next((n, w) for n, w in unet.named_parameters() if n.endswith(layer))
        stem = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        up, down = (torch.rand(size, generator=generator) for size in ((len(weight), 2), (2, weight.shape[1])))
        tensors |= {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
    save_file(tensors, folder / "style.safetensors")
    return folder / "style.safetensors"


def test_loras_are_merged_into_weights_that_are_away_and_taken_out_again(toy, tmp_path):
    pipelines = {
        mode: Pipeline("cpu", Folders({"loras": [tmp_path]}), builtin=toy, least=mode)
        for mode in ("resident", *SMALLER)
    }
    lora(tmp_path, unet_of(pipelines["resident"]))
    merged = {"loras": [{"enabled": True, "model_name": "style.safetensors", "weight": 3.0}]}
    for task, changes in (("plain", {}), ("merged", merged), ("again", {})):
        for mode, pipeline in pipelines.items():
            drawn(pipeline, tmp_path, task_id=f"{mode}-{task}", **changes)
            expected, found = (tmp_path / f"{which}-{task}-0.png" for which in ("resident", mode))
            assert expected.read_bytes() == found.read_bytes(), mode
    plain, changed = (pixels(tmp_path / f"resident-{task}-0.png") for task in ("plain", "merged"))
    assert not np.array_equal(plain, changed)


def test_a_machine_without_room_for_weights_draws_from_the_file_it_has_mapped(toy, tmp_path):
    pascal = Card("cuda", (6, 1), "GTX 1070")
    with_room, without = (Pipeline("cpu", Folders({"loras": [tmp_path]}), builtin=toy, card=pascal) for _ in range(2))
    with_room.renderer.residency.host = HostMemory(pin=False, spare=0)
    without.renderer.residency.host = HostMemory(pin=False, spare=NO_LIMIT)
    for pipeline in (with_room, without):
        pipeline.renderer.residency.available = lambda: int(0.6 * GIB)
        drawn(pipeline, tmp_path, image_seed=2)
    base = without.store._base(without.catalogue.builtin)
    lora(tmp_path, base.checkpoint.unet)
    merged = {"loras": [{"enabled": True, "model_name": "style.safetensors", "weight": 3.0}]}
    for task, changes in (("plain", {}), ("merged", merged), ("again", {})):
        drawn(with_room, tmp_path, task_id=f"room-{task}", **changes)
        _, ended = drawn(without, tmp_path, task_id=f"file-{task}", **changes)
        assert ended.drawn_with["memory"]["plan"] != "resident"
        expected, found = (tmp_path / f"{whose}-{task}-0.png" for whose in ("room", "file"))
        assert expected.read_bytes() == found.read_bytes()
        apart = [group.lies_apart for part in parts_of(without) for group in part.groups]
        assert apart.count(False) == (0 if task == "plain" else 1)  # what was merged into is in memory
        assert len(base.patches._originals) == (task == "merged")
        originals = sum(tensor.nbytes for tensor in base.patches._originals.values())
        deltas = sum(matched.size for matched in base.patches._files.values())
        assert base.patches.size == deltas and (originals > 0) == (task == "merged")
    assert not any(group.lies_apart for part in parts_of(with_room) for group in part.groups)


def test_weights_that_move_together_move_once_for_all_loras(toy, tmp_path, monkeypatch):
    pipeline, moved = Pipeline("cpu", builtin=toy, least="streamed"), []
    drawn(pipeline, tmp_path)
    pipeline.renderer.residency.clear()
    base, onload = pipeline.store._base(pipeline.catalogue.builtin), WeightGroup.onload
    path = lora(tmp_path, base.checkpoint.unet, ("attn1.to_q.weight", "attn1.to_k.weight", "attn2.to_k.weight"))
    monkeypatch.setattr(WeightGroup, "onload", lambda group: (moved.append(group), onload(group)))
    for patches in ([Patch(path, 1.0)], [Patch(path, 1.0)], []):
        base.patches.apply(patches)
    assert len(moved) == 2 and len(set(moved)) == 1


def test_loras_that_are_merged_already_do_not_take_the_comfort_of_a_plan(toy, tmp_path):
    pipeline = Pipeline("cpu", Folders({"loras": [tmp_path]}), builtin=toy)
    lora(tmp_path, unet_of(pipeline))
    drawn(pipeline, tmp_path)
    memory, residency = pipeline.memory, pipeline.renderer.residency
    base = pipeline.store._base(pipeline.catalogue.builtin)
    weights = sum(weights_size(module) for part in base.checkpoint.modules for module in part)
    beside = needed(MemoryPlan(), memory._parts, residency.work) - weights
    residency.available = lambda: beside
    merged = {"loras": [{"enabled": True, "model_name": "style.safetensors", "weight": 3.0}]}
    _, ended = drawn(pipeline, tmp_path, **merged)
    assert base.patches.size > 0
    assert ended.drawn_with["memory"] == {"plan": "resident"}
    residency.available = lambda: beside - 1
    _, ended = drawn(pipeline, tmp_path, **merged)
    assert ended.drawn_with["memory"] == {"plan": "turns"}


def test_a_refiners_unet_is_there_beside_the_bases_where_neither_moves(toy, tmp_path):
    toy_checkpoint(tmp_path / "second.safetensors", seed=5)
    folders = Folders({"checkpoints": [tmp_path]})
    refined = {"refiner_model_name": "second.safetensors", "overwrite_step": 4, "overwrite_switch": 2}
    drawn(Pipeline("cpu", folders, builtin=toy), tmp_path, task_id="resident", **refined)
    pipeline, there = Pipeline("cpu", folders, builtin=toy, least="turns"), []
    unet_of(pipeline).mid_block.register_forward_hook(
        lambda *_: there.append([part.present for part in parts_of(pipeline) if isinstance(part, UNetPart)])
    )
    drawn(pipeline, tmp_path, task_id="turns", **refined)
    assert there and all(present == [True, True] for present in there)
    assert (tmp_path / "resident-0.png").read_bytes() == (tmp_path / "turns-0.png").read_bytes()


class OutOfMemoryAt:
    """Has a module run out of memory as long as it is told to, as a full GPU would."""

    def __init__(self, module, times):
        self.times = times
        self.handle = module.register_forward_hook(self)

    def __call__(self, *_):
        if self.times:
            self.times -= 1
            raise torch.OutOfMemoryError("CUDA out of memory, as this test has it")


def unet_of(pipeline):
    return pipeline.store._base(pipeline.catalogue.builtin).checkpoint.unet


def test_out_of_memory_while_sampling_is_a_step_down(pipeline, toy, tmp_path):
    stepping = Pipeline("cpu", builtin=toy)
    OutOfMemoryAt(unet_of(stepping).mid_block, times=2)
    [plain], _ = drawn(pipeline, tmp_path, task_id="plain")
    [picture], ended = drawn(stepping, tmp_path, task_id="stepping")
    assert ended.outcome == "finished" and ended.drawn_with["memory"]["plan"] == "alone"
    assert np.array_equal(plain, picture)
    assert ended.notes and all("went on with less of its models" in note for note in ended.notes)
    assert (tmp_path / "plain-0.png").read_bytes() == (tmp_path / "stepping-0.png").read_bytes()
    _, after = drawn(stepping, tmp_path, task_id="after")
    assert after.drawn_with["memory"] == {"plan": "resident"}


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """A models folder for pictures in requests, and what a request says that has such a picture."""
    folder = tmp_path_factory.mktemp("pictured")
    models, inputs = picture_models(folder / "models"), folder / "inputs"
    inputs.mkdir()
    y, x = np.mgrid[:96, :128]
    Image.fromarray(np.stack([x, y, 2 * (x ^ y) % 256], axis=2).astype(np.uint8)).save(inputs / "scene.png")
    checkpoint = models / "checkpoints" / "base.safetensors"
    return models, {"checkpoint": checkpoint, "inputs": str(inputs), "overwrite_step": 2}


def image_prompt(kind):
    return {"cn_img": "/inputs/scene.png", "cn_type": kind, "cn_weight": 1.0, "cn_stop": 1.0}


PICTURED = {
    "control nets": {"controlnet_image": [image_prompt("PyraCanny"), image_prompt("CPDS"), image_prompt("PyraCanny")]},
    "an image prompt": {"controlnet_image": [image_prompt("ImagePrompt")]},
}


@pytest.fixture(scope="module")
def with_pictures(pictured):
    """Pipelines with those models, by the least of their plans."""
    return {mode: Pipeline("cpu", Folders.below(pictured[0]), least=mode) for mode in ("resident", "alone", "streamed")}


@pytest.mark.parametrize("changes", PICTURED.values(), ids=PICTURED)
def test_pictures_in_requests_have_the_same_effect_under_every_plan(with_pictures, pictured, tmp_path, changes):
    for mode, pipeline in with_pictures.items():
        drawn(pipeline, tmp_path, task_id=mode, **pictured[1], **changes)
        expected, found = (tmp_path / f"{which}-0.png" for which in ("resident", mode))
        assert expected.read_bytes() == found.read_bytes(), mode


def test_control_nets_take_turns_and_are_counted_until_they_are_there(pictured, tmp_path):
    pipeline, count, groups = Pipeline("cpu", Folders.below(pictured[0]), least="alone"), [], WeakSet()
    memory, residency = pipeline.memory, pipeline.renderer.residency
    adopt_nets = memory.adopt_nets

    def adopted(canvas, models):
        adopt_nets(canvas, models)
        nets = {part.net for part in canvas.attachments}
        count.append(len(nets))
        groups.update(group for net in nets for group in residency.adopt(net).groups)
        assert not any(group._home for group in groups)  # they take nothing of the host's memory

    memory.adopt_nets = adopted
    sizes = []
    gc.disable()  # a search at an arbitrary moment would come in between
    try:
        for _ in range(2):
            drawn(pipeline, tmp_path, **pictured[1], controlnet_image=2 * [image_prompt("PyraCanny")])
            sizes.append(memory._parts.adapters)
            assert not groups  # of their weights nothing is left after the task
    finally:
        gc.enable()
    file = (pictured[0] / "controlnet" / CONTROL_NETS["PyraCanny"]).stat().st_size
    net = encoder_size(pipeline.store._base(pictured[1]["checkpoint"]).checkpoint.unet)
    assert sizes == [file + net, net]
    assert count == [1, 1]  # one for both pictures
    assert residency.guests() > 0


def test_a_control_net_that_comes_back_is_what_it_was(pictured):
    pipeline = Pipeline("cpu", Folders.below(pictured[0]), least="alone")
    unet = pipeline.store._base(pictured[1]["checkpoint"]).checkpoint.unet
    file = pipeline.store.load(pictured[0] / "controlnet" / CONTROL_NETS["PyraCanny"], ControlFile.load)
    residency = pipeline.renderer.residency
    residency.adopt(unet)
    net = file.on(unet)
    before = {name: (tensor.clone(), tensor.stride()) for name, tensor in net.state_dict().items()}
    part = residency.adopt(net, remake=lambda: file.write(net, unet))
    residency.follow(MemoryPlan("alone", part.needed + residency.adopt(unet).needed))
    assert not part.held and all(tensor.untyped_storage().nbytes() == 0 for tensor in tensors_of(net))
    for _ in range(2):
        residency.come(part)
        for name, tensor in net.state_dict().items():
            assert torch.equal(tensor, before[name][0]) and tensor.stride() == before[name][1]
        residency.clear()


def test_a_net_that_cannot_be_made_again_holds_nothing(pictured):
    residency, module = Residency(torch.device("cpu")), torch.nn.Linear(8, 8)

    def full():
        raise torch.OutOfMemoryError("CUDA out of memory, as this test has it")

    part = residency.adopt(module, remake=full)
    with pytest.raises(torch.OutOfMemoryError):
        residency.come(part)
    assert not part.held and not residency._staying


def test_an_upscaler_has_the_others_leave_before_it_takes_smaller_tiles(pictured, tmp_path):
    made, enlarged = [], {"uov_method": "Upscale (Fast 2x)", "uov_input_image": "/inputs/scene.png"}
    for times in (0, 1):
        pipeline = Pipeline("cpu", Folders.below(pictured[0]))
        drawn(pipeline, tmp_path, **pictured[1])  # its models are there, and would never leave
        upscaler = pipeline.store.load_named("upscale_models", UPSCALER, Upscaler.load)
        OutOfMemoryAt(upscaler.network, times)
        (picture,), _ = drawn(pipeline, tmp_path, **pictured[1], **enlarged)
        made.append(picture)
        assert len(parts_of(pipeline)) == (3 if times else 0)
    assert np.array_equal(*made)


def test_no_weights_move_while_a_picture_is_decoded_beside_the_sampling(pipeline, toy, tmp_path):
    stepping, decoding, failed, moved = Pipeline("cpu", builtin=toy), Event(), Event(), []
    base = stepping.store._base(stepping.catalogue.builtin).checkpoint
    calls, steps = count(1), 3

    def full(*_):
        if next(calls) > steps and not failed.is_set():  # else the second picture may be sampled before
            assert decoding.wait(CEILING)
        if decoding.is_set() and not failed.is_set():
            failed.set()
            raise torch.OutOfMemoryError("CUDA out of memory, as this test has it")

    def decode(*_):
        decoding.set()
        assert failed.wait(CEILING)
        sleep(0.2)  # in which weights would move

    base.own_vae.module.decoder.register_forward_pre_hook(decode)
    base.own_vae.module.decoder.register_forward_hook(lambda *_: decoding.clear())
    base.unet.mid_block.register_forward_hook(full)
    adopt = stepping.renderer.residency.adopt
    stepping.renderer.residency.adopt = lambda *modules, **how: (
        moved.append(decoding.is_set()),
        adopt(*modules, **how),
    )[1]
    plain, _ = drawn(pipeline, tmp_path, task_id="plain", image_number=2, overwrite_step=steps)
    stepped, ended = drawn(stepping, tmp_path, task_id="stepped", image_number=2, overwrite_step=steps)
    assert moved and not any(moved) and ended.drawn_with["memory"]["plan"] == "turns"
    assert np.array_equal(plain, stepped)


def test_control_nets_that_share_a_unets_weights_are_made_again_when_these_move(pictured, tmp_path):
    models, wish = pictured
    image = image_prompt("PyraCanny")
    path, made = models / "checkpoints" / "base.safetensors", []
    for times in (0, 3):
        pipeline = Pipeline("cpu", Folders.below(models))
        OutOfMemoryAt(pipeline.store._base(path).checkpoint.unet.mid_block, times)
        (picture,), ended = drawn(pipeline, tmp_path, task_id=f"stepped-{times}", controlnet_image=[image], **wish)
        made.append(picture)
        assert ended.drawn_with["memory"]["plan"] == ("streamed" if times else "resident")
    assert np.array_equal(*made)


def test_only_the_smallest_plans_failure_is_the_tasks(toy, tmp_path):
    full = Pipeline("cpu", builtin=toy)
    OutOfMemoryAt(unet_of(full).mid_block, times=1000)
    with pytest.raises(MemoryError, match="ran out of memory"):
        full.draw(toy_draw(tmp_path), Watcher())
    assert full.memory.plan.tiles and full.memory.plan.streamed == len(blocks_of(unet_of(full)))


@pytest.mark.parametrize(
    ("size", "gib", "would"),
    [
        ("1024×1024", 2.0, "with 2.0 GiB free for this program; a picture of 768×768 would fit"),
        ("512×512", 2.0, "with 2.0 GiB free for this program; a picture of 256×256 would fit"),
        ("512×512", 0.5, "with 0.5 GiB free for this program; about 1.2 GiB are needed"),
        ("256×256", 2.0, "with 2.0 GiB free for this program; fewer other programs on this GPU would help"),
    ],
)
def test_a_task_that_fits_nowhere_fails_with_what_would(toy, tmp_path, size, gib, would):
    full = Pipeline("cpu", builtin=toy)
    full.renderer.residency.available = lambda: int(gib * GIB)
    OutOfMemoryAt(unet_of(full).conv_in, times=1000)
    with pytest.raises(MemoryError, match=f"^The GPU ran out of memory, {would}$"):
        full.draw(toy_draw(tmp_path, aspect_ratios_selection=size), Watcher())


def test_what_computing_takes_is_counted_in_the_number_formats_of_the_card(toy, tmp_path):
    works = []
    for card in (Card("cuda", (8, 6), "RTX", bf16=True), Card("cuda", (6, 1), "GTX")):
        pipeline, begun = Pipeline("cpu", builtin=toy, card=card), []
        residency = pipeline.renderer.residency
        pipeline.store.cache.loading = lambda _, here=residency, begun=begun: begun.append(here.work)
        drawn(pipeline, tmp_path)
        assert begun[0] == residency.work  # by which it is decided where a checkpoint is loaded
        works.append(residency.work)
    half, single = works
    assert (single.sampling, single.decoding) == (2 * half.sampling, 2 * half.decoding)


def test_a_text_encoder_that_runs_out_of_memory_begins_the_task_again(pipeline, toy, tmp_path):
    stepping = Pipeline("cpu", builtin=toy)
    base = stepping.store._base(stepping.catalogue.builtin)
    OutOfMemoryAt(base.checkpoint.text_encoders.clip_g.module, times=1)
    [plain], _ = drawn(pipeline, tmp_path, task_id="plain")
    [picture], ended = drawn(stepping, tmp_path, task_id="stepping")
    assert ended.drawn_with["memory"]["plan"] == "turns"
    assert np.array_equal(plain, picture)


def test_models_that_run_out_of_memory_before_there_is_a_plan_are_loaded_again_without_the_last_tasks(toy, tmp_path):
    pipeline = Pipeline("cpu", builtin=toy, least="turns")
    drawn(pipeline, tmp_path, task_id="plain")
    load, failures = pipeline.store._base, [True]

    def base(path):
        if failures:
            failures.pop()
            raise torch.OutOfMemoryError("CUDA out of memory, as this test has it")
        assert not any(part.held for part in parts_of(pipeline))
        return load(path)

    pipeline.store._base = base
    _, ended = drawn(pipeline, tmp_path, task_id="again")
    assert ended.outcome == "finished" and ended.notes == []
    assert (tmp_path / "plain-0.png").read_bytes() == (tmp_path / "again-0.png").read_bytes()
    failures += [True, True]
    with pytest.raises(MemoryError, match="ran out of memory"):
        pipeline.draw(toy_draw(tmp_path), Watcher())


def test_a_vae_that_runs_out_of_memory_has_the_others_leave_before_it_takes_tiles(pipeline, toy, tmp_path):
    stepping = Pipeline("cpu", builtin=toy, least="turns")
    OutOfMemoryAt(stepping.store._base(stepping.catalogue.builtin).checkpoint.vae.module.decoder, times=1)
    drawn(pipeline, tmp_path, task_id="plain", disable_preview=True)
    drawn(stepping, tmp_path, task_id="stepping", disable_preview=True)
    assert (tmp_path / "plain-0.png").read_bytes() == (tmp_path / "stepping-0.png").read_bytes()


def test_recorded_texts_give_their_memory_back_with_everything_else(toy):
    pipeline = Pipeline("cpu", builtin=toy)
    encoders = pipeline.store._base(pipeline.catalogue.builtin).checkpoint.text_encoders
    recorded = [part.recorded for part in (encoders.clip_l, encoders.clip_g)]
    for texts in recorded:
        texts._kept[1] = RunOnce()
    pipeline.memory.clear()
    assert not any(texts._kept for texts in recorded)


def test_what_is_loaded_within_a_task_has_its_plan_made_anew(toy, tmp_path):
    pipeline = Pipeline("cpu", builtin=toy)
    residency, memory, asked = pipeline.renderer.residency, pipeline.memory, []
    make_plan = memory.make_plan
    memory.make_plan = lambda job, models, size=None: (asked.append((job, models)), make_plan(job, models, size))
    drawn(pipeline, tmp_path)
    base = pipeline.store._base(pipeline.catalogue.builtin)
    job, models = asked[0]
    wanted = needed(MemoryPlan(), memory._parts, residency.work) - memory._held(models)
    memory.begin(job)
    plans = []
    for less in (0, LIBRARIES, LIBRARIES + 1):  # what the libraries take is counted already
        residency.available = lambda less=less: wanted - less
        memory.make_plan(job, models)
        plans.append(memory.plan.mode)
    assert plans == ["resident", "resident", "turns"]
    assert residency.has(base.checkpoint.unet)
