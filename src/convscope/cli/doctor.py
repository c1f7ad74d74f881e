"""`convscope doctor`: whether the native kernels are right here, and where a network's time goes."""

from __future__ import annotations

from convscope.cli.network import open_for_images
from convscope.cli.output import passing_line, print_json
from convscope.errors import ConvscopeError, UsageError


def run(
    *,
    model: str | None = None,
    batch_size: int = 16,
    size: int | None = None,
    train: bool = True,
    refresh: bool = False,
    json: bool = False,
) -> None:
    """What acceleration has to work with on this machine, and whether each kernel computes the right numbers.

    With --model also: how near each convolution of a step comes to what the machine can do, and which convolutions
    oneDNN computes by slow reference code. The exit code is 1 if a kernel is wrong.

    Parameters
    ----------
    model
        A network to look into: of the zoo, a run folder, or module:callable of your own code.
    batch_size
        Images in the step.
    size
        Pixels a side; by default what the network was made for, 224 for your own code.
    train
        A step of training; --no-train: of inference.
    refresh
        Test the kernels again, also those that were tested on this machine before.
    json
        Print the diagnosis as JSON.
    """
    if model is None and (batch_size != 16 or size is not None or not train):
        raise UsageError("--batch-size, --size and --no-train are for a step of --model.", call="doctor")
    opened = None if model is None else open_for_images(model, batch_size, size)
    from convscope.acceleration import diagnose, random_images
    from convscope.report.doctor_text import doctor_text

    with passing_line() as show:
        try:
            if opened is None:
                found = diagnose(refresh=refresh, listener=show)
            else:
                network, shape = opened[0].network, opened[1]
                images = random_images(shape)
                found = diagnose(network, images, train=train, refresh=refresh, listener=show)
        except ConvscopeError as error:
            raise error.at("doctor") from error
    if json:
        print_json(found.to_dict())
    else:
        print(doctor_text(found))
    if found.machine.wrong:
        names = ", ".join(each.family for each in found.machine.wrong)
        raise ConvscopeError(f"wrong kernels, switched off: {names}.", call="doctor")
