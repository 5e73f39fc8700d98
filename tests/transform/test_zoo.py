"""A sample of docs/coverage.md: networks of other libraries are rewritten, obey the laws, and are exported."""

import importlib.util
import pathlib

import pytest


@pytest.fixture(scope="module")
def coverage():
    pytest.importorskip("torchvision")
    path = pathlib.Path(__file__).with_name("write_coverage.py")
    spec = importlib.util.spec_from_file_location("write_coverage", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("torchvision", "squeezenet1_1"),
        pytest.param("torchvision", "swin_t", marks=pytest.mark.slow),
        ("timm", "lcnet_050"),
        pytest.param("timm", "levit_128s", marks=pytest.mark.slow),
        pytest.param("timm", "selecsls42", marks=pytest.mark.slow),
        ("transformers", "BertModel"),
        pytest.param("transformers", "LlamaModel", marks=pytest.mark.slow),
    ],
)
def test_networks_of_other_libraries(library, name, coverage):
    pytest.importorskip(library)
    decisions, form = coverage.check(library, name)
    assert decisions > 0
    assert form == ("program" if library == "transformers" else "source")


def test_the_page_is_of_all_networks(coverage):
    page = coverage.PAGE.read_text(encoding="utf-8")
    for library, (names, _) in coverage.LIBRARIES.items():
        assert f"## {library}" in page
        for name in names():
            assert f"| {name} | " in page, f"{name}: python tests/transform/write_coverage.py"
