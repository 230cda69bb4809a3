"""The weights that ship: small, described, sound, and as good on unseen phantoms as their manifests say."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_pipeline.models.manifest import Manifest, read_manifest
from wsi_pipeline.models.registry import Weights, shipped_folder

MOST_BYTES = 15_000_000
CLASSIFIER, STAINER = "ihcnet-light-phantoms", "pspstain-light-phantoms"
PHANTOMS, PER_PHANTOM = 16, 4


@pytest.fixture(params=[CLASSIFIER, STAINER])
def manifest(request: pytest.FixtureRequest) -> Manifest:
    return read_manifest(shipped_folder() / f"{request.param}.json")


def test_all_of_it_is_small() -> None:
    files = list(shipped_folder().glob("*.safetensors"))
    assert {path.stem for path in files} == {CLASSIFIER, STAINER}
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


def test_the_card_says_what_it_is_and_is_not(manifest: Manifest) -> None:
    assert Weights(manifest, shipped_folder()).read(), "the hash agrees"
    assert manifest.licence == "Apache-2.0"
    assert "no real image" in manifest.training_data
    assert not manifest.saw_real_tissue
    assert "not for diagnosis" in manifest.intended_use
    assert any(name.startswith("held-out phantoms: ") for name in manifest.metrics)
    assert any("real" in name for name in manifest.metrics), "what it does on real images is told, good or bad"
    card = (shipped_folder() / f"{manifest.name}.md").read_text(encoding="utf-8")
    assert manifest.sha256 in card
    assert manifest.training_data in card


@pytest.mark.slow
def test_the_classifier_reads_phantoms_of_unseen_laboratories() -> None:
    pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")
    pytest.importorskip("torchvision", reason="needs the models extra: pip install '.[models]'")
    from wsi_pipeline.models.classify import TileRunner  # noqa: PLC0415
    from wsi_pipeline.models.load import load_model  # noqa: PLC0415
    from wsi_pipeline.models.runtime import Runtime  # noqa: PLC0415
    from wsi_pipeline.training.data.phantoms import PhantomSource, PhantomTileOptions  # noqa: PLC0415

    source = PhantomSource(
        PhantomTileOptions(
            tiles=PHANTOMS * PER_PHANTOM, split="test", phantom_px=768, per_phantom=PER_PHANTOM, augment=None
        )
    )
    samples = [source.sample(index, 0) for index in range(len(source))]
    labels = np.array([sample.label for sample in samples])
    runner = TileRunner(load_model(CLASSIFIER, shipped_folder()), Runtime(), 16)
    answers = np.concatenate(
        [runner.answer(np.stack([sample.rgb for sample in samples[k : k + 16]])).logits for k in range(0, 64, 16)]
    ).argmax(axis=1)
    assert len({sample.group for sample in samples}) == PHANTOMS
    assert np.bincount(labels).tolist() == [16, 16, 16, 16]
    assert (answers == labels).mean() >= 0.95
    assert (np.abs(answers - labels) > 1).mean() <= 0.02
