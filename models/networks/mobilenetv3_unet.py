"""U-Net with a MobileNetV3-Large encoder, interchangeable with segmentation_models_pytorch's."""

from __future__ import annotations

from torch import Tensor, nn

from models.networks.mobilenetv3 import FEATURE_CHANNELS, MobileNetV3Encoder
from models.networks.unet_decoder import UNetDecoder

#: Channels of the decoder's blocks, from 1/16 of the resolution to the whole.
DECODER_CHANNELS = (256, 128, 64, 32, 16)


class MobileNetV3UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) on MobileNetV3-Large (Howard et al. 2019), 6.7 M parameters.

    State and output are those of `Unet("timm-mobilenetv3_large_100", in_channels, classes)` of
    segmentation_models_pytorch (0.3 to 0.6), tensor by tensor and in the same order: a checkpoint
    trained there loads unchanged, its optimiser's state too.

    Parameters
    ----------
    in_channels
        Channels of the image; 3 for weights that began on ImageNet.
    out_channels
        Classes, background among them.

    Notes
    -----
    Any size goes in: where it is no multiple of 32, each resolution is rounded up and the decoder
    enlarges to the skip's size, as segmentation_models_pytorch 0.6 does (0.3 refused them).
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 6):
        super().__init__()
        # the dictionary gives the weights their names, encoder.model.*
        self.encoder = nn.ModuleDict({"model": MobileNetV3Encoder(in_channels)})
        self.decoder = UNetDecoder(FEATURE_CHANNELS, DECODER_CHANNELS)
        classify = nn.Conv2d(DECODER_CHANNELS[-1], out_channels, 3, padding=1)
        nn.init.xavier_uniform_(classify.weight)
        self.segmentation_head = nn.Sequential(classify)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image (N, C, H, W) to logits (N, classes, H, W)."""
        features = self.encoder["model"](x)
        logits: Tensor = self.segmentation_head(self.decoder(features, x.shape[2:]))
        return logits
