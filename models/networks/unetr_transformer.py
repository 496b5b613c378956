"""The transformer of a UNETR, with a head of its own.

A UNETR from scratch learns slowly where things are: that is its transformer's part, and what it
gets to learn from comes through a decoder that has to be trained too, at full resolution. Alone,
with a head that says which class is where in cells of 4 x 4 x 4 voxels, the transformer learns it
at a tenth of the cost of a step. A UNETR of the same sizes then starts from its weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

#: UNETR's (Hatamizadeh et al. 2022, doi 10.1109/WACV51458.2022.00181).
PATCH_VOXELS = 16
LAYERS = 12
#: Edge of a cell of which the head tells the classes.
CELL_VOXELS = 4


class UNETRTransformer(nn.Module):
    """Class scores of cells, interpolated to voxels.

    Parameters
    ----------
    in_channels, out_channels, img_size, hidden_size, mlp_dim, num_heads, proj_type
        As of the `monai.networks.nets.UNETR` whose transformer it is; its weights have the same
        names, under `vit`.
    decoder
        Other arguments of that UNETR, which play no part: a variant of its bundle has to change
        the network's name alone.

    Raises
    ------
    ValueError
        If `img_size` is not whole patches.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        img_size: Sequence[int],
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_heads: int = 12,
        proj_type: str = "conv",
        **decoder: object,
    ) -> None:
        from monai.networks.nets.vit import ViT  # late: MONAI takes a second to load

        super().__init__()
        if any(size % PATCH_VOXELS for size in img_size):
            raise ValueError(f"expected multiples of {PATCH_VOXELS} as img_size, found {img_size}")
        self.vit = ViT(
            in_channels=in_channels,
            img_size=tuple(img_size),
            patch_size=(PATCH_VOXELS,) * 3,
            hidden_size=hidden_size,
            mlp_dim=mlp_dim,
            num_layers=LAYERS,
            num_heads=num_heads,
            proj_type=proj_type,
            classification=False,
        )
        self.patches = tuple(size // PATCH_VOXELS for size in img_size)
        self.cells = PATCH_VOXELS // CELL_VOXELS
        self.classes = out_channels
        self.head = nn.Linear(hidden_size, out_channels * self.cells**3)

    def forward(self, images: Tensor) -> Tensor:
        """Images `(N, in_channels, *img_size)` to logits `(N, out_channels, *img_size)`."""
        tokens, _ = self.vit(images)  # (N, patches, hidden)
        d, h, w = self.patches
        c = self.cells
        scores = self.head(tokens).view(-1, d, h, w, self.classes, c, c, c)
        scores = scores.permute(0, 4, 1, 5, 2, 6, 3, 7)
        scores = scores.reshape(-1, self.classes, d * c, h * c, w * c)
        return nn.functional.interpolate(scores, scale_factor=CELL_VOXELS, mode="trilinear")
