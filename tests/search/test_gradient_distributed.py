"""Two processes search one supernet: the same draws, the architecture gradient of the joint batch, equal alphas."""

import json
import subprocess
import sys

import pytest
from torch import distributed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch was built without gloo"),
]

SCRIPT = """
import json, sys
import torch
from torch import distributed as dist, nn
import modularnas as mn

rank, size, file, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
torch.manual_seed(0)
X, Y = torch.randn(8, 4, 6, 6).double(), torch.randint(0, 3, (8,))
net = nn.Sequential(mn.Slot(4, 4), nn.Tanh(), mn.Slot(4, 4), nn.Flatten(), nn.Linear(144, 3))
rules = [mn.rules.slots(["conv_1x1", "conv_3x3", "identity"])]
supernet = mn.rewrite(net, rules, example=X[:2].float()).double().train()
torch.manual_seed(10 + rank)  # draws are no matter of the process
if size > 1:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=size)
search = getattr(mn.search, name)(supernet)
mine = slice(rank, None, size)


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


for _ in range(3):
    search.step(loss_fn, (X[mine], Y[mine]), (X[mine], Y[mine]))
print(json.dumps({key: value.tolist() for key, value in supernet.alpha.items()}))
if size > 1:
    dist.destroy_process_group()
"""


def run(size, name, folder):
    command = [sys.executable, "-c", SCRIPT]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(size), str(folder / f"{name}{size}"), name], stdout=subprocess.PIPE, text=True
        )
        for rank in range(size)
    ]
    outputs = [process.communicate(timeout=250)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.mark.parametrize("name", ["DARTS", "GDAS"])
def test_processes_learn_what_one_learns_from_the_joint_batch(name, tmp_path):
    (alone,) = run(1, name, tmp_path)
    first, second = run(2, name, tmp_path)
    assert first == second
    for key, values in alone.items():
        assert first[key] == pytest.approx(values, rel=1e-9)
