"""Where the memory of an accelerated training step lies, by the kernel's own word for it."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, torch
from convscope import kernels
from convscope.acceleration import accelerate
from convscope.kernels import routes

def lengthens():
    # Whether a tensor that fits no gap lies in the heap, which is kept.
    global size
    size *= 2
    tensor = torch.empty(size)
    (line,) = [line for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")]
    first, last = (int(each, 16) for each in line.split()[0].split("-"))
    return first <= tensor.data_ptr() < last

class Optimiser(torch.optim.SGD):
    def step(self):
        found["optimiser"] = lengthens()

def run(case, operands, route):
    found[case.passing] = lengthens()
    return computed(case, operands, route)

size = 2**18
found = {}
network = accelerate(torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3)), "fp32")
computed, routes.run = routes.run, run
with kernels.apart():
    found["apart"] = lengthens()
network(torch.ones(1, 8, 6, 6, requires_grad=True)).sum().backward()
Optimiser(network.parameters()).step()
found["after"] = lengthens()
print(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc's allocator is set")
def test_weight_gradients_and_optimisers_do_not_lengthen_what_is_kept():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    kept = {name for name, inside in found.items() if inside}
    assert found.keys() - kept == {"apart", "backward_weight", "optimiser"}
    assert kept == {"forward", "backward_input", "after"}
