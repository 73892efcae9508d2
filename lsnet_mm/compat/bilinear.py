"""Sampling feature maps between their cells, by mmcv's rule, and averaging samples over bins.

Up to one cell outside the map the border cell counts in full, further out there are zeros.
"""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def sample(features: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear interpolation, differentiable by everything.

    Args:
        features: (N, C, H, W), float32 or float64.
        y, x: (N, P), positions in cells.

    Returns:
        (N, C, P).
    """
    height, width = features.shape[2:]
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    found = grid_sample(features, grid[:, None], padding_mode="border", align_corners=False)
    return found.squeeze(2) * inside[:, None]


class RoISamples:
    """The samples of all RoIs in one row: a RoI has as many per bin as its size asks for.

    Args:
        size: (R, 2), height and width of the RoIs in cells.
        bins: Numbers of bins, down and across.
        sampling_ratio: Samples per bin and axis; 0: about one per cell.

    Attributes:
        roi: (S,) int64, each sample's RoI.
        y, x: (S,), where it lies in its RoI, from 0 at the top or left to the RoI's size.
        bin: (S,) int64, its bin, counted through all RoIs.
    """

    def __init__(self, size: Tensor, bins: tuple[int, int], sampling_ratio: int) -> None:
        self.shape = (len(size), *bins)
        step = size / size.new_tensor(bins)
        asked = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
        rows, columns = asked.long().clamp(min=0).unbind(1)
        per_bin = (rows * columns).repeat_interleave(bins[0] * bins[1])
        self.count = per_bin.clamp(min=1)
        self.bin = torch.arange(len(per_bin), device=size.device).repeat_interleave(per_bin)
        self.roi = self.bin // (bins[0] * bins[1])
        index = torch.arange(len(self.bin), device=size.device)
        index = index - (per_bin.cumsum(0) - per_bin)[self.bin]  # of the sample in its bin
        rows, columns, step = rows[self.roi], columns[self.roi], step[self.roi]
        bin_row, bin_column = self.bin // bins[1] % bins[0], self.bin % bins[1]
        row, column = (i.to(step.dtype) + 0.5 for i in (index // columns, index % columns))
        self.y = (bin_row + row / rows) * step[:, 0]
        self.x = (bin_column + column / columns) * step[:, 1]

    def average(self, features: Tensor, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Mean of each bin's samples, (R, C, *bins); 0 where there are none.

        Args:
            features: (B, C, H, W), float32 or float64.
            image: (R,), the index of each RoI's feature map.
            y, x: (S,), positions of the samples in cells.
        """
        image = image.long()[self.roi]
        total = features.new_zeros(features.shape[1], len(self.count))
        for index in range(len(features)):
            own = (image == index).nonzero().squeeze(1)
            found = sample(features[index, None], y[None, own], x[None, own])
            total = total.index_add(1, self.bin[own], found[0])
        rois, *bins = self.shape
        return (total / self.count).reshape(len(total), rois, *bins).transpose(0, 1)
