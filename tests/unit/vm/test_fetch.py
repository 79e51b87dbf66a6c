"""How kernels are found among packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.debian import FetchError
from tests.vm.fetch import find_image, kernel_packages
from tests.vm.kernels import VmKernel

# As `apt-cache show` prints them, shortened.
ONE_PACKAGE = {
    "linux-image-amd64": "Version: 6.12.107-1\n"
    "Depends: linux-image-6.12.107+deb13-amd64 (= 6.12.107-1)\n",
    "linux-image-6.12.107+deb13-amd64": "Version: 6.12.107-1\n"
    "Depends: kmod, initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool\n",
}
SPLIT = {
    "linux-image-amd64": "Version: 7.2.13-1\n"
    "Depends: linux-base-amd64 (= 7.2.13-1), linux-image-7.2.13+deb14-amd64 (= 7.2.13-1)\n",
    "linux-image-7.2.13+deb14-amd64": "Version: 7.2.13-1\n"
    "Depends: dracut | linux-initramfs-tool, linux-base-7.2.13+deb14-amd64 (= 7.2.13-1), "
    "linux-binary-7.2.13+deb14-amd64 (= 7.2.13-1), "
    "linux-modules-7.2.13+deb14-amd64 (= 7.2.13-1)\n",
    "linux-binary-7.2.13+deb14-amd64": "Version: 7.2.13-1\nDepends: linux-base-7.2.13\n",
    "linux-modules-7.2.13+deb14-amd64": "Version: 7.2.13-1\nDepends: kmod\n",
}


@pytest.mark.parametrize(
    ("records", "version", "packages"),
    [
        (ONE_PACKAGE, "6.12.107-1", ["linux-image-6.12.107+deb13-amd64"]),
        (
            SPLIT,
            "7.2.13-1",
            [
                "linux-binary-7.2.13+deb14-amd64",
                "linux-image-7.2.13+deb14-amd64",
                "linux-modules-7.2.13+deb14-amd64",
            ],
        ),
    ],
    ids=["one", "split"],
)
def test_packages_of_a_kernel(records: dict[str, str], version: str, packages: list[str]) -> None:
    assert kernel_packages("linux-image-amd64", records.__getitem__) == (packages, version)


@pytest.mark.parametrize(
    "place", ["vmlinuz-6.1", "boot/vmlinuz-6.1", "usr/lib/modules/6.1/vmlinuz"]
)
def test_image_in_a_directory(tmp_path: Path, place: str) -> None:
    image = tmp_path / place
    image.parent.mkdir(parents=True, exist_ok=True)
    image.touch()
    kernel = VmKernel("own", "6.1.", enforces=False, directory=tmp_path)
    assert find_image(kernel, tmp_path / "cache") == image


def test_no_image_is_told(tmp_path: Path) -> None:
    kernel = VmKernel("own", "6.1.", enforces=False, directory=tmp_path / "nowhere")
    with pytest.raises(FetchError, match="no kernel in"):
        find_image(kernel, tmp_path)


def test_what_cannot_be_fetched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="apt-get is needed"):
        find_image(VmKernel("sid", "7.", enforces=True), tmp_path)
