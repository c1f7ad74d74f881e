"""`convscope look`: what the layers of a network make of a picture, their filters, and how both come about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from convscope.cli.output import print_json, say_written
from convscope.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from convscope.cli.network import OpenedNetwork
    from convscope.cli.screen import Sight
    from convscope.training import Snapshot

_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
_FILTER_LAYERS = 6  # drawn when none is named


def run(
    *given: str,
    model: str | None = None,
    run: Path | None = None,
    input: str | None = None,
    size: str | None = None,
    layers: Annotated[str | None, Parameter(alias="--layer")] = None,
    initial: bool = False,
    compare: Literal["initial", "random"] | None = None,
    over_epochs: bool = False,
    filters: bool = False,
    spectra: bool = False,
    output: Path | None = None,
    terminal: bool = False,
    seed: int | None = None,
    weights: str | None = None,
    json: bool = False,
) -> None:
    """Feature maps and filters of any layer of any network, for one picture; before and after training on one scale.

    Parameters
    ----------
    given
        [NETWORK] [PICTURE]. The network: a name of the zoo, such as random_filters (three convolutions, the default) or
        resnet50; a run folder; or module:callable of your own code. The picture: any photograph, by default the
        packaged cat.
    model
        The network, instead of as an argument.
    run
        A run folder, instead of as an argument.
    input
        The input's shape, such as 1x3x224x224, for your own code; one that is no picture gets random numbers.
    size
        Height and width that the picture is brought to, as 224 or 200x300, instead of what the network was made for.
    layers
        Names of modules or operators (convscope trace lists them), separated by commas, or all: all their maps are
        drawn. By default the table has all layers, the picture the last before each change of size.
    initial
        A run's network as it was before training.
    compare
        initial: a run before training, and the same after it. random: the random weights of --seed, and --weights.
    over_epochs
        A run's epochs one below the other: those whose weights are kept, or, without a picture, those whose snapshots
        are, of a held-out image.
    filters
        The layers' filters instead of their maps.
    spectra
        Each down-sampling: spectra before and after, the share of energy that it cannot keep, and how much the outputs
        change when the picture moves by a pixel.
    output
        PNG file to draw into.
    terminal
        Draw into the terminal, in half blocks; done by itself where standard output is one and there is no --output.
    seed
        Of the random weights; 0 unless given.
    weights
        Of a network of the zoo: default for published ones, or a file; without, random ones.
    json
        Print shapes and ranges as JSON.
    """
    from convscope.cli.screen import draw, screen_colours
    from convscope.cli.seen import input_size
    from convscope.report.images import png_path

    output = None if output is None else png_path(output)
    spec, picture = _told_apart(given, model, run)
    wanted = {
        "--initial": initial,
        "--compare": compare is not None,
        "--over-epochs": over_epochs,
        "--spectra": spectra,
    }
    _check(spec, run is not None or Path(spec).is_dir(), picture, seed, weights, wanted, filters)
    if spectra and (terminal or layers is not None):
        raise UsageError(
            "--spectra is a table of every down-sampling, with --output a picture; leave --terminal and --layers out.",
            call="look",
        )
    names, sides, colours = (
        _names(layers),
        input_size(size),
        None if json else screen_colours(terminal, output),
    )
    opened = _open(spec, run, input, sides, seed or 0, weights)
    if initial:
        assert opened.run is not None
        opened = replace(opened, network=opened.run.network("initial"))
    looked = _Looked(opened, picture, sides, names, layers is not None, filters)
    if spectra:
        looked.spectra(output, json)
        return
    if over_epochs:
        found = looked.epochs()
    elif compare is not None:
        found = looked.beside(seed or 0)
    else:
        found = looked.layers()
    drawn = ""
    if output is not None or colours is not None:
        drawn = draw(found, output, colours, wanted=terminal or output is not None)
    if json:
        print_json(found.facts())
    else:
        print(found.text())
    if drawn:
        print(drawn)
    say_written(*([output] if output else []))


def _told_apart(given: tuple[str, ...], model: str | None, run: Path | None) -> tuple[str, Path | None]:
    """Return which network is meant and which picture."""
    if model is not None and run is not None:
        raise UsageError("give --model or --run, not both.", call="look")
    networks = [each for each in given if not _is_picture(each)]
    pictures = [each for each in given if _is_picture(each)]
    networks += [str(each) for each in (model, run) if each is not None]
    for what, named in (("network", networks), ("picture", pictures)):
        if len(named) > 1:
            raise UsageError(f"{len(named)} {what}s are named, {' and '.join(named)}; give one.", call="look")
    return networks[0] if networks else "random_filters", Path(pictures[0]) if pictures else None


def _is_picture(text: str) -> bool:
    """Tell whether an argument is a picture: a file that is there or is named like one, or the packaged cat."""
    path = Path(text)
    return text == "cat" or path.is_file() or path.suffix.lower() in _SUFFIXES


def _check(
    spec: str,
    is_run: bool,
    picture: Path | None,
    seed: int | None,
    weights: str | None,
    wanted: dict[str, bool],
    filters: bool,
) -> None:
    """Refuse what does not go together, before anything is opened."""
    flags = [flag for flag, given in wanted.items() if given]
    wrong = (
        (
            wanted["--initial"] and not is_run,
            "--initial is for --run: a run's network as it was before training.",
        ),
        (wanted["--over-epochs"] and not is_run, "--over-epochs is for a run folder."),
        (seed is not None and is_run, "--seed is for the random weights of --model; a run has its own."),
        (weights is not None and is_run, "--weights is for --model; a run has its own."),
        (len(flags) > 1, f"{' and '.join(flags)} exclude each other; give one."),
        (filters and wanted["--spectra"], "--filters and --spectra exclude each other; give one."),
        (filters and picture is not None, "filters do not depend on a picture; leave it out."),
        (
            wanted["--compare"] and not is_run and ":" in spec,
            "--compare is for a run folder, or for a network of the zoo with --weights.",
        ),
        (
            wanted["--compare"] and not is_run and weights is None,
            "--compare needs --weights, such as default, beside which the random ones are shown.",
        ),
    )
    for holds, message in wrong:
        if holds:
            raise UsageError(message, call="look")


def _names(layers: str | None) -> list[str] | None:
    if layers is None or layers == "all":
        return None
    names = [name.strip() for name in layers.split(",")]
    if "" in names:
        raise UsageError(
            f"--layers {layers!r} has an empty name; give names separated by commas.", call="look"
        )
    return names


def _open(
    spec: str,
    run: Path | None,
    input: str | None,
    size: tuple[int, int] | None,
    seed: int,
    weights: str | None,
) -> OpenedNetwork:
    from convscope.cli.network import open_network
    from convscope.cli.seen import as_published, sized_input

    if run is not None:
        from convscope.training import Run

        Run.open(run)  # says what it is that is no run folder
    opened = open_network(spec, input or sized_input(spec, size), seed=seed, weights=weights)
    return as_published(opened) if input is None and weights is None else opened


class _Looked:
    """A network, a picture, and which of its layers to look at.

    Attributes:
        names: of layers; None for all. `whole`: everything that was named is drawn, not a choice.
    """

    def __init__(
        self,
        opened: OpenedNetwork,
        image: Path | None,
        size: tuple[int, int] | None,
        names: list[str] | None,
        whole: bool,
        filters: bool,
    ) -> None:
        self.opened, self.image, self.size = opened, image, size
        self.names, self.whole, self.filters = names, whole, filters

    def layers(self) -> Sight:
        """Return the maps or filters of the network."""
        from convscope.cli.screen import Sight
        from convscope.cli.seen import see
        from convscope.inspection import feature_maps, filter_banks, last_of_each_size
        from convscope.report.planes import above_of, blocks_of_planes
        from convscope.report.planes_text import planes_text

        if self.filters:
            shape = (self.opened.shape or ())[1:] or None
            found: Any = filter_banks(self.opened.network, self.names, image_shape=shape)
            drawn = found if self.whole else found[:_FILTER_LAYERS]
            above, choice = [], f"the first {len(drawn)}"
        else:
            seen = see(self.opened, self.image, self.size)
            found = feature_maps(self.opened.network, seen.input, self.names)
            drawn = found if self.whole else last_of_each_size(found)
            above, choice = above_of(seen.picture, seen.visible), "the last before each change of size"
        pictures = sum(entry.are_pictures for entry in found)
        note = ""
        if sum(entry.are_pictures for entry in drawn) < pictures:
            note = f"\n\nA picture shows {len(drawn)} of {pictures} layers, {choice}; --layers names others, or all."
        return Sight(
            lambda: {"layers": [entry.to_dict() for entry in found]},
            lambda: planes_text(found) + note,
            partial(blocks_of_planes, drawn),
            above,
            "layers of a network",
        )

    def beside(self, seed: int) -> Sight:
        """Return the network as it was at random and as it was trained."""
        from convscope.models import create_seeded_model, weights_info
        from convscope.training import epoch_name

        opened = self.opened
        if opened.run is not None:
            networks = [(epoch_name(0), opened.run.network("initial")), (opened.run.place, opened.network)]
        else:
            random = create_seeded_model(opened.name, seed, **opened.options)
            source = weights_info(opened.network).source.rsplit("/", 1)[-1]  # a file by its name
            networks = [(f"random, seed {seed}", random.eval()), (source, opened.network)]
        return self._films(iter(networks))

    def epochs(self) -> Sight:
        """Return the network after each epoch that was kept."""
        from convscope.training import epoch_name

        run = self.opened.run
        assert run is not None
        if self.image is None and (found := self._snapshots(run.snapshots())) is not None:
            return found
        kept = run.kept_epochs()
        frames = ((epoch_name(epoch), run.network(epoch)) for epoch in kept)
        note = (
            f"The weights of epochs {', '.join(map(str, kept))} of {len(run.metrics)} are kept: the newest "
            f"{run.recipe.keep_checkpoints} (keep_checkpoints) and the best."
        )
        return self._films(frames, note, {"epochs": list(kept)})

    def spectra(self, output: Path | None, json: bool) -> None:
        """Tell and draw what the network's down-samplings do."""
        from convscope.cli.seen import see
        from convscope.inspection import down_samplings, shift_consistency
        from convscope.report.figures import write_png
        from convscope.report.spectra_pictures import draw_spectra, spectra_text

        seen = see(self.opened, self.image, self.size)
        found = down_samplings(self.opened.network, seen.input)
        try:
            shifts = shift_consistency(self.opened.network, seen.input)
        except UsageError:  # outputs that are neither scores nor maps of the input's size
            shifts = None
        if output is not None:
            write_png(draw_spectra(found, shifts), output)
        if json:
            print_json({**found.to_dict(), "shifts": None if shifts is None else shifts.to_dict()})
        else:
            print(spectra_text(found, shifts))
        say_written(*([output] if output else []))

    def _snapshots(self, snapshots: tuple[Snapshot, ...]) -> Sight | None:
        """Return films of a run's snapshots, or None where they lack a layer that is asked for."""
        from convscope.training import film_of_filters, films_of_maps

        films = films_of_maps(snapshots)
        if self.filters:
            film = film_of_filters(snapshots)
            films = () if film is None else (film,)
        known = {film.layer for film in films}
        if not films or (self.names is not None and not known.issuperset(self.names)):
            return None
        chosen = [film for film in films if self.names is None or film.layer in self.names]
        picture = snapshots[0].picture.permute(1, 2, 0).contiguous().numpy()
        above = [] if self.filters else [(f"a held-out image, {snapshots[0].label}", picture)]
        epochs = [each.epoch for each in snapshots]
        note = (
            f"Snapshots of epochs {epochs[0]} to {epochs[-1]}, of one held-out image ({snapshots[0].label}); a picture "
            "given shows any layer at the epochs whose weights are kept."
        )
        return _sight_of(chosen, above, note, {"epochs": epochs})

    def _films(
        self, networks: Iterator[tuple[str, nn.Module]], note: str = "", facts: dict[str, Any] | None = None
    ) -> Sight:
        from convscope.cli.seen import see
        from convscope.inspection import feature_films, filter_films, layer_names
        from convscope.report.planes import above_of

        if self.filters:
            films = filter_films(networks, self.names, image_shape=(self.opened.shape or ())[1:] or None)
            return _sight_of(films if self.whole else films[:_FILTER_LAYERS], [], note, facts)
        seen = see(self.opened, self.image, self.size)
        names = self.names
        if names is None and self.whole:
            names = layer_names(self.opened.network)
        films = feature_films(networks, seen.input, names)
        return _sight_of(films, above_of(seen.picture, seen.visible), note, facts)


def _sight_of(films: Any, above: Any, note: str, facts: dict[str, Any] | None) -> Sight:
    from convscope.cli.screen import Sight
    from convscope.report.planes import blocks_of_films
    from convscope.report.planes_text import films_text

    return Sight(
        lambda: {**(facts or {}), "films": [film.to_dict() for film in films]},
        lambda: films_text(films) + (f"\n\n{note}" if note else ""),
        partial(blocks_of_films, films),
        above,
        "layers before and after training",
    )
