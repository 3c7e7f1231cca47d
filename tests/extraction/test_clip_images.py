"""Images as CLIP takes them."""

from __future__ import annotations

import pytest
import torch

from coleaf_framework.extraction.clip_images import clip_pixels


def test_an_image_is_squeezed_to_the_square_and_not_cropped() -> None:
    image = torch.zeros(3, 4, 8, dtype=torch.uint8)
    image[:, :, :4] = 255
    left, right = clip_pixels(image, 2)[0].unbind(1)
    assert left.tolist() == pytest.approx([(1 - 0.48145466) / 0.26862954] * 2)
    assert right.tolist() == pytest.approx([-0.48145466 / 0.26862954] * 2)
