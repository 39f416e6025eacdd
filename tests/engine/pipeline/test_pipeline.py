"""Requests drawn whole by the real pipeline with a toy checkpoint."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.choices import PERFORMANCES, SAMPLERS, SCHEDULERS
from engine.errors import CheckpointError
from engine.interruption import Interruption
from engine.messages import PictureDone, Progressed
from engine.pipeline.pipeline import Pipeline
from engine.process.failures import cause
from engine.progress import STAGES
from tests.toy import pack_toy, toy_checkpoint, toy_draw


class Watcher:
    """Hears a task's events; `at` maps a part of a message to what is to be done when it comes."""

    def __init__(self, at=None):
        self.heard, self.at = [], dict(at or {})

    def __call__(self, event):
        self.heard.append(event)
        for part, act in self.at.items():
            if isinstance(event, Progressed) and part in event.message:
                act()

    @property
    def pictures(self):
        return [event for event in self.heard if isinstance(event, PictureDone)]

    @property
    def messages(self):
        return [(event.percent, event.message) for event in self.heard if isinstance(event, Progressed)]


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).copy()


def drawn(pipeline, folder, **changes):
    """The task's pictures, and its end."""
    watcher = Watcher()
    ended = pipeline.draw(toy_draw(folder, **changes), watcher)
    return [pixels(done.path) for done in watcher.pictures], ended


def test_a_prompt_becomes_a_picture_of_the_asked_size(pipeline, tmp_path):
    [picture], ended = drawn(pipeline, tmp_path)
    assert picture.shape == (96, 128, 3)
    assert picture.std() > 5
    assert (ended.outcome, ended.error) == ("finished", None)
    assert ended.drawn_with == {
        "checkpoint": "fooocus_mini.safetensors",
        "builtin": True,
        "memory": {"plan": "resident"},
        "prompt_tokens": 3,
    }
    assert set(ended.seconds) == set(STAGES)
    assert ended.seconds["sampling"] > 0 and ended.seconds["save"] > 0


def test_the_quality_asked_for_is_the_files_and_a_row_without_it_means_the_usual_one(pipeline, tmp_path):
    drawn(pipeline, tmp_path, task_id="usual", output_format="jpg")
    drawn(pipeline, tmp_path, task_id="low", output_format="jpg", output_quality=20)
    old = toy_draw(tmp_path, task_id="old", output_format="jpg")
    del old.params["output_quality"]
    pipeline.draw(old, Watcher())
    usual, low, before = ((tmp_path / f"{name}-0.jpg").read_bytes() for name in ("usual", "low", "old"))
    assert len(low) < len(usual)
    assert before == usual


def test_styles_and_emphasis_are_no_tokens_of_the_prompt(pipeline, tmp_path):
    _, ended = drawn(pipeline, tmp_path, prompt="a (red:1.2) cat", style_selections=["Fooocus Enhance"])
    assert ended.drawn_with["prompt_tokens"] == 3


def test_progress_tells_the_steps_of_each_picture(pipeline, tmp_path):
    watcher = Watcher()
    pipeline.draw(toy_draw(tmp_path, image_number=2, overwrite_step=3), watcher)
    told = [(event.step, event.steps) for event in watcher.heard if isinstance(event, Progressed) and event.steps]
    assert told == [(1, 3), (2, 3), (3, 3)] * 2


def test_the_same_request_gives_the_same_bytes_and_another_seed_others(pipeline, tmp_path):
    drawn(pipeline, tmp_path, task_id="first")
    drawn(pipeline, tmp_path, task_id="again")
    drawn(pipeline, tmp_path, task_id="other", image_seed=8)
    first, again, other = ((tmp_path / f"{name}-0.png").read_bytes() for name in ("first", "again", "other"))
    assert first == again
    assert first != other


