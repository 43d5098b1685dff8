"""The family of encodings: its members and their limits, what it is fitted on, and its way through the house."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from minidl import data
from minidl.cli import main
from minidl.data import encoding
from minidl.nn import read_weights
from minidl.runs import Run
from minidl.train import predict

NAMES = ["zscore", "minmax", "log", "alpha=0.5", "alpha=2.0", "log,reduce=2,e=0.05", "alpha=0.3,ruler=range", "zscore,reduce=3"]


def pictures(n: int = 70, C: int = 3, H: int = 6, W: int = 12) -> np.ndarray:
    """Images [n, C, H, W] in 0..1 whose channels are unlike each other."""
    rng = np.random.default_rng(n)
    return (rng.random((n, C, H, W)) ** np.arange(1, C + 1)[:, None, None]).astype(np.float32)


def reference(images: np.ndarray, alpha: float, e: float, reduce: int) -> np.ndarray:
    """z by the definition, one block at a time, in float64."""
    n, C, H, W = images.shape
    z = np.empty((n, C, H // reduce, W // reduce))
    for i, c, h, w in np.ndindex(z.shape):
        block = images[i, c, h * reduce : (h + 1) * reduce, w * reduce : (w + 1) * reduce].astype(np.float64)
        z[i, c, h, w] = np.mean(np.log(block + e) if alpha == 0 else ((block + e) ** alpha - 1) / alpha)
    return z


# ---- the family ------------------------------------------------------------------------------------------------------------


@given(st.sampled_from([0, 0.1, 0.5, 0.9, 2, 7.5]), st.sampled_from([0.003, 0.01, 0.2]), st.integers(1, 3), st.booleans())
def test_a_member_is_its_definition_standardised(alpha: float, e: float, reduce: int, in_range: bool) -> None:
    images = pictures(5)
    code = data.Encoding(alpha or None, e, reduce, "range" if in_range else "deviation")
    z = reference(images, alpha, e, reduce)
    axes = (0, 2, 3)
    zero, unit = (z.min(axes), np.ptp(z, axes)) if in_range else (z.mean(axes), z.std(axes))
    expected = (z - zero[:, None, None]) / unit[:, None, None]
    found = data.Normalise.fit(images, code)(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5 / unit.min())


def test_the_zscore_has_the_bits_it_always_had() -> None:
    for dataset in (data.digits(size=20, channels=2).train, data.Dataset(np.uint8(255 * pictures()), np.zeros(70, int))):
        x = dataset.images
        mean = np.concatenate([image[None].astype(np.float64).mean(axis=(2, 3)) for image in x]).mean(axis=0)
        middle = mean[:, None, None]
        variance = np.concatenate([((image[None] - middle) ** 2).mean(axis=(2, 3)) for image in x]).mean(axis=0)
        fitted = data.Normalise.fit(dataset)
        assert fitted.mean == tuple(mean)
        assert fitted.std == tuple(np.sqrt(variance))
        column = np.array([fitted.mean, fitted.std], np.float32)[..., None, None]
        assert np.array_equal(fitted(x), (x - column[0]) / column[1])


def test_alpha_of_one_is_the_zscore_and_nothing_else() -> None:
    assert (
        data.Encoding.named("alpha=1") == data.Encoding.named("alpha=1.0") == data.Encoding.named("zscore") == data.Encoding()
    )
    images = pictures()
    near = data.Normalise.fit(images, "alpha=0.9999")(images)
    np.testing.assert_allclose(near, data.Normalise.fit(images)(images), atol=1e-3)
    assert not np.array_equal(near, data.Normalise.fit(images)(images))


@pytest.mark.parametrize("alpha", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-20, 1e-40, 5e-324])
def test_towards_zero_the_power_becomes_the_logarithm_without_cancellation(alpha: float) -> None:
    x = np.linspace(0, 1, 257, dtype=np.float32)
    log = np.log(x.astype(np.float64) + 0.01)
    found = data.Encoding(alpha).curve(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.expm1(alpha * log) / alpha if alpha > 1e-300 else log, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, data.Encoding(None).curve(x), rtol=3 * alpha + 1e-6)


def test_the_smaller_alpha_the_more_of_the_range_is_for_the_dark() -> None:
    middles = []
    for name in ("alpha=2", "minmax", "alpha=0.5,ruler=range", "log,ruler=range"):
        ramp = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 1, 1, -1)
        middles.append(data.Normalise.fit(ramp, name.replace("alpha=2", "alpha=2,ruler=range"))(ramp)[..., 20].item())
    assert middles == sorted(middles)
    assert middles[1] == pytest.approx(0.2)
    assert middles[3] > 0.6


def test_the_range_of_minmax_is_that_of_the_training_images() -> None:
    images = pictures()
    fitted = data.Normalise.fit(images, "minmax")
    y = fitted(images)
    assert y.min(axis=(0, 2, 3)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(y.max(axis=(0, 2, 3)), 1, atol=1e-6)
    assert fitted.mean == tuple(images.min(axis=(0, 2, 3)).astype(float))
    assert fitted(np.full((1, 3, 2, 2), 1.5, np.float32)).min() > 1  # other images may leave it: nothing is cut off


def test_reduce_takes_the_mean_after_the_curve() -> None:
    code, image = data.Encoding.named("log,reduce=2"), np.array([[[[0.0, 1.0, 0.5, 0.5], [0.0, 1.0, 0.5, 0.5]]]], np.float32)
    dark, bright, middle = (float(np.log(value + 0.01)) for value in (0.0, 1.0, 0.5))
    assert code(image).ravel().tolist() == pytest.approx([(dark + bright) / 2, middle])  # not equal, though the means of x are
    assert data.Encoding(reduce=2)(image).ravel().tolist() == [0.5, 0.5]
    assert code(image[:, :, :, ::-1]).ravel().tolist() == pytest.approx([middle, (dark + bright) / 2])


def test_images_are_left_alone_and_their_strides_do_not_matter() -> None:
    images = pictures(9)
    before, turned = images.copy(), np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for name in NAMES:
        fitted = data.Normalise.fit(images, name)
        assert np.array_equal(fitted(images), fitted(turned)), name
        assert np.array_equal(fitted(images)[3:5], fitted(images[3:5])), name  # image by image
        assert np.array_equal(images, before), name


def test_the_pieces_that_are_measured_together_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures()
    whole = [data.Normalise.fit(images, name) for name in NAMES]
    monkeypatch.setattr(encoding, "PIECE", 3)
    assert [data.Normalise.fit(images, name) for name in NAMES] == whole


def test_the_training_images_alone_are_measured() -> None:
    splits = data.digits(size=12)
    parts = [part.normalise for part in splits.encoded("alpha=0.5,reduce=3")]
    assert parts[0] == parts[1] == parts[2] == data.Normalise.fit(splits.train, "alpha=0.5,reduce=3")
    assert parts[0] != data.Normalise.fit(splits.test, "alpha=0.5,reduce=3")
    images, _ = next(iter(data.DataLoader(splits.encoded("alpha=0.5,reduce=3").test, 7)))
    assert np.array_equal(images.numpy(), parts[0](splits.test.images[:7]))
    assert images.shape == (7, 1, 4, 4)


@pytest.mark.parametrize("name", ["digits", "digits:writers", "hybrid:per_class=10,classes=14", "folder"])
def test_of_a_limited_set_the_images_that_are_left_are_measured(name: str, tmp_path: Path) -> None:
    from test_folder import photos

    photos(tmp_path)
    name, limit = (str(tmp_path), 3) if name == "folder" else (name, 30)
    whole, few = (data.load(name, size=(8, 8), channels=1, encode="alpha=0.5", limit=n) for n in (None, limit))
    assert len(few.train) == limit
    for part in few:
        assert part.normalise == data.Normalise.fit(few.train.images, "alpha=0.5") != whole.normalise
    assert whole.limited(limit).normalise == few.normalise  # also where it was encoded before
    assert replace(whole, train=replace(whole.train, normalise=None)).limited(limit).train.normalise is None


@pytest.mark.parametrize("name", NAMES)
def test_names_and_json_lose_nothing(name: str) -> None:
    code = data.Encoding.named(name)
    assert str(code) == name
    assert data.Encoding.named(str(code)) == code
    fitted = data.Normalise.fit(pictures(), code)
    assert data.Normalise(**json.loads(json.dumps(asdict(fitted)))) == fitted


def test_every_set_can_be_encoded_by_name(tmp_path: Path) -> None:
    from test_folder import photos

    photos(tmp_path)
    for splits in (
        data.digits(8, encode="minmax"),
        data.image_folder(tmp_path, 8, encode="minmax"),
        data.hybrid(8, classes=12, per_class=5, encode="minmax"),
        data.load("digits", size=(4, 4), channels=1, encode="minmax,reduce=2"),
        data.load(str(tmp_path), size=(4, 4), channels=1, encode="minmax,reduce=2"),
        data.load("hybrid:per_class=5", size=(4, 4), channels=1, encode="minmax,reduce=2"),
    ):
        assert splits.size == (8, 8)
        y = splits.normalise(splits.train.images)
        assert (y.min(), y.max()) == (0, pytest.approx(1))


# ---- what is refused -------------------------------------------------------------------------------------------------------


def spoilt(channel: int, value: float, everywhere: bool = False) -> np.ndarray:
    images = pictures(40)
    images[slice(None) if everywhere else 35, channel] = value
    return images


@pytest.mark.parametrize("name", ["log", "alpha=0.5", "minmax", "zscore"])
def test_channels_that_cannot_be_encoded_are_one_clear_line(name: str) -> None:
    with pytest.raises(ValueError, match=r"NaN|got nan in channel 1; leave that image out"):
        data.Normalise.fit(spoilt(1, np.nan), name)
    constant = spoilt(2, 0.25, everywhere=True)
    if name == "zscore":
        assert data.Normalise.fit(constant, name).std[2] == 1
        return
    with pytest.raises(ValueError) as caught:
        data.Normalise.fit(constant, name)
    assert str(caught.value) == (
        f"encoding {name}: channel 2 is constant in all 40 training images, so there is nothing to encode; leave the channel "
        "out, or use zscore, which keeps its scale"
    )


@pytest.mark.parametrize("name", ["log", "alpha=0.5"])
def test_values_below_black_have_no_power(name: str) -> None:
    for call in (data.Normalise.fit(pictures(), name), lambda images: data.Normalise.fit(images, name)):
        with pytest.raises(ValueError) as caught:
            call(spoilt(1, -0.5))
        assert str(caught.value) == (
            f"encoding {name}: expected values from 0 (black) to 1 (white), got -0.5 in channel 1; clip after augmenting"
        )
    with pytest.raises(ValueError, match="got nan in channel 2; leave that image out"):
        data.Normalise.fit(pictures(), name)(spoilt(2, np.nan))
    assert data.Normalise.fit(spoilt(1, -0.5), "minmax").mean[1] == -0.5  # a straight line takes anything


# ---- through the house -----------------------------------------------------------------------------------------------------

ENCODED = ["--limit", "200", "--epochs", "2", "--lr", "0.01", "--quiet", "--encode", "alpha=0.50,reduce=2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.py, and a run of it with alpha-encoding, reduced, with shifts as they are by default."""
    folder = tmp_path_factory.mktemp("encoded")
    tiny.write(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "net.py", *ENCODED, "--out", "run"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of home, and the working folder."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(run: str) -> dict:
    return json.loads(Path(run, "config.json").read_text())


def change_data(run: str, **changes: object) -> None:
    config = config_of(run)
    kept = {key: value for key, value in {**config["data"], **changes}.items() if value != "absent"}
    Path(run, "config.json").write_text(json.dumps({**config, "data": kept}))


def test_a_run_keeps_its_encoding_and_is_measured_by_it(place: Path, capsys: pytest.CaptureFixture) -> None:
    config, result = config_of("run"), json.loads(Path("run/result.json").read_text())
    fitted = data.load("digits", size=(8, 8), channels=1, encode="alpha=0.5,reduce=2", limit=200).normalise
    assert config["data"]["encode"] == "alpha=0.5,reduce=2"
    assert (config["data"]["mean"], config["data"]["std"]) == (list(fitted.mean), list(fitted.std))
    assert config["recipe"]["shifts"] == 2  # a tenth of the images as they are made, 16x16
    assert Run(Path("run")).normalise(1) == fitted
    assert result["test_accuracy"] > 0.3
    assert main(["evaluate", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["accuracy"], found["loss"]) == (result["test_accuracy"], pytest.approx(result["test_loss"], rel=1e-6))


def test_predict_encodes_new_images_the_same_way(place: Path, capsys: pytest.CaptureFixture) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    Image.fromarray((40 * rng.random((50, 30))).astype(np.uint8)).save("new.png")
    assert main(["predict", "run", "new.png", "--json", "--top", "10"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    image = data.read_image("new.png", size=(16, 16), channels=1)[None]  # twice the network's 8
    z = reference(image, 0.5, 0.01, 2)
    config, run = config_of("run")["data"], Run(Path("run"))
    (scores,) = predict(run.model(), ((z - config["mean"]) / config["std"]).astype(np.float32))
    for row in found["classes"]:
        assert row["score"] == pytest.approx(scores[int(row["class"])], abs=1e-4)


def test_resuming_goes_on_with_the_same_encoding(place: Path, capsys: pytest.CaptureFixture) -> None:
    words = [word if word != "2" else "3" for word in ENCODED]
    assert main(["train", "net.py", *words, "--schedule", "constant", "--out", "whole"]) == 0
    assert main(["train", "net.py", *ENCODED, "--schedule", "constant", "--out", "cut"]) == 0
    again = ["--epochs", "3", "--quiet", "--encode", "alpha=5e-1,reduce=2"]  # said otherwise, and the same
    assert main(["train", "--resume", "cut", *again]) == 0
    arrays = [read_weights(f"{run}/last.safetensors")[0] for run in ("whole", "cut")]
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])
    capsys.readouterr()
    assert main(["train", "--resume", "run", "--epochs", "3", "--encode", "log"]) == 2
    assert capsys.readouterr().err == "minidl: --encode log: run was started with alpha=0.5,reduce=2; leave it out\n"


def test_runs_of_before_are_zscores(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "net.py", *tiny.QUICK, "--quiet", "--out", "old"]) == 0
    assert config_of("old")["data"]["encode"] == "zscore"
    assert main(["evaluate", "old", "--json"]) == 0
    now = capsys.readouterr().out.partition("{")[2]
    change_data("old", encode="absent")
    assert main(["evaluate", "old", "--json"]) == 0
    assert capsys.readouterr().out.partition("{")[2] == now
    assert main(["train", "--resume", "old", "--epochs", "3", "--quiet"]) == 0


@pytest.mark.parametrize("name", ["minmax", "log"])
def test_the_hint_at_negatives_knows_how_bright_training_was(name: str, place: Path, capsys: pytest.CaptureFixture) -> None:
    from PIL import Image

    assert main(["train", "net.py", *tiny.QUICK, "--quiet", "--encode", name, "--out", "other"]) == 0
    assert config_of("other")["data"]["brightness"] == pytest.approx(data.digits().train.images.mean(), abs=0.02)
    Image.new("L", (9, 9), 250).save("white.png")
    capsys.readouterr()
    assert main(["predict", "other", "white.png"]) == 0
    assert "white.png is mostly white, but other learnt from images that are mostly black" in capsys.readouterr().err
    change_data("other", brightness=0.5)
    assert main(["predict", "other", "white.png"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encode": "alpha=-1"}, "data.encode should be the name of an encoding, got 'alpha=-1'; train again"),
        ({"encode": 3}, "data.encode should be the name of an encoding, got 3; train again"),
        ({"brightness": "dim"}, "data.brightness should be a number, got 'dim'; train again"),
    ],
)
def test_a_broken_configuration_is_one_line(changes: dict, message: str, place: Path, capsys: pytest.CaptureFixture) -> None:
    from PIL import Image

    Image.new("L", (9, 9)).save("black.png")
    change_data("run", **changes)
    assert main(["predict", "run", "black.png"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"minidl: run/config.json: {message}"), err
    assert err.count("\n") == 1


def test_a_training_says_how_it_encodes(place: Path, capsys: pytest.CaptureFixture) -> None:
    words = [word for word in ENCODED if word != "--quiet"]
    assert main(["train", "net.py", *words]) == 0
    assert "10 classes; quick trial on 200 of the training images; encoded by alpha=0.5,reduce=2" in capsys.readouterr().out
