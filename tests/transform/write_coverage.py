"""Writes docs/coverage.md: which networks of other libraries can be rewritten and exported, and what holds for them.

    python tests/transform/write_coverage.py [name ...]

It takes half an hour of processor time and up to 8 GB; run nothing beside it.

For each network, freshly initialised: `rewrite` with kernel sizes, widths and depths, then the given point and a few
random ones; each must run, equal its derived network (the law of weight sharing), cost what is counted on the derived
network, and leave no class of this library in it. One random network is exported, and must give the same outputs in a
process that can import torch but neither this library nor the one that the network is from.

Torchvision's classification networks are all checked; of timm one or two of each family; of transformers the usual
encoders and decoders, from small configurations. Nothing is downloaded.
"""

import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import modularnas as mn

export_module = importlib.import_module("modularnas.transform.export")

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "coverage.md"
POINTS = 3
#: Networks of torchvision whose input has a size of its own.
SIZES = {"vit_h_14": 224, "inception_v3": 299}

#: Networks whose kernels only become smaller: of 7 x 7 they alone would take 10 GB.
CROPPED = {"regnet_y_128gf"}

TIMM = """
    cait_xxs24_224 coat_tiny convnext_atto convnextv2_atto crossvit_tiny_240 cspresnet50 darknet53 deit_tiny_patch16_224
    densenet121 dla34 dpn48b eca_resnet33ts edgenext_xx_small efficientformer_l1 efficientnet_lite0 fastvit_t8
    fbnetc_100 focalnet_tiny_srf ghostnet_100 gmlp_ti16_224 hgnetv2_b0 hrnet_w18_small inception_next_atto inception_v4
    lcnet_050 levit_128s maxvit_rmlp_pico_rw_256 mixer_s32_224 mobilenetv3_small_050 mobilenetv4_conv_small
    mobileone_s0 mobilevit_xxs nfnet_f0 pit_ti_224 poolformer_s12 regnety_002 repvgg_a0 repvit_m0_9 res2net50_26w_4s
    resmlp_12_224 resnest14d resnet18 resnetv2_50 selecsls42 skresnet18 starnet_s1 swin_tiny_patch4_window7_224
    tinynet_e tresnet_m vgg11 vit_tiny_patch16_224 xception41 xcit_nano_12_p16_224
""".split()

SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
TEXT = {**SMALL, "vocab_size": 100, "pad_token_id": 0}
#: Name of a model and its configuration.
TRANSFORMERS = {
    "BertModel": TEXT,
    "RobertaModel": TEXT,
    "ElectraModel": TEXT,
    "DistilBertModel": {"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128, "vocab_size": 100},
    "GPT2Model": {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 100, "n_positions": 64, "use_cache": False},
    "LlamaModel": {**TEXT, "use_cache": False},
    "MistralModel": {**TEXT, "num_key_value_heads": 2, "use_cache": False},
    "Qwen2Model": {**TEXT, "num_key_value_heads": 2, "use_cache": False},
    "T5EncoderModel": {"d_model": 64, "d_kv": 16, "num_layers": 3, "num_heads": 4, "d_ff": 128, "vocab_size": 100},
    "ViTModel": {**SMALL, "image_size": 32, "patch_size": 8},
    "DeiTModel": {**SMALL, "image_size": 32, "patch_size": 8},
}


def of_torchvision(name):
    """A network and an input of it."""
    from torchvision import models

    usual = 224 if name.startswith(("vit", "maxvit", "swin", "vgg", "alexnet", "mnasnet")) else 96
    size = SIZES.get(name, usual)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, num_classes=10, **options), torch.randn(1, 3, size, size)


def of_timm(name):
    """A network and an input of the size that it is for."""
    import timm

    net = timm.create_model(name, num_classes=10)
    return net, torch.randn(1, *net.default_cfg["input_size"])


def of_transformers(name):
    """A network and an input of it."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    cls = getattr(transformers, name)
    size = TRANSFORMERS[name].get("image_size")
    x = torch.randint(1, 100, (2, 12)) if size is None else torch.randn(2, 3, size, size)
    return cls(cls.config_class(**TRANSFORMERS[name])), x


def names_of_torchvision():
    """All classification networks."""
    from torchvision import models

    return models.list_models(module=models)


#: Library: the names of its networks, and what makes one.
LIBRARIES = {
    "torchvision": (names_of_torchvision, of_torchvision),
    "timm": (lambda: TIMM, of_timm),
    "transformers": (lambda: list(TRANSFORMERS), of_transformers),
}

#: A process that loads exports without the libraries that wrote them: folders in, "ok" or what is wrong out.
ALONE = """
import importlib.util, sys, torch
sys.modules.update(dict.fromkeys(["modularnas", "safetensors", "torchvision", "timm", "transformers"]))
torch.set_num_threads(1)

def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [leaf for part in parts for leaf in tensors(part)]