def test_two_images_are_the_images_of_two_seeds(pipeline, tmp_path):
    both, _ = drawn(pipeline, tmp_path, image_number=2)
    [first], _ = drawn(pipeline, tmp_path, task_id="a", image_seed=7)
    [second], _ = drawn(pipeline, tmp_path, task_id="b", image_seed=8)
    assert np.array_equal(both[0], first)
    assert np.array_equal(both[1], second)
    assert not np.array_equal(first, second)


def test_without_seed_increment_all_images_are_alike(pipeline, tmp_path):
    first, second = drawn(pipeline, tmp_path, image_number=2, disable_seed_increment=True)[0]
    assert np.array_equal(first, second)


@pytest.fixture(scope="module")
def plain(pipeline, tmp_path_factory):
    """The usual picture."""
    [picture], _ = drawn(pipeline, tmp_path_factory.mktemp("plain"))
    return picture


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a (red:1.5) cat"},
        {"negative_prompt": "ugly"},
        {"guidance_scale": 9.0},
        {"sharpness": 30.0},
        {"clip_skip": 1},
        {"style_selections": ["Fooocus Sharp"]},
        {"adm_scaler_positive": 3.0},
        {"adm_scaler_negative": 3.0},
        {"adm_scaler_end": 0.9},
        {"sampler_name": "euler"},
        {"scheduler_name": "exponential"},
        {"overwrite_step": 4},
        {"guidance_scale": 1.0},
        {"freeu_enabled": True, "freeu_b1": 1.4, "freeu_b2": 1.6, "freeu_s1": 0.9, "freeu_s2": 0.2},
    ],
    ids=str,
)
def test_a_parameter_changes_the_picture(pipeline, plain, tmp_path, change):
    [changed], _ = drawn(pipeline, tmp_path, **change)
    assert not np.array_equal(plain, changed)


def test_adaptive_guidance_counts_when_the_scale_exceeds_it(pipeline, tmp_path):
    [plain], _ = drawn(pipeline, tmp_path, guidance_scale=9.0)
    [mimicked], _ = drawn(pipeline, tmp_path, guidance_scale=9.0, adaptive_cfg=1.0)
    assert not np.array_equal(plain, mimicked)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws(pipeline, tmp_path, name):
    [picture], ended = drawn(pipeline, tmp_path, sampler_name=name, aspect_ratios_selection="64×64")
    assert ended.outcome == "finished" and picture.std() > 0


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_draws(pipeline, tmp_path, name):
    [picture], ended = drawn(pipeline, tmp_path, scheduler_name=name, aspect_ratios_selection="64×64")
    assert ended.outcome == "finished" and picture.std() > 0


@pytest.mark.parametrize("name", PERFORMANCES)
def test_the_built_in_model_draws_every_performance_mode_with_its_steps(pipeline, tmp_path, name):
    watcher = Watcher()
    draw = toy_draw(tmp_path, performance_selection=name, overwrite_step=-1, aspect_ratios_selection="64×64")
    ended = pipeline.draw(draw, watcher)
    steps = PERFORMANCES[name].steps
    assert any(f"Sampling step {steps}/{steps}, image 1/1 ..." in message for _, message in watcher.messages)
    assert any(name in note for note in ended.notes) == PERFORMANCES[name].distilled


def test_progress_rises_and_names_steps_and_images(pipeline, tmp_path):
    watcher = Watcher()
    pipeline.draw(toy_draw(tmp_path, image_number=2, overwrite_step=2), watcher)
    percents = [percent for percent, _ in watcher.messages]
    messages = [message for _, message in watcher.messages]
    assert percents == sorted(percents) and percents[-1] == 100
    assert (2, "Loading models ...") in watcher.messages
    assert (5, "Preparing task 1/2 ...") in watcher.messages
    assert [m for m in messages if m.startswith("Sampling")] == [
        f"Sampling step {step}/2, image {image}/2 ..." for image in (1, 2) for step in (1, 2)
    ]
    assert watcher.messages[-1] == (100, "Saving image 2/2 to system ...")
    assert [(done.index, done.seed, done.width, done.height) for done in watcher.pictures] == [
        (0, 7, 128, 96),
        (1, 8, 128, 96),
    ]


