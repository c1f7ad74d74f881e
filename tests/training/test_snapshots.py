"""What a run keeps of its network's looks: the values, their size, and that nothing else changes."""

import copy

import pytest
import torch

from convscope.acceleration import accelerate, acceleration_of
from convscope.data import ImageSet
from convscope.errors import OutputError, RunError
from convscope.inspection import feature_maps, filters
from convscope.models import create_model
from convscope.training import DataFacts, Warned, loop, train
from convscope.training.snapshots import read_snapshots, save_snapshot


def facts_of(images):
    channels = images.image_shape[0]
    return DataFacts(images.classes, images.image_shape, (0.5,) * channels, (0.25,) * channels)


def drawn_images(channels, side):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, channels, side, side), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.tensor([1, 0]), ("cat", "dog"), "pets")


def test_a_run_keeps_one_before_training_and_one_an_epoch(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run")
    found = run.snapshots()
    assert [each.epoch for each in found] == [0, 1, 2, 3]
    picture = run.dataset("test").picture(0)
    for each, which in ((found[0], "initial"), (found[-1], "latest")):
        network = run.network(which)
        names = [name for name, module in network.named_modules() if isinstance(module, torch.nn.Conv2d)]
        maps = feature_maps(network, run.prepare(picture), names)
        assert [entry.layer for entry in each.maps] == [entry.layer for entry in maps]
        for kept, real in zip(each.maps, maps, strict=True):
            assert kept.total == len(real.planes)
            bound = float(real.planes[:16].abs().max()) / 127
            assert float((kept.values - real.planes[:16]).abs().max()) <= 0.51 * bound
        kernel = filters(network, names[0])
        assert float((each.filters.values - kernel).abs().max()) <= 0.51 * float(kernel.abs().max()) / 127
        assert torch.equal(each.picture, run.dataset("test").images[0])
        assert each.label == run.facts.classes[int(run.dataset("test").labels[0])]


@pytest.mark.parametrize(
    ("name", "channels", "side"),
    [("resnet18", 3, 224), ("alexnet", 3, 224), ("mlp", 1, 28), ("small_vgg", 3, 32)],
)
def test_a_file_stays_small(name, channels, side, tmp_path):
    images = drawn_images(channels, side)
    options = {"image_size": (side, side)} if name == "mlp" else {}
    network = create_model(name, num_classes=2, in_channels=channels, **options)
    before = copy.deepcopy(network.state_dict())
    save_snapshot(tmp_path, 7, network.train(), images, facts_of(images))
    assert (tmp_path / "snapshots" / "epoch-007.safetensors").stat().st_size < 200_000
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    (found,) = read_snapshots(tmp_path)
    assert (found.epoch, found.label) == (7, "dog")
    assert len(found.maps) == (0 if name == "mlp" else 3)
    assert found.filters is not None


def test_the_same_network_gives_the_same_bytes(tmp_path):
    images, network = drawn_images(1, 28), create_model("lenet5", num_classes=2)
    state = torch.random.get_rng_state()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_snapshot(tmp_path / name, 1, network, images, facts_of(images))
    one, other = (tmp_path / name / "snapshots/epoch-001.safetensors" for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_written_does_not_stop_a_run(folder, quick, tmp_path, monkeypatch):
    def refuse(*given):
        raise OutputError("train: cannot write: no space.")

    monkeypatch.setattr(loop, "save_snapshot", refuse)
    events = []
    run = train(quick, data=folder, output=tmp_path / "run", listener=events.append)
    assert run.status == "finished"
    assert sum(isinstance(event, Warned) for event in events) == 4
    assert run.snapshots() == ()


def test_damage_is_told(folder, quick, tmp_path):
    run = train(quick, data=folder, output=tmp_path / "run", epochs=1)
    place = run.path / "snapshots" / "epoch-001.safetensors"
    place.write_bytes(place.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"epoch-001\.safetensors' cannot be read"):
        run.snapshots()


def test_an_accelerated_network_shows_the_same_maps(tmp_path):
    images, network = drawn_images(3, 32), create_model("small_vgg", num_classes=2, in_channels=3).eval()
    save_snapshot(tmp_path, 0, network, images, facts_of(images))
    accelerate(network, "bf16")
    with torch.no_grad():
        before = network(torch.zeros(2, 3, 32, 32))
        save_snapshot(tmp_path, 1, network, images, facts_of(images))
        assert torch.equal(network(torch.zeros(2, 3, 32, 32)), before)
    assert acceleration_of(network) is not None
    plain, fast = read_snapshots(tmp_path)
    for one, other in zip(plain.maps, fast.maps, strict=True):
        assert torch.allclose(one.values, other.values, atol=0.02 * float(one.values.abs().max()))
