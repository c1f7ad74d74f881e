"""Training: what a run folder holds, that seeds decide, that stopping and resuming change nothing."""

import dataclasses
import json
import math
import os
import shutil
import signal
import threading

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from convscope.data import load_dataset
from convscope.errors import DataError, NonFiniteLossError, RunError, UnknownNameError, UsageError
from convscope.models import load_weights
from convscope.training import (
    EpochDone,
    Run,
    StepDone,
    TrainingInterrupted,
    build_network,
    evaluate,
    loop,
    train,
)
from convscope.training import folder as files


def weights(run):
    return run.weights().read_bytes()


def test_a_run_folder_and_what_it_says(folder, quick, tmp_path):
    events = []
    run = train(quick, data=folder, output=tmp_path / "run", listener=events.append)
    assert sorted(path.name for path in run.path.iterdir()) == [
        ".lock",
        "BEST",
        "LATEST",
        "checkpoints",
        "environment.json",
        "metrics.jsonl",
        "recipe.toml",
        "snapshots",
        "state.json",
        "times.jsonl",
        "weights-initial.safetensors",
    ]
    assert [row["step"] for row in run.steps] == list(range(1, 16))
    assert run.status == "finished"
    assert run.facts.classes == ("bag", "trouser")
    assert [row["epoch"] for row in run.metrics] == [1, 2, 3]
    assert [type(event) for event in events] == ([StepDone] * 5 + [EpochDone]) * 3
    assert run.metrics[-1]["acc@1"] >= 0.9
    assert run.environment["torch"] == torch.__version__
    assert Run.open(run.path).to_dict() == run.to_dict()
    json.dumps(run.to_dict())