def test_every_step_has_a_small_preview(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.pipeline.outbox.MOST_WAITING", 100)  # however late its thread is
    watcher = Watcher()
    pipeline.draw(toy_draw(tmp_path), watcher)
    previews = [event.preview for event in watcher.heard if isinstance(event, Progressed) and event.preview]
    assert len(previews) == 3
    for preview in previews:
        with Image.open(BytesIO(preview)) as image:
            assert (image.format, image.size) == ("PNG", (32, 24))


def test_no_preview_when_it_is_switched_off(pipeline, tmp_path):
    watcher = Watcher()
    pipeline.draw(toy_draw(tmp_path, disable_preview=True), watcher)
    assert not any(event.preview for event in watcher.heard if isinstance(event, Progressed))
    assert any("Sampling step 3/3" in message for _, message in watcher.messages)


def test_stop_ends_the_task_and_keeps_finished_pictures(pipeline, tmp_path):
    interruption = Interruption()
    watcher = Watcher({"Preparing task 2/3": interruption.stop})
    ended = pipeline.draw(toy_draw(tmp_path, image_number=3, overwrite_step=30), watcher, interruption)
    assert ended.outcome == "stopped"
    assert [done.index for done in watcher.pictures] == [0]
    assert Path(watcher.pictures[0].path).is_file()
    assert not any("image 3/3" in message for _, message in watcher.messages if message.startswith("Sampling"))


def test_skip_drops_one_picture_and_draws_the_next(pipeline, tmp_path):
    interruption = Interruption()
    watcher = Watcher({"Preparing task 2/3": interruption.skip})
    ended = pipeline.draw(toy_draw(tmp_path, image_number=3, overwrite_step=30), watcher, interruption)
    assert ended.outcome == "finished"
    assert [(done.index, done.seed) for done in watcher.pictures] == [(0, 7), (1, 9)]
    assert "Image 2 was skipped" in ended.notes
    assert {path.name for path in tmp_path.glob("*.png")} == {"task-0.png", "task-1.png"}


def test_a_stop_before_the_first_step_draws_nothing(pipeline, tmp_path):
    interruption = Interruption()
    interruption.stop()
    watcher = Watcher()
    assert pipeline.draw(toy_draw(tmp_path), watcher, interruption).outcome == "stopped"
    assert not watcher.pictures


@pytest.mark.parametrize(
    ("output_format", "pillow"), [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP")]
)
def test_pictures_are_saved_in_the_asked_format(pipeline, tmp_path, output_format, pillow):
    watcher = Watcher()
    pipeline.draw(toy_draw(tmp_path, output_format=output_format), watcher)
    with Image.open(watcher.pictures[0].path) as image:
        assert (image.format, image.size) == (pillow, (128, 96))
    assert {path.name for path in tmp_path.iterdir()} == {f"task-0.{output_format}", "log.html"}


def test_metadata_is_in_the_file_unless_it_is_switched_off(pipeline, tmp_path):
    drawn(pipeline, tmp_path, task_id="with")
    drawn(pipeline, tmp_path, task_id="without", save_metadata_to_images=False)
    with Image.open(tmp_path / "with-0.png") as image:
        assert image.text["fooocus_scheme"] == "fooocus"
        assert '"prompt": "a red cat"' in image.text["parameters"]
        assert '"steps": 3' in image.text["parameters"]
    with Image.open(tmp_path / "without-0.png") as image:
        assert not image.text


def test_metadata_that_a_jpeg_has_no_room_for_are_noted(pipeline, tmp_path):
    wish = {"output_format": "jpg", "overwrite_step": 1}
    long = pipeline.draw(toy_draw(tmp_path, prompt="a cat" + "\na very long line" * 3000, **wish), Watcher())
    assert any("EXIF has room for 65533 bytes" in note for note in long.notes)
    short = pipeline.draw(toy_draw(tmp_path, **wish), Watcher())
    off = pipeline.draw(toy_draw(tmp_path, save_metadata_to_images=False, **wish), Watcher())
    assert not [note for note in [*short.notes, *off.notes] if "EXIF" in note]


def test_what_a_prompt_names_and_is_not_there_is_noted(pipeline, tmp_path):
    ended = pipeline.draw(toy_draw(tmp_path, prompt="a __colr__ cat", overwrite_step=1), Watcher())
    assert any(note.startswith("There is no wildcard colr") for note in ended.notes)


def test_a_full_disk_is_the_failures_cause(pipeline, tmp_path):
    (tmp_path / ".task-0.png.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        pipeline.draw(toy_draw(tmp_path, overwrite_step=1), Watcher())
    assert cause(caught.value) == "space" and not list(tmp_path.iterdir())


def test_a_days_log_shows_each_picture_unless_it_is_switched_off(pipeline, tmp_path):
    drawn(pipeline, tmp_path / "kept", save_metadata_to_images=False)
    page = (tmp_path / "kept" / "log.html").read_text("utf-8")
    assert "task-0.png" in page and "a red cat" in page
    draw = replace(toy_draw(tmp_path / "none"), log=False)
    pipeline.draw(draw, Watcher())
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["task-0.png"]


def test_a_grid_of_all_pictures_comes_last(pipeline, tmp_path):
    watcher = Watcher()
    pipeline.draw(toy_draw(tmp_path, image_number=3, generate_image_grid=True), watcher)
    *pictures, sheet = [pixels(done.path) for done in watcher.pictures]
    assert [picture.shape for picture in pictures] == [(96, 128, 3)] * 3
    assert sheet.shape == (192, 256, 3)
    assert np.array_equal(sheet[96:, :128], pictures[2]) and not sheet[96:, 128:].any()


def test_a_missing_expansion_is_told(pipeline, tmp_path):
    _, ended = drawn(pipeline, tmp_path, style_selections=["Fooocus V2"])
    assert any("Prompt expansion" in note for note in ended.notes)


def test_the_last_checkpoint_stays_loaded_and_a_changed_file_is_loaded_anew(pipeline, tmp_path):
    path = toy_checkpoint(tmp_path / "other.safetensors", seed=1)
    named = {"checkpoint": path, "base_model_name": "other.safetensors"}
    [first], ended = drawn(pipeline, tmp_path, **named)
    assert ended.drawn_with == {
        "checkpoint": "other.safetensors",
        "builtin": False,
        "memory": {"plan": "resident"},
        "prompt_tokens": 3,
    }
    assert ended.seconds["load"] > 0.001
    _, again = drawn(pipeline, tmp_path, **named)
    assert again.seconds["load"] < ended.seconds["load"] / 4, "it was loaded again"
    toy_checkpoint(path, seed=2)
    [changed], _ = drawn(pipeline, tmp_path, **named)
    assert not np.array_equal(first, changed)


def test_an_unusable_checkpoint_is_named(pipeline, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        pipeline.draw(toy_draw(tmp_path, checkpoint=tmp_path / "bad.safetensors"), Watcher())


def test_a_picture_that_cannot_be_saved_fails_the_task(pipeline, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        pipeline.draw(toy_draw(tmp_path / "file"), Watcher())


@pytest.mark.slow
def test_a_model_that_names_its_largest_size_is_sampled_there_and_the_picture_enlarged(tmp_path):
    limited = pack_toy(toy_checkpoint(tmp_path / "limited.safetensors"), most_pixels=64 * 64)
    pipeline, watcher = Pipeline("cpu", builtin=limited), Watcher()
    ended = pipeline.draw(toy_draw(tmp_path, aspect_ratios_selection="128×128"), watcher)
    assert pixels(watcher.pictures[0].path).shape == (128, 128, 3)
    assert [note for note in ended.notes if note.startswith("Sampled at 64×64")]
    previews = [event.preview for event in watcher.heard if isinstance(event, Progressed) and event.preview]
    with Image.open(BytesIO(previews[-1])) as preview:
        assert preview.size == (32, 32)
