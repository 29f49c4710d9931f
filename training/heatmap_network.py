"""A small network that learns one heatmap a keypoint, and how it is trained and exported; what the scripts beside it have in common."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STRIDE, SIGMA = 4, 1.25  #: pixels of a cell of the heatmaps; spread of a keypoint, cells
#: Frames, uint8, shape (n, size, size), and their keypoints in pixels of these, NaN for what is not to be seen, shape (n, n_keypoints, 2).
Batch = tuple[np.ndarray, np.ndarray]


class Block(nn.Module):
    """A convolution with a way around it."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = conv(channels, channels, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolution finds."""
        return x + self.conv(x)


def conv(before: int, after: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Three by three, normalised, rectified."""
    layer = nn.Conv2d(before, after, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class HeatmapNetwork(nn.Module):
    """From frames, uint8, shape (n, 1, size, size), to heatmaps, shape (n, n_keypoints, size / 4, size / 4).

    Parameters
    ----------
    n_keypoints
        Heatmaps.
    channels
        From the input on, after each halving of the picture.
    placed
        Side of the input, pixels, where the network is to know which part of the picture it sees; 0 where that does not matter.
    """

    def __init__(self, n_keypoints: int, channels: Sequence[int] = (12, 24, 48, 64), placed: int = 0) -> None:
        super().__init__()
        first, second, third, fourth = channels
        self.fine = nn.Sequential(conv(1, first, stride=2), conv(first, second, stride=2), Block(second))
        self.middle = nn.Sequential(conv(second, third, stride=2), Block(third), Block(third, dilation=2))
        self.coarse = nn.Sequential(conv(third + 2 * bool(placed), fourth, stride=2), Block(fourth), Block(fourth, dilation=2))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.from_coarse, self.from_middle = nn.Conv2d(fourth, third, 1), nn.Conv2d(third, second, 1)
        self.join_middle, self.join_fine = Block(third), Block(second)
        self.head = nn.Conv2d(second, n_keypoints, 1)
        along = torch.linspace(-1, 1, max(placed // 8, 1))
        self.register_buffer("places", torch.stack(torch.meshgrid(along, along, indexing="xy"))[None] if placed else torch.zeros(0))

    def forward(self, frames: Tensor) -> Tensor:
        """One heatmap a keypoint: 1 where it is, 0 where it is not."""
        fine = self.fine(frames.float() / 64 - 2)
        middle = self.middle(fine)
        seen = torch.cat([middle, self.places.expand(middle.shape[0], -1, -1, -1)], 1) if self.places.numel() else middle
        middle = self.join_middle(middle + self.up(self.from_coarse(self.coarse(seen))))
        return self.head(self.join_fine(fine + self.up(self.from_middle(middle))))


def heatmaps(points: Tensor, size: int) -> Tensor:
    """A Gaussian around each keypoint, empty for those that are not to be seen; shape (n, n_keypoints, size / 4, size / 4)."""
    cells = torch.arange(size // STRIDE)
    centres = (points + 0.5) / STRIDE - 0.5
    x, y = (torch.exp(-((cells - centres[..., axis, None]) ** 2) / (2 * SIGMA**2)) for axis in (0, 1))
    return torch.nan_to_num(y[..., :, None] * x[..., None, :])


def train(network: HeatmapNetwork, batches: Iterator[Batch], minutes: float) -> HeatmapNetwork:
    """Learn for so many minutes of CPU time; the rate falls to nothing at their end."""
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-4)
    began, step = time.process_time(), 0
    while (spent := (time.process_time() - began) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * spent))
        frames, points = next(batches)
        wanted = heatmaps(torch.from_numpy(points), frames.shape[-1])
        found = network(torch.from_numpy(frames[:, None]))
        loss = ((found - wanted) ** 2 * (1 + 20 * wanted)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        if step % 100 == 0:
            print(f"step {step}, {60 * minutes * spent:.0f} s: loss {loss.item():.5f}", flush=True)
    return network.eval()


def export(network: HeatmapNetwork, path: Path, size: int, keypoints: Sequence[str], **said: Any) -> None:
    """Write the ONNX file and its sidecar, with what else is to be said there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros((1, 1, size, size), dtype=torch.uint8)
    names = dict(input_names=["frames"], output_names=["heatmaps"])
    axes = {"frames": {0: "n"}, "heatmaps": {0: "n"}}
    torch.onnx.export(network, (example,), str(path), **names, dynamic_axes=axes, opset_version=17, dynamo=False)
    sidecar = {"keypoints": list(keypoints), "output": "heatmap", **said}
    path.with_suffix(".json").write_text(json.dumps(sidecar, indent=1) + "\n")