for line in sys.stdin:
    folder = line.strip()
    try:
        spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
        model = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(model)
        case = torch.load(folder + "/case.pt", weights_only=False)
        with torch.no_grad():
            found = tensors(model.load()(*case["args"], **case["kwargs"]))
        assert len(found) == len(case["out"]), f"{len(found)} tensors"
        for mine, expected in zip(found, case["out"]):
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)
        print("ok", flush=True)
    except Exception as error:
        print(" ".join(f"{type(error).__name__}: {error}".split())[:300], flush=True)
"""


class Alone:
    """The process that proves exports; one for all of them, since each start of torch takes seconds."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", ALONE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def prove(self, folder, case):
        """In the place of what `mn.export` does in a process of its own."""
        torch.save({"args": case.args, "kwargs": case.kwargs, "out": case.out}, folder / "case.pt")
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        (folder / "case.pt").unlink()
        if answer != "ok":
            raise mn.ExportError(f"the export is not equal: {answer}")


def tensors(out):
    """What a network returns, without what is no tensor."""
    return [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]


def counted(net, x):
    """Multiply-accumulates by torch's counter, which sees the products of attention when they are not fused."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            net.requires_grad_(False)(x)  # the counter fails at a module that is given a parameter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2


def check(library, name):
    """Number of decisions and form of the export, or an error that says what does not hold."""
    torch.manual_seed(0)
    net, x = LIBRARIES[library][1](name)
    net = net.eval()
    kernels = (1, 3) if name in CROPPED else (3, 5, 7)
    rules = [mn.rules.kernel_size(*kernels), mn.rules.width(0.5, 0.75, 1.0), mn.rules.depth()]
    if library == "transformers":
        rules = rules[1:] if TRANSFORMERS[name].get("image_size") is None else rules
    supernet = mn.rewrite(net, rules, example=x).eval()
    points = [supernet.original_point, *supernet.space.samples(POINTS, seed=0)]
    with torch.no_grad():
        given = tensors(net(x))
        for number, point in enumerate(points):
            small = mn.derive(supernet, point).eval()
            shared = tensors(supernet.activate(point)(x))
            expected = given if number == 0 else tensors(small(x))
            torch.testing.assert_close(shared, expected, msg="the law of weight sharing")
            cost = supernet.cost(point)
            assert cost["params"] == sum(parameter.numel() for parameter in small.parameters()), "params"
            macs = counted(small, x)
            assert cost["macs"] == macs, f"{cost['macs']} macs planned, {macs} counted"
            ours = [type(m).__name__ for m in small.modules() if type(m).__module__.startswith("modularnas")]
            assert not ours, f"{ours} in the derived network"
    with tempfile.TemporaryDirectory() as folder:
        mn.export(small, folder, example=x)
        form = json.loads(pathlib.Path(folder, "architecture.json").read_text(encoding="utf-8"))["form"]
    return len(supernet.space), form


def main(names):
    """Checks all networks, or those named, and writes the page if all were checked."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    export_module._prove = Alone().prove
    rows = []
    for library, (list_names, _) in LIBRARIES.items():
        for name in list_names():
            if names and name not in names and library not in names:
                continue
            begin = time.process_time()
            try:
                decisions, form = check(library, name)
                row = (library, name, True, str(decisions), form)
            except Exception as error:
                row = (library, name, False, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}", "")
            rows.append(row)
            print(
                "ok  " if row[2] else "FAIL", *row[:2], *row[3:], f"({time.process_time() - begin:.1f} s)", flush=True
            )
    for library in LIBRARIES:
        mine = [row[2] for row in rows if row[0] == library]
        if mine:
            print(f"{library}: {sum(mine)} of {len(mine)}")
    if not names:
        PAGE.write_text(page(rows), encoding="utf-8")


def page(rows):
    """docs/coverage.md."""
    lines = [
        "# Coverage",
        "",
        "Networks of other libraries under `kernel_size(3, 5, 7)`, `width(0.5, 0.75, 1.0)` and `depth()`: rewritten,",
        "equal at the given point, obeying the law of weight sharing at random ones with exact parameters and",
        "multiply-accumulates, derived without a class of ours, exported and equal in a process with torch alone.",
        "`python tests/transform/write_coverage.py` checks it and writes this page. `source` is readable source, `program`",
        "one of `torch.export`.",
        "",
        "| library | hold | of |",
        "|---|---|---|",
    ]
    for library in LIBRARIES:
        mine = [row[2] for row in rows if row[0] == library]
        lines.append(f"| {library} | {sum(mine)} ({sum(mine) / len(mine):.1%}) | {len(mine)} |")
    failures = [row for row in rows if not row[2]]
    if failures:
        lines += ["", "## What does not hold", "", "| library | network | reason |", "|---|---|---|"]
        lines += [f"| {library} | {name} | {reason.replace('|', '/')} |" for library, name, _, reason, _ in failures]
    for library in LIBRARIES:
        lines += ["", f"## {library}", "", "| network | decisions | export |", "|---|---|---|"]
        lines += [f"| {row[1]} | {row[3]} | {row[4]} |" for row in rows if row[0] == library and row[2]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