def test_the_metrics_are_those_of_the_network(folder, quick, tmp_path):
    """Accuracy and loss of the last row, recomputed with torch's own loader and loss."""
    run = train(quick, data=folder, output=tmp_path / "run")
    images = run.dataset("test")
    mean = torch.tensor(run.facts.mean).reshape(-1, 1, 1)
    std = torch.tensor(run.facts.std).reshape(-1, 1, 1)
    pixels = (images.images.float() / 255 - mean) / std
    loader = DataLoader(TensorDataset(pixels, images.labels), batch_size=7)
    with torch.no_grad():
        scores = torch.cat([run.network()(batch) for batch, _ in loader])
    assert run.metrics[-1]["acc@1"] == float((scores.argmax(1) == images.labels).float().mean())
    loss = float(torch.nn.functional.cross_entropy(scores, images.labels))
    assert run.metrics[-1]["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert run.evaluate().accuracy == run.metrics[-1]["acc@1"]


def test_the_seed_decides_everything(folder, quick, tmp_path):
    torch.manual_seed(1)
    one = train(quick, data=folder, output=tmp_path / "one")
    torch.manual_seed(2)
    torch.rand(5)
    two = train(quick, data=folder, output=tmp_path / "two")
    other = train(quick, data=folder, output=tmp_path / "other", seed=1)
    assert weights(one) == weights(two)
    assert weights(one) != weights(other)


def test_training_changes_the_weights_and_the_initial_ones_are_kept(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    fresh = build_network(run.recipe, run.facts)
    for key, value in run.network("initial").state_dict().items():
        assert value.equal(fresh.state_dict()[key])
    assert not run.network().conv1.weight.equal(fresh.conv1.weight)


def stop_after(steps, number=signal.SIGINT):
    seen = [0]

    def listener(event):
        if isinstance(event, StepDone):
            seen[0] += 1
            if seen[0] == steps:
                os.kill(os.getpid(), number)

    return listener


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("steps", [1, 5, 8, 14])
def test_a_stopped_run_goes_on_to_the_same_bytes(folder, quick, tmp_path, optimizer, steps):
    quick = quick.replace(optimizer=optimizer, data=str(folder))
    whole = train(quick, output=tmp_path / "whole")
    with pytest.raises(TrainingInterrupted) as caught:
        train(quick, output=tmp_path / "part", listener=stop_after(steps))
    assert caught.value.exit_code == 130
    assert "stopped by SIGINT: epoch" in str(caught.value)
    assert Run.open(tmp_path / "part").status == "interrupted"
    resumed = train(output=tmp_path / "part", resume=True)
    assert resumed.status == "finished"
    assert weights(resumed) == weights(whole)
    for one, other in zip(resumed.metrics, whole.metrics, strict=True):
        for key in ("train_loss", "train_acc@1", "val_loss", "acc@1"):
            assert one[key] == other[key], key


def test_sigterm_is_143_and_handlers_are_put_back(folder, quick, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(TrainingInterrupted) as caught:
        train(quick, data=folder, output=tmp_path / "run", listener=stop_after(2, signal.SIGTERM))
    assert caught.value.exit_code == 143
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_stops_at_once(folder, quick, tmp_path):
    def twice(event):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(quick, data=folder, output=tmp_path / "run", listener=twice)
    assert not isinstance(caught.value, TrainingInterrupted)


def test_training_in_another_thread(folder, quick, tmp_path):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(train(quick, data=folder, output=tmp_path / "run")))
    thread.start()
    thread.join()
    assert runs[0].status == "finished"


def test_nan_stops_and_keeps_the_last_good_weights(folder, quick, tmp_path, monkeypatch):
    healthy = loop.loss_of(quick)
    calls = [0]

    def sick(scores, labels, *mixed):
        calls[0] += 1
        return healthy(scores, labels, *mixed) * (math.nan if calls[0] >= 14 else 1)  # in the third epoch

    kept = []

    def keep(event):
        if isinstance(event, EpochDone):
            kept.append(weights(Run.open(tmp_path / "run")))

    monkeypatch.setattr(loop, "loss_of", lambda recipe: sick)
    with pytest.raises(NonFiniteLossError) as caught:
        train(quick, data=folder, output=tmp_path / "run", listener=keep)
    # Five steps an epoch and three batches of evaluation... the calls count both, so only the epoch is fixed.
    assert "the loss is nan in epoch" in str(caught.value)
    assert f"keeps the weights of epoch {len(kept)}" in str(caught.value)
    run = Run.open(tmp_path / "run")
    assert run.status == "diverged"
    assert weights(run) == kept[-1]
    assert len(run.metrics) == len(kept)


def test_a_real_divergence_in_the_first_epoch(folder, quick, tmp_path):
    with pytest.raises(
        NonFiniteLossError, match=r"keeps the weights of before training|keeps the weights of epoch"
    ) as e:
        train(quick, data=folder, output=tmp_path / "run", optimizer="sgd", lr=1e30, schedule="constant")
    assert "at step" in str(e.value)
    assert "Lower the learning rate (now 1e+30)" in str(e.value)
    for value in Run.open(tmp_path / "run").network().state_dict().values():
        assert bool(value.isfinite().all())


def test_a_folder_with_a_run_is_not_overwritten(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    before = weights(run)
    with pytest.raises(RunError, match="holds a run already; choose another output"):
        train(quick, data=folder, output=tmp_path / "run")
    assert weights(run) == before


def test_a_folder_in_use_is_refused(folder, quick, tmp_path):
    with (
        files.run_lock(tmp_path / "run", resume=False),
        pytest.raises(RunError, match="is in use by another process; wait for it or choose another output"),
    ):
        train(quick, data=folder, output=tmp_path / "run")


def test_resuming_nothing(folder, quick, tmp_path):
    with pytest.raises(RunError, match=r"is no run folder: it has no recipe.toml"):
        train(output=tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="a resumed run keeps its own recipe"):
        train(output=tmp_path / "run", resume=True, epochs=3)
    with pytest.raises(UsageError, match="a resumed run keeps its own recipe"):
        train(quick, output=tmp_path / "run", resume=True)


def test_a_damaged_checkpoint(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    for checkpoint in (run.path / "checkpoints").iterdir():
        (checkpoint / "training.safetensors").write_bytes(b"torn")
    with pytest.raises(RunError, match=r"training.safetensors' cannot be used: .* no other checkpoint"):
        train(output=run.path, resume=True)


def test_one_class_only(folder, quick, tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        (tmp_path / "data" / split).mkdir()
        os.symlink(folder / split / "bag", tmp_path / "data" / split / "bag")
    with pytest.raises(DataError, match="one class"):
        train(quick, data=tmp_path / "data", output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_left_of_a_run_that_could_not_start(folder, quick, tmp_path):
    with pytest.raises(UnknownNameError):
        train(quick, data=folder, output=tmp_path / "run", model="lenet6")
    with pytest.raises(UsageError):
        train(quick, data=tmp_path / "nowhere", output=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_hinge_loss_learns_too(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run", loss="hinge")
    assert run.metrics[-1]["acc@1"] >= 0.9


def test_a_torn_last_line_of_metrics_is_passed_over(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    path = run.path / files.METRICS
    path.write_text(path.read_text()[:-20])
    assert [row["epoch"] for row in Run.open(run.path).metrics] == [1, 2]
    path.write_text("{torn\n" + path.read_text())
    with pytest.raises(RunError, match="line 1 is no JSON"):
        Run.open(run.path)


@pytest.mark.parametrize("name", [files.RECIPE, files.STATE, files.ENVIRONMENT])
@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"status": 3}', "version = 9"])
def test_damaged_run_folders_are_refused(folder, quick, tmp_path, name, content):
    run = train(quick, data=folder, output=tmp_path / "run", epochs=1)
    if content is None:
        (run.path / name).unlink()
    else:
        (run.path / name).write_text(content)
    if (name, content) == (files.ENVIRONMENT, '{"status": 3}'):
        assert Run.open(run.path).environment == {"status": 3}  # nothing reads it but people
        return
    with pytest.raises((RunError, UnknownNameError)) as caught:
        Run.open(run.path)
    assert "\n" not in str(caught.value)


def test_predictions_name_the_classes(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    files_ = sorted((folder / "test" / "bag").iterdir())[:3]
    found = run.predict_files(files_, top=5)
    assert [entry.name for entry in found] == [str(path) for path in files_]
    for entry in found:
        assert entry.classes[0] == "bag"
        assert sum(entry.probabilities) == pytest.approx(1, abs=1e-5)
    with pytest.raises(UsageError, match="no picture given"):
        run.predict_files([])
    with pytest.raises(UsageError, match="top is 0"):
        run.predict_files(files_, top=0)


def test_evaluation_on_other_classes_is_refused(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    with pytest.raises(
        RunError, match=r"has the classes 'T-shirt/top'.* and 6 more, the run 'bag', 'trouser'"
    ):
        run.evaluate("fashion-mnist")


def test_evaluate_leaves_the_network_as_it_was():
    images = load_dataset("fashion-mnist", "test").take(10)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(784), torch.nn.Linear(784, 10))
    network[1].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    evaluate(network, images, mean=(0.5,), std=(0.5,))
    assert [module.training for module in network] == [True, False, True]
    assert all(value.equal(network.state_dict()[key]) for key, value in before.items())
    with pytest.raises(
        UsageError, match=r"the network returns \(10, 784\) for 10 images; 10 classes need \(10, 10\)"
    ):
        evaluate(network[:2], images, mean=(0.5,), std=(0.5,))


def test_weights_of_the_run_load_into_a_plain_network(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    metadata = load_weights(build_network(run.recipe, run.facts), run.weights())
    assert json.loads(metadata["classes"]) == ["bag", "trouser"]
    assert metadata["model"] == "lenet5"


def test_recipe_of_a_run_is_what_was_asked(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    assert run.recipe == dataclasses.replace(quick, data=str(folder))


def test_weights_that_break_in_the_last_step_are_not_saved(folder, quick, tmp_path):
    """One step an epoch: the loss before the step is fine, the weights after it are not."""
    with pytest.raises(NonFiniteLossError) as caught:
        train(
            quick,
            data=folder,
            output=tmp_path / "run",
            optimizer="sgd",
            lr=1e38,
            schedule="constant",
            batch_size=64,
        )
    assert "keeps the weights of" in str(caught.value)
    run = Run.open(tmp_path / "run")
    assert run.status == "diverged"
    for value in run.network().state_dict().values():
        assert bool(value.isfinite().all())
    for line in (tmp_path / "run" / files.METRICS).read_text().splitlines():
        assert "NaN" not in line
        assert "Infinity" not in line


def test_after_a_stop_the_kept_weights_are_named_by_their_step(folder, quick, tmp_path, monkeypatch):
    with pytest.raises(TrainingInterrupted):
        train(quick, data=folder, output=tmp_path / "run", listener=stop_after(3))
    monkeypatch.setattr(loop, "loss_of", lambda recipe: lambda scores, *labels: scores.sum() * math.nan)
    with pytest.raises(NonFiniteLossError, match="keeps the weights of epoch 1 after step 3"):
        train(output=tmp_path / "run", resume=True)


def test_a_stop_in_the_last_epoch_is_told_when_the_run_is_finished(folder, quick, tmp_path):
    with pytest.raises(TrainingInterrupted, match="stopped by SIGINT: the run is finished"):
        train(quick, data=folder, output=tmp_path / "run", listener=stop_after(15))
    assert Run.open(tmp_path / "run").status == "finished"


def test_a_run_that_raises_before_its_first_epoch_leaves_nothing(folder, quick, tmp_path):
    def fail(event):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(quick, data=folder, output=tmp_path / "run", listener=fail)
    assert not (tmp_path / "run").exists()


def test_a_run_that_raises_later_is_marked_as_failed(folder, quick, tmp_path):
    def fail(event):
        if isinstance(event, EpochDone):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(quick, data=folder, output=tmp_path / "run", listener=fail)
    assert Run.open(tmp_path / "run").status == "failed"
    assert train(output=tmp_path / "run", resume=True).status == "finished"


def test_a_run_killed_before_its_first_checkpoint_frees_its_folder(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    before = weights(run)
    shutil.move(run.path / "checkpoints", tmp_path / "kept")
    with pytest.raises(RunError, match="has no checkpoint"):
        train(output=run.path, resume=True)
    with pytest.raises(RunError, match="holds a run already"):  # somebody saved space; the metrics are dear
        train(quick, data=folder, output=run.path)
    shutil.copytree(tmp_path / "kept", run.path / "checkpoints")
    assert weights(run) == before
    shutil.rmtree(run.path / "checkpoints")
    (run.path / files.METRICS).write_text("")  # now it is as a kill during start-up leaves it
    assert train(quick, data=folder, output=run.path).status == "finished"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / files.RECIPE).write_text("my own")
    with pytest.raises(RunError, match="holds a run already"):
        train(quick, data=folder, output=tmp_path / "mine")
    assert (tmp_path / "mine" / files.RECIPE).read_text() == "my own"


def test_a_run_is_not_resumed_on_other_images(folder, quick, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    with pytest.raises(TrainingInterrupted):
        train(quick, data=tmp_path / "data", output=tmp_path / "run", listener=stop_after(3))
    before = (tmp_path / "run" / files.STATE).read_text()
    next((tmp_path / "data" / "train" / "bag").iterdir()).unlink()
    with pytest.raises(RunError, match="was trained on other images than"):
        train(output=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / files.STATE).read_text().replace("failed", "interrupted") == before


@pytest.mark.parametrize("changes", [{"loss": "hinge"}, {"label_smoothing": 0.2}])
def test_evaluation_uses_the_recipes_loss(folder, quick, tmp_path, changes):
    run = train(quick, data=folder, output=tmp_path / "run", **changes)
    assert run.evaluate().loss == pytest.approx(run.metrics[-1]["val_loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "random_filters"}, "random_filters returns (2, 2, 28, 28) for a batch of 2 images"),
        (
            {"model": "fcn_resnet18"},
            "fcn_resnet18 returns a dict with 'out', 'aux' for a batch of 2 images; only classifiers with one output",
        ),
        (
            {"model": "googlenet", "model_options": {"aux_logits": True}},
            "googlenet returns a GoogLeNetOutputs for a batch of 2 images; only classifiers with one output",
        ),
        (
            {"model": "small_vgg", "image_size": 2},
            "SmallVGG: an image of 2x2 pixels is too small; give at least 4x4",
        ),
        ({"crop_padding": 60_000}, "crop_padding is 60000; images of 28 x 28"),
    ],
)
def test_what_cannot_work_is_refused_before_a_file_is_written(folder, quick, tmp_path, changes, words):
    with pytest.raises(UsageError) as caught:
        train(quick, data=folder, output=tmp_path / "run", **changes)
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_single_image_left_over_does_not_stop_batch_norm(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run", model="small_vgg", image_size=4, batch_size=13)
    assert run.status == "finished"


def test_images_of_one_colour(quick, tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(3):
                Image.new("L", (12, 12), 40).save(tmp_path / "data" / split / name / f"{index}.png")
    with pytest.raises(DataError, match=r"channel 0 of all 6 images of .* has one value, 40"):
        train(quick, data=tmp_path / "data", output=tmp_path / "run")


def test_a_folder_with_validation_images(folder, quick, tmp_path):
    """val/ is measured after epochs, test/ once in the end."""
    shutil.copytree(folder, tmp_path / "data")
    shutil.copytree(folder / "test", tmp_path / "data" / "val")
    for path in sorted((tmp_path / "data" / "val" / "bag").iterdir())[:5]:
        path.unlink()
    run = train(quick, data=tmp_path / "data", output=tmp_path / "run")
    assert all("acc@1" in row for row in run.metrics)
    assert ["test_acc@1" in row for row in run.metrics] == [False, False, True]
    assert run.metrics[-1]["test_acc@1"] == run.evaluate().accuracy
    wrong = 15 * (1 - run.metrics[-1]["acc@1"])
    assert wrong == pytest.approx(round(wrong))


def test_validation_images_are_held_out_by_the_seed(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run", validation_share=0.25)
    assert len(run.steps) == 3 * 4  # 30 of the 40 images in batches of 8
    assert run.metrics[-1]["test_acc@1"] == run.evaluate().accuracy
    again = train(quick, data=folder, output=tmp_path / "again", validation_share=0.25)
    assert weights(again) == weights(run)
